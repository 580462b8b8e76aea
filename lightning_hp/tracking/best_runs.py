"""Which trials keep their run in TensorBoard: the best ones, so that it still opens with thousands of trials.

Beyond 500 runs TensorBoard shows none of them unless it is told which. Every trial's objective is in the run of the search, and
its metrics are in the study.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lightning_hp.study.keep import Keep
from lightning_hp.trial import Event, Finished, Mode, Trial, trial_folder

MOST_RUNS = 200


class BestRuns:
    """Removes the event files of trials that are no longer among the best.

    Args:
        root: the study's folder.
        most: how many trials keep theirs; None for all.
        mode: ``min`` or ``max``.
        finished: the trials that are finished already.
    """

    def __init__(self, root: Path, most: int | None, mode: Mode, finished: Iterable[Trial]) -> None:
        self._root = root
        self._keep = Keep(most, mode)
        for trial in finished:
            self._add(trial)

    def record(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._add(event.outcome.applied_to(Trial(event.number, {}, 0)))

    def _add(self, trial: Trial) -> None:
        for number in self._keep.add(trial):
            remove_run(trial_folder(self._root, number))


def remove_run(folder: Path) -> None:
    """Removes a trial's event files. What cannot be removed is in nobody's way, and the next search tries again."""
    # SummaryWriter.add_scalars makes a folder, and so a run, of each line of a chart.
    for pattern in ("events.out.tfevents.*", "*/events.out.tfevents.*"):
        for path in folder.glob(pattern):
            with suppress(OSError):
                path.unlink()
