"""Hooks, callbacks and files of a fused trial are those of the same trial by itself; what befalls one trial is its own."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import BackboneFinetuning, Callback, EarlyStopping, ModelCheckpoint, Timer
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from lightning_hp import Linear, Log, ReverseLog
from lightning_hp.fit.checkpoints import LAST, PREVIOUS
from lightning_hp.trial import Finished, trial_folder
from tests.fit.fused.digits import (
    SPACE,
    Classifier,
    assert_alike,
    assert_same_curves,
    recipe_of,
    run,
    trained,
    trials_of,
    weights,
)
from tests.fit.fused.frozen import Averaging


def both(kind, tmp_path, **settings):
    """The outcomes together and alone, which have to be alike."""
    fused = trained(kind, tmp_path / "fused", True, **settings)
    alone = trained(kind, tmp_path / "alone", False, **settings)
    for number in alone:
        assert_alike(fused[number], alone[number])
    return fused, alone


HOOKS = (
    *("setup", "on_fit_start", "on_sanity_check_start", "on_sanity_check_end", "on_train_start", "on_train_epoch_start"),
    *("on_train_batch_start", "on_train_batch_end", "on_train_epoch_end", "on_validation_start", "on_validation_epoch_start"),
    *("on_validation_batch_start", "on_validation_batch_end", "on_validation_epoch_end", "on_validation_end"),
    *("on_train_end", "on_fit_end", "teardown", "on_save_checkpoint", "configure_model"),
)
# Checkpoints are written less often.
SELDOM = {"on_save_checkpoint"}


def noting(base, called):
    """A class that notes which hooks are called, with the epoch and step, for each object."""

    def hook(name):
        def noted(self, *args, **keywords):
            trainer = args[0] if issubclass(base, Callback) else self.trainer
            called.setdefault(self.number, []).append((name, trainer.current_epoch, trainer.global_step))

        return noted

    return {name: hook(name) for name in HOOKS if hasattr(base, name)}


@pytest.mark.parametrize(
    "settings", [{}, {"max_epochs": 3, "val_check_interval": 0.5}, {"check_val_every_n_epoch": 2}], ids=str
)
def test_hooks_are_called_at_the_same_times(settings, tmp_path):
    seen = []
    for name, together in (("fused", True), ("alone", False)):
        called: dict[float, list] = {}
        of_module: dict[float, list] = {}

        class Noting(Classifier):
            @property
            def number(self):
                return self.hparams.lr

            locals().update(noting(LightningModule, of_module))

        class NotingCallback(Callback):
            def setup(self, trainer, pl_module, stage):
                self.number = pl_module.hparams.lr

            locals().update({name: hook for name, hook in noting(Callback, called).items() if name != "setup"})

        outcomes = trained(Noting, tmp_path / name, together, trainer={**settings, "callbacks": [NotingCallback]})
        assert {outcome.state for outcome in outcomes.values()} == {"complete"}
        notes = [of_module, called]
        seen.append([{lr: [each for each in calls if each[0] not in SELDOM] for lr, calls in note.items()} for note in notes])
    assert len(seen[1][0]) == len(seen[1][1]) == 3
    for ours, theirs in zip(seen[0], seen[1], strict=True):
        assert ours.keys() == theirs.keys()
        for lr, calls in theirs.items():
            assert ours[lr] == calls
            counts = Counter(name for name, _, _ in calls)
            assert [counts[name] for name in ("on_train_end", "on_fit_end", "teardown")] == [1, 1, 1]


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_validation_epoch_end", "on_train_end"])
def test_hooks_that_come_in_the_course_are_called(hook, tmp_path):
    """Of a callback that another adds, and of an object that is given them."""
    called = {"fused": Counter(), "alone": Counter()}

    def note(kind, trainer, *args):
        called[Path(trainer.default_root_dir).parents[1].name][kind, trainer.current_epoch] += 1

    class Adding(Callback):
        def on_train_start(self, trainer, pl_module):
            added = Callback()
            setattr(added, hook, partial(note, "added"))
            trainer.callbacks.append(added)
            setattr(self, hook, partial(note, "own"))

    both(Classifier, tmp_path, trainer={"callbacks": [Adding]})
    assert called["fused"] == called["alone"]
    assert {kind for kind, _ in called["fused"]} == {"added", "own"}


@pytest.mark.parametrize("batches", [1, 2])
def test_batch_hooks_get_what_the_steps_return(batches, tmp_path):
    seen = {True: {}, False: {}}

    class Returning(Classifier):
        def training_step(self, batch, batch_idx):
            return {"loss": super().training_step(batch, batch_idx), "logits": self.net(batch[0]).detach()}

        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            return self.net(batch[0]).argmax(1)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            assert not outputs["loss"].requires_grad
            note = seen[now].setdefault(self.lr, [])
            note += [float(outputs["loss"]), float(outputs["logits"].square().mean()), outputs["logits"].shape]

        def on_validation_batch_end(self, outputs, batch, batch_idx):
            seen[now][self.lr].append(outputs.shape) if self.lr in seen[now] else None

    for now in (True, False):
        made = trained(Returning, tmp_path / str(now), now, trainer={"accumulate_grad_batches": batches})
        assert {outcome.state for outcome in made.values()} == {"complete"}, made[0].traceback
    assert seen[True].keys() == seen[False].keys()
    for lr, notes in seen[False].items():
        assert [each for each in seen[True][lr] if not isinstance(each, float)] == [
            each for each in notes if not isinstance(each, float)
        ]
        numbers = [[each for each in all_notes[lr] if isinstance(each, float)] for all_notes in (seen[True], seen[False])]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-3, abs=1e-4)


def test_early_stopping_of_the_modules_own(tmp_path):
    class Stopping(Classifier):
        def configure_callbacks(self):
            return EarlyStopping("val_loss", patience=1, min_delta=0.02)

    space = {"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99)}
    _, alone = both(Stopping, tmp_path, trials=6, space=space, trainer={"max_epochs": 12})
    assert len({outcome.epochs for outcome in alone.values()}) > 1


@pytest.mark.parametrize("least", [{"min_epochs": 4}, {"min_steps": 25}], ids=str)
def test_early_stopping_waits_for_what_is_least(least, tmp_path):
    stopping = partial(EarlyStopping, "val_loss", patience=0, min_delta=0.05)
    space = {"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99)}
    _, alone = both(Classifier, tmp_path, trials=5, space=space, trainer={"max_epochs": 8, "callbacks": [stopping], **least})
    assert len({outcome.epochs for outcome in alone.values()}) > 1


def test_early_stopping_by_a_training_loss_at_validations(tmp_path):
    class ByStep(Classifier):
        def training_step(self, batch, batch_idx):
            loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

    stopping = partial(EarlyStopping, "train_loss", patience=0, min_delta=0.05, check_on_train_epoch_end=False)
    space = {"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99)}
    both(ByStep, tmp_path, trials=5, space=space, trainer={"max_epochs": 8, "callbacks": [stopping], "val_check_interval": 3})


def test_what_batch_hooks_have_logged_is_there_where_a_fit_stops_within_an_epoch(tmp_path):
    class Noting(Classifier):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.log("noted", outputs["loss"], on_step=False, on_epoch=True)
            # Between two validations of an epoch.
            if self.global_step == 10:
                self.trainer.should_stop = True

    _, alone = both(Noting, tmp_path, trainer={"max_epochs": 3, "val_check_interval": 3})
    assert [len(outcome.metrics["noted"]) for outcome in alone.values()] == [2, 2, 2]
    stopping = partial(EarlyStopping, "val_loss", patience=0, min_delta=1.0)
    _, alone = both(Noting, tmp_path / "early", trainer={"callbacks": [stopping], "val_check_interval": 3})
    assert all(outcome.metrics["noted"][-1] is not None for outcome in alone.values())


class HalfFrozen(Classifier):
    """Has a part that stays in evaluation mode, and writes down what its hooks see of the modes."""

    def on_fit_start(self):
        self.net[1].eval()
        self.modes = []

    def on_validation_start(self):
        self.modes.append(("start", self.training, self.net[1].training))

    def on_validation_end(self):
        self.modes.append(("end", self.training, self.net[1].training))

    def on_train_epoch_start(self):
        self.modes.append(("epoch", self.training, self.net[1].training))

    def on_fit_end(self):
        seen.setdefault(self.lr, []).append(self.modes)


seen = {}


def test_modes_are_those_of_a_fit_by_itself(tmp_path):
    seen.clear()
    both(HalfFrozen, tmp_path)
    for fused, alone in seen.values():
        assert fused == alone
        assert ("epoch", True, False) in fused


def test_a_validation_of_those_that_stop_within_an_epoch_is_only_theirs(tmp_path):
    calls = {"fused": Counter(), "alone": Counter()}

    class Noting(Callback):
        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            calls[Path(trainer.default_root_dir).parents[1].name][pl_module.lr, trainer.global_step] += 1

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 9 and pl_module.lr == stopping:
                trainer.should_stop = True

    stopping = max(trial.hparams["lr"] for trial in trials_of(recipe_of(Classifier, tmp_path)))
    both(Classifier, tmp_path, trainer={"callbacks": [Noting]})
    assert calls["fused"] == calls["alone"]
    assert calls["fused"][stopping, 9] > 0


def test_a_timer_that_ends_nothing_is_no_reason_to_train_alone(tmp_path):
    timers = []

    def timer():
        timers.append(Timer())
        return timers[-1]

    made = trained(Classifier, tmp_path, True, trainer={"callbacks": [timer]})
    assert {outcome.state for outcome in made.values()} == {"complete"}
    assert len(timers) == 3
    assert all(timer.time_elapsed() > 0 for timer in timers)


def test_layers_are_thawed_in_the_course(tmp_path):
    class Finetuned(Classifier):
        def make(self):
            self.backbone = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
            return nn.Linear(32, 10)

        def training_step(self, batch, batch_idx):
            return super().training_step((self.backbone(batch[0]), batch[1]), batch_idx)

        def validation_step(self, batch, batch_idx):
            super().validation_step((self.backbone(batch[0]), batch[1]), batch_idx)

        def configure_optimizers(self):
            return torch.optim.Adam([each for each in self.parameters() if each.requires_grad], self.lr / 10)

    thaw = partial(BackboneFinetuning, unfreeze_backbone_at_epoch=1, verbose=False)
    both(Finetuned, tmp_path, trainer={"max_epochs": 3, "callbacks": [thaw]})


@pytest.mark.parametrize("kind", [Classifier, Averaging])
def test_the_users_checkpoints_are_the_same(kind, tmp_path):
    callbacks = [
        partial(ModelCheckpoint, monitor="val_loss", filename="{epoch}", save_top_k=-1),
        partial(ModelCheckpoint, filename="{step}", every_n_train_steps=5, save_top_k=-1),
    ]
    both(kind, tmp_path, trainer={"callbacks": callbacks})
    for number in range(3):
        folders = [trial_folder(tmp_path / name, number) for name in ("fused", "alone")]
        files = [
            sorted(path.relative_to(folder) for path in folder.rglob("*.ckpt") if path.name != PREVIOUS) for folder in folders
        ]
        assert files[0] == files[1]
        assert len(files[0]) == 6
        for path in files[1]:
            ours, theirs = (torch.load(folder / path, weights_only=True) for folder in folders)
            assert_same_checkpoint(ours, theirs)
            sizes = [(folder / path).stat().st_size for folder in folders]
            assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def assert_same_checkpoint(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key in {"epoch", "global_step", "hyper_parameters", "lr_schedulers"} & theirs.keys():
        assert ours[key] == theirs[key]
    for key in {"state_dict", "optimizer_states"} & theirs.keys():
        for one, other in zip(leaves(ours[key]), leaves(theirs[key]), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def leaves(tree):
    return torch.utils._pytree.tree_leaves(tree)


def test_a_checkpoint_is_loaded_by_the_modules_own_class(tmp_path):
    fused, alone = both(Numbered, tmp_path, space={**SPACE, "weight": Linear(0, 1)})
    for number, outcome in fused.items():
        model = Numbered.load_from_checkpoint(outcome.checkpoint)
        assert all(torch.equal(tensor, weights(outcome)[name]) for name, tensor in model.state_dict().items())
        assert dict(model.hparams) == torch.load(alone[number].checkpoint, weights_only=True)["hyper_parameters"]
        last = torch.load(outcome.checkpoint.parent / LAST, weights_only=True)
        assert last["hyper_parameters"] == dict(model.hparams)


class Numbered(Classifier):
    """What a checkpoint keeps are the trial's own numbers, not those of a step of all."""

    def __init__(self, lr, momentum, weight):
        super().__init__(lr, momentum)
        self.save_hyperparameters()

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + self.hparams.weight)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["mine"] = self.hparams.weight

    def on_load_checkpoint(self, checkpoint):
        assert checkpoint["hyper_parameters"]["weight"] == self.hparams.weight


