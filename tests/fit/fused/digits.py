"""What the tests of fused fits share: small modules on real digits, trained together and each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Log, ReverseLog
from lightning_hp.fit import Recipe, run_job
from lightning_hp.fit.fused import module
from lightning_hp.fit.quiet import quiet
from lightning_hp.samplers import Random
from lightning_hp.seeds import trial_seed
from lightning_hp.space import Space
from lightning_hp.trial import Event, Finished, Job, Outcome, Trial, Unfused, trial_folder

SPACE = {"lr": Log(1e-3, 1e-1), "momentum": ReverseLog(0.5, 0.99)}


def loaders():
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels))
    train, val = torch.utils.data.Subset(data, range(200)), torch.utils.data.Subset(data, range(200, 300))
    return DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=50)


class Classifier(LightningModule):
    """Base of the modules here: digits, and an optimizer by name."""

    optimizer = "sgd"

    def __init__(self, lr: float, momentum: float = 0.9, **other):
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.momentum = lr, momentum
        self.net = self.make()

    def make(self):
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        logits = self.net(batch[0])
        self.log_dict(
            {"val_loss": nn.functional.cross_entropy(logits, batch[1]), "acc": (logits.argmax(1) == batch[1]).float().mean()}
        )

    def configure_optimizers(self):
        if self.optimizer == "sgd":
            return torch.optim.SGD(self.parameters(), self.lr, self.momentum, weight_decay=self.lr / 100)
        if self.optimizer == "adamw":
            return torch.optim.AdamW(self.parameters(), self.lr / 10, (self.momentum, 0.99), weight_decay=self.lr)
        return torch.optim.RMSprop(self.parameters(), self.lr / 10, momentum=self.momentum, centered=True)


def recipe_of(model, root: Path, space=SPACE, trainer=None, **arguments) -> Recipe:
    """A search's recipe, for two epochs unless told otherwise."""
    return Recipe(
        model=model,
        space=Space(space),
        trainer={"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 3, **(trainer or {})},
        root=root,
        **{"data": loaders, "monitor": "val_loss", "mode": "min", **arguments},
    )


def trials_of(recipe: Recipe, count: int = 3) -> list[Trial]:
    drawn = Random().propose(recipe.space, 0, range(count), [])
    return [Trial(number, hparams, trial_seed(0, number)) for number, hparams in enumerate(drawn)]


def run(
    recipe: Recipe, jobs: Iterable[list[Trial]], always: bool = True, emit: Callable[[Event], Any] = lambda event: None
) -> dict[int, Outcome]:
    """Runs jobs one after another; gives what has finished."""
    found: dict[int, Outcome] = {}

    def take(event: Event) -> None:
        emit(event)
        assert not (always and isinstance(event, Unfused)), event.reason
        if isinstance(event, Finished):
            assert event.number not in found
            found[event.number] = event.outcome

    with quiet():
        for job in jobs:
            run_job(recipe, Job(tuple(job)), take, always=always)
    return found


def refused(recipe: Recipe) -> Unfused:
    """What is told of three trials that are not trained as one, however long their steps take."""
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "seconds", lambda step, args, replay: (0.0, 1.0))
        assert run(recipe, [trials_of(recipe)], always=False, emit=events.append) == {}
    (given_back,) = [event for event in events if isinstance(event, Unfused)]
    assert given_back.numbers == (0, 1, 2)
    return given_back


def trained(model, root: Path, together: bool, trials: int = 3, **settings) -> dict[int, Outcome]:
    """Trains trials as one, or each by itself."""
    recipe = recipe_of(model, root, **settings)
    drawn = trials_of(recipe, trials)
    return run(recipe, [drawn] if together else [[trial] for trial in drawn])


def weights(outcome: Outcome) -> dict[str, torch.Tensor]:
    return torch.load(outcome.checkpoint, weights_only=True)["state_dict"]


def assert_alike(fused: Outcome, alone: Outcome) -> None:
    assert fused.state == alone.state, fused.traceback
    assert fused.epochs == alone.epochs
    assert fused.metrics.keys() == alone.metrics.keys()
    for name, values in alone.metrics.items():
        assert [value is None for value in fused.metrics[name]] == [value is None for value in values]
        ours = [value for value in fused.metrics[name] if value is not None]
        assert ours == pytest.approx([value for value in values if value is not None], rel=1e-3, abs=1e-4, nan_ok=True), name
    if alone.checkpoint is not None:
        ours, theirs = weights(fused), weights(alone)
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-4)


def curves(root: Path, number: int) -> dict[str, list[tuple[int, float]]]:
    """All scalars in a trial's TensorBoard run, by tag, with their steps."""
    events = EventAccumulator(str(trial_folder(root, number)), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_same_curves(fused: Path, alone: Path, number: int) -> None:
    ours, theirs = curves(fused, number), curves(alone, number)
    assert sorted(ours) == sorted(theirs)
    for tag, points in theirs.items():
        assert [step for step, _ in ours[tag]] == [step for step, _ in points], tag
        assert [value for _, value in ours[tag]] == pytest.approx([value for _, value in points], rel=1e-3, abs=1e-4), tag


def assert_the_same_alone(model, root: Path, **settings) -> dict[int, Outcome]:
    """Trials that train as one end, and log, as each does by itself; gives their outcomes."""
    fused = trained(model, root / "fused", True, **settings)
    alone = trained(model, root / "alone", False, **settings)
    for number in alone:
        assert alone[number].state == "complete", alone[number].traceback
        assert_alike(fused[number], alone[number])
        assert_same_curves(root / "fused", root / "alone", number)
    return fused
