"""The user's own ModelCheckpoint in a trial: what it knows after a pause, and what trials without one show in its place."""

from __future__ import annotations

import warnings

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint

from examples.digits import LitDigits
from lightning_hp import Halving, Log, MonitorError
from lightning_hp.fit.checkpoints import BEST, LAST
from lightning_hp.fit.users_checkpoints import THEIRS
from lightning_hp.trial import trial_folder

SPACE = {"lr": Log(1e-2, 1.0)}
# The best epoch is the one at whose end trials pause.
SCORES = (0.9, 0.1, 0.2, 0.3)


class Scored(LitDigits):
    """Digits with a metric ``score`` that follows a script, one value an epoch."""

    def on_validation_epoch_end(self):
        self.log("score", SCORES[self.current_epoch])


class Ends(Callback):
    """Keeps what the ModelCheckpoint of each fit, which comes first of its checkpoints, knows at the end."""

    known: list

    def on_fit_end(self, trainer, pl_module):
        own = trainer.checkpoint_callback
        assert isinstance(own, ModelCheckpoint)
        best = float(own.best_model_score)
        Ends.known.append((trainer.current_epoch, pytest.approx(best), own.best_model_path, list(own.best_k_models)))


@pytest.fixture
def ends():
    Ends.known = []
    return Ends


def own(folder):
    return lambda trial: ModelCheckpoint(folder / str(trial.number), "{epoch}", monitor="score", mode="max")


def trainer_of(callbacks):
    return {"max_epochs": 4, "accelerator": "cpu", "limit_train_batches": 4, "callbacks": callbacks}


def paused_once(search, callbacks, model=Scored, fuse="never"):
    pruner, trainer = Halving(first=1, factor=2), trainer_of(callbacks)
    arguments = {"monitor": "score", "trials": 2, "pruner": pruner, "trainer": trainer}
    study = search(model, space=SPACE, fuse=fuse, **arguments).run()
    assert sorted(trial.epochs for trial in study.trials) == [1, 4]
    return study


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_a_pause_at_the_best_epoch_is_remembered_by_the_users_checkpoint(search, tmp_path, ends, fuse):
    study = paused_once(search, [own(tmp_path), ends], fuse=fuse)
    first = tmp_path / str(study.best.number) / "epoch=0.ckpt"
    assert ends.known[-1] == (4, SCORES[0], str(first), [str(first)])
    assert list(first.parent.iterdir()) == [first]


