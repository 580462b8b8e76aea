"""What was interrupted goes on from its last checkpoint, and ends as if nothing had happened."""

from __future__ import annotations

import os

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from examples.digits import DigitsData, LitDigits
from lightning_hp import Babysitter, ConfigError, Log, Study
from lightning_hp.fit.checkpoints import LAST, PREVIOUS

EPOCHS = 5
SPACE = {"lr": Log(0.05, 0.5)}


class Module(LitDigits):
    """Digits with dropout, any schedule, and epochs counted in a file; stops the search once in a given epoch."""

    def __init__(self, lr, schedule=None, adam=False, interrupt=None, log=None):
        super().__init__(lr=lr, hidden=16)
        self.net.insert(1, nn.Dropout(0.3))
        self.schedule, self.adam, self.interrupt, self.log_file = schedule, adam, interrupt, log

    def on_train_epoch_start(self):
        if self.log_file is not None:
            with self.log_file.open("a") as file:
                file.write(f"{self.current_epoch}\n")
        if self.current_epoch == self.interrupt:
            raise KeyboardInterrupt

    def configure_optimizers(self):
        if self.adam:
            optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr / 50)
        else:
            optimizer = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=0.9)
        return optimizer if self.schedule is None else {"optimizer": optimizer, "lr_scheduler": self.schedule(optimizer)}


def loaders(shuffle_val=False, **arguments):
    digits = DigitsData()
    digits.setup("fit")
    train = TensorDataset(*(torch.stack(column) for column in zip(*[digits.train[i] for i in range(400)], strict=True)))
    if arguments.pop("replacement", False):
        arguments["sampler"] = RandomSampler(train, replacement=True)
    else:
        arguments["shuffle"] = True
    return DataLoader(train, batch_size=50, **arguments), DataLoader(digits.val, batch_size=180, shuffle=shuffle_val)


def each(scheduler, **config):
    return lambda optimizer: {"scheduler": scheduler(optimizer), **config}


def plateau(patience):
    return lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=patience, threshold=0.5)


CASES = {
    "plain": {},
    "adam": {"adam": True},
    "StepLR": {"schedule": each(lambda o: lr_scheduler.StepLR(o, 1, 0.7))},
    "OneCycleLR": {"schedule": each(lambda o: lr_scheduler.OneCycleLR(o, 0.4, total_steps=8 * EPOCHS), interval="step")},
    "warm restarts": {"schedule": each(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2))},
    "ReduceLROnPlateau": {"schedule": each(plateau(patience=0), monitor="val_loss")},
    "plateau by step": {"schedule": each(plateau(patience=2), monitor="val_loss", interval="step", strict=False)},
    "validation every other epoch": {"trainer": {"check_val_every_n_epoch": 2}},
    "validation twice an epoch": {"trainer": {"val_check_interval": 0.5}},
    "accumulated gradients": {"trainer": {"accumulate_grad_batches": 3}},
    "bf16": {"trainer": {"precision": "bf16-mixed"}},
    "steps": {"trainer": {"max_steps": 37}},
    "steps and early stopping": {"trainer": {"max_steps": 37, "callbacks": [lambda: EarlyStopping("val_loss", min_delta=1.0)]}},
    "early stopping": {"trainer": {"callbacks": [lambda: EarlyStopping("val_acc", mode="max", patience=1, min_delta=0.1)]}},
    "babysitter": {"babysit": Babysitter("val_loss", patience=0, min_delta=0.3)},
    "a training metric": {"monitor": "train_loss", "mode": "min", "trainer": {"limit_val_batches": 0}},
    "loader workers": {"loader": {"num_workers": 1}},
    "persistent workers": {"loader": {"num_workers": 1, "persistent_workers": True}},
    "shuffled validation": {"shuffle_val": True, "trainer": {"limit_val_batches": 1}},
    "draws with replacement": {"loader": {"num_workers": 1, "replacement": True}},
}


def make(search, case, root, interrupt=None, log=None):
    settings = dict(CASES[case])
    options = {name: settings.pop(name) for name in ("schedule", "adam") if name in settings}
    loader = {**settings.pop("loader", {}), "shuffle_val": settings.pop("shuffle_val", False)}

    def module(lr):
        return Module(lr, interrupt=interrupt, log=log, **options)

    def data():
        return loaders(**loader)

    trainer = {"max_epochs": EPOCHS, "accelerator": "cpu", **settings.pop("trainer", {})}
    return search(module, space=SPACE, data=data, trials=1, trainer=trainer, root_dir=root, **settings)


