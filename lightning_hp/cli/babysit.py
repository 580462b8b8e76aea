"""``lightning-hp babysit``: one fit of a config as it stands, looked after by a Babysitter."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_hp.babysit import log
from lightning_hp.cli.config import babysitter_for, load
from lightning_hp.cli.sections import SectionFactory, TrainerSection
from lightning_hp.errors import ConfigError
from lightning_hp.fit.quiet import quiet
from lightning_hp.fit.reporter import Reporter
from lightning_hp.fit.trainer import trainer_kwargs


def main(config: str, **flags: Any) -> int:
    asked = load(config, flags)
    verbose = asked["search"].get("verbose", False)
    try:
        with quiet(verbose):
            trainer, reporter, model, data = _prepare(asked, f"runs/{Path(config).stem}-babysit", verbose)
            trainer.fit(model, datamodule=data)
            reporter.check_monitor()
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}") from None
    _tell(trainer, reporter)
    return 1 if reporter.diverged else 0


def _prepare(
    asked: Mapping[str, Any], default_root: str, verbose: bool
) -> tuple[Trainer, Reporter, LightningModule, LightningDataModule | None]:
    search = asked["search"]
    model = SectionFactory("model", asked.get("model"))
    data = SectionFactory("data", asked["data"]) if asked.get("data") is not None else None
    section = TrainerSection(asked.get("trainer"))
    model.check({})
    monitor, mode = search.get("monitor", "val_loss"), search.get("mode", "min")
    babysitter = babysitter_for(search.get("babysit", {}), monitor, mode)
    seed_everything(search.get("seed", 0), workers=True, verbose=False)

    root = Path(search.get("root", default_root)).absolute()
    logger = TensorBoardLogger(root, name="")
    reporter = Reporter(monitor, mode, Path(logger.log_dir) / "checkpoints")
    shown = {"enable_progress_bar": verbose or sys.stdout.isatty(), "enable_model_summary": verbose}
    kwargs: dict[str, Any] = shown | trainer_kwargs(section.arguments())
    kwargs["callbacks"] += [babysitter, LearningRateMonitor(log_momentum=True), reporter]
    kwargs["logger"] = [logger, *(kwargs["logger"] or [])]
    trainer = Trainer(default_root_dir=root, **kwargs)
    return trainer, reporter, model(), data() if data is not None else None


def _tell(trainer: Trainer, reporter: Reporter) -> None:
    file = Path(trainer.log_dir or trainer.default_root_dir) / log.FILE
    interventions = log.read(file)
    for intervention in interventions:
        print(f"epoch {intervention.epoch}, step {intervention.step}: {intervention.sentence()}")
    print(f"interventions: {len(interventions)}{f', written to {file}' if interventions else ''}")
    if reporter.diverged:
        print(f"the fit diverged: {reporter.diverged}")
    if reporter.best is not None:
        print(f"best {reporter.monitor} {reporter.best:.4g}: {reporter.best_path}")
    print(f"curves: tensorboard --logdir {trainer.default_root_dir}")
