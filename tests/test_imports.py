"""Imports: light where users wait for them, and in one direction only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_hp

PACKAGE = Path(lightning_hp.__file__).parent
# Each may import what stands in its own line or above.
LAYERS = [
    {"errors", "description"},
    {"bounds", "signature", "words"},
    {"space"},
    {"attempts", "seeds", "trial"},
    {"samplers", "pruners"},
    {"advice", "report"},
    {"study"},
    {"babysit"},
    {"tracking"},
    {"fit"},
    {"executors"},
    {"search"},
    {"loop"},
    {"cli", "__main__"},
]
HEAVY = {"torch", "lightning", "torchmetrics", "matplotlib", "scipy", "sklearn", "optuna", "ray", "rich", "jsonargparse"}


def layer(name):
    return next(index for index, names in enumerate(LAYERS) if name in names)


def imported(path):
    """The parts of the package that a module imports when it runs."""
    tree = ast.parse(path.read_text())
    typing_only = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and "TYPE_CHECKING" in ast.unparse(test.test)
        for node in ast.walk(test)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in typing_only and (node.module or "").startswith("lightning_hp"):
            rest = node.module.split(".")[1:]
            yield from [rest[0]] if rest else [alias.name for alias in node.names]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_imports_a_layer_above_it(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    above = [name for name in imported(path) if layer(name) > layer(own)]
    assert above == []


def modules_after(statement):
    script = f"import sys; {statement}; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import lightning_hp",
        "from lightning_hp import Space, Log, Study, Random, Grid, Halving, Asha",
        "from lightning_hp.study import Recorder",
        "import lightning_hp.cli",
    ],
)
def test_what_needs_no_torch_imports_none(statement):
    assert modules_after(statement) & HEAVY == set()


def test_show_starts_without_torch():
    assert modules_after("import lightning_hp.cli.show") & {"torch", "lightning"} == set()


def test_every_public_name_is_there():
    assert sorted(lightning_hp.__all__) == lightning_hp.__all__
    for name in lightning_hp.__all__:
        assert getattr(lightning_hp, name).__doc__
    with pytest.raises(AttributeError, match="'Searchloop'"):
        _ = lightning_hp.Searchloop