@pytest.mark.parametrize("where", ["the first batch", "the sanity check", "a later epoch"])
def test_divergence_of_one_is_its_own(where, tmp_path):
    class Diverging(Classifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * self.hparams.factor if where != "a later epoch" or self.current_epoch else loss

        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            if where == "the sanity check":
                self.log("val_loss again", self.hparams.factor)

        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            if where == "the sanity check" and self.hparams.factor > 1:
                with torch.no_grad():
                    self.net[0].weight.fill_(math.nan)
            return optimizer

        def __init__(self, lr, momentum):
            super().__init__(lr, momentum)
            self.hparams.factor = math.inf if lr == diverging else 1.0

    diverging = trials_of(recipe_of(Classifier, tmp_path))[1].hparams["lr"]
    _, alone = both(Diverging, tmp_path, trainer={"max_epochs": 3})
    assert [alone[number].state for number in range(3)] == ["complete", "diverged", "complete"]
    for number in (0, 2):
        assert_same_curves(tmp_path / "fused", tmp_path / "alone", number)


def test_all_diverge(tmp_path):
    class Diverging(Classifier):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e30)

    fused, _ = both(Diverging, tmp_path, trainer={"max_epochs": 4})
    assert {outcome.state for outcome in fused.values()} == {"diverged"}


