"""What was interrupted goes on from its last checkpoint, and ends as if nothing had happened."""

from __future__ import annotations

import os
import random
from collections import Counter, OrderedDict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    LearningRateFinder,
    ModelPruning,
)
from torch import nn
from torch.nn.utils import prune
from torch.optim import lr_scheduler
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler, Subset, TensorDataset

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


class Estimating(Module):
    """Has Lightning ask for its loaders before anything of a checkpoint's loops is there."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        steps = self.trainer.estimated_stepping_batches
        schedule = lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=steps + 1)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class PruningItself(Module):
    def on_train_epoch_end(self):
        prune.l1_unstructured(self.net[-1], "weight", 0.3)


# By default Lightning trains the first weights along that it would go back to, but those of a new process only later.
Pruning = partial(ModelPruning, "l1_unstructured", amount=0.3, use_lottery_ticket_hypothesis=False)


class Noisy(Dataset):
    """Changes its examples at random, with all the global generators."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        x, y = self.data[index]
        return x * random.uniform(0.5, 1.5) + np.random.rand() * torch.rand(()), y


class NoisyBatches(Noisy):
    def __getitems__(self, indices):
        return [self[index] for index in indices]


class Stream(IterableDataset):
    """Shuffles by itself, with all the global generators."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        order = random.sample(range(len(self.data)), len(self.data))
        for index in np.roll(order, np.random.randint(len(order))):
            x, y = self.data[index]
            yield x + torch.rand(()), y


class Shuffle(Sampler):
    """Draws from the global generator, and has none of its own."""

    def __init__(self, data):
        self.size = len(data)

    def __len__(self):
        return self.size

    def __iter__(self):
        return iter(np.random.permutation(self.size).tolist())


class Stateful(Shuffle):
    """Goes on from epoch to epoch: shuffles by a generator of its own what it has shuffled before."""

    def __init__(self, data):
        super().__init__(data)
        self.rng, self.order = np.random.default_rng(0), np.arange(self.size)

    def __iter__(self):
        self.rng.shuffle(self.order)
        return iter(self.order.tolist())


class Subsets:
    """Data hooks that draw other examples each time, of epoch to epoch more."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen, self.held_out = digits()

    def train_dataloader(self):
        size = 200 + 20 * self.trainer.current_epoch
        return DataLoader(Subset(self.seen, np.random.permutation(400)[:size].tolist()), batch_size=50, shuffle=True)

    def val_dataloader(self):
        return DataLoader(Subset(self.held_out, torch.randperm(180)[:90].tolist()), batch_size=90)


class SubsetsData(Subsets, LightningDataModule):
    pass


class SubsetsModule(Subsets, Module):
    pass


def digits():
    data = DigitsData()
    data.setup("fit")
    train = TensorDataset(*(torch.stack(column) for column in zip(*[data.train[i] for i in range(400)], strict=True)))
    return train, data.val


def loaders(train=None, shuffle_val=False, **arguments):
    data, val = digits()
    loader = DataLoader(data, batch_size=50, shuffle=True, **arguments) if train is None else train(data)
    return loader, DataLoader(val, batch_size=180, shuffle=shuffle_val)


def in_workers(make, persistent=True):
    """A loader of what ``make`` makes of the data, with two workers."""
    return lambda data: DataLoader(make(data), batch_size=50, shuffle=True, num_workers=2, persistent_workers=persistent)


def each(scheduler, **config):
    return lambda optimizer: {"scheduler": scheduler(optimizer), **config}


def plateau(patience):
    return lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=patience, threshold=0.5)


class Thawing(Module):
    """A part that is frozen as each fit begins, and thawed after some epochs."""

    def __init__(self, lr, **options):
        super().__init__(lr, **options)
        self.net.insert(1, nn.BatchNorm1d(16))

    def on_train_start(self):
        BaseFinetuning.freeze(self.net[:2])

    def on_train_epoch_end(self):
        if self.current_epoch == 1:
            BaseFinetuning.make_trainable(self.net[:2])