def rows(study):
    return [(t.number, t.hparams, t.seed, t.state, t.value, t.epochs, t.metrics, t.reason) for t in study.trials]


def weights(study):
    return torch.load(study.best.checkpoint, weights_only=True)["state_dict"]


@pytest.mark.parametrize("interrupt", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_a_trial_that_is_interrupted_ends_as_if_it_had_not_been(search, tmp_path, case, interrupt):
    whole = make(search, case, tmp_path / "whole").run()
    log = tmp_path / "epochs"
    if whole.trials[0].epochs > interrupt:
        with pytest.raises(KeyboardInterrupt):
            make(search, case, tmp_path / "study", interrupt, log).run()
        (trial,) = Study(tmp_path / "study").trials
        assert (trial.state, trial.reason) == ("waiting", "interrupted: the same search goes on with it")
    resumed = make(search, case, tmp_path / "study", log=log).run()
    assert rows(resumed) == rows(whole)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())
    # Not from zero: the epochs before are not run again.
    assert [int(line) for line in log.read_text().split()].count(0) == 1
    logs = [sorted(root.rglob("babysit.jsonl")) for root in (whole.root, resumed.root)]
    assert [path.read_text() for path in logs[0]] == [path.read_text() for path in logs[1]]


def test_a_checkpoint_that_a_power_cut_has_truncated_is_passed_over_for_the_one_before(search, tmp_path):
    whole = make(search, "adam", tmp_path / "whole").run()
    log = tmp_path / "epochs"
    with pytest.raises(KeyboardInterrupt):
        make(search, "adam", tmp_path / "study", 3, log).run()
    folder = tmp_path / "study/trials/000000/checkpoints"
    os.truncate(folder / LAST, (folder / LAST).stat().st_size // 2)
    assert rows(make(search, "adam", tmp_path / "study", log=log).run()) == rows(whole)
    assert log.read_text().split() == ["0", "1", "2", "3", "2", "3", "4"]


def test_with_no_valid_checkpoint_the_trial_starts_anew(search, tmp_path):
    whole = make(search, "adam", tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        make(search, "adam", tmp_path / "study", 3).run()
    for name in (LAST, PREVIOUS):
        (tmp_path / "study/trials/000000/checkpoints" / name).write_bytes(b"PK")
    assert rows(make(search, "adam", tmp_path / "study").run()) == rows(whole)


def test_without_the_weights_of_its_best_epoch_a_trial_starts_anew(search, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(search, "plain", tmp_path / "study", 3).run()
    os.truncate(tmp_path / "study/trials/000000/checkpoints/best.ckpt", 100)
    study = make(search, "plain", tmp_path / "study").run()
    assert study.best.load().hparams.lr == study.best.hparams["lr"]
    assert rows(study) == rows(make(search, "plain", tmp_path / "whole").run())


def test_curves_go_on_without_what_the_lost_attempt_had_drawn(search, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def curve(root):
        events = EventAccumulator(str(root / "trials/000000"), size_guidance={"scalars": 0})
        events.Reload()
        return [(event.step, event.value) for event in events.Scalars("val_loss")]

    make(search, "plain", tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        make(search, "plain", tmp_path / "study", 3).run()
    make(search, "plain", tmp_path / "study").run()
    assert curve(tmp_path / "study") == curve(tmp_path / "whole")


def test_another_search_does_not_go_on_from_what_an_unfinished_one_has_left(search, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(search, "plain", tmp_path / "study", 3).run()
    changed = make(search, "accumulated gradients", tmp_path / "study").run()
    assert rows(changed) == rows(make(search, "accumulated gradients", tmp_path / "whole").run())
    with pytest.raises(ConfigError, match="accumulate_grad_batches"):
        make(search, "plain", tmp_path / "study").run()


def test_what_min_epochs_has_put_off_is_not_forgotten(search, tmp_path):
    class Stopping(Module):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.trainer.should_stop = self.trainer.should_stop or self.current_epoch == 1

    def make(root, interrupt=None):
        def module(lr):
            return Stopping(lr, interrupt=interrupt)

        trainer = {"max_epochs": EPOCHS, "min_epochs": 4, "accelerator": "cpu"}
        return search(module, space=SPACE, data=loaders, trials=1, trainer=trainer, root_dir=root)

    whole = make(tmp_path / "whole").run()
    assert whole.trials[0].epochs == 4
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "study", 3).run()
    assert rows(make(tmp_path / "study").run()) == rows(whole)
