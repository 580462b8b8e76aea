"""A search as Optuna sees it: an Optuna study in memory that holds its trials, and is asked what to try next.

Hyperparameters are carried in the unit coordinate of their scale, so that every scale is what it is here: a float in [0, 1].
Integers are integers, with their logarithm for `LogInt`, of which Optuna has the same notion, and choices are their indices,
so that they may be any objects.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_hp.errors import ConfigError
from lightning_hp.samplers.threads import one_thread
from lightning_hp.scales import Choice, Int, LogInt, Scale
from lightning_hp.space import Hparams, Space
from lightning_hp.trial import Mode, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, TrialState


class Mirror:
    """Trials of a search, in an Optuna study of the same order.

    Args:
        space: of the search.
        mode: of the objective.

    Attributes:
        trials: in order; the first ``shown`` of them are the search's, the others have been asked for here since.
    """

    def __init__(self, space: Space, mode: Mode) -> None:
        import optuna

        self.space = space
        self.mode = mode
        self._distributions = {name: _distribution(scale) for name, scale in space.items()}
        # A trial's id in a storage of one study is its position there.
        self._storage = optuna.storages.InMemoryStorage()
        with quiet():
            self._study = optuna.create_study(
                storage=self._storage,
                direction="minimize" if mode == "min" else "maximize",
                pruner=optuna.pruners.NopPruner(),
            )
        self.trials: list[Trial] = []
        self.shown = 0

    @property
    def proposed(self) -> list[Trial]:
        """The trials that were asked for by what was shown, in order."""
        return self.trials[self.shown :]

    def follow(self, seen: Sequence[Trial], first: int, only_proposed: bool) -> bool:
        """Takes in what has become of a search, so that it can be asked for trial ``first`` or goes on from there.

        Args:
            seen: all trials that are to be shown.
            first: the trial that is asked for first by what is shown.
            only_proposed: whether all the trials must have been asked for here.

        Returns:
            False where its trials are others, or have been asked for by what is no longer all that is known. Then nothing is
            taken in, and another mirror is needed.
        """
        news = [(at, old, new) for at, (old, new) in enumerate(zip(self.trials, seen, strict=False)) if not _same(old, new)]
        if len(seen) < self.shown or not all(_goes_on(old, new) for _, old, new in news):
            return False
        proposed = self.trials[len(seen) :]
        numbers = range(first, first + len(proposed))
        if proposed and (news or len(seen) > self.shown or [trial.number for trial in proposed] != list(numbers)):
            return False
        if only_proposed and len(seen) > len(self.trials):
            return False
        for at, _, new in news:
            self.amend(at, new)
        self.add(seen[len(self.trials) :])
        self.shown = len(seen)
        return True

    def add(self, trials: Sequence[Trial]) -> None:
        """Takes in trials after those that are there, whoever has proposed them."""
        for trial, params in zip(trials, self._params([trial.hparams for trial in trials]), strict=True):
            self._study.add_trial(self._frozen(trial, params))
        self.trials += trials

    def ask(self, number: int, sampler: BaseSampler) -> Hparams:
        """What a sampler tries next. The mirror holds it as a running trial from then on.

        Raises:
            ConfigError: the sampler cannot do it, for this space or without another package.
        """
        self._study.sampler = sampler
        try:
            with quiet(), one_thread():
                asked = self._study.ask(self._distributions)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"strategy: Optuna's {type(sampler).__name__} cannot propose a trial: {error}") from error
        hparams = {name: _value(scale, asked.params[name]) for name, scale in self.space.items()}
        self.trials.append(Trial(number, hparams, seed=0, state="running"))
        # The position of the value, which is rounded: what the mirror holds must not depend on how it has come by it.
        self._place(len(self.trials) - 1, hparams)
        return hparams

    def amend(self, position: int, trial: Trial) -> None:
        """Puts a trial in the place of one that runs: how it has ended, or other hyperparameters."""
        if trial.hparams != self.trials[position].hparams:
            self._place(position, trial.hparams)
        if trial.state != "running":
            state, value, steps = self._told(trial)
            for step, reported in steps.items():
                self._storage.set_trial_intermediate_value(position, step, reported)
            self._storage.set_trial_state_values(position, state, None if value is None else [value])
        self.trials[position] = trial

    def _place(self, position: int, hparams: Hparams) -> None:
        (params,) = self._params([hparams])
        for name, distribution in self._distributions.items():
            internal = distribution.to_internal_repr(params[name])
            self._storage.set_trial_param(position, name, internal, distribution)

    def _params(self, hparams: list[Hparams]) -> list[dict[str, Any]]:
        units = self.space.to_unit(hparams)
        return [
            {name: _param(scale, point[name], float(unit)) for (name, scale), unit in zip(self.space.items(), row, strict=True)}
            for point, row in zip(hparams, units, strict=True)
        ]

    def _frozen(self, trial: Trial, params: dict[str, Any]) -> FrozenTrial:
        from optuna.trial import create_trial

        state, value, steps = self._told(trial)
        return create_trial(
            state=state, value=value, params=params, distributions=self._distributions, intermediate_values=steps
        )

    def _told(self, trial: Trial) -> tuple[TrialState, float | None, dict[int, float]]:
        """A trial's state, value and reported values, as Optuna has them.

        A diverged trial is infeasible, and its place has to be avoided. As a failed or a pruned one it would be unknown to
        samplers that learn from complete trials only (Gaussian process, CMA-ES, genetic); as a complete one of the worst
        value that there is, those which rank values put it last, and the Gaussian process takes it for the worst finite one.
        A pruned trial is a pruned one, which each of Optuna's samplers takes for what its authors think it says.
        """
        from optuna.trial import TrialState

        finite = trial.value is not None and math.isfinite(trial.value)
        if trial.state == "running":
            return TrialState.RUNNING, None, {}
        if trial.state == "failed":
            return TrialState.FAIL, None, {}
        if trial.state == "pruned":
            return TrialState.PRUNED, trial.value if finite else None, _reported(trial) if finite else {}
        worst = math.inf if self.mode == "min" else -math.inf
        return TrialState.COMPLETE, trial.value if trial.state == "complete" and finite else worst, {}


def _same(old: Trial, new: Trial) -> bool:
    """Whether Optuna would see no difference."""
    return old is new or (_known_by(old) == _known_by(new) and old.hparams == new.hparams)


def _known_by(trial: Trial) -> tuple[Any, ...]:
    return trial.number, trial.state, trial.value, trial.epochs


def _goes_on(old: Trial, new: Trial) -> bool:
    """Whether a trial that ran has become the other."""
    return old.state == "running" and old.number == new.number and old.hparams == new.hparams


def _reported(trial: Trial) -> dict[int, float]:
    assert trial.value is not None
    return {max(trial.epochs - 1, 0): trial.value}


def _distribution(scale: Scale) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(scale, Choice):
        return CategoricalDistribution(range(len(scale.values)))
    if isinstance(scale, (Int, LogInt)):
        return IntDistribution(scale.low, scale.high, log=isinstance(scale, LogInt))
    return FloatDistribution(0.0, 1.0)


def _param(scale: Scale, value: Any, unit: float) -> int | float:
    """What Optuna has for a value that lies at this position of its scale."""
    if isinstance(scale, Choice):
        return min(int(unit * len(scale.values)), len(scale.values) - 1)
    return int(value) if isinstance(scale, (Int, LogInt)) else unit


def _value(scale: Scale, param: Any) -> Any:
    """The way back from `_param`."""
    if isinstance(scale, Choice):
        return scale.values[param]
    return int(param) if isinstance(scale, (Int, LogInt)) else scale.from_unit(float(np.clip(param, 0.0, 1.0)))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps Optuna from telling of each study, each infinite value and each choice that a sampler leaves to chance."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