WHERE = (
    "setup",
    "configure_model",
    "on_fit_start",
    "on_train_start",
    "on_train_batch_start",
    "on_validation_end",
    "on_fit_end",
)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("error", [ValueError("not this one"), SystemExit(3)], ids=["an error", "an exit"])
def test_what_one_trials_hook_raises_is_its_own(where, error, tmp_path):
    ended = []

    class Ending(Callback):
        def on_exception(self, trainer, pl_module, exception):
            ended.append((pl_module.lr, exception))

    class Raising(Classifier):
        pass

    def raises(self, *args, **keywords):
        if self.lr == raising:
            raise error

    setattr(Raising, where, raises)
    raising = trials_of(recipe_of(Classifier, tmp_path))[2].hparams["lr"]
    made = trained(Raising, tmp_path, True, trainer={"callbacks": [Ending]})
    assert [made[number].state for number in range(3)] == ["complete", "complete", "failed"]
    assert made[2].reason == f"{type(error).__name__}: {error}"
    assert "test_hooks.py" in made[2].traceback
    assert ended == [(raising, error)]
    assert made[2].checkpoint is None or made[2].checkpoint.exists()


@pytest.mark.parametrize("error", [ValueError("not this one"), SystemExit(3)], ids=["an error", "an exit"])
def test_optimizers_that_cannot_be_made_for_one_trial_fail_it_alone(error, tmp_path):
    class Raising(Classifier):
        """Has a number that the steps read, of which those of the others have to stay theirs."""

        def make(self):
            self.factor = self.momentum
            return super().make()

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * self.factor

        def configure_optimizers(self):
            if self.lr == raising:
                raise error
            return super().configure_optimizers()

    raising = None
    alone = trained(Raising, tmp_path / "alone", False)
    raising = trials_of(recipe_of(Classifier, tmp_path))[0].hparams["lr"]
    fused = trained(Raising, tmp_path / "fused", True)
    assert (fused[0].state, fused[0].reason) == ("failed", f"{type(error).__name__}: {error}")
    assert "test_hooks.py" in fused[0].traceback
    for number in (1, 2):
        assert_alike(fused[number], alone[number])
        assert_same_curves(tmp_path / "fused", tmp_path / "alone", number)


