"""Trials train as one with those whose models have the same structure, whatever numbers these were made with."""

from __future__ import annotations

import os
import signal
import weakref
from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch import nn

from lightning_hp import Choice, ConfigError, Halving, Int, Log, Study
from lightning_hp.attempts import read_circumstances
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.fit.fused import module
from lightning_hp.trial import Grouped, Trial, trial_folder
from tests.fit.fused.digits import Classifier, assert_alike, loaders, recipe_of, run

LR = Log(1e-3, 1e-1)
FAST, SLOW = (0.0, 1.0), (1.0, 0.0)


class WarmingUp(Classifier):
    """Its learning rate rises for some steps."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / self.hparams.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Sized(Classifier):
    """Has so many layers of such a width."""

    def make(self):
        widths = [64, *[self.hparams.width] * self.hparams.get("layers", 1)]
        hidden = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
        return nn.Sequential(*hidden, nn.Linear(widths[-1], 10))


class Attending(Classifier):
    """Divides what it has into so many heads, which leaves no trace in the shapes of its parameters."""

    def make(self):
        return nn.ModuleList([nn.Linear(64, 36), nn.Linear(12, 10)])

    def logits(self, images):
        heads = self.hparams.heads
        queries, keys, values = self.net[0](images).view(len(images), 3, heads, 12 // heads).unbind(1)
        return self.net[1]((queries @ keys.mT).softmax(-1).matmul(values).flatten(1))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.logits(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.cross_entropy(self.logits(batch[0]), batch[1]))


class Branching(WarmingUp):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss if loss > 1 else loss * 2


@pytest.fixture
def searched(search, tmp_path, monkeypatch, capsys):
    """Runs a search whose fused steps take such a part of the time; gives the study, and what was told of fusing."""

    def go(kind, times=FAST, fuse="auto", **arguments):
        monkeypatch.setattr(module, "seconds", lambda step, args, replay: times)
        asked = {"monitor": "val_loss", "mode": "min", "data": loaders, "trials": 8, "strategy": "random"}
        asked |= {"trainer": {"max_epochs": 2, "accelerator": "cpu"}, "progress": True, "fuse": fuse}
        study = search(kind, **{**asked, "root_dir": tmp_path / fuse, **arguments}).run()
        told = capsys.readouterr()
        return study, [line for line in (told.out + told.err).splitlines() if line.startswith("not fused")]

    return go


def together(study) -> list[int]:
    """With how many each trial has trained as one, itself included, at last."""
    return [read_circumstances(trial_folder(study.root, trial.number))[-1].together for trial in study.trials]


def numbers_alike(study, *names) -> list[int]:
    """How many trials have the same of some hyperparameters as each."""
    kinds = [tuple(trial.hparams[name] for name in names) for trial in study.trials]
    return [Counter(kinds)[kind] for kind in kinds]


def assert_same_trials(study, other):
    assert len(study.trials) == len(other.trials)
    for ours, theirs in zip(study.trials, other.trials, strict=True):
        assert (ours.hparams, ours.seed) == (theirs.hparams, theirs.seed)
        assert_alike(ours, theirs)


def test_a_whole_number_that_is_none_of_the_models_structure_keeps_no_trials_apart(searched):
    space = {"lr": LR, "warmup": Int(2, 500)}
    study, told = searched(WarmingUp, space=space)
    assert together(study) == [8] * 8
    assert told == []
    assert_same_trials(study, searched(WarmingUp, space=space, fuse="never")[0])


@pytest.mark.parametrize("fuse", ["auto", pytest.param("always", marks=pytest.mark.slow)])
def test_of_layers_and_widths_those_train_together_that_have_the_same(searched, fuse):
    space = {"lr": LR, "width": Int(8, 9), "layers": Int(1, 2)}
    study, told = searched(Sized, space=space, trials=12, fuse=fuse)
    assert together(study) == numbers_alike(study, "width", "layers")
    assert max(together(study)) > 2
    assert told == []
    assert_same_trials(study, searched(Sized, space=space, trials=12, fuse="never")[0])


def test_a_model_that_is_built_by_a_real_number_trains_with_those_of_its_size(searched):
    def factory(lr, width):
        return Sized(lr, width=int(width))

    study, told = searched(factory, space={"lr": LR, "width": Log(8, 11)})
    sizes = [int(trial.hparams["width"]) for trial in study.trials]
    assert together(study) == [sizes.count(size) for size in sizes]
    assert told == []


@pytest.mark.parametrize("fuse", ["auto", "always"])
def test_where_a_step_cannot_take_a_whole_number_for_each_trial_those_with_the_same_train_together(searched, fuse):
    space = {"lr": LR, "heads": Choice(2, 3)}
    study, told = searched(Attending, space=space, fuse=fuse)
    assert together(study) == numbers_alike(study, "heads")
    assert len(told) == 1
    assert told[0].startswith("not fused where heads differs: validation_step cannot be vectorized")
    assert_same_trials(study, searched(Attending, space=space, fuse="never")[0])


@pytest.mark.slow
def test_it_is_tried_once_and_not_in_every_round(searched):
    made = []

    def factory(lr, heads):
        made.append(heads)
        return Attending(lr, heads=heads)

    _, told = searched(factory, space={"lr": LR, "heads": Choice(2, 3, 4)}, strategy="coarse-to-fine", trials=24)
    assert len(told) == 1
    # The twelve of the first round twice.
    assert len(made) == 12 + 24


def test_those_that_have_nobody_like_them_train_alone_without_a_word(searched):
    study, told = searched(Sized, space={"width": Int(8, 15), "lr": LR}, enqueue=[{"width": 8 + n} for n in range(8)])
    assert together(study) == [1] * 8
    assert told == []
    assert {trial.state for trial in study.trials} == {"complete"}


def test_what_can_be_fused_with_no_numbers_is_refused_by_always(searched):
    space = {"lr": LR, "warmup": Int(1, 2)}
    with pytest.raises(ConfigError, match="fuse='always', but these trials cannot train as one: training_step cannot be"):
        searched(Branching, space=space, fuse="always")


@pytest.mark.slow
def test_what_is_slower_is_tried_and_told_once_for_each_structure(searched):
    made = []

    def factory(lr, warmup):
        made.append(warmup)
        return WarmingUp(lr, warmup=warmup)

    study, told = searched(factory, SLOW, space={"lr": LR, "warmup": Int(2, 500)}, strategy="coarse-to-fine", trials=24)
    assert together(study) == [1] * 24
    assert told == ["not fused: a fused step takes 1000.0 ms, 12 ordinary ones take 0.0"]
    # Those of later rounds are not made to be given back.
    assert len(made) == 12 + 24


def test_max_time_is_each_trials_own(searched):
    trainer = {"max_epochs": 2, "accelerator": "cpu", "max_time": {"hours": 1}}
    study, told = searched(WarmingUp, space={"lr": LR, "warmup": Int(2, 500)}, trainer=trainer)
    assert together(study) == [1] * 8
    assert told == ["not fused: max_time is each trial's own, and trials that train as one would share it"]


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")
def test_several_workers_take_what_one_has_given_back(searched):
    widths = {"enqueue": [{"width": 8 + number % 4} for number in range(16)], "trials": 16}
    space = {"lr": LR, "width": Int(8, 11)}
    study, told = searched(Sized, space=space, fuse="always", executor="processes", workers=2, **widths)
    assert [trial.number for trial in study.trials] == list(range(16))
    assert max(together(study)) > 1
    assert told == []
    assert_same_trials(study, searched(Sized, space=space, fuse="never", **widths)[0])


class Killed(Sized):
    """Its process is killed as it begins to train, the first time."""

    notes = None

    def on_train_start(self):
        try:
            (self.notes / str(self.hparams.width)).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")
def test_a_worker_that_dies_after_it_has_given_some_back_has_lost_none(searched, tmp_path):
    class Noting(Killed):
        notes = tmp_path

    widths = {"enqueue": [{"width": 8 + number % 2} for number in range(8)]}
    space = {"lr": LR, "width": Int(8, 9)}
    study, told = searched(Noting, space=space, fuse="always", executor="processes", workers=2, **widths)
    assert [trial.number for trial in study.trials] == list(range(8))
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"8", "9"}
    assert told == []
    assert_same_trials(study, searched(Noting, space=space, fuse="never", **widths)[0])


def test_an_interrupted_search_goes_on_with_those_that_were_given_back(searched, tmp_path, monkeypatch):
    class Interrupted(Sized):
        at = 1

        def on_train_epoch_start(self):
            if self.current_epoch == self.at:
                raise KeyboardInterrupt

    space = {"lr": LR, "width": Int(8, 9)}
    with pytest.raises(KeyboardInterrupt):
        searched(Interrupted, space=space)
    # Those that were given back have never been anything but waiting.
    assert {trial.state for trial in Study(tmp_path / "auto").trials} <= {"waiting"}
    monkeypatch.setattr(Interrupted, "at", None)
    study, _ = searched(Interrupted, space=space)
    assert together(study) == numbers_alike(study, "width")
    assert_same_trials(study, searched(Interrupted, space=space, fuse="never")[0])


def test_those_that_go_on_from_a_rung_do_so_with_their_like(searched):
    space = {"lr": LR, "width": Int(8, 9), "warmup": Int(2, 500)}
    arguments = {"space": space, "pruner": Halving(first=1, factor=2), "trials": 12}
    arguments["trainer"] = {"max_epochs": 4, "accelerator": "cpu"}
    study, told = searched(Sized, **arguments)
    other, _ = searched(Sized, **arguments, fuse="never")
    assert [(trial.state, trial.epochs) for trial in study.trials] == [(trial.state, trial.epochs) for trial in other.trials]
    assert [trial.value for trial in study.trials] == pytest.approx([trial.value for trial in other.trials], rel=1e-3)
    last = [trial for trial in study.trials if trial.state == "complete"]
    widths = Counter(trial.hparams["width"] for trial in last)
    alike = [read_circumstances(trial_folder(study.root, trial.number))[-1].together for trial in last]
    assert alike == [widths[trial.hparams["width"]] for trial in last]
    assert told == []


def test_memory_holds_no_two_models_that_leave(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning_hp.fit.fused.run.MOST_UNNEEDED", 0)
    made, most = weakref.WeakSet(), []

    def factory(lr, width):
        most.append(len(made))
        model = Sized(lr, width=width)
        made.add(model)
        return model

    events = []
    recipe = recipe_of(factory, tmp_path, space={"lr": LR, "width": Int(8, 13)})
    trials = [Trial(number, {"lr": 0.01, "width": 8 + number}, 0) for number in range(6)]
    assert run(recipe, [trials], emit=events.append).keys() == {0}
    (grouped,) = [event for event in events if isinstance(event, Grouped)]
    assert grouped.given_back == (1, 2, 3, 4, 5)
    assert len(set(grouped.structures.values())) == 6
    # The first stays until all are made.
    assert most == [0, 1, 1, 1, 1, 1, 0]
