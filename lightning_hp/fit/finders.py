"""What Lightning's finders of a learning rate or batch size have set, for a fit that goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.utilities.parsing import lightning_getattr, lightning_hasattr, lightning_setattr


class Found(Callback):
    """Keeps what finders found as a fit began, and has them look no further where it goes on.

    Lightning's look again then, and put the fit back to its first epoch, with the weights of its last.
    """

    def __init__(self) -> None:
        self._module: Any = None
        self._finders: list[Callback] = []
        self._begun = self._goes_on = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._module = pl_module
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self._finders = [each for each in callbacks if isinstance(each, (BatchSizeFinder, LearningRateFinder))]
        for finder in self._finders:
            # Lightning has some of them stand before all others, so that only here is known when they begin.
            finder.on_fit_start = partial(self._begin, finder.on_fit_start)  # type: ignore[method-assign]

    def state_dict(self) -> dict[str, Any]:
        return {name: lightning_getattr(self._module, name) for name in self._names()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._begun:
            # It is a finder that goes back to before it began to look.
            return
        self._goes_on = True
        for name, value in state_dict.items():
            lightning_setattr(self._module, name, value)

    def _begin(self, look: Callable[..., None], trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = True
        if not self._goes_on:
            look(trainer, pl_module)

    def _names(self) -> Iterator[str]:
        """Of the attributes that finders set."""
        for finder in self._finders:
            for name in [finder._batch_arg_name] if isinstance(finder, BatchSizeFinder) else _rates(finder):
                if lightning_hasattr(self._module, name):
                    yield name


def _rates(finder: Any) -> list[str]:
    return [finder._attr_name] if finder._attr_name else ["lr", "learning_rate"]
