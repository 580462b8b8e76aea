"""The search: ask the sampler, plan jobs, dispatch them, record what happens. The one place that knows all the parts."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule

from lightning_hp.advice import Way
from lightning_hp.babysit import Babysitter
from lightning_hp.bounds import folder, switch, whole_number, whole_number_or_none
from lightning_hp.description import described
from lightning_hp.errors import ConfigError
from lightning_hp.executors.choose import executor_for
from lightning_hp.executors.limits import Limits
from lightning_hp.executors.ray import RayCluster
from lightning_hp.fit import Recipe, Training, load_model
from lightning_hp.fit.quiet import quiet
from lightning_hp.pruners import AnyPruner, pruner_for
from lightning_hp.samplers import DEFAULT, Sampler, sampler_for
from lightning_hp.search import budget
from lightning_hp.search.ask import check_constraint
from lightning_hp.search.checks import (
    babysitter_of,
    checked_fuse,
    finished_trial,
    pruned_trial,
    why_apart,
)
from lightning_hp.search.dispatch import Dispatch
from lightning_hp.search.earlier import earlier_roots, queue_of
from lightning_hp.search.garbage import little_garbage
from lightning_hp.search.interrupts import interruptible
from lightning_hp.search.plan import MOST_TOGETHER, Plan
from lightning_hp.search.rerun import Rerun, rerun
from lightning_hp.search.terms import Terms
from lightning_hp.space import Declared, Space
from lightning_hp.space.constraint import Constraint
from lightning_hp.study import Recorder, Study
from lightning_hp.study.comparison import TOLERANCE, check_tolerance
from lightning_hp.study.config import section_of, write_config
from lightning_hp.study.recorder import asked_otherwise
from lightning_hp.tracking.best_runs import MOST_RUNS, BestRuns
from lightning_hp.tracking.images import show_pictures
from lightning_hp.tracking.progress import Progress
from lightning_hp.tracking.search_run import SearchRun
from lightning_hp.tracking.trial_run import end_runs
from lightning_hp.trial import Emit, Mode, Rung, Trial, Unfused, trial_folder

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

# What may differ when a study is continued.
_FREE = frozenset({"trials", "total", "max_time"})
# What decides how a trial with such hyperparameters comes out.
_DECISIVE = ("model", "data", "monitor", "mode", "seed", "babysit", "trainer", "space")


class SearchLoop:
    """Searches the hyperparameters of a Lightning model: a full ``Trainer.fit`` for each trial, the best kept.

    Args:
        model: a LightningModule class, or any callable(**hparams) -> LightningModule.
        space: scales by name. ``data.`` names go to the data factory, ``trainer.`` names to the Trainer, the rest to the
            model. `Scale.when` makes a scale of what exists with values of others only, `Scale.per` one of a list.
        constraint: says of hyperparameters, given as a dict, whether they may be tried: a function that returns True or False.
        monitor: the logged metric to optimise. A trial's value is that of its best epoch.
        mode: ``"min"`` or ``"max"``.
        data: a LightningDataModule class or callable, an instance, of which each trial gets a copy (large arrays and tensors
            are shared), or a callable -> (train, val) loaders; None if the model brings its own loaders.
        trials: how many trials the study shall have in all. May be left out for a grid (all of it) or with ``max_time``.
        max_time: when this much time is over no further trial begins: seconds, ``"DD:HH:MM:SS"``, a timedelta or a dict of
            its arguments. It counts from the start of this run.
        strategy: ``"coarse-to-fine"``, ``"quasi"``, ``"random"``, ``"grid"``, ``"optuna"`` (its TPE), or a sampler such as
            ``Grid(points=5)`` or any of Optuna's; see `OptunaSampler`.
        enqueue: hyperparameters to try first, such as those in use so far: a list of dicts by name. What one leaves out is
            drawn at random.
        warm_start: folders of earlier studies of the same objective, whose trials the strategy sees as well, as far as they
            lie in this space.
        pruner: ``"halving"``, ``"asha"``, ``"progressive"``, or a pruner such as ``Halving(first=2)``: trials pause at rungs,
            and only the best go on from there. The others end as ``pruned``, keep their metrics, and can be trained on by
            `finish`. None prunes no trial.
        trainer: keyword arguments of ``lightning.pytorch.Trainer``. Callbacks and loggers as functions that make one,
            since each trial needs its own: ``{"callbacks": [lambda: EarlyStopping("val_loss")]}``. One that requires ``trial``
            gets it: ``{"logger": lambda trial: MLFlowLogger(run_name=f"{trial.number:06d}")}``. A trial runs on one device
            unless ``devices`` says otherwise, on the accelerator that Lightning finds unless ``accelerator`` does.
        babysit: True, or a `Babysitter` whose copy watches each trial, by the search's monitor if it has none of its own.
        executor: ``"inline"``, one trial after another in this process; ``"processes"``, many at a time, each in a process of
            its own; ``"ray"``, or a `RayCluster`, many at a time on the machines of a Ray cluster; ``"auto"`` takes processes
            where there is more than one GPU, or none and more than one core.
        fuse: ``"auto"`` trains trials whose models have the same structure as one vectorised fit, where that can be done and
            is faster; ``"never"`` does not; ``"always"`` fails where it cannot. Which do, the models tell: numbers that shape
            none of their parameters may differ. With Trainer's ``max_time`` each trains by itself, since the time is its own.
        workers: how many trials run at a time: by default one per GPU, or per core where there is none, and the cores are
            divided among them.
        jobs_per_device: how many trials share a GPU.
        retries: how often a trial is tried again that a dead worker or a lack of memory has ended. It goes on from its last
            checkpoint; trials that trained as one do so together first. Errors of your own code are not tried again.
        trial_timeout: time that a trial may take, in the forms of ``max_time``; then it is ended as failed. With a pruner it is
            the time from one rung to the next.
        memory_limit: GiB of memory that a worker may use; None for no limit.
        keep_checkpoints: how many trials keep their checkpoints, the best ones; None for all.
        keep_runs: how many trials keep their run in TensorBoard, the best ones; None for all. Every trial's objective is in the
            search's own run, and its metrics are in the study.
        seed: decides the trials' hyperparameters, their weights, the data's split and the batch order.
        root_dir: the study's folder. A study that is there is continued: what is finished is not run again, and what was
            interrupted goes on from its last checkpoint. While nothing but failures has finished, these are run again.
        progress: show progress in the terminal.
        verbose: let Lightning say what it has to say; otherwise only its warnings that matter are shown.

    Raises:
        ConfigError: an argument is wrong. Nothing has been written then.

    >>> from tempfile import mkdtemp
    >>> from examples.digits import DigitsData, LitDigits
    >>> from lightning_hp import Log
    >>> loop = SearchLoop(
    ...     LitDigits, space={"lr": Log(1e-2, 1.0)}, data=DigitsData, monitor="val_acc", mode="max", trials=2,
    ...     trainer={"max_epochs": 1}, root_dir=mkdtemp(), progress=False,
    ... )
    >>> [trial.state for trial in loop.run().trials]
    ['complete', 'complete']
    """

    def __init__(
        self,
        model: Callable[..., LightningModule],
        *,
        space: Declared,
        constraint: Constraint | None = None,
        monitor: str,
        mode: Mode = "min",
        data: Any = None,
        trials: int | None = None,
        max_time: Any = None,
        strategy: str | Sampler | BaseSampler = DEFAULT,
        enqueue: Sequence[Mapping[str, Any]] = (),
        warm_start: str | Path | Sequence[str | Path] = (),
        pruner: str | AnyPruner | None = None,
        trainer: Mapping[str, Any] | None = None,
        babysit: bool | Babysitter = False,
        executor: str | RayCluster = "auto",
        fuse: str = "auto",
        workers: int | None = None,
        jobs_per_device: int = 1,
        retries: int = 2,
        trial_timeout: Any = None,
        memory_limit: float | None = None,
        keep_checkpoints: int | None = 10,
        keep_runs: int | None = MOST_RUNS,
        seed: int = 0,
        root_dir: str | Path = "runs/search",
        progress: bool = True,
        verbose: bool = False,
    ) -> None:
        self.space = space if isinstance(space, Space) and constraint is None else Space(space, constraint)
        self.root = folder("root_dir", root_dir).absolute()
        sampler, seed = sampler_for(strategy), whole_number("seed", seed, 0)
        check_constraint(self.space, sampler, seed)
        trainer, babysitter = {} if trainer is None else trainer, babysitter_of(babysit)
        kept = whole_number_or_none("keep_checkpoints", keep_checkpoints, 1)
        # Its space lacks the constraint, which might not be fit to be sent to a worker.
        self.recipe = Recipe(model, Space(self.space), monitor, mode, self.root, data, trainer, seed, kept, babysitter)
        self.terms = Terms(
            recipe=self.recipe,
            space=self.space,
            sampler=sampler,
            pruner=pruner_for(pruner),
            trials=whole_number_or_none("trials", trials, 1),
            seconds=budget.seconds(max_time),
            queue=queue_of(self.space, seed, enqueue),
            warm_start=earlier_roots(warm_start),
        )
        progress, verbose = switch("progress", progress), switch("verbose", verbose)
        self.progress, self.verbose = progress, verbose
        limits = Limits(workers, jobs_per_device, budget.seconds(trial_timeout, "trial_timeout"), memory_limit)
        self.executor = executor_for(executor, self.recipe.accelerator, self.recipe.devices, limits, verbose, self.terms.total)
        self._apart = why_apart(sampler, self.recipe.devices)
        self.fuse = checked_fuse(fuse, self._apart)
        self.retries = whole_number("retries", retries, 0)
        self.keep_runs = whole_number_or_none("keep_runs", keep_runs, 1)
        how = {"executor": executor, "fuse": self.fuse, "retries": self.retries, **asdict(limits), "verbose": verbose}
        self._execution: Mapping[str, Any] = described(how)
        # Told when a new study begins.
        self.notes = self.terms.unwise
        self.config: Mapping[str, Any] | None = None

    def run(self) -> Study:
        """Runs the trials that the study still lacks.

        Returns:
            The study, which can rebuild its models: ``study.best.load()``.

        Raises:
            ConfigError: the folder holds a study of another search, or the monitored metric is never logged, or watched by two
                Babysitters.
            SearchStoppedError: the first five trials failed in the same way.
            StorageError: the folder cannot be written, is full, damaged, or in use by another search.
            KeyboardInterrupt: Ctrl-C or SIGTERM. The study is whole, and the same search goes on from there.
        """
        with self._recording() as recorder:
            write_config(self.root, self.config or self._as_config())
            return self._run(recorder)

    def finish(self, number: int) -> Trial:
        """Trains a trial that was pruned to its end, from its last checkpoint, and records how it ends.

        If it is no longer among the trials that keep their checkpoints, it begins anew, and a warning says so.

        Args:
            number: of the trial.

        Returns:
            The trial as it is now: ``complete``, unless it has failed or diverged.

        Raises:
            ConfigError: there is no such trial, it was not pruned, or the folder holds a study of another search.
            StorageError: as in `run`.
            KeyboardInterrupt: Ctrl-C or SIGTERM. The trial waits to be finished, or for `run` to leave it pruned.
        """
        Study(self.root)
        with self._recording() as recorder:
            study = self._finish(recorder, pruned_trial(recorder.trials(), recorder.judged(), number))
        return next(each for each in study.trials if each.number == number)

    def rerun(self, number: int, tolerance: float = TOLERANCE) -> Rerun:
        """Trains a finished trial once more, with the same hyperparameters and seeds, and compares what comes out.

        The study is left as it is. Loggers of your own are made once more.

        Args:
            number: of the trial. One that was pruned trains as far as it came.
            tolerance: how far values may lie apart, in parts of a metric's largest, where the same bits cannot be expected: on
                a GPU, or where the trial trained as one with others, or elsewhere.

        Returns:
            Both, and how they compare; printed, it says so in words.

        Raises:
            ConfigError: there is no such trial, it has not finished, the tolerance is no number of at least 0, or the folder
                holds a study of another search.
        """
        check_tolerance(tolerance)
        study = self._study()
        if changes := asked_otherwise(study.asked, json.loads(json.dumps(self.asked())), _DECISIVE):
            raise ConfigError(f"{self.root} holds a study of another search: {'; '.join(changes)}")
        trial = finished_trial(study.trials, number)
        progress = self._progress()
        with interruptible(), progress, quiet(self.verbose):
            return rerun(self.recipe, self.executor, trial, progress.record, tolerance)

    def asked(self) -> dict[str, Any]:
        """What this search asks for, as plain values: what a study is known by."""
        return self.terms.describe()

    @contextmanager
    def _recording(self) -> Iterator[Recorder]:
        # The command, whose searches have a config, has its own words.
        hint = "interrupted; run the same again to go on" if self.progress and self.config is None else None
        with interruptible(hint):
            recorder = Recorder(self.root, self.asked(), _FREE, self.space, self.recipe.keep_checkpoints)
            try:
                yield recorder
            finally:
                recorder.close()

    def _study(self) -> Study:
        return Study(self.root, self.space, partial(load_model, self.recipe))

    def _run(self, recorder: Recorder) -> Study:
        terms, trials = self.terms, recorder.trials()
        finished = [trial for trial in trials if trial.finished]
        begun = {trial.number: trial.hparams for trial in trials if not trial.finished}
        progress = self._progress(terms.total, finished)
        for line in () if trials else self.notes:
            progress.tell(f"note: {line}")
        if trials:
            progress.tell_resumed(begun)
        if self.fuse == "auto" and self._apart is not None:
            progress.record(Unfused((), self._apart))
        deadline = time.monotonic() + terms.seconds if terms.seconds is not None else None
        sinks = [Way(terms.seconds, progress.tell).record] if terms.seconds is not None else []
        ask = terms.ask()
        ladder = terms.ladder(ask.round_of, recorder.judged(), finished)
        plan = self._plan(ladder.until) if ladder is not None else self._plan()
        most = self.recipe.max_epochs
        dispatch = Dispatch(ask, terms.trials, deadline, self.retries, most, finished, plan=plan, begun=begun, ladder=ladder)
        return self._execute(dispatch, recorder, progress, sinks)

    def _finish(self, recorder: Recorder, trial: Trial) -> Study:
        if not (trial_folder(self.root, trial.number) / "checkpoints").exists():
            warnings.warn(
                f"trial {trial.number} has no checkpoint any more and begins anew; keep_checkpoints says how many do",
                stacklevel=3,
            )
        others = [each for each in recorder.trials() if each.finished and each.number != trial.number]
        plan = self._plan()
        plan.add(Trial(trial.number, trial.hparams, trial.seed))
        # No trial but this one begins.
        dispatch = Dispatch(self.terms.ask(), 0, None, self.retries, self.recipe.max_epochs, others, plan=plan)
        return self._execute(dispatch, recorder, self._progress())

    def _execute(self, dispatch: Dispatch, recorder: Recorder, progress: Progress, sinks: Sequence[Emit] = ()) -> Study:
        search_run = SearchRun(self.root / "search", self.space, self.recipe.monitor, self.recipe.mode, dispatch.finished)
        best_runs = BestRuns(self.root, self.keep_runs, self.recipe.mode, dispatch.finished)
        end = partial(end_runs, self.root)
        # First what is to be kept.
        dispatch.sinks = [recorder.record, search_run.record, progress.record, end, best_runs.record, *sinks]
        with search_run, progress, quiet(self.verbose), little_garbage():
            self.executor.run(dispatch.next_job, Training(self.recipe, self.fuse == "always"), dispatch.take)
            # The one that is given back: what it finds for the pictures it need not look for again.
            study = self._study()
            show_pictures(self.root / "search", study)
        return study

    def _plan(self, until: Callable[[Trial], Rung | None] = lambda trial: None) -> Plan:
        together = self.fuse != "never" and self._apart is None
        return Plan(lambda: self.executor.at_a_time, MOST_TOGETHER if together else 1, until)

    def _progress(self, total: int | None = 1, finished: Sequence[Trial] = ()) -> Progress:
        return Progress(total, self.recipe.monitor, self.recipe.mode, finished, self.progress)

    def _as_config(self) -> dict[str, Any]:
        """The search as a config, as far as Python objects have a name."""
        asked = {**self.asked(), **self._execution}
        del asked["model"], asked["data"], asked["trainer"], asked["total"]
        if self.space.constraint is not None:
            asked["constraint"] = section_of(self.space.constraint)["class_path"]
        asked["warm_start"] = [str(root) for root in self.terms.warm_start] or None
        sections = {"model": self.recipe.model, "data": self.recipe.data}
        # Where None means all, whoever goes on from the config would delete what the defaults do not keep.
        kept = {"keep_checkpoints": self.recipe.keep_checkpoints, "keep_runs": self.keep_runs}
        return {
            **{key: section_of(value) for key, value in sections.items() if value is not None},
            "trainer": described(self.recipe.trainer),
            "search": {"root": str(self.root), **{key: value for key, value in asked.items() if value is not None}, **kept},
        }