def test_optimizers_that_cannot_be_made_for_any_trial_fail_all(tmp_path):
    class Raising(Classifier):
        def configure_optimizers(self):
            raise ValueError("none of them")

    made = trained(Raising, tmp_path, True)
    assert {(outcome.state, outcome.reason) for outcome in made.values()} == {("failed", "ValueError: none of them")}


def test_a_factory_that_fails_for_one_trial_fails_it_alone(tmp_path):
    def factory(lr, momentum):
        if lr == failing:
            raise ValueError("not this one")
        return Classifier(lr, momentum)

    recipe = recipe_of(factory, tmp_path)
    failing = trials_of(recipe)[0].hparams["lr"]
    made = run(recipe, [trials_of(recipe)])
    assert [made[number].state for number in range(3)] == ["failed", "complete", "complete"]
    assert made[0].reason == "ValueError: not this one"


def test_all_hooks_fail(tmp_path):
    class Raising(Classifier):
        def on_fit_start(self):
            raise ValueError("none of them")

    made = trained(Raising, tmp_path, True)
    assert {outcome.reason for outcome in made.values()} == {"ValueError: none of them"}


def test_a_metric_that_is_never_logged_condemns_the_search(tmp_path):
    made = trained(Classifier, tmp_path, True, monitor="val_los")
    assert all("did you mean 'val_loss'?" in str(outcome.error) for outcome in made.values())


