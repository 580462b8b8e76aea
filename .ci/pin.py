"""Prints the environment that it runs in as constraints: what was tested, for `constraints.txt`."""

from __future__ import annotations

from importlib.metadata import distributions

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

# What is no matter of a constraint.
OWN = ("lightning-hp", "pip")
# The Pythons of the 3 that the package runs on.
FIRST, LAST = 10, 30


def main() -> None:
    print("# What development and CI run with. The package itself allows ranges: see pyproject.toml.")
    print("# Written by .ci/pin.py; CONTRIBUTING.md says how.")
    for found in sorted(distributions(), key=lambda each: each.name.lower()):
        if found.name not in OWN:
            print(pinned(found.name, found.version, str(found.metadata.json.get("requires_python", ""))))


def pinned(name: str, version: str, pythons: str) -> str:
    """A line that does not hold for a Python that the version does not run on."""
    allowed = SpecifierSet(pythons)
    first = next(minor for minor in range(FIRST, LAST) if f"3.{minor}" in allowed)
    # Without what tells builds of a version apart, such as +cpu.
    line = f"{name}=={Version(version).public}"
    return str(Requirement(line if first == FIRST else f'{line}; python_version >= "3.{first}"'))


if __name__ == "__main__":
    main()
