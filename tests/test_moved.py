"""A study's folder that has another path when its search goes on: moved by hand, or on another machine."""

from __future__ import annotations

import shutil

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from examples.digits import LitDigits
from lightning_hp import Babysitter, Log, Study
from lightning_hp.babysit import log, snapshots
from lightning_hp.trial import trial_folder

EPOCHS = 6


class Interrupt(Callback):
    """Stops the search at an epoch, as Ctrl-C does."""

    at = None

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == Interrupt.at:
            raise KeyboardInterrupt


class Keep(ModelCheckpoint):
    """Keeps the paths that it knows at the end of a fit."""

    known = None

    def __init__(self):
        super().__init__(monitor="val_loss", save_top_k=2, save_last="link", filename="{epoch}")

    def on_fit_end(self, trainer, pl_module):
        Keep.known = [self.best_model_path, self.last_model_path, *sorted(self.best_k_models)]


def babysat(search, root, **settings):
    # It finds something to do at each second check.
    babysit = Babysitter(monitor="val_loss", mode="max", patience=1)
    trainer = {"max_epochs": EPOCHS, "accelerator": "cpu", "callbacks": [Interrupt, Keep]}
    arguments = {"space": {"lr": Log(0.05, 0.1)}, "babysit": babysit, "trainer": trainer, "trials": 1, **settings}
    return search(LitDigits, root_dir=root, **arguments)


def told(root):
    """What is known of the trial, wherever its folder lies."""
    folder = trial_folder(root, 0)
    trial = Study(root).trials[0]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.ckpt")}
    return trial.state, trial.value, trial.metrics, log.read(folder / log.FILE), files


@pytest.mark.parametrize("most", [0, snapshots.MOST_IN_MEMORY], ids=["snapshots on disk", "snapshots in memory"])
def test_a_babysat_trial_goes_on_in_a_folder_that_was_moved_as_in_one_that_was_not(search, tmp_path, monkeypatch, most):
    monkeypatch.setattr(snapshots, "MOST_IN_MEMORY", most)

    def interrupted(root, then):
        monkeypatch.setattr(Interrupt, "at", 4)
        with pytest.raises(KeyboardInterrupt):
            babysat(search, root).run()
        monkeypatch.setattr(Interrupt, "at", None)
        if then != root:
            shutil.move(root, then)
        study = babysat(search, then).run()
        assert study.best.load() is not None
        return told(then), Keep.known

    whole, stayed, old, new = (tmp_path / name for name in ("whole", "stayed", "old", "new"))
    babysat(search, whole).run()
    assert any(record.intervenes for record in told(whole)[3])
    expected, known = interrupted(stayed, stayed)
    assert expected[:4] == told(whole)[:4]
    found, now_known = interrupted(old, new)
    assert found == expected
    assert now_known == [path.replace(str(stayed), str(new)) for path in known]
    assert not old.exists()
