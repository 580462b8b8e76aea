"""``lightning-hp babysit``: one fit of a config as it stands, looked after by a Babysitter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_hp.babysit import Babysitter
from lightning_hp.babysit.log import FILE
from lightning_hp.cli.config import load
from lightning_hp.cli.sections import SectionFactory, TrainerSection
from lightning_hp.errors import ConfigError


def main(config: str, **flags: Any) -> int:
    asked = load(config, flags)
    try:
        trainer, model, data = _prepare(asked, default_root=f"runs/{Path(config).stem}-babysit")
    except ConfigError as error:
        raise ConfigError(f"{config}: {error}") from None
    trainer.fit(model, datamodule=data)
    _tell(trainer)
    return 0


def _prepare(asked: Mapping[str, Any], default_root: str) -> tuple[Trainer, Any, Any]:
    search = asked["search"]
    model = SectionFactory("model", asked.get("model"))
    data = SectionFactory("data", asked["data"]) if asked.get("data") is not None else None
    section = TrainerSection(asked.get("trainer"))
    model.check({})
    monitor, mode = search.get("monitor", "val_loss"), search.get("mode", "min")
    settings = search.get("babysit")
    babysitter = Babysitter(**{"monitor": monitor, "mode": mode, **(settings if isinstance(settings, Mapping) else {})})
    seed_everything(search.get("seed", 0), workers=True, verbose=False)
    root = Path(search.get("root", default_root))
    kwargs = {key: _made(value) for key, value in section.arguments().items()}
    checkpoint = ModelCheckpoint(monitor=monitor, mode=mode, filename="best", save_last=True)
    callbacks = [babysitter, LearningRateMonitor(log_momentum=True), checkpoint, *(kwargs.pop("callbacks", None) or [])]
    loggers = [TensorBoardLogger(root, name=""), *(kwargs.pop("logger", None) or [])]
    trainer = Trainer(default_root_dir=root, callbacks=callbacks, logger=loggers, **kwargs)
    return trainer, model(), data() if data is not None else None


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return [_made(each) for each in value]
    return value() if callable(value) else value


def _tell(trainer: Trainer) -> None:
    folder = Path(trainer.log_dir or trainer.default_root_dir)
    log = folder / FILE
    lines = log.read_text().splitlines() if log.exists() else []
    for line in lines:
        event = json.loads(line)
        print(f"epoch {event['epoch']}, step {event['step']}: {event['reason']}")
    print(f"{len(lines)} interventions, written to {log}" if lines else "no intervention was needed")
    checkpoint = trainer.checkpoint_callback
    if isinstance(checkpoint, ModelCheckpoint) and checkpoint.best_model_path:
        print(f"best {checkpoint.monitor} {float(checkpoint.best_model_score or 0):.4g}: {checkpoint.best_model_path}")
    print(f"curves: tensorboard --logdir {trainer.default_root_dir}")
