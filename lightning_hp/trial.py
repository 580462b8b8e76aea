"""What passes between the parts: a trial, its outcome, and the events of a search. Plain frozen values, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

State = Literal["waiting", "running", "complete", "pruned", "failed", "diverged"]
STATES: tuple[State, ...] = get_args(State)
FINISHED: tuple[State, ...] = ("complete", "pruned", "failed", "diverged")
Mode = Literal["min", "max"]
Unit = Literal["epochs", "steps"]
LONGEST_REASON = 500
# One value an epoch; None where the metric was not logged in that epoch.
Metrics: TypeAlias = Mapping[str, list[float | None]]


@dataclass(frozen=True)
class Best:
    """Where a trial's value was reached, which may be in the midst of an epoch.

    Attributes:
        epoch: number of the epoch (from 0).
        metrics: what was logged with the value: by the same validation, or in that epoch if the value came with its end.
    """

    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """How a trial's fit ended.

    Attributes:
        state: ``complete``, ``pruned``, ``failed`` or ``diverged``.
        value: best value of the monitored metric over the fit; None for a failed or diverged trial.
        epochs: epochs that were finished.
        metrics: per metric one value an epoch.
        reason: why the trial did not complete, in one line.
        traceback: of a failure, for the log.
        checkpoint: file with the weights of the best epoch, if one was written.
        error: the exception that condemns the whole search and not only this trial.
        retriable: whether the machine failed and not the user's code (a dead worker, no memory), so that another try may do.
        blameless: whether nothing that a trial does can be the reason: what it ran on was taken away, or could not begin.
        best: where the best value was reached, whatever became of the fit later; None if none was.
    """

    state: State
    value: float | None = None
    epochs: int = 0
    metrics: Metrics = field(default_factory=dict)
    reason: str | None = None
    traceback: str | None = None
    checkpoint: Path | None = None
    error: Exception | None = None
    retriable: bool = False
    blameless: bool = False
    best: Best | None = None

    def applied_to(self, trial: Trial) -> Trial:
        """The trial with this outcome."""
        return replace(
            trial,
            state=self.state,
            value=self.value,
            epochs=self.epochs,
            metrics=self.metrics,
            reason=self.reason,
            checkpoint=self.checkpoint,
            traceback=self.traceback,
            best=self.best,
        )


@dataclass(frozen=True)
class Trial:
    """One point of the space, its fit and its outcome.

    Attributes:
        number: 0, 1, 2, ... in the order in which the sampler proposed them.
        hparams: the user's names and values.
        seed: of the trial's weights, dropout and the like.
        state: ``waiting``, ``running``, ``complete``, ``pruned``, ``failed`` or ``diverged``.
        value: best value of the monitored metric over the epochs; None unless complete or pruned.
        epochs: epochs that were finished.
        metrics: per metric one value an epoch, None where it was not logged.
        reason: why it did not complete, in one line.
        checkpoint: file with the weights of the best epoch.
        rungs: where a pruner compared it, in epochs or steps, with its best value there.
        best: where its best value was reached; None if none was, or in a study of an older version.
    """

    number: int
    hparams: dict[str, Any]
    seed: int
    state: State = "waiting"
    value: float | None = None
    epochs: int = 0
    metrics: Metrics = field(default_factory=dict, repr=False)
    reason: str | None = None
    checkpoint: Path | None = None
    rungs: tuple[tuple[int, float], ...] = field(default=(), repr=False)
    traceback: str | None = field(default=None, repr=False)
    best: Best | None = field(default=None, repr=False)
    loader: Callable[[Trial], LightningModule] | None = field(default=None, repr=False, compare=False)

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    def load(self) -> LightningModule:
        """The model of the best epoch: rebuilt by the search's factory from ``hparams``, then given its weights.

        Raises:
            LookupError: no checkpoint was written, or the study was opened without the search that has the factory.
        """
        if self.loader is None:
            raise LookupError(
                "this study was opened from its folder, without your model: load() needs the study of SearchLoop.run(), which "
                "trains nothing again where all is done; or use YourModule.load_from_checkpoint(trial.checkpoint)"
            )
        return self.loader(self)


@dataclass(frozen=True)
class Rung:
    """How far a trial trains before its pruner says whether it goes on.

    A trial is compared at the end of the first epoch by which it has made so many epochs or optimizer steps and its
    objective has been logged.

    >>> str(Rung(3)), str(Rung(100, "steps"))
    ('epoch 3', 'step 100')
    """

    at: int
    unit: Unit = "epochs"

    def reached(self, epochs: int, steps: int) -> bool:
        return (epochs if self.unit == "epochs" else steps) >= self.at

    def __str__(self) -> str:
        return f"{self.unit.removesuffix('s')} {self.at}"


@dataclass(frozen=True)
class Job:
    """Trials that run together in one process on one device: to their end, or to a rung, where they pause."""

    trials: tuple[Trial, ...]
    until: Rung | None = None


@dataclass(frozen=True)
class RoundBegan:
    """The sampler has begun a round of trials with number ``first``, or has proposed that one alone.

    Attributes:
        first: number of its first trial.
        seen: the finished trials that it was shown, as `ranges` has them.
        notes: what the sampler says of it, as plain values.
    """

    first: int
    seen: str
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """A trial begins, of at most ``max_epochs`` (None if open-ended). ``time`` in seconds since the epoch of the clock."""

    trial: Trial
    time: float
    max_epochs: int | None = None


@dataclass(frozen=True)
class EpochEnded:
    """A trial finished epoch number ``epoch`` (from 0), with these metrics."""

    number: int
    epoch: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Finished:
    """A trial has ended.

    Attributes:
        number: of the trial.
        outcome: how it has ended.
        time: in seconds since the epoch of the clock.
        more: whether another that has ended with it follows at once, so that both are written together.
    """

    number: int
    outcome: Outcome
    time: float
    more: bool = False


@dataclass(frozen=True)
class Paused:
    """A trial has reached the rung of its job, and trains no further until it is decided who goes on.

    Attributes:
        number: of the trial.
        outcome: how it ends if it does not go on: ``pruned``.
        time: in seconds since the epoch of the clock.
    """

    number: int
    outcome: Outcome
    time: float


@dataclass(frozen=True)
class Judged:
    """It is decided which trials go on from a rung.

    Attributes:
        rung: epochs or steps.
        values: by number, the best that each trial had there; None for one that failed, diverged or had none.
        going_on: the numbers of those that go on.
    """

    rung: int
    values: Mapping[int, float | None]
    going_on: frozenset[int]


@dataclass(frozen=True)
class Retried:
    """A trial's attempt was lost for this reason, none of the user's making; it will start once more."""

    number: int
    reason: str


@dataclass(frozen=True)
class Grouped:
    """The models of a job have been made. Those of one structure go on together; the others are given back to find their like.

    Attributes:
        structures: by the number of each trial, what its model has in common with those that it may train with.
        given_back: the numbers of those that are no longer in the job.
    """

    structures: Mapping[int, str]
    given_back: tuple[int, ...] = ()


@dataclass(frozen=True)
class Unfused:
    """These trials of a job do not train as one, and are given back.

    Attributes:
        numbers: of the trials.
        reason: why they do not.
        differing: the model's whole numbers in which they differ, by name, if it may be for these: then those in which they are
            the same may train as one. None where it is not for any numbers.
    """

    numbers: tuple[int, ...]
    reason: str
    differing: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Printed:
    """A worker process that had these trials has printed a line, or something is to be told of it.

    Attributes:
        numbers: of the trials.
        line: what it has printed.
        once: whether it is told once in a search, whichever trials it comes from, as Python does with warnings in one process.
    """

    numbers: tuple[int, ...]
    line: str
    once: bool = False


Event: TypeAlias = RoundBegan | Started | EpochEnded | Paused | Judged | Finished | Retried | Grouped | Unfused | Printed
Emit: TypeAlias = Callable[[Event], None]


def given_back_by(event: object) -> tuple[int, ...]:
    """The trials that an event gives back: their job has them no longer, and they have to train in others."""
    if isinstance(event, Grouped):
        return event.given_back
    return event.numbers if isinstance(event, Unfused) else ()


def left_by(event: object) -> tuple[int, ...]:
    """The trials that are no longer in the job that has told an event: they are over there, or given back."""
    return (event.number,) if isinstance(event, (Finished, Paused)) else given_back_by(event)


def trial_folder(root: Path, number: int) -> Path:
    """The folder of a trial, named by its number only: no user text becomes a path.

    >>> trial_folder(Path("runs"), 12).as_posix()
    'runs/trials/000012'
    """
    return root / "trials" / f"{number:06d}"


def add_epoch(metrics: dict[str, list[float | None]], epoch: int, logged: Mapping[str, float]) -> None:
    """Takes an epoch into the metrics of a trial, in place, with None where a metric was not logged.

    What was there of it and later ones goes: the trial has been taken back.

    >>> metrics = {"val_loss": [0.5]}
    >>> add_epoch(metrics, 1, {"val_acc": 0.9})
    >>> metrics
    {'val_loss': [0.5, None], 'val_acc': [None, 0.9]}
    >>> add_epoch(metrics, 0, {"val_loss": 0.4})
    >>> metrics
    {'val_loss': [0.4], 'val_acc': [None]}
    """
    for name in [*metrics, *(name for name in logged if name not in metrics)]:
        values = metrics.setdefault(name, [])
        values[epoch:] = [None] * (epoch - len(values))
        values.append(logged.get(name))


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in short.

    >>> ranges([0, 1, 2, 3, 7, 9, 10])
    '0-3,7,9-10'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{low}-{high}" if low < high else str(low) for low, high in runs)


def is_better(value: float, best: float | None, mode: Mode) -> bool:
    """Whether a value beats the best so far. A tie does not, and NaN never does.

    >>> is_better(0.9, 0.8, "max"), is_better(0.8, 0.8, "max"), is_better(float("nan"), None, "min")
    (True, False, False)
    """
    if value != value:
        return False
    return best is None or (value > best if mode == "max" else value < best)
