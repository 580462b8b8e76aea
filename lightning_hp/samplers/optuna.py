"""Optuna's samplers in a search: TPE, Gaussian process, CMA-ES, genetic and others.

Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, KDD 2019.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lightning_hp.bounds import whole_number
from lightning_hp.errors import ConfigError, one_of
from lightning_hp.samplers.mirror import Mirror, quiet
from lightning_hp.samplers.reseed import reseeded
from lightning_hp.seeds import proposal_seed, sobol_seed
from lightning_hp.signature import signature
from lightning_hp.space import Hparams, Space
from lightning_hp.trial import Mode, Trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

NAME = "optuna"
DEFAULT_SAMPLER = "TPESampler"
# Of a sampler that has to propose in rounds, where the user does not say.
SIZE = 8
# A trial that lies that near to one that runs, in every unit coordinate, tells nothing new. So many are drawn to find another.
NEAR, OTHERS = 1e-3, 64
# So often Optuna is asked for a trial that meets the constraint, of which it knows nothing; then one is drawn at random.
ATTEMPTS = 8
# What these propose follows from the results of earlier trials alone. Others make notes on the trials that they propose, such
# as their generation, and go on from these.
_WITHOUT_NOTES = ("TPESampler", "GPSampler", "RandomSampler", "BruteForceSampler")
# Those that are known by a name of their own.
_KNOWN = ("TPESampler", "GPSampler", "CmaEsSampler", "QMCSampler", "NSGAIISampler", "NSGAIIISampler")
# These take values of hyperparameters, and would have to take them in Optuna's coordinates.
_NOT_TAKEN = {
    "GridSampler": "take strategy='grid', or Grid(points=...)",
    "PartialFixedSampler": "give a fixed value to the factory, and take the sampler inside",
}
_NO_ARGUMENTS = {
    "constraints_func": "a trial has one monitored metric, and a diverged one is infeasible",
    "x0": "give what to begin with as enqueue=[...]",
    "source_trials": "give the earlier study as warm_start=...",
}


@dataclass(frozen=True)
class OptunaSampler:
    """Proposes what a sampler of Optuna does, which sees the search as an Optuna study.

    Each proposal is a function of the study's seed, the trial's number and the trials that are shown. For that the sampler is
    copied, and its random numbers begin anew; a seed of its own has no effect. It sees each hyperparameter in the unit
    coordinate of its scale, a diverged trial as one of the worst value, a pruned one as pruned, and a failed one not at all.

    Args:
        sampler: an ``optuna.samplers.BaseSampler`` that no study has used yet; ``TPESampler()`` if left out.
            ``strategy=TPESampler()`` is short for ``strategy=OptunaSampler(TPESampler())``.
        size: how many trials are proposed together, by the results of all before them. Then trials are the same whatever the
            number of workers, and can train as one fit. Without it TPE, the Gaussian process, random and brute force are
            asked for one trial whenever a worker is free, and see what has finished and what runs by then. The others propose
            8 together: they build on what they proposed before (generations of CMA-ES and of the genetic ones, the sequence
            of QMC), which must not depend on who finishes first. What would repeat a trial that runs is drawn at random,
            unless a population means it.

    Raises:
        ConfigError: Optuna is not installed, the sampler is none of Optuna's, or it is one that takes values of
            hyperparameters, such as ``GridSampler``.
    """

    sampler: BaseSampler | None = None
    size: int | None = None
    # See WantsRunning.
    wants_running: ClassVar[bool] = True
    # What was proposed from last, to go on from. It saves time, and changes no proposal.
    _last: list[tuple[int, Mirror]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_installed()
        sampler = _made(DEFAULT_SAMPLER) if self.sampler is None else self.sampler
        _check(sampler)
        size = SIZE if self.size is None and _makes_notes(sampler) else self.size
        object.__setattr__(self, "sampler", sampler)
        if size is not None:
            object.__setattr__(self, "size", whole_number("OptunaSampler(size=)", size, 1))
            # One that has this is in rounds: see InRounds.
            object.__setattr__(self, "round_of", self._round_of)

    def propose(
        self, space: Space, seed: int, numbers: Sequence[int], history: Sequence[Trial], mode: Mode = "min"
    ) -> list[Hparams]:
        return [self._propose(space, seed, number, history, mode) for number in numbers]

    def describe(self) -> Any:
        """The sampler as it is named in a config, or with its arguments where a config has no name for it."""
        name, given = type(self.sampler).__qualname__, _arguments(self.sampler)
        if not given and self.size == (SIZE if _makes_notes(self.sampler) else None):
            return f"{NAME}.samplers.{name}"
        return {"OptunaSampler": {"sampler": {name: given}, "size": self.size}}

    def _round_of(self, number: int) -> range:
        size = self.size or 1
        return range(number - number % size, number - number % size + size)

    def _propose(self, space: Space, seed: int, number: int, history: Sequence[Trial], mode: Mode) -> Hparams:
        first = self._round_of(number).start
        seen = [trial for trial in history if self.size is None or trial.number < first]
        mirror = self._mirror(space, seed, seen, first, mode)
        for each in range(first + len(mirror.proposed), number + 1):
            self._ask(mirror, seed, each)
        return mirror.proposed[number - first].hparams

    def _ask(self, mirror: Mirror, seed: int, number: int) -> None:
        """Has the mirror hold what is proposed for a trial."""
        space = mirror.space
        running = [trial.hparams for trial in mirror.trials if trial.state == "running"]
        hparams = mirror.ask(number, (self._seeded(seed, number, attempt) for attempt in range(ATTEMPTS)))
        # Optuna's Gaussian process looks at what runs since version 4.8. What evolves a population may mean it.
        repeats = not _makes_notes(self.sampler) and _repeats(space, hparams, running)
        if repeats or not space.allows(hparams):
            drawn = space.sample(OTHERS, proposal_seed(seed, number))
            # With a constraint, what is drawn meets it, and what was asked for may not.
            last = hparams if repeats and space.constraint is None else drawn[0]
            other = next((other for other in drawn if not _repeats(space, other, running)), last)
            mirror.amend(len(mirror.trials) - 1, Trial(number, other, seed=0, state="running"))

    def _mirror(self, space: Space, seed: int, seen: list[Trial], first: int, mode: Mode) -> Mirror:
        """An Optuna study of what is to be seen, and of what has been proposed from that so far."""
        if self._last:
            known, mirror = self._last[0]
            same = known == seed and mirror.space is space and mirror.mode == mode
            if same and mirror.follow(seen, first, only_proposed=_makes_notes(self.sampler)):
                return mirror
        mirror = Mirror(space, mode)
        if _makes_notes(self.sampler):
            self._replay(mirror, seed, seen, first)
        else:
            mirror.add(seen)
        mirror.shown = len(mirror.trials)
        self._last[:] = [(seed, mirror)]
        return mirror

    def _replay(self, mirror: Mirror, seed: int, seen: list[Trial], first: int) -> None:
        """Asks for all rounds before a trial once more, and tells what came of each, so that the sampler makes its notes."""
        mirror.add([trial for trial in seen if trial.number < 0])
        offset = len(mirror.trials)
        ended = {trial.number: trial for trial in seen}
        for start in range(0, first, self.size or 1):
            trials = self._round_of(start)
            for number in trials:
                self._ask(mirror, seed, number)
            for number in trials:
                if number in ended:
                    mirror.amend(offset + number, ended[number])

    def _seeded(self, seed: int, number: int, attempt: int) -> BaseSampler:
        assert self.sampler is not None
        sampler = reseeded(self.sampler, proposal_seed(seed, number, attempt))
        if _is_one_of(sampler, "QMCSampler"):
            # Not of a generator, but of the scrambling, which has to be the same for all trials.
            vars(sampler)["_seed"] = sobol_seed(seed)
        return sampler


def optuna_sampler(name: str) -> OptunaSampler:
    """The sampler of a strategy's name: ``optuna`` for TPE, or ``optuna.samplers.GPSampler`` and the like.

    Raises:
        ConfigError: Optuna is not installed, has no such sampler, or it cannot be made without arguments.
    """
    check_installed()
    if name == NAME:
        return OptunaSampler()
    return OptunaSampler(_made(name.removeprefix(f"{NAME}.samplers.")))


def optuna_name(name: str) -> str | None:
    """The class of Optuna's that people mean by a name, without asking whether Optuna is installed.

    >>> optuna_name("TPE"), optuna_name("cma-es"), optuna_name("quasi")
    ('TPESampler', 'CmaEsSampler', None)
    """
    plain = name.lower().replace("-", "").replace("_", "").removesuffix("sampler")
    return {each.removesuffix("Sampler").lower(): each for each in _KNOWN}.get(plain)


def check_installed() -> None:
    """Raises ConfigError where Optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"Optuna cannot be imported ({error}): pip install 'lightning-hp[optuna]'") from error


