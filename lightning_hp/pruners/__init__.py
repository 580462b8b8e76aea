"""Pruners: which trials stop early, so that the others get their time.

A trial that reaches a rung pauses there. A pruner compares those that have, and says who goes on; the others end as pruned.
It is a pure function of the values that the trials had at the rung.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias, runtime_checkable

from lightning_hp.errors import ConfigError, one_of
from lightning_hp.pruners.asha import Asha
from lightning_hp.pruners.climbs import Climb
from lightning_hp.pruners.halving import Halving
from lightning_hp.pruners.progressive import Progressive
from lightning_hp.pruners.standing import Standing
from lightning_hp.trial import Mode, Unit

__all__ = [
    "PRUNERS",
    "AnyPruner",
    "Asha",
    "Climb",
    "Halving",
    "Oversees",
    "Progressive",
    "Pruner",
    "Standing",
    "check_not_optunas",
    "pruner_for",
]


class Pruner(Protocol):
    """What decides which trials go on.

    Attributes:
        unit: whether its rungs are at epochs or at optimizer steps.
    """

    @property
    def unit(self) -> Unit: ...

    def rung(self, index: int, most: int | None) -> int | None:
        """Where rung number ``index`` is, from 0; None where the trial trains to its end.

        Args:
            index: how many rungs the trial has passed.
            most: how many epochs or steps it has in all; None if that is open. All rungs lie below.
        """

    def bracket(self, number: int, round_: range) -> range:
        """The numbers of the trials that a trial is compared with.

        Args:
            number: of the trial.
            round_: the trials that the sampler proposes together with it; all of the search, where it knows no rounds.
        """

    def judge(self, standings: Mapping[int, Standing], complete: bool, mode: Mode) -> dict[int, bool]:
        """Decides about trials of one bracket at one rung.

        Args:
            standings: of those that have come so far, by number. A trial that has ended before comes with its last value.
            complete: whether no more will come.
            mode: whether small values are good, or large ones.

        Returns:
            Whether they go on, for those that it decides about now; the others are asked for again when more have come. When
            no more will come, it has to decide about all.
        """


@runtime_checkable
class Oversees(Protocol):
    """A pruner that looks at all trials and all rungs at once, whenever all trials of a round wait or have ended.

    Attributes:
        unit: as of `Pruner`.
    """

    @property
    def unit(self) -> Unit: ...

    def rung(self, index: int, most: int | None) -> int | None:
        """As of `Pruner`."""

    def decide(self, climbs: Mapping[int, Climb], mode: Mode, total: int | None, closed: bool) -> dict[int, bool]:
        """Decides about trials that wait.

        Args:
            climbs: how far each trial has come, by number.
            mode: whether small values are good, or large ones.
            total: how many trials there will be; None if only time will tell.
            closed: whether no more begin.

        Returns:
            Whether they go on, for those that it decides about now. It is asked again when those that go on have stopped, and
            where none does, after the next round; if no more begin, all that still wait are pruned.
        """

    def worth(self, climbs: Mapping[int, Climb], mode: Mode, total: int | None) -> dict[int, float]:
        """By number, what a sampler is to take the trials' values for, so that they can be compared."""


AnyPruner: TypeAlias = Pruner | Oversees
PRUNERS: dict[str, type[Halving | Asha | Progressive]] = {"halving": Halving, "asha": Asha, "progressive": Progressive}

_OPTUNAS = ("hyperband", "median", "nop", "patient", "percentile", "successivehalving", "threshold", "wilcoxon")


def pruner_for(pruner: str | AnyPruner | None) -> AnyPruner | None:
    """The pruner of a name, or the pruner itself; None for none.

    Raises:
        ConfigError: there is no such pruner.

    >>> pruner_for("halving")
    Halving(first=None, factor=4, unit='epochs', size=None, rungs=None)
    """
    if pruner is None:
        return None
    check_not_optunas("pruner", pruner)
    if isinstance(pruner, str):
        return PRUNERS[one_of("pruner", pruner, PRUNERS)]()
    if isinstance(pruner, type):
        raise ConfigError(f"pruner needs a pruner, got the class {pruner.__name__}: write {pruner.__name__}()")
    needs = ("rung", "bracket", "judge")
    if not isinstance(pruner, Oversees) and not all(callable(getattr(pruner, name, None)) for name in needs):
        raise ConfigError(f"pruner needs one of {', '.join(PRUNERS)}, or a pruner with judge(), got {pruner!r}")
    one_of("pruner.unit", getattr(pruner, "unit", None), ("epochs", "steps"))
    return pruner


def check_not_optunas(what: str, pruner: object) -> None:
    """Raises ConfigError for a pruner of Optuna's, its class, or a name that people know one by: they compare otherwise."""
    kind = pruner if isinstance(pruner, type) else type(pruner)
    name = pruner.lower().removesuffix("pruner") if isinstance(pruner, str) else ""
    if name in _OPTUNAS or kind.__module__.startswith("optuna."):
        raise ConfigError(
            f"{what} needs one of {', '.join(PRUNERS)}, or a pruner with judge(), got {pruner!r}: Optuna's are not taken; "
            "'asha' decides about each trial as it comes to a rung, 'halving' once all have come"
        )