class WithBackbone(Module):
    @property
    def backbone(self):
        return self.net[0]

    def configure_optimizers(self):
        return torch.optim.SGD([each for each in self.parameters() if each.requires_grad], lr=self.hparams.lr)


class Interrupts(Callback):
    """Stops a search in a trial's epochs, but not in those of a finder, which leaves a trial's callbacks out."""

    epochs: list
    at: int | None = None

    def on_train_epoch_start(self, trainer, pl_module):
        Interrupts.epochs.append(trainer.current_epoch)
        if trainer.current_epoch == Interrupts.at:
            Interrupts.at = None
            raise KeyboardInterrupt


class WithLr(Module):
    def __init__(self, lr):
        super().__init__(lr)
        self.lr = lr

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class OwnBatches(Module):
    """Brings its data, in batches of a size that may be looked for."""

    batch_size = 8

    def train_dataloader(self):
        return DataLoader(digits()[0], batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return loaders()[1]


CASES = {
    "plain": {},
    "double precision": {"trainer": {"precision": "64-true"}},
    "a hook that thaws": {"kind": Thawing},
    "a backbone that thaws": {
        "kind": WithBackbone,
        "trainer": {"callbacks": [lambda: BackboneFinetuning(unfreeze_backbone_at_epoch=2, backbone_initial_lr=0.1)]},
    },
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
    "draws with replacement": {
        "train": lambda data: DataLoader(data, batch_size=50, sampler=RandomSampler(data, replacement=True), num_workers=1)
    },
    "noise": {"train": lambda data: DataLoader(Noisy(data), batch_size=50, shuffle=True)},
    "noise in workers": {"train": in_workers(Noisy, persistent=False)},
    "noise in persistent workers": {"train": in_workers(Noisy)},
    "noise by the batch": {"train": in_workers(NoisyBatches)},
    "noise and a batch sampler": {
        "train": lambda data: DataLoader(
            Noisy(data), batch_sampler=BatchSampler(Shuffle(data), 50, False), num_workers=1, persistent_workers=True
        )
    },
    "noise without batches": {
        "train": lambda data: DataLoader(
            Noisy([data[first : first + 50] for first in range(0, 400, 50)]),
            batch_size=None,
            shuffle=True,
            num_workers=1,
            persistent_workers=True,
        )
    },
    "a stream": {"train": lambda data: DataLoader(Stream(data), batch_size=50)},
    "a stream in a worker": {
        "train": lambda data: DataLoader(Stream(data), batch_size=50, num_workers=1, persistent_workers=True)
    },
    "a sampler without generator": {
        "train": lambda data: DataLoader(data, batch_size=50, sampler=Shuffle(data), num_workers=1)
    },
    "a sampler with a state": {"train": lambda data: DataLoader(data, batch_size=50, sampler=Stateful(data))},
    "a batch sampler with a state": {
        "train": lambda data: DataLoader(
            data, batch_sampler=BatchSampler(Stateful(data), 50, False), num_workers=1, persistent_workers=True
        )
    },
    "an estimate of steps": {"kind": Estimating},
    "an estimate of steps, loader workers": {"kind": Estimating, "loader": {"num_workers": 1}},
    "an estimate of steps, a sampler with a state": {
        "kind": Estimating,
        "train": lambda data: DataLoader(data, batch_size=50, sampler=Stateful(data)),
    },
    "other data each epoch": {"data": SubsetsData, "trainer": {"reload_dataloaders_every_n_epochs": 1}},
    "other data every other epoch": {"data": SubsetsData, "trainer": {"reload_dataloaders_every_n_epochs": 2}},
    "a module's other data": {
        "kind": SubsetsModule,
        "data": None,
        "trainer": {"reload_dataloaders_every_n_epochs": 1, "num_sanity_val_steps": 0},
    },
    "random data": {"data": SubsetsData},
    "pruned by a callback": {"trainer": {"callbacks": [Pruning]}},
    "pruned by a callback, with masks in checkpoints": {
        "trainer": {"callbacks": [partial(Pruning, make_pruning_permanent=False)]}
    },
    "pruned by the module": {"kind": PruningItself},
}


def make(search, case, root, interrupt=None, log=None, **changes):
    settings = {**CASES[case], **changes}
    options = {name: settings.pop(name) for name in ("schedule", "adam") if name in settings}
    loader = settings.pop("loader", {}) | {name: settings.pop(name) for name in ("train", "shuffle_val") if name in settings}
    kind = settings.pop("kind", Module)

    def module(lr):
        return kind(lr, interrupt=interrupt, log=log, **options)

    def data():
        return loaders(**loader)

    trainer = {"max_epochs": EPOCHS, "accelerator": "cpu", **settings.pop("trainer", {})}
    return search(module, **{"space": SPACE, "data": data, "trials": 1, "trainer": trainer, "root_dir": root, **settings})


def rows(study):
    return [(t.number, t.hparams, t.seed, t.state, t.value, t.epochs, t.metrics, t.reason) for t in study.trials]


def weights(study):
    return torch.load(study.best.checkpoint, weights_only=True)["state_dict"]


@pytest.mark.parametrize("case", CASES)
def test_a_trial_that_is_interrupted_ends_as_if_it_had_not_been(search, tmp_path, case):
    whole = make(search, case, tmp_path / "whole").run()
    # In its second epoch, and once more two epochs later.
    interrupts = [epoch for epoch in (1, 3) if epoch < whole.trials[0].epochs]
    log = tmp_path / "epochs"
    for interrupt in interrupts:
        with pytest.raises(KeyboardInterrupt):
            make(search, case, tmp_path / "study", interrupt, log).run()
        (trial,) = Study(tmp_path / "study").trials
        assert (trial.state, trial.reason) == ("waiting", "interrupted: the same search goes on with it")
    resumed = make(search, case, tmp_path / "study", log=log).run()
    assert rows(resumed) == rows(whole)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())
    # Not from zero: only the epochs that were broken off are run again.
    assert sorted(map(int, log.read_text().split())) == sorted([*range(whole.trials[0].epochs), *interrupts])
    logs = [sorted(root.rglob("babysit.jsonl")) for root in (whole.root, resumed.root)]
    assert [path.read_text() for path in logs[0]] == [path.read_text() for path in logs[1]]


