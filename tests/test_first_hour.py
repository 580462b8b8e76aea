"""A user's first hour with modules that Lightning brings along: wrap, search, best, load, go on, babysit, by the public API."""

from __future__ import annotations

import json

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel, DemoModel
from lightning.pytorch.demos.lstm import SimpleLSTM
from lightning.pytorch.demos.transformer import Transformer
from sklearn.datasets import load_digits
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Babysitter, Choice, ConfigError, Int, Log, ReverseLog, SearchLoop, Study

TRAIN, LEVELS = 256, 17


class Images(LightningDataModule):
    """Digits read pixel by pixel: the first 16 of each as words of a language, each grey level one of 17."""

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        digits = load_digits()
        levels = torch.tensor(digits.data[: TRAIN + 64], dtype=torch.long)
        self.parts = [TensorDataset(part[:, :-1], part[:, 1:]) for part in (levels[:TRAIN, :17], levels[TRAIN:, :17])]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.parts[0], self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.parts[1], 64)


class Reader(LightningModule):
    """One of the demos' language models, as a user of it would wrap it, reading pixels."""

    def __init__(self, kind: str = "lstm", width: int = 16, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        if kind == "lstm":
            self.model = SimpleLSTM(vocab_size=LEVELS, ninp=width, nhid=width, nlayers=1, dropout=0.0)
        else:
            self.model = Transformer(vocab_size=LEVELS, ninp=width, nhid=width, nlayers=1, dropout=0.0)

    def step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        pixels, following = batch
        if self.hparams["kind"] == "lstm":
            output, _ = self.model(pixels, self.model.init_hidden(len(pixels)))
        else:
            output = self.model(pixels, pixels)
        return functional.nll_loss(output, following.reshape(-1))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return self.step(batch)

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.step(batch), prog_bar=True)

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"}}


class Boring(BoringModel):
    """The smallest demo, with what a search needs: arguments, and a metric that is logged."""

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        super().__init__()
        self.lr, self.momentum = lr, momentum

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.step(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=self.momentum)


@pytest.fixture
def wrap(tmp_path):
    """The ten lines of a user, in this process."""

    def make(model=Reader, **changes):
        arguments = {
            "data": Images,
            "monitor": "val/loss",
            "trials": 3,
            "trainer": {"max_epochs": 2, "accelerator": "cpu", "callbacks": [lambda: EarlyStopping("val/loss", patience=2)]},
            "space": {"lr": Log(1e-3, 1e-1), "data.batch_size": Choice(32, 64)},
            "executor": "inline",
            "root_dir": tmp_path / "study",
            "progress": False,
        }
        return SearchLoop(model, **{**arguments, **changes})

    return make


@pytest.fixture
def fit(tmp_path):
    def train(model, *callbacks, epochs, **arguments):
        trainer = Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=list(callbacks),
            default_root_dir=tmp_path,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        trainer.fit(model, **arguments)
        return trainer

    return train


def val_loss(model):
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (metrics,) = trainer.validate(model, datamodule=Images(), verbose=False)
    return metrics["val/loss"]


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_a_language_model_of_the_demos_is_wrapped_searched_and_loaded(wrap, kind):
    study = wrap(space={"lr": Log(1e-3, 1e-1), "kind": Choice(kind), "width": Int(8, 16)}).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 3
    best = study.best
    assert best.value == min(value for trial in study.trials for value in trial.metrics["val/loss"])
    # Better than knowing nothing of 17 grey levels, at once and when it is loaded later, by whichever way.
    assert best.value < torch.tensor(float(LEVELS)).log()
    assert val_loss(best.load()) == pytest.approx(best.value)
    later = Study(study.root).best
    assert val_loss(Reader.load_from_checkpoint(later.checkpoint)) == pytest.approx(best.value)
    assert later.hparams == best.hparams


def test_more_trials_go_on_where_the_study_ended_and_change_nothing_before(wrap):
    first = wrap(trials=2).run().trials
    more = wrap(trials=4).run().trials
    assert len(more) == 4
    assert more[:2] == first
    assert [str(each) for each in Study(more[0].checkpoint.parents[3]).advice()]


