"""What tests of whole fits share: digits with a scripted metric, and a Trainer that takes a fraction of a second."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from examples.digits import DigitsData, LitDigits
from lightning_hp.babysit import log


class ScriptedDigits(LitDigits):
    """Digits with a metric ``score`` that follows a script, one value a validation."""

    def __init__(self, script=(1.0,), **hparams):
        super().__init__(**{"lr": 0.1, "hidden": 8, "layers": 1, **hparams})
        self.script = list(script)
        self.checks = 0
        self.lrs = []
        self.momenta = []
        self.steps = []

    def on_train_batch_start(self, batch, batch_idx):
        group = self.trainer.optimizers[0].param_groups[0]
        self.lrs.append(float(group["lr"]))
        self.momenta.append(group["momentum"] if "momentum" in group else group["betas"][0])
        self.steps.append(self.trainer.global_step)

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            self.log("score", self.script[min(self.checks, len(self.script) - 1)])
            self.checks += 1

    def on_save_checkpoint(self, checkpoint):
        checkpoint["checks"] = self.checks

    def on_load_checkpoint(self, checkpoint):
        self.checks = checkpoint["checks"]


@pytest.fixture
def scripted():
    """The class of the modules, to make or to subclass."""
    return ScriptedDigits


@pytest.fixture
def fit(tmp_path):
    """Fits a module for some epochs of three batches of digits; gives the Trainer."""

    def run(module, *callbacks, epochs=6, ckpt_path=None, version="run", data=None, **arguments):
        seed_everything(0, verbose=False)
        settings = {
            "accelerator": "cpu",
            "max_epochs": epochs,
            "limit_train_batches": 3,
            "logger": TensorBoardLogger(tmp_path, name="", version=version),
            "default_root_dir": tmp_path,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
        }
        trainer = Trainer(callbacks=list(callbacks), **(settings | arguments))
        trainer.fit(module, datamodule=data or DigitsData(128), ckpt_path=ckpt_path)
        return trainer

    return run


@pytest.fixture
def interventions():
    """Reads the log of a Trainer's fit."""
    return lambda trainer: log.interventions(Path(trainer.log_dir or trainer.default_root_dir) / log.FILE)


@pytest.fixture
def events():
    """Reads a TensorBoard folder: curves as {tag: [(step, value)]}, texts as [(step, text)] under their own tag."""

    def load(folder):
        accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        accumulator.Reload()
        tags = accumulator.Tags()
        curves = {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags["scalars"]}
        texts = {
            tag: [(event.step, event.tensor_proto.string_val[0].decode()) for event in accumulator.Tensors(tag)]
            for tag in tags["tensors"]
        }
        return curves | texts

    return load
