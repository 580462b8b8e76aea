"""The search: ask the sampler, plan jobs, dispatch them, record what happens. The one place that knows all the parts."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from lightning_hp import budget
from lightning_hp.babysit import Babysitter
from lightning_hp.errors import ConfigError, SearchStoppedError
from lightning_hp.executors import executor_for
from lightning_hp.fit import Recipe, load_model, run_job
from lightning_hp.fit.quiet import quiet
from lightning_hp.fit.signature import name_of
from lightning_hp.samplers import Grid, Sampler, sampler_for
from lightning_hp.scales import Scale
from lightning_hp.seeds import trial_seed
from lightning_hp.space import Space
from lightning_hp.study import Recorder, Study
from lightning_hp.study.config import write_config
from lightning_hp.tracking.progress import Progress
from lightning_hp.tracking.search_run import SearchRun
from lightning_hp.trial import Event, Finished, Job, Mode, Trial

# This many failures of one kind, with nothing else before them, condemn the search.
SAME_FAILURES = 5
# What may differ when a study is continued.
_FREE = frozenset({"trials", "max_time", "executor"})


class SearchLoop:
    """Searches the hyperparameters of a Lightning model: a full ``Trainer.fit`` for each trial, the best kept.

    Args:
        model: a LightningModule class, or any callable(**hparams) -> LightningModule.
        space: scales by name. ``data.`` names go to the data factory, ``trainer.`` names to the Trainer, the rest to the
            model.
        monitor: the logged metric to optimise. A trial's value is that of its best epoch.
        mode: ``"min"`` or ``"max"``.
        data: a LightningDataModule class or callable, an instance, or a callable -> (train, val) loaders; None if the
            model brings its own loaders.
        trials: how many trials the study shall have in all. May be left out for a grid (all of it) or with ``max_time``.
        max_time: when this much time is over no further trial begins: seconds, ``"DD:HH:MM:SS"``, a timedelta or a dict of
            its arguments. It counts from the start of this run.
        strategy: ``"random"``, ``"grid"``, or a sampler such as ``Grid(points=5)``.
        trainer: keyword arguments of ``lightning.pytorch.Trainer``. Callbacks and loggers as functions that make one,
            since each trial needs its own: ``{"callbacks": [lambda: EarlyStopping("val_loss")]}``. A trial runs on one device,
            on the accelerator that Lightning finds unless you say which.
        babysit: True, or a `Babysitter` whose copy watches each trial.
        executor: ``"auto"`` or ``"inline"``: one trial after another in this process.
        seed: decides the trials' hyperparameters, their weights, the data's split and the batch order.
        root_dir: the study's folder. A study that is there is continued: what is finished is not run again.
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
        space: Mapping[str, Scale | Mapping[str, Any]],
        monitor: str,
        mode: Mode = "min",
        data: Any = None,
        trials: int | None = None,
        max_time: Any = None,
        strategy: str | Sampler = "random",
        trainer: Mapping[str, Any] | None = None,
        babysit: bool | Babysitter = False,
        executor: str = "auto",
        seed: int = 0,
        root_dir: str | Path = "runs/search",
        progress: bool = True,
        verbose: bool = False,
    ) -> None:
        self.space = space if isinstance(space, Space) else Space(space)
        self.sampler = sampler_for(strategy)
        self.trials = _checked_trials(trials)
        self.seconds = budget.seconds(max_time)
        self.seed = _checked_seed(seed)
        self.root = Path(root_dir).absolute()
        self.executor = executor_for(executor)
        self.recipe = Recipe(
            model=model,
            space=self.space,
            data=data,
            trainer={} if trainer is None else trainer,
            monitor=monitor,
            mode=mode,
            seed=self.seed,
            root=self.root,
            babysitter=_babysitter_factory(babysit, monitor, mode),
        )
        self.total = self._total()
        self.progress = progress
        self.verbose = verbose
        self.config: Mapping[str, Any] | None = None

    def run(self) -> Study:
        """Runs the trials that the study still lacks.

        Returns:
            The study, which can rebuild its models: ``study.best.load()``.

        Raises:
            ConfigError: the folder holds a study of another search, or the monitored metric is never logged.
            SearchStoppedError: the first five trials failed in the same way.
        """
        recorder = Recorder(self.root, self.asked(), _FREE, self.space)
        try:
            write_config(self.root, self.config or self._as_config())
            self._run(recorder)
        finally:
            recorder.release()
            recorder.close()
        return Study(self.root, self.space, partial(load_model, self.recipe))

    def asked(self) -> dict[str, Any]:
        """What this search asks for, as plain values: what a study is known by."""
        return {
            "monitor": self.recipe.monitor,
            "mode": self.recipe.mode,
            "trials": self.trials,
            "max_time": self.seconds,
            "strategy": _strategy_name(self.sampler),
            "seed": self.seed,
            "babysit": self.recipe.babysitter is not None,
            "trainer": {key: _plain(value) for key, value in self.recipe.trainer.items()},
            "space": self.space.describe(),
        }

    def _run(self, recorder: Recorder) -> None:
        history = {trial.number: trial for trial in recorder.trials() if trial.finished}
        search_run = SearchRun(self.root / "search", self.space, self.recipe.monitor, self.recipe.mode, list(history.values()))
        progress = Progress(self.total, self.recipe.monitor, self.recipe.mode, list(history.values()), self.progress)
        running: dict[int, Trial] = {}

        def emit(event: Event) -> None:
            recorder.record(event)
            search_run.record(event)
            progress.record(event)
            if isinstance(event, Finished):
                history[event.number] = event.outcome.applied_to(running.pop(event.number))
                _stop_if_hopeless(event, list(history.values()))

        with search_run, progress, quiet(self.verbose):
            jobs = self._jobs(history, running)
            self.executor.run(jobs, partial(run_job, self.recipe), emit)

    def _jobs(self, history: Mapping[int, Trial], running: dict[int, Trial]) -> Iterator[Job]:
        deadline = time.monotonic() + self.seconds if self.seconds is not None else None
        number = 0
        while self.trials is None or number < self.trials:
            if number not in history:
                if deadline is not None and time.monotonic() >= deadline:
                    return
                proposed = self.sampler.propose(self.space, self.seed, [number], [history[n] for n in sorted(history)])
                if not proposed:
                    return
                running[number] = Trial(number, proposed[0], trial_seed(self.seed, number))
                yield Job((running[number],))
            number += 1

    def _total(self) -> int | None:
        """How many trials there will be; None if only time will tell."""
        if isinstance(self.sampler, Grid):
            size = self.sampler.size(self.space)
            return size if self.trials is None else min(self.trials, size)
        if self.trials is None and self.seconds is None:
            raise ConfigError("the search has no end: give trials=, max_time= or both")
        return self.trials

    def _as_config(self) -> dict[str, Any]:
        """The search as a config, as far as Python objects have a name."""
        data = {"data": {"class_path": _path(self.recipe.data)}} if self.recipe.data is not None else {}
        asked = self.asked()
        trainer = asked.pop("trainer")
        return {"model": {"class_path": _path(self.recipe.model)}, **data, "trainer": trainer, "search": asked}


