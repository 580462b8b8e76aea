"""``lightning-hp babysit``: one fit of a config as it stands, looked after by a Babysitter."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger

from lightning_hp.advice import worth_searching
from lightning_hp.babysit import log
from lightning_hp.babysit.picture import picture
from lightning_hp.babysit.replay import Replay
from lightning_hp.cli.config import assembled, babysitter_for, default_root, load, naming
from lightning_hp.cli.parts import TrainerArguments
from lightning_hp.errors import ConfigError
from lightning_hp.executors.choose import executor_for
from lightning_hp.fit.quiet import quiet
from lightning_hp.fit.reporter import Reporter
from lightning_hp.fit.trainer import check_babysitters, trainer_kwargs
from lightning_hp.tracking.fit_progress import FitProgress

# Lightning's own bound.
_MOST_SEED = 2**32 - 1


def main(
    config: Sequence[str],
    lightning: Sequence[str],
    replay: str | None = None,
    make: Callable[[], Any] = LightningCLI,
    **flags: Any,
) -> int:
    asked = load(config, flags, lightning, make)
    verbose = asked["search"].get("verbose", False)
    with naming(config), quiet(verbose):
        trainer, reporter, model, data = _prepare(asked, make, default_root(config, "-babysit"), verbose, replay)
        began = time.monotonic()
        try:
            trainer.fit(model, datamodule=data)
        except MisconfigurationException as error:
            raise ConfigError(str(error)) from None
        reporter.check_monitor(reporter.metrics)
    _tell(trainer, reporter)
    accelerator = "cpu" if trainer.strategy.root_device.type == "cpu" else "auto"
    if replay is None and (line := worth_searching(time.monotonic() - began, executor_for("auto", accelerator).at_a_time)):
        print(line)
    return 1 if reporter.diverged else 0


def _prepare(
    asked: Mapping[str, Any], make: Callable[[], Any], root: str, verbose: bool, replay: str | None
) -> tuple[Trainer, Reporter, LightningModule, LightningDataModule | None]:
    search = asked["search"]
    assembly = assembled(asked, make)
    assembly.parsed({})
    monitor, mode = search.get("monitor", "val_loss"), search.get("mode", "min")
    babysitter = babysitter_for(search.get("babysit")).for_search(monitor, mode) if replay is None else Replay(replay)
    seed = search.get("seed", 0)
    if seed > _MOST_SEED:
        raise ConfigError(f"search.seed of a babysat fit needs a whole number up to {_MOST_SEED}, got {seed}")
    seed_everything(seed, workers=True, verbose=False)

    logger = TensorBoardLogger(_made(search.get("root", root)), name="", default_hp_metric=False)
    reporter = Reporter(monitor, mode, Path(logger.log_dir) / "checkpoints")
    shown = {"enable_progress_bar": verbose, "enable_model_summary": verbose}
    section = TrainerArguments(assembly, {}, searched=False)
    # Lightning's own bar starts anew with each epoch, and tells the time left of that.
    progress = [] if verbose or "enable_progress_bar" in section else [FitProgress(monitor)]
    callbacks = [babysitter, LearningRateMonitor(log_momentum=True), *progress, reporter]
    trainer = _trainer(shown, section, callbacks, logger)
    return trainer, reporter, assembly.model({}), assembly.data({})


def _trainer(shown: dict[str, Any], section: TrainerArguments, callbacks: list[Any], logger: TensorBoardLogger) -> Trainer:
    kwargs = shown | trainer_kwargs(section)
    kwargs["callbacks"] += callbacks
    check_babysitters(kwargs["callbacks"])
    kwargs["logger"] = [logger, *(kwargs["logger"] or [])]
    try:
        return Trainer(default_root_dir=logger.root_dir, **kwargs)
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(f"trainer: {error}") from None


def _made(root: str) -> Path:
    folder = Path(root).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"search.root: the folder {folder} cannot be made: {error.strerror}") from None
    return folder


def _tell(trainer: Trainer, reporter: Reporter) -> None:
    file = Path(trainer.log_dir or trainer.default_root_dir) / log.FILE
    interventions = log.interventions(file)
    for intervention in interventions:
        print(f"epoch {intervention.epoch}, step {intervention.step}: {intervention.sentence()}")
    print(f"interventions: {len(interventions)}{f', written to {file}' if interventions else ''}")
    if reporter.diverged:
        print(f"the fit diverged: {reporter.diverged}")
    if reporter.best is not None:
        print(f"best {reporter.monitor} {reporter.best:.4g}: {reporter.best_path}")
    print(f"curves: tensorboard --logdir {trainer.default_root_dir}")
    if file.is_file() and find_spec("matplotlib") is not None:
        print(f"picture: {_draw(trainer, file)}")


def _draw(trainer: Trainer, file: Path) -> Path:
    """The picture of the fit, which TensorBoard shows too."""
    drawn = file.with_suffix(".png")
    figure = picture(file, drawn)
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure("babysit/picture", figure, trainer.global_step)
            logger.experiment.close()
    return drawn
