"""EarlyStopping beside a babysitter: what was gone back from counts neither as a best nor against its patience.

Whether values that are not finite end the fit is the babysitter's to say, as far as it is told of them: EarlyStopping would
end the fit at the check that shows them, before the batch that they are answered at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from lightning_hp.advice.objective import doubt
from lightning_hp.babysit.signals import NotFinite, Plateau, Signal

# By the key of each its state, as a checkpoint holds it.
States: TypeAlias = dict[str, Any]


def states(trainer: Trainer) -> States:
    """How those of a fit stand."""
    return {each.state_key: each.state_dict() for each in _all(trainer)}


def restore(trainer: Trainer, kept: Mapping[str, Any]) -> None:
    """Has those of a fit stand as they did."""
    for each in _all(trainer):
        if each.state_key in kept:
            each.load_state_dict(kept[each.state_key])


class Beside:
    """What a babysitter takes from those beside it that monitor the same metric, until it gives it back.

    Args:
        monitor: the metric.
    """

    def __init__(self, monitor: str) -> None:
        self._monitor = monitor
        self._asked: list[EarlyStopping] = []

    def begin(self, trainer: Trainer, signals: Sequence[Signal], plateau: Plateau) -> list[str]:
        """Takes over whether the metric is finite, if a signal tells that.

        Returns:
            What is unwise, line by line: a mode that seeks the worst, and those that end the fit before there is a plateau.
        """
        same = [each for each in _all(trainer) if each.monitor == self._monitor]
        if any(isinstance(signal, NotFinite) and signal.source == "monitor" for signal in signals):
            self._asked = [each for each in same if each.check_finite]
        for each in self._asked:
            each.check_finite = False
        acts = plateau.patience + 1
        return doubt(self._monitor, plateau.mode) + [
            f"EarlyStopping ends this fit after {each.patience} checks of {self._monitor} without improvement, and on a "
            f"plateau a patience of {acts - 1} acts after {acts}: give EarlyStopping a patience well above that"
            for each in same
            if each.patience <= acts
        ]

    def end(self) -> None:
        """Leaves all as they were; twice does no harm."""
        for each in self._asked:
            each.check_finite = True
        self._asked = []


def _all(trainer: Trainer) -> list[EarlyStopping]:
    return trainer.early_stopping_callbacks
