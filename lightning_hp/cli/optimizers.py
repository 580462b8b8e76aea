"""The optimizer and the scheduler that a config gives a model, made where Lightning asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningCLI


class Optimizers:
    """Stands in the place of a model's ``configure_optimizers``.

    Args:
        give: gives a model the method that returns what a config says.
        model: whose they are.
        config: what they are.
    """

    # At which Lightning looks to see that the model has some.
    __wrapped__ = LightningCLI.configure_optimizers

    def __init__(self, give: Callable[[LightningModule, Namespace], None], model: LightningModule, config: Namespace) -> None:
        self.give = give
        self.model = model
        self.config = config

    def __call__(self) -> Any:
        own = self.model.__dict__.pop("configure_optimizers")
        try:
            self.give(self.model, self.config)
            return self.model.configure_optimizers()
        finally:
            self.model.__dict__["configure_optimizers"] = own