def test_an_interrupted_search_says_how_to_go_on_and_then_from_where(search, tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        make(search, "adam", tmp_path / "study", 1, progress=True).run()
    assert capsys.readouterr().err == "interrupted; run the same again to go on\n"
    make(search, "adam", tmp_path / "study", progress=True).run()
    assert capsys.readouterr().err.splitlines()[0] == "0 of 1 trial done; going on with trial 0"
    make(search, "adam", tmp_path / "study", progress=True).run()
    assert capsys.readouterr().err == "nothing to run: all 1 trials are finished; ask for more with trials\n"


def test_a_checkpoint_that_a_power_cut_has_truncated_is_passed_over_for_the_one_before(search, tmp_path):
    whole = make(search, "adam", tmp_path / "whole").run()
    log = tmp_path / "epochs"
    with pytest.raises(KeyboardInterrupt):
        make(search, "adam", tmp_path / "study", 3, log).run()
    folder = tmp_path / "study/trials/000000/checkpoints"
    os.truncate(folder / LAST, (folder / LAST).stat().st_size // 2)
    with pytest.warns(UserWarning, match=r"last\.ckpt cannot be read: .*: the trial goes on from last\.previous\.ckpt"):
        assert rows(make(search, "adam", tmp_path / "study", log=log).run()) == rows(whole)
    assert log.read_text().split() == ["0", "1", "2", "3", "2", "3", "4"]


def test_with_no_valid_checkpoint_the_trial_starts_anew(search, tmp_path):
    whole = make(search, "adam", tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        make(search, "adam", tmp_path / "study", 3).run()
    for name in (LAST, PREVIOUS):
        (tmp_path / "study/trials/000000/checkpoints" / name).write_bytes(b"PK")
    with pytest.warns(UserWarning, match="the trial starts from zero"):
        assert rows(make(search, "adam", tmp_path / "study").run()) == rows(whole)


def test_without_the_weights_of_its_best_epoch_a_trial_starts_anew(search, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(search, "plain", tmp_path / "study", 3).run()
    os.truncate(tmp_path / "study/trials/000000/checkpoints/best.ckpt", 100)
    with pytest.warns(UserWarning, match=r"last\.ckpt needs best\.ckpt, which cannot be read: .* starts from zero"):
        study = make(search, "plain", tmp_path / "study").run()
    assert study.best.load().hparams.lr == study.best.hparams["lr"]
    assert rows(study) == rows(make(search, "plain", tmp_path / "whole").run())


class Keeper(Callback):
    """Has a state of any kind."""

    def __init__(self, state):
        self.state, self.restored = state, []

    def state_dict(self):
        return {"kept": self.state}

    def load_state_dict(self, state_dict):
        self.restored.append(state_dict["kept"])


STATES = {
    "numpy's numbers": [np.float64(0.5), np.float32(0.1), np.int64(3), np.bool_(True), np.datetime64("2026-01-01")],
    "arrays": [np.arange(6.0).reshape(2, 3), np.array(["a", "b"]), np.zeros(2, [("x", "f4")]), np.array([1, "a"], object)],
    "paths": [Path("runs"), PurePosixPath("/tmp")],
    "sets": [{1, 2}, frozenset({"a"})],
    "counts and order": [Counter("aab"), OrderedDict(b=1, a=2)],
    "time": [datetime(2026, 1, 1, tzinfo=timezone.utc), timedelta(days=1), date(2026, 1, 1)],
    "exact numbers": [Fraction(1, 3), Decimal("0.1"), 1 + 2j],
    "torch": [nn.Parameter(torch.ones(2)), torch.float16, torch.Size([2]), torch.device("cpu")],
    "generators": [np.random.default_rng(0).bit_generator.state, random.getstate(), np.random.get_state()],
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_of_harmless_values_comes_back_as_it_was(search, tmp_path, kind, recwarn):
    keeper, log = Keeper(STATES[kind]), tmp_path / "epochs"
    trainer = {"max_epochs": EPOCHS, "accelerator": "cpu", "callbacks": [lambda: keeper]}
    with pytest.raises(KeyboardInterrupt):
        make(search, "plain", tmp_path / "study", 1, log, trainer=trainer).run()
    make(search, "plain", tmp_path / "study", log=log, trainer=trainer).run()
    assert log.read_text().split() == ["0", "1", "1", "2", "3", "4"]
    (restored,) = keeper.restored
    assert [type(each) for each in restored] == [type(each) for each in keeper.state]
    assert repr(restored) == repr(keeper.state)
    assert not [warning for warning in recwarn if "ckpt" in str(warning.message)]


class Odd:
    """What no checkpoint gives back."""


def test_a_state_that_will_not_be_read_back_is_told_before_it_is_needed(search, tmp_path):
    trainer = {"max_epochs": EPOCHS, "accelerator": "cpu", "callbacks": [lambda: Keeper({"seen": [1, (Odd(),)]})]}
    where = r"callbacks\.Keeper\.kept\.seen\[1\]\[0\] of type Odd\. If interrupted, the trial would start from zero"
    with pytest.warns(UserWarning, match=where) as told, pytest.raises(KeyboardInterrupt):
        make(search, "plain", tmp_path / "study", 3, trainer=trainer).run()
    assert sum("ckpt" in str(warning.message) for warning in told) == 1
    with pytest.warns(UserWarning, match=r"last\.ckpt holds .*\.Odd, not safe to read; .*: the trial starts from zero"):
        resumed = make(search, "plain", tmp_path / "study", trainer=trainer).run()
    assert rows(resumed) == rows(make(search, "plain", tmp_path / "whole").run())


def test_a_learning_rate_of_numpys_is_gone_on_with(search, tmp_path):
    log = tmp_path / "epochs"

    class Numpy(Module):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=np.float64(self.hparams.lr))

        def on_save_checkpoint(self, checkpoint):
            checkpoint["mine"] = np.arange(3)

        def on_load_checkpoint(self, checkpoint):
            assert type(checkpoint["mine"]) is np.ndarray

    def run(interrupt=None):
        return make(search, "plain", tmp_path / "study", interrupt, log, kind=Numpy).run()

    with pytest.raises(KeyboardInterrupt):
        run(1)
    assert run().trials[0].state == "complete"
    assert log.read_text().split() == ["0", "1", "1", "2", "3", "4"]


class Alternating(Module):
    """Steps two optimizers in each batch."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), self.hparams.lr) for part in (self.net[0], self.net[1:])]


@pytest.mark.parametrize("kind", [Module, Alternating])
def test_curves_go_on_without_what_the_lost_attempt_had_drawn(search, tmp_path, kind):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def curves(root):
        events = EventAccumulator(str(root / "trials/000000"), size_guidance={"scalars": 0})
        events.Reload()
        tags = [tag for tag in events.Tags()["scalars"] if tag != "hp_metric"]
        return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}

    def run(name, interrupt=None):
        babysitter = Babysitter("val_loss", patience=1, min_delta=10.0)
        return make(search, "plain", tmp_path / name, interrupt, kind=kind, babysit=babysitter).run()

    run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("study", 3)
    run("study")
    assert curves(tmp_path / "study") == curves(tmp_path / "whole")
    assert "babysit/interventions" in str(list(curves(tmp_path / "whole")))


def test_a_trial_does_not_go_on_from_another_trials_checkpoint(search, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(search, "plain", tmp_path / "study", 3).run()
    (tmp_path / "study/study.db").unlink()
    with pytest.warns(UserWarning, match=r"last\.ckpt is another trial's; .* starts from zero"):
        other = make(search, "plain", tmp_path / "study", seed=1).run()
    assert rows(other) == rows(make(search, "plain", tmp_path / "whole", seed=1).run())


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


FINDERS = {
    "lr": (WithLr, lambda: LearningRateFinder(num_training_steps=20)),
    "batch_size": (OwnBatches, lambda: BatchSizeFinder(init_val=16, max_trials=2, steps_per_trial=1)),
}


@pytest.mark.parametrize("name", FINDERS)
def test_what_was_found_as_a_trial_began_is_not_looked_for_again(search, tmp_path, name):
    kind, finder = FINDERS[name]
    found = []

    class Looks(kind):
        def on_train_start(self):
            if any(isinstance(callback, Interrupts) for callback in self.trainer.callbacks):
                found.append(getattr(self, name))

    def run(root):
        trainer = {"max_epochs": 4, "accelerator": "cpu", "callbacks": [finder, Interrupts]}
        data = {"data": None} if kind is OwnBatches else {}
        return search(Looks, space=SPACE, trials=1, trainer=trainer, root_dir=root, **data).run().trials

    Interrupts.epochs = []
    [whole] = run(tmp_path / "whole")
    Interrupts.at = 2
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "study")
    [trial] = run(tmp_path / "study")
    assert Interrupts.epochs == [0, 1, 2, 3, 0, 1, 2, 2, 3]
    assert trial.metrics == whole.metrics
    assert len(found) == 3
    assert found[0] == found[1] == found[2] != getattr(Looks(**trial.hparams), name)