def _repeats(space: Space, hparams: Hparams, others: list[Hparams]) -> bool:
    units = space.to_unit([hparams, *others])
    return bool((np.abs(units[1:] - units[0]).max(axis=1) < NEAR).any())


def _made(name: str) -> BaseSampler:
    from optuna import samplers

    known = [each for each in samplers.__all__ if each.endswith("Sampler") and not inspect.isabstract(getattr(samplers, each))]
    made: type[BaseSampler] = getattr(samplers, one_of(f"strategy: {NAME}.samplers.", name, known))
    try:
        # Those that Optuna calls experimental warn.
        with quiet():
            return made()
    except (TypeError, ImportError) as error:
        raise ConfigError(f"strategy: {NAME}.samplers.{name} cannot be made: {error}") from error


def _check(sampler: Any) -> None:
    if not _is_one_of(sampler, "BaseSampler"):
        raise ConfigError(f"OptunaSampler needs a sampler of Optuna, such as TPESampler(), got {sampler!r}")
    for name, instead in _NOT_TAKEN.items():
        if _is_one_of(sampler, name):
            raise ConfigError(f"strategy: {name} would need values in the coordinates of Optuna: {instead}")
    for name, instead in _NO_ARGUMENTS.items():
        if getattr(sampler, f"_{name}", None) is not None:
            raise ConfigError(f"strategy: {type(sampler).__name__}({name}=) cannot be used here: {instead}")


def _makes_notes(sampler: Any) -> bool:
    return not _is_one_of(sampler, *_WITHOUT_NOTES)


def _is_one_of(sampler: object, *names: str) -> bool:
    from optuna import samplers

    return isinstance(sampler, tuple(getattr(samplers, name) for name in names))


def _arguments(sampler: Any) -> dict[str, Any]:
    """The plain arguments that a sampler has been given, as far as it keeps them under their names."""
    found = {}
    for name, parameter in signature(type(sampler).__init__).parameters.items():
        value = getattr(sampler, f"_{name}", parameter.default)
        # A seed has no effect here, and warnings are not shown.
        plain = isinstance(value, (bool, int, float, str)) and name != "seed" and not name.startswith("warn")
        if plain and value != parameter.default:
            found[name] = value
    return found