def test_another_search_in_the_same_folder_is_refused_and_the_difference_told(wrap):
    wrap(trials=1).run()
    with pytest.raises(ConfigError, match=r"trainer\['max_epochs'\] was 2, is 3"):
        wrap(trials=1, trainer={"max_epochs": 3, "accelerator": "cpu"}).run()


def test_poor_trials_are_pruned_and_can_be_finished(wrap):
    loop = wrap(
        trials=6,
        pruner="halving",
        trainer={"max_epochs": 4, "accelerator": "cpu"},
        space={"lr": Log(1e-3, 1e-1), "width": Choice(8, 16)},
    )
    study = loop.run()
    assert study.counts["pruned"] > study.counts["complete"]
    pruned = next(trial for trial in study.trials if trial.state == "pruned")
    assert pruned.epochs < 4
    finished = loop.finish(pruned.number)
    assert (finished.state, finished.epochs) == ("complete", 4)


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_the_smallest_demo_is_searched_alone_and_as_one(wrap, fuse):
    study = wrap(
        Boring,
        data=BoringDataModule,
        monitor="val_loss",
        space={"lr": Log(1e-3, 1e-2), "momentum": ReverseLog(0.5, 0.9)},
        trainer={"max_epochs": 1, "accelerator": "cpu"},
        fuse=fuse,
    ).run()
    assert study.counts == {"complete": 3}
    assert study.best.load().lr == study.best.hparams["lr"]


def test_a_babysitter_mends_a_learning_rate_that_is_far_too_low(fit, tmp_path):
    def left(*callbacks):
        torch.manual_seed(0)
        return fit(Reader(lr=3e-4), *callbacks, epochs=8, datamodule=Images(16)).callback_metrics["val/loss"].item()

    alone, babysat = left(), left(Babysitter(monitor="val/loss", policy="probe"))
    assert babysat < alone - 0.2
    (log,) = tmp_path.rglob("babysit.jsonl")
    reasons = [json.loads(line)["reason"] for line in log.read_text().splitlines()]
    assert any("lr x4" in reason for reason in reasons)
    # What it has found can be taken along.
    assert Babysitter.schedule(log.parent).lrs.max() > 3e-4


def test_a_babysat_search_says_what_was_done_to_its_trials(wrap):
    study = wrap(trials=1, babysit=True).run()
    assert study.best.state == "complete"
    assert (study.root / "trials" / "000000" / "babysit.jsonl").is_file()


@pytest.mark.parametrize(
    ("model", "changes", "told"),
    [
        (BoringModel, {}, r"space\['lr'\]: BoringModel has no argument 'lr'"),
        (DemoModel, {"space": {"learning_rate": Log(1e-3, 1)}, "data": None}, r"DemoModel has no train_dataloader.*give data="),
        (Reader, {"space": {"lr": (1e-3, 1)}}, r"space\['lr'\] needs a scale such as Log\(1e-4, 1.0\)"),
        (Reader, {"trainer": {"callbacks": [EarlyStopping("val/loss")]}}, r"holds one EarlyStopping.*lambda: EarlyStopping"),
        (Reader, {"data": lambda: None, "space": {"data.batch_size": Int(1, 2)}}, "has no argument 'batch_size'"),
    ],
)
def test_a_beginners_mistake_is_told_before_anything_is_written(wrap, tmp_path, model, changes, told):
    with pytest.raises(ConfigError, match=told):
        wrap(model, **changes)
    assert not list(tmp_path.iterdir())


def test_a_metric_that_is_never_logged_is_told_with_those_that_are(wrap):
    with pytest.raises(ConfigError, match=r"monitor='val_loss' is not logged.*did you mean 'val/loss'\?"):
        wrap(monitor="val_loss", trainer={"max_epochs": 1, "accelerator": "cpu"}).run()


def test_a_search_of_which_nothing_comes_says_why(wrap):
    study = wrap(space={"kind": Choice("lstm"), "width": Int(-3, -2)}, trials=2).run()
    with pytest.raises(LookupError, match=r"2 failed; trial 0 failed: \w+: .*\(see trials\[0\]\.traceback\)"):
        _ = study.best
