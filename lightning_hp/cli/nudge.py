"""``lightning-hp nudge``, ``rollback``, ``pause``, ``resume`` and ``stop``: a person at the wheel of a running, babysat fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from lightning_hp.babysit.mailbox import FOLDER, listens
from lightning_hp.babysit.nudge import send, wait, withdraw
from lightning_hp.babysit.request import At, Change, Kind, Range, Request, parse_changes
from lightning_hp.bounds import is_number
from lightning_hp.errors import ConfigError
from lightning_hp.space import route
from lightning_hp.study.store import FILE as STUDY
from lightning_hp.study.store import Store
from lightning_hp.trial import trial_folder

# Seconds to wait for an answer at a step. An epoch may take hours.
PATIENCE = 60.0
# What modules call them.
_NAMES = {"lr": ("lr", "learning_rate"), "momentum": ("momentum", "beta1")}


def main(
    kind: Kind, root: str, words: Sequence[str], at: At = "step", timeout: float | None = None, anyway: bool = False
) -> int:
    patience = _patience(at, timeout)
    number, rest = _number(words)
    changes = _changes(kind, rest)
    folder, name, space = _find(Path(root), number)
    ranges = {} if anyway else {f"{knob}_range": _range(knob, space) for knob in changes}
    request = send(folder, Request(kind, at, **changes, **ranges))  # type: ignore[arg-type]
    try:
        answer = wait(folder, request, patience)
    except KeyboardInterrupt:
        if withdraw(folder, request):
            print(f"{name}: taken back, nothing was done")
        raise
    if answer is None:
        file = folder / FOLDER / f"{request.id}.request"
        place = "batch" if at == "step" else "epoch"
        print(f"{name}: no answer yet. The request stands, and is carried out at the fit's next {place}, which may be in a")
        print(f"long validation now; babysit.jsonl in {folder} will tell. To take it back: rm {file}")
        return 1
    if not answer.done:
        raise ConfigError(f"{name}: refused: {answer.text}")
    print(f"{name}: done in epoch {answer.epoch} after step {answer.step}: {answer.text}")
    return 0


def _patience(at: At, timeout: float | None) -> float | None:
    if timeout is None:
        return PATIENCE if at == "step" else None
    if not 0 <= timeout < math.inf:
        raise ConfigError(f"--timeout needs seconds, at least 0, got {timeout:g}")
    return timeout


def _number(words: Sequence[str]) -> tuple[int | None, Sequence[str]]:
    """A trial's number, if it comes first, and what comes behind."""
    if words and words[0].isascii() and words[0].isdigit():
        return int(words[0]), words[1:]
    return None, words


def _changes(kind: Kind, words: Sequence[str]) -> dict[str, Change]:
    if kind == "nudge":
        return parse_changes(words)
    if words:
        raise ConfigError(f"{kind} needs DIR and a trial's number, got {' '.join(words)!r} besides")
    return {}


def _find(root: Path, number: int | None) -> tuple[Path, str, Mapping[str, Any]]:
    """The folder of a fit that takes requests, its name for people, and the space of its study, if there is one."""
    if number is None:
        return _single(root), "the fit", {}
    if not (root / STUDY).exists() and (root.is_dir() and _listening(root)):
        raise ConfigError(f"{root} holds no study but a single fit: leave the number {number} out")
    with closing(Store(root)) as store:
        asked, states = store.asked(), _states(store)
    folder = trial_folder(root, number)
    if number not in states:
        raise ConfigError(f"{root} has no trial {number} yet; {_running(states)}")
    if states[number] != "running":
        raise ConfigError(f"trial {number} is {states[number]}, and only one that runs takes requests; {_running(states)}")
    if listens(folder):
        return folder, f"trial {number}", asked.get("space") or {}
    if not asked.get("babysit"):
        raise ConfigError(f"the search in {root} runs without a babysitter, which is who takes requests: search with --babysit")
    raise ConfigError(
        f"trial {number} does not train now: it has only just begun or is about to end, and the same may do in a moment; "
        f"or its search was killed"
    )


def _single(root: Path) -> Path:
    """The folder of the one fit that takes requests in a folder, or in a version of it."""
    if (root / STUDY).exists():
        with closing(Store(root)) as store:
            raise ConfigError(f"{root} holds a study: say which trial, by its number; {_running(_states(store))}")
    found = _listening(root)
    if not found:
        raise ConfigError(f"no babysat fit trains in {root} now, nor in a version_N of it")
    if len(found) > 1:
        raise ConfigError(f"several fits train in {root}: say which of {', '.join(map(str, found))}")
    return found[0]


def _listening(root: Path) -> list[Path]:
    return [folder for folder in (root, *sorted(root.glob("version_*"))) if listens(folder)]


def _states(store: Store) -> dict[int, str]:
    return {trial.number: trial.state for trial in store.trials(brief=True)}


def _running(states: Mapping[int, str]) -> str:
    numbers = [str(number) for number, state in states.items() if state == "running"]
    return f"running: {', '.join(numbers)}" if numbers else "none runs"


def _range(knob: str, space: Mapping[str, Any]) -> Range | None:
    """Where a study searches for a knob; None where it does not, or in several places."""
    found = [(name, scale) for name, scale in space.items() if route(name)[1].rpartition(".")[2] in _NAMES[knob]]
    if len(found) != 1:
        return None
    name, scale = found[0]
    ends = [scale["low"], scale["high"]] if "low" in scale else scale.get("values", [])
    numbers = [float(end) for end in ends if is_number(end)]
    return Range(name, min(numbers), max(numbers)) if numbers and len(numbers) == len(ends) else None