def test_metric_objects_are_at_hand_between_batches(tmp_path):
    class Measured(Classifier):
        def make(self):
            self.accuracy = MulticlassAccuracy(10)
            return super().make()

        def training_step(self, batch, batch_idx):
            self.accuracy.update(self.net(batch[0]), batch[1])
            return super().training_step(batch, batch_idx)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx % 2:
                self.log("accuracy", self.accuracy.compute(), on_step=False, on_epoch=True, batch_size=1)
                self.accuracy.reset()

    both(Measured, tmp_path)


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_train_batch_end", "on_validation_batch_end"])
def test_what_hooks_of_a_batch_change_has_a_part_in_the_next_step(hook, tmp_path):
    class Annealed(Classifier):
        def make(self):
            self.weights = {"loss": 1.0}
            return super().make()

        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * self.weights["loss"]

    def anneal(self, *args):
        self.weights["loss"] *= 0.9

    setattr(Annealed, hook, anneal)
    both(Annealed, tmp_path)


def test_of_trials_that_end_together_all_but_the_last_say_that_more_follow(tmp_path):
    events = []
    recipe = recipe_of(Classifier, tmp_path, trainer={"max_epochs": 1})
    run(recipe, [trials_of(recipe)], emit=events.append)
    assert [event.more for event in events if isinstance(event, Finished)] == [True, True, False]


class Modes(Callback):
    """Notes how the model is found while it is validated, by trial."""

    def __init__(self, found):
        self.found = found

    def on_validation_batch_start(self, trainer, pl_module, *args):
        self.found.setdefault(pl_module.lr, set()).add((trainer.current_epoch, pl_module.training, pl_module.net.training))

    def on_train_batch_start(self, trainer, pl_module, *args):
        assert pl_module.training
        assert pl_module.net.training


def test_whoever_looks_finds_every_model_in_evaluation_while_it_is_validated_and_training_afterwards(tmp_path):
    found: dict[float, set] = {}
    trained(Classifier, tmp_path, True, trainer={"max_epochs": 3, "callbacks": partial(Modes, found)})
    assert [*found.values()] == [{(epoch, False, False) for epoch in range(3)}] * 3
