"""Where trials trained, read from the conditions.jsonl in their folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lightning_hp.attempts import Circumstances, read_circumstances
from lightning_hp.trial import trial_folder


def machines(root: Path, numbers: Iterable[int]) -> dict[int, Circumstances]:
    """What a study's trials trained on, by number; the last attempt of each, as far as it is known.

    Args:
        root: the study's folder.
        numbers: of its trials.
    """
    found = {number: read_circumstances(trial_folder(root, number)) for number in numbers}
    return {number: attempts[-1] for number, attempts in found.items() if attempts}