def _stop_if_hopeless(event: Finished, finished: list[Trial]) -> None:
    if event.outcome.error is not None and not any(trial.state == "complete" for trial in finished):
        raise event.outcome.error
    first = sorted(finished, key=lambda trial: trial.number)[:SAME_FAILURES]
    if len(finished) == SAME_FAILURES and all(_same_failure(trial, first[0]) for trial in first):
        raise SearchStoppedError(
            f"the first {SAME_FAILURES} trials all failed in the same way: {first[0].reason}\n\n{first[-1].traceback}"
        )


def _same_failure(one: Trial, other: Trial) -> bool:
    if one.state != "failed" or other.state != "failed":
        return False
    # The message may hold the trial's own numbers; then the place tells.
    return one.reason == other.reason or _frames(one) == _frames(other)


def _frames(trial: Trial) -> list[str]:
    return re.findall(r'^ +File "[^\n]*', trial.traceback or "", re.MULTILINE)


def _babysitter_factory(babysit: bool | Babysitter, monitor: str, mode: Mode) -> Callable[[], Babysitter] | None:
    if isinstance(babysit, Babysitter):
        return partial(copy.deepcopy, babysit)
    if not isinstance(babysit, bool):
        raise ConfigError(f"babysit needs True, False or a Babysitter(...), got {babysit!r}")
    return partial(Babysitter, monitor=monitor, mode=mode) if babysit else None


def _checked_trials(trials: int | None) -> int | None:
    if trials is not None and (isinstance(trials, bool) or not isinstance(trials, int) or trials < 1):
        raise ConfigError(f"trials needs a whole number of at least 1, got {trials!r}")
    return trials


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed needs a whole number of at least 0, got {seed!r}")
    return seed


def _strategy_name(sampler: Sampler) -> str:
    return "random" if type(sampler).__name__ == "Random" else repr(sampler)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return _path(value)


def _path(value: Any) -> str:
    named = getattr(value, "func", value)
    return f"{getattr(named, '__module__', '')}.{name_of(named)}"
