"""Other programs' messages in the words of a config."""

from __future__ import annotations

import re

# What jsonargparse says around the line that helps: the other types of a union, and values too long for a line.
_NOISE = re.compile(
    r"Does not validate against .*|Subtypes: .*|Errors|Expected a <class 'NoneType'>.*|Given value type: .*|"
    r"Given value: ([\[{]|Namespace\().*|Not a valid subclass of \w+|Subclass types expect .*|"
    r"a class path \(str\)|a dict with.*"
)
_EXPECTED = re.compile(r"Expected a (?!.*\. Got value|dot import path)(.+)")
_SHORTER = {
    r"(: Given|\. Got) value: ": ", got ",
    r'Parser key "([^"]+)"': r"\1",
    r"<class '(?:\w+\.)*(\w+)'>": r"\1",
    r"Problem with given class_path '([^']+)'": r"\1",
    r"Expected a (\w+), got": r"Expected \1, got",
    r"typing\.Literal\[([^\]]*)\]": r"\1",
}
_INDEXED = re.compile(r"\b(trainer|space)\['([\w.]+)'\]")


def in_yaml(message: str) -> str:
    """Python's way to name an entry as the config's.

    >>> in_yaml("space['model.lr'] and trainer['devices']")
    'search.space.model.lr and trainer.devices'
    """
    return _INDEXED.sub(lambda found: f"{found[1].replace('space', 'search.space', 1)}.{found[2]}", message)


def helpful(message: str) -> str:
    """jsonargparse's message without the lines that surround what is wrong, in one line.

    >>> helpful("Parser key \\"model\\":\\n  Subtypes: [x]\\n  Errors:\\n    - Option 'hiden' is not accepted")
    "model: Option 'hiden' is not accepted"
    >>> helpful("Parser key \\"x\\":\\n  Errors:\\n    - Expected a <class 'int'>\\n    - Expected a <class 'float'>")
    'x: Expected int or float'
    """
    told: list[str] = []
    for line in message.splitlines():
        line = line.strip().removeprefix("- ").rstrip(":")
        if line and line not in told and not _NOISE.fullmatch(line):
            told.append(line)
    told = _with_types_joined(told)
    if len(told) < 2:
        # What is left names the key only.
        told += [line.strip().removeprefix("- ") for line in message.splitlines()[-1:] if line.strip() not in told]
    text = ": ".join(told)
    for pattern, short in _SHORTER.items():
        text = re.sub(pattern, short, text)
    return text


def _with_types_joined(lines: list[str]) -> list[str]:
    """The types of a union in one line; none of them where one of the types says what is wrong."""
    expected = [found[1] for line in lines if (found := _EXPECTED.fullmatch(line))]
    others = [line for line in lines if not _EXPECTED.fullmatch(line)]
    told = [line for line in others[1:] if not line.startswith("Given value")]
    if not expected or told:
        return others
    return [*others[:1], f"Expected {' or '.join(expected)}", *others[1:]]
