"""A search as Optuna sees it: an Optuna study in memory that holds its trials, and is asked what to try next.

Hyperparameters are carried in the unit coordinate of their scale, so that every scale is what it is here: a float in [0, 1].
Integers are integers, with their logarithm for `LogInt`, of which Optuna has the same notion, and choices are their indices,
so that they may be any objects.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_hp.errors import ConfigError
from lightning_hp.samplers.threads import one_thread
from lightning_hp.space import Hparams, Space
from lightning_hp.space.scales import Choice, Int, LogInt, Scale
from lightning_hp.trial import Mode, Trial

if TYPE_CHECKING:
    import optuna
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
        self._distributions = {name: _distribution(scale) for name, scale in space.coordinates.items()}
        self._storage = optuna.storages.InMemoryStorage()
        with quiet():
            self._study = optuna.create_study(
                storage=self._storage,
                direction="minimize" if mode == "min" else "maximize",
                pruner=optuna.pruners.NopPruner(),
            )
        self.trials: list[Trial] = []
        self.shown = 0
        # A trial's id in a storage of one study is its position there, and there are also those that were asked for in vain.
        self._ids: list[int] = []
        self._there = 0
        self._in_vain = False

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
        if self._in_vain and not only_proposed and (news or len(seen) > self.shown):
            # A new mirror would not hold what was asked for in vain.
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
            self._ids.append(self._there)
            self._there += 1
        self.trials += trials

    def ask(self, number: int, samplers: Iterable[BaseSampler]) -> Hparams:
        """What a sampler tries next. The mirror holds it as a running trial from then on.

        Args:
            number: of the trial.
            samplers: the sampler, and others to ask after it while what they propose breaks the constraint.

        Returns:
            The first that meets the constraint, or the last.

        Raises:
            ConfigError: the sampler cannot do it, for this space or without another package.
        """
        from optuna.trial import TrialState

        hparams = None
        for sampler in samplers:
            if hparams is not None:
                # As a failed one it is no evidence of anything: it says nothing of the objective.
                self._storage.set_trial_state_values(self._there - 1, TrialState.FAIL)
                self._in_vain = True
            hparams = self._ask(sampler)
            # The position of the value, which is rounded: what the mirror holds must not depend on how it has come by it.
            self._place(self._there - 1, hparams)
            if self.space.allows(hparams):
                break
        assert hparams is not None
        self.trials.append(Trial(number, hparams, seed=0, state="running"))
        self._ids.append(self._there - 1)
        return hparams

    def amend(self, position: int, trial: Trial) -> None:
        """Puts a trial in the place of one that runs: how it has ended, or other hyperparameters."""
        if trial.hparams.keys() != self.trials[position].hparams.keys():
            self._replace(position, trial)
        elif trial.hparams != self.trials[position].hparams:
            self._place(self._ids[position], trial.hparams)
        if trial.state != "running":
            state, value, steps = self._told(trial)
            for step, reported in steps.items():
                self._storage.set_trial_intermediate_value(self._ids[position], step, reported)
            self._storage.set_trial_state_values(self._ids[position], state, None if value is None else [value])
        self.trials[position] = trial

    def _ask(self, sampler: BaseSampler) -> Hparams:
        self._study.sampler = sampler
        try:
            with quiet(), one_thread():
                if self.space.conditional:
                    asked = self._study.ask()
                    return self.space.build(lambda name: _suggested(asked, name, self.space.coordinates[name]))
                params = self._study.ask(self._distributions).params
        except (ImportError, ValueError) as error:
            raise ConfigError(f"strategy: Optuna's {type(sampler).__name__} cannot propose a trial: {error}") from error
        finally:
            self._there += 1
        return {name: _value(scale, params[name]) for name, scale in self.space.coordinates.items()}

    def _place(self, trial_id: int, hparams: Hparams) -> None:
        (params,) = self._params([hparams])
        for name, param in params.items():
            distribution = self._distributions[name]
            self._storage.set_trial_param(trial_id, name, distribution.to_internal_repr(param), distribution)

    def _replace(self, position: int, trial: Trial) -> None:
        """Has a new trial in the place of one that runs. Optuna takes no hyperparameter back that has been suggested."""
        from optuna.trial import TrialState

        self._storage.set_trial_state_values(self._ids[position], TrialState.FAIL)
        self._in_vain = True
        self._study.add_trial(self._frozen(replace(trial, state="running"), *self._params([trial.hparams])))
        self._ids[position] = self._there
        self._there += 1

    def _params(self, hparams: list[Hparams]) -> list[dict[str, Any]]:
        """Optuna's parameters for hyperparameters, in the order in which they are suggested."""
        ordered = [
            (name, column)
            for each in self.space.layout.values()
            for name, column in zip(each.coordinates, each.columns, strict=True)
        ]
        found = []
        for point, row in zip(hparams, self.space.to_unit(hparams), strict=True):
            values, scales = self.space.flat(point), self.space.coordinates
            there = [(name, column) for name, column in ordered if name in values]
            found.append({name: _param(scales[name], values[name], float(row[column])) for name, column in there})
        return found

    def _frozen(self, trial: Trial, params: dict[str, Any]) -> FrozenTrial:
        from optuna.trial import create_trial

        state, value, steps = self._told(trial)
        return create_trial(
            state=state,
            value=value,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            intermediate_values=steps,
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


def _suggested(asked: optuna.Trial, name: str, scale: Scale) -> Any:
    """The value that Optuna suggests for a coordinate."""
    if isinstance(scale, Choice):
        return _value(scale, asked.suggest_categorical(name, range(len(scale.values))))
    if isinstance(scale, (Int, LogInt)):
        return _value(scale, asked.suggest_int(name, scale.low, scale.high, log=isinstance(scale, LogInt)))
    return _value(scale, asked.suggest_float(name, 0.0, 1.0))


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
