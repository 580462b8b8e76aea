"""A finished trial once more, apart from its study, to see whether it comes out the same."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from lightning_hp.attempts import Circumstances, read_circumstances
from lightning_hp.babysit import log
from lightning_hp.executors import Executor
from lightning_hp.executors.scratch import scratch_folder
from lightning_hp.fit import Recipe, Training
from lightning_hp.study.comparison import TOLERANCE, Comparison, compare
from lightning_hp.trial import Emit, Event, Finished, Job, Outcome, Paused, Rung, Started, Trial, trial_folder

_PREFIX = ".rerun-"


@dataclass(frozen=True)
class Rerun:
    """What came of running a trial once more.

    Attributes:
        before: the trial as its study has it.
        after: the same, as it came out now.
        comparison: of their metrics.
        unlike: why the last bits may differ, such as what is different from when it ran. Empty where they have to be the same.
    """

    before: Trial
    after: Trial
    comparison: Comparison
    unlike: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether it has come out the same to the last bit."""
        return self._ends_alike and self.comparison.largest is None

    @property
    def same(self) -> bool:
        """Whether it has come out the same: to the last bit or, where that cannot be expected, to float tolerance."""
        close = self._ends_alike and self.comparison.first is None
        return self.exact or (close and bool(self.unlike))

    def __str__(self) -> str:
        trial, comparison = f"trial {self.before.number}", self.comparison
        compared = f"{', '.join(comparison.metrics) or _ending(self.before)}; epochs: {comparison.epochs}"
        why = f"\nnot to be expected to the last bit: {'; '.join(self.unlike)}" if self.unlike else ""
        if self.exact:
            return f"{trial}: the same to the last bit ({compared})"
        if not self._ends_alike:
            states = f"it was {_ending(self.before)}, is {_ending(self.after)}"
            return f"{trial}: different: {states}{self._where()}{why}"
        assert comparison.largest is not None
        if comparison.first is None:
            size = f"the largest difference is {comparison.largest.size:.1e} of the metric: {comparison.largest}"
            if self.same:
                return f"{trial}: the same to float tolerance ({compared}); {size}{why}"
            return f"{trial}: different in the last bits, although nothing about the run is different; {size}"
        return f"{trial}: different{self._where()}{why}"

    @property
    def _ends_alike(self) -> bool:
        # What fails for another reason, such as data that is gone, does not come out the same.
        alike = self.before.state != "failed" or self.before.reason == self.after.reason
        return self.before.state == self.after.state and alike

    def _where(self) -> str:
        first = self.comparison.first
        return f" from epoch {first.epoch} on (the first is 0): {first}" if first is not None else ""


def rerun(recipe: Recipe, executor: Executor, trial: Trial, sink: Emit, tolerance: float = TOLERANCE) -> Rerun:
    """Trains a finished trial once more from nothing, in a folder of its own that is removed afterwards.

    Args:
        recipe: of its search.
        executor: where it runs.
        trial: with its outcome. One that was pruned trains as far as it came.
        sink: takes what happens, to show it.
        tolerance: see `compare`.
    """
    original = read_circumstances(trial_folder(recipe.root, trial.number))
    # In the study's own, which has room for checkpoints, and is where all machines of a cluster see it if they see the study.
    parent = recipe.root if os.access(recipe.root, os.W_OK) else None
    with scratch_folder(parent, _PREFIX) as folder:
        scratch = replace(recipe, root=folder)
        after = Trial(trial.number, trial.hparams, trial.seed)
        outcome = _run(scratch, executor, after, Rung(trial.epochs) if trial.state == "pruned" else None, sink)
        now = read_circumstances(trial_folder(scratch.root, trial.number))
    comparison = compare(trial.metrics, outcome.metrics, tolerance)
    unlike = (*_unlike(original, now), *_requests(trial_folder(recipe.root, trial.number)))
    # Its checkpoint is gone with the folder.
    return Rerun(trial, replace(outcome.applied_to(after), checkpoint=None), comparison, unlike)


def _run(recipe: Recipe, executor: Executor, trial: Trial, until: Rung | None, sink: Emit) -> Outcome:
    outcomes: list[Outcome] = []
    jobs = [Job((trial,), until)]

    def next_job() -> Job | None:
        if not jobs:
            return None
        sink(Started(trial, 0.0, until.at if until is not None else recipe.max_epochs(trial.hparams)))
        return jobs.pop()

    def take(event: Event) -> None:
        if isinstance(event, (Finished, Paused)):
            outcomes.append(event.outcome)
            event = Finished(event.number, event.outcome, event.time)
        sink(event)

    executor.run(next_job, Training(recipe), take)
    return outcomes[-1]


def _unlike(before: list[Circumstances], now: list[Circumstances]) -> list[str]:
    if not before or not now:
        return ["it is not known where and how it ran"]
    found = dict.fromkeys(each for one in before for each in now[-1].unlike(one))
    if not found and not now[-1].exact:
        found = {f"{now[-1].device} may add in another order each time": None}
    return list(found)


def _requests(folder: Path) -> list[str]:
    """What a person has changed in a fit, which happens in no other."""
    requests = [record for record in log.read(folder / log.FILE) if record.event == "request"]
    return [f"a person changed it in epoch {record.epoch}: {record.sentence()}" for record in requests]


def _ending(trial: Trial) -> str:
    return f"{trial.state} ({trial.reason})" if trial.reason else trial.state
