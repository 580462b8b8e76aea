"""Records the curves of real fits, which the signals are tested on: ``python tests/babysit/curves/record.py``.

A multilayer perceptron and a small convolutional network on digits, each at lrs around the right one. A curve holds the
training loss of each step, the gradient's norm of every fifth, and val_loss and val_acc of each epoch, in three digits.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import nn

from examples.digits import DigitsData, LitDigits

FOLDER = Path(__file__).parent
EPOCHS = 30
GRADIENT_EVERY = 5
# The best of a sweep of constant lrs, by val_loss after 30 epochs.
RIGHT = {"mlp": 0.1, "cnn": 0.07}
TIMES = {"30x_too_low": 1 / 30, "3x_too_low": 1 / 3, "right": 1.0, "3x_too_high": 3.0, "30x_too_high": 30.0}


class LitConvolutions(LitDigits):
    """The example's module with a small convolutional network in it."""

    def __init__(self, **hparams):
        super().__init__(**hparams)
        self.net = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64, 10)),
        )


MODULES = {"mlp": LitDigits, "cnn": LitConvolutions}


class Recorder(Callback):
    """Keeps what signals are fed with."""

    def __init__(self):
        self.curve = {"loss": [], "gradient_norm": [], "val_loss": [], "val_acc": []}

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step % GRADIENT_EVERY:
            return
        norms = [weights.grad.norm() for weights in pl_module.parameters()]
        self.curve["gradient_norm"].append(float(torch.stack(norms).norm()))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.curve["loss"].append(float(outputs["loss"]))

    def on_validation_end(self, trainer, pl_module):
        for name in ("val_loss", "val_acc"):
            self.curve[name].append(float(trainer.callback_metrics[name]))


def record(name: str, lr: float, seed: int = 0, epochs: int = EPOCHS) -> dict[str, list[float]]:
    """The curves of one fit."""
    seed_everything(seed, verbose=False)
    recorder = Recorder()
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[recorder], num_sanity_val_steps=0, **quiet)
    trainer.fit(MODULES[name](lr=lr), datamodule=DigitsData())
    return recorder.curve


def compact(curve: dict[str, list[float]]) -> str:
    # Python's json reads and writes NaN and Infinity.
    rounded = {series: [float(f"{value:.3g}") for value in values] for series, values in curve.items()}
    return json.dumps(rounded, separators=(",", ":")) + "\n"


def main() -> None:
    torch.set_num_threads(1)
    for name, right in RIGHT.items():
        for label, times in TIMES.items():
            path = FOLDER / f"{name}_{label}.json"
            curve = record(name, right * times)
            path.write_text(compact(curve))
            print(f"{path.name}: {path.stat().st_size} bytes, val_loss {curve['val_loss'][-1]:.4g}")


if __name__ == "__main__":
    main()
