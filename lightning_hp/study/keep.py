"""Who is among the best trials: those keep what a long search would fill the disk or TensorBoard with."""

from __future__ import annotations

import math
import shutil
from bisect import insort
from collections.abc import Iterable
from pathlib import Path

from lightning_hp.trial import Mode, Trial, trial_folder


class Keep:
    """Ranks finished trials as they come, and says who is no longer among the best.

    Args:
        most: how many trials are among the best; None for all.
        mode: ``min`` or ``max``.

    >>> keep = Keep(1, "max")
    >>> [keep.add(Trial(number, {}, 0, "complete", value)) for number, value in enumerate([0.5, 0.4, 0.9])]
    [[], [1], [0]]
    """

    def __init__(self, most: int | None, mode: Mode) -> None:
        self.most = most
        self._sign = -1.0 if mode == "max" else 1.0
        # Best first; of equals the first trial is the better one.
        self._best: list[tuple[bool, float, int]] = []

    def add(self, trial: Trial) -> list[int]:
        """Takes a finished trial; returns the numbers of those that are no longer among the best by it."""
        if self.most is None:
            return []
        # As in the leaderboard, what has not trained to its end is not the best, whatever it had come to; a pruned trial may be
        # trained on, and one that failed may be worth a look, as long as there is room.
        rank = math.inf if trial.value is None else self._sign * trial.value
        # One that was pruned may have been trained on.
        self._best = [each for each in self._best if each[-1] != trial.number]
        insort(self._best, (trial.state != "complete", rank, trial.number))
        lost, self._best = self._best[self.most :], self._best[: self.most]
        return [number for *_, number in lost]


def remove_checkpoints(root: Path, numbers: Iterable[int]) -> None:
    """Deletes the checkpoints of these trials."""
    for number in numbers:
        shutil.rmtree(trial_folder(root, number) / "checkpoints", ignore_errors=True)
