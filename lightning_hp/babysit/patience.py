"""One patience for two: the Babysitter and a ReduceLROnPlateau beside it, which lowers lr on a plateau by itself."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lightning_hp.babysit import knobs


class SharedPatience:
    """Sees whether a ReduceLROnPlateau has lowered lr, by how they stood at the batch before."""

    def __init__(self) -> None:
        self._schedulers: list[ReduceLROnPlateau] = []
        self._looks: list[dict[str, Any]] = []
        self._cut = False

    @property
    def shared(self) -> bool:
        """Whether there is any."""
        return bool(self._schedulers)

    def before_batch(self, trainer: Trainer) -> None:
        """Notices whether one has acted since the last batch."""
        self._schedulers = knobs.plateau_schedulers([config.scheduler for config in trainer.lr_scheduler_configs])
        looks = zip(self._schedulers, self._looks, strict=False)
        self._cut = self._cut or any(knobs.has_cut(scheduler, before) for scheduler, before in looks)

    def look(self) -> None:
        """Looks how they stand, once all has been done before this batch."""
        self._looks = [knobs.look(scheduler) for scheduler in self._schedulers]

    def take(self, trainer: Trainer) -> bool:
        """Whether one has acted since the last time; all processes go by what rank 0 saw."""
        cut, self._cut = trainer.strategy.broadcast(self._cut), False
        return cut

    def state_dict(self) -> dict[str, Any]:
        return {"looks": self._looks, "cut": self._cut}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._looks, self._cut = state["looks"], state["cut"]
