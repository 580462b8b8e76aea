"""Other programs' messages in the words of a config."""

from __future__ import annotations

import re
from itertools import pairwise

# What jsonargparse says around the line that helps: the other types of a union, and values too long for a line.
_NOISE = re.compile(
    r"Does not validate against .*|Subtypes: .*|Errors|Given value type: .*|"
    r"Given value: ([\[{]|Namespace\().*|Not a valid subclass of \w+|Subclass types expect .*|"
    r"a class path \(str\)|a dict with.*"
)
_EXPECTED = re.compile(r"Expected a (?!.*\. Got value|dot import path)(.+)")
_SHORTER = {
    r"(: Given|\. Got) value: ": ", got ",
    r", got NestedArg\(key=.*\)$": "",
    r'Parser key "([^"]+)"': r"\1",
    r"<class '(?:\w+\.)*(\w+)'>": r"\1",
    r"Problem with given class_path '([^']+)'": r"\1",
    r"Expected a (\w+), got": r"Expected \1, got",
    # What jsonargparse 4.40 says in other words than later versions.
    r'(?:Validation failed: )?Key "([\w.]+)" is required but not included in config object or its value is None\.?': (
        r"the following arguments are required: \1"
    ),
    r"(?:Validation failed: )?Subcommand '\w+' does not accept nested key '([\w.]+)'": r"\1 is not an argument",
    r"Subcommand '\w+' does not accept option '([\w.]+)'": r"\1 is not an argument",
    r"Group '(\w+)' does not accept option '([\w.]+)'": r"\1.\2 is not an argument",
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
    >>> helpful("x:\\n  Errors:\\n    - Expected a <class 'float'>\\n    - Expected a dot import path string: y")
    'x: Expected float'
    >>> helpful('Validation failed: Key "fit.model" is required but not included in config object or its value is None.')
    'the following arguments are required: fit.model'
    """
    lines = [(len(line) - len(line.lstrip()), line.strip()) for line in message.splitlines() if line.strip()]
    told = list(dict.fromkeys(_told(lines)))
    if len(told) < 2 and lines:
        # What is left names the key only.
        told = list(dict.fromkeys([*told, lines[-1][1]]))
    text = ": ".join(told)
    for pattern, short in _SHORTER.items():
        text = re.sub(pattern, short, text)
    return text


def _told(lines: list[tuple[int, str]]) -> list[str]:
    """What lines of some indentation say that helps, each followed by what those below it say."""
    told: list[str] = []
    types: list[str] = []
    paths: list[str] = []
    starts = [index for index, (indent, _) in enumerate(lines) if indent <= lines[0][0]]
    for start, end in pairwise([*starts, len(lines)]):
        line, below = lines[start][1].removeprefix("- ").rstrip(":"), _told(lines[start + 1 : end])
        if expected := _EXPECTED.fullmatch(line):
            # Null means that the argument is not given, which is seldom what was meant.
            types += [expected[1]] if "NoneType" not in expected[1] else []
        elif line.startswith("Expected a dot import path"):
            paths.append(line)
        else:
            told += below if _NOISE.fullmatch(line) else [line, *below]
    # Any text may be the name of something to import: what else was expected says more.
    told += paths if not types else []
    # Of a union's types, one that says what is wrong is the one that was meant.
    return told if told or not types else [f"Expected {' or '.join(types)}"]
