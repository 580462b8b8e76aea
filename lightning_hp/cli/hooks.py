"""What a LightningCLI of the user's does before and after ``fit``, done by each trial."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_hp.cli.assembly import Assembly
from lightning_hp.space import Hparams


class Hooks(Callback):
    """Calls a CLI's ``after_instantiate_classes``, ``before_fit`` and ``after_fit`` with a trial's config, model and Trainer.

    Args:
        assembly: made by the CLI.
        hparams: of the trial.
    """

    def __init__(self, assembly: Assembly, hparams: Hparams) -> None:
        self._assembly = assembly
        self._hparams = hparams

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._call(("after_instantiate_classes", "before_fit"), trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._call(("after_fit",), trainer, pl_module)

    def _call(self, names: tuple[str, ...], trainer: Trainer, model: LightningModule) -> None:
        self._assembly.parsed(self._hparams)
        cli: Any = self._assembly.cli
        cli.model, cli.trainer, cli.datamodule = model, trainer, trainer.datamodule  # type: ignore[attr-defined]
        for name in names:
            hook = getattr(cli, name, None)
            if callable(hook):
                hook()