def test_so_is_the_best_epoch_of_a_fit_that_was_interrupted(search, tmp_path, ends):
    class Interrupt(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1 and not ends.known:
                ends.known.append("interrupted")
                raise KeyboardInterrupt

    arguments = {"monitor": "score", "trials": 1, "trainer": trainer_of([own(tmp_path), ends, Interrupt])}
    with pytest.raises(KeyboardInterrupt):
        search(Scored, space=SPACE, **arguments).run()
    search(Scored, space=SPACE, **arguments).run()
    first = tmp_path / "0" / "epoch=0.ckpt"
    assert ends.known == ["interrupted", (4, SCORES[0], str(first), [str(first)])]
    assert list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_so_is_it_by_a_checkpoint_that_the_module_brings_itself(search, tmp_path, ends, fuse):
    class Brings(Scored):
        def configure_callbacks(self):
            return [ModelCheckpoint(tmp_path / str(self.hparams.lr), "{epoch}", monitor="score", mode="max")]

    study = paused_once(search, [ends], Brings, fuse)
    first = tmp_path / str(study.best.hparams["lr"]) / "epoch=0.ckpt"
    assert ends.known[-1] == (4, SCORES[0], str(first), [str(first)])


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_only_where_a_trial_begins_is_it_told_that_its_folder_holds_files(search, tmp_path, ends, fuse):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        paused_once(search, [own(tmp_path), ends], fuse=fuse)
        assert not [each for each in told if "is not empty" in str(each.message)]
        anew = {"monitor": "score", "trials": 1, "root_dir": tmp_path / "other", "trainer": trainer_of([own(tmp_path)])}
        search(Scored, space=SPACE, **anew).run()
    assert len([each for each in told if "is not empty" in str(each.message)]) == 1


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_an_objective_that_the_users_checkpoint_misses_first_ends_the_search_with_the_nearest_name(search, tmp_path, fuse):
    trainer = {"max_epochs": 1, "accelerator": "cpu", "callbacks": [lambda: ModelCheckpoint(tmp_path, monitor="val_ac")]}
    with pytest.raises(MonitorError, match=r"monitor='val_ac' is not logged by the module .did you mean 'val_acc'"):
        search(space=SPACE, monitor="val_ac", trials=2, fuse=fuse, trainer=trainer).run()


class Reads(LitDigits):
    """Loads its best weights when its fit is over, as notebooks do with Lightning's default ModelCheckpoint."""

    found: dict

    def on_fit_end(self):
        kept = self.trainer.checkpoint_callback
        weights = torch.load(kept.best_model_path, weights_only=True)["state_dict"]
        Reads.found[self.hparams.lr] = (kept, float(kept.best_model_score), weights)


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_without_a_checkpoint_of_the_users_the_best_weights_are_found_where_lightnings_default_has_them(search, fuse):
    Reads.found = {}
    trainer = {"max_epochs": 2, "accelerator": "cpu", "limit_train_batches": 4}
    study = search(Reads, space=SPACE, fuse=fuse, trainer=trainer, keep_checkpoints=1).run()
    assert [trial.state for trial in study.trials] == ["complete"] * 3
    for trial in study.trials:
        kept, score, _ = Reads.found[trial.hparams["lr"]]
        folder = trial_folder(study.root, trial.number) / "checkpoints"
        assert (kept.monitor, kept.mode, kept.dirpath) == ("val_acc", "max", str(folder))
        assert (kept.best_model_path, kept.last_model_path) == (str(folder / "best.ckpt"), str(folder / "last.ckpt"))
        assert score == pytest.approx(trial.value)
    weights = torch.load(study.best.checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(value, weights[name]) for name, value in Reads.found[study.best.hparams["lr"]][2].items())


def test_where_none_are_written_no_path_is_named(search):
    class Looks(LitDigits):
        def on_fit_end(self):
            kept = self.trainer.checkpoint_callback
            assert (kept.dirpath, kept.best_model_path, kept.last_model_path) == (None, "", "")

    trainer = {"max_epochs": 1, "accelerator": "cpu", "limit_train_batches": 4, "enable_checkpointing": False}
    study = search(Looks, space=SPACE, trials=1, trainer=trainer).run()
    assert study.trials[0].state == "complete", study.trials[0].reason


class TwoScores(Scored):
    """Also with a metric ``other``, whose best epoch is another."""

    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        self.log("other", -SCORES[self.current_epoch])


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_the_users_files_of_the_same_names_are_other_files(search, fuse):
    other = lambda: ModelCheckpoint(monitor="other", mode="max", filename="best", save_last="link")  # noqa: E731
    arguments = {"monitor": "score", "mode": "max", "trials": 2, "trainer": trainer_of([other]), "fuse": fuse}
    study = search(TwoScores, space=SPACE, **arguments).run()
    for trial in study.trials:
        folder = trial_folder(study.root, trial.number) / "checkpoints"
        saved = {path: torch.load(folder / path, weights_only=True) for path in (f"{THEIRS}/best.ckpt", f"{THEIRS}/last.ckpt")}
        assert [each["epoch"] for each in saved.values()] == [1, 1]
        assert "optimizer_states" in saved[f"{THEIRS}/best.ckpt"]
        assert torch.load(folder / BEST, weights_only=True)["epoch"] == 0
        assert torch.load(folder / LAST, weights_only=True)["epoch"] == 3
        assert not (folder / LAST).is_symlink()


def test_what_a_failed_trial_has_left_for_itself_is_nothing_for_the_next(search, tmp_path):
    begun = []

    class Fails(LitDigits):
        def on_train_start(self):
            begun.append(self.current_epoch)

        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                raise ValueError("in the second epoch")

    trainer = trainer_of([lambda: OnExceptionCheckpoint(tmp_path / "shared")])
    study = search(Fails, space=SPACE, trials=3, trainer=trainer).run()
    assert [trial.state for trial in study.trials] == ["failed"] * 3
    assert begun == [0, 0, 0]
