"""When babysit.jsonl is written: what changes the fit at once, the rest before it, at a checkpoint, or when the fit ends."""

from __future__ import annotations

import math

import pytest
from lightning.pytorch import Callback

from lightning_hp import Babysitter
from lightning_hp.babysit import log, logbook
from lightning_hp.babysit.actions import Adjust, Move, Snapshot
from tests.babysit.scripted import Scripted


@pytest.fixture(autouse=True)
def slow(monkeypatch):
    """A fit is over before it is time to write again."""
    monkeypatch.setattr(logbook, "INTERVAL", math.inf)


class Reader(Callback):
    """Reads the log after each batch."""

    def __init__(self, file):
        self.file = file
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(log.read(self.file))


@pytest.fixture
def read(fit, scripted, tmp_path):
    """What the log held after each batch of a fit of three batches an epoch, and what it holds in the end."""

    def run(*callbacks, **arguments):
        reader = Reader(tmp_path / "run" / log.FILE)
        fit(scripted(), *callbacks, reader, **arguments)
        return reader.seen, log.read(reader.file)

    return run


def test_what_changes_the_fit_is_in_the_file_before_its_batch_is_over_with_all_that_came_before_it(read):
    lower = Adjust((Move(0.5),))
    seen, written = read(Babysitter("score", policy=Scripted({2: [Snapshot("good")], 4: [lower], 5: [Snapshot("good")]})))
    events = ["state", "state", "decision", "state", "state", "decision", "state", "decision", "state"]
    assert [record.event for record in written] == events
    (changed,) = [record for record in written if record.intervenes]
    assert [len(records) for records in seen] == [0] * 3 + [1] * 9 + [6] * 6
    assert seen[12][-1] == changed


def test_a_fit_whose_checks_are_slow_has_each_in_the_file_at_once(read, monkeypatch):
    monkeypatch.setattr(logbook, "INTERVAL", 0.0)
    seen, written = read(Babysitter("score", patience=100))
    assert [len(records) for records in seen] == [len([each for each in written if each.batch <= at]) for at in range(18)]


def test_a_checkpoint_has_in_the_file_what_a_fit_that_goes_on_from_it_does_not_write(read, tmp_path):
    class Saver(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 3:
                trainer.save_checkpoint(tmp_path / "saved.ckpt")

    seen, _ = read(Babysitter("score", policy=Scripted({})), Saver())
    assert [len(records) for records in seen] == [0] * 3 + [1] * 9 + [3] * 6


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_fit_that_an_error_ends_has_written_all(read, tmp_path, error):
    class Failing(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 11:
                raise error("no more")

    with pytest.raises((ValueError, SystemExit)):
        read(Babysitter("score", policy=Scripted({})), Failing())
    assert [record.batch for record in log.read(tmp_path / "run" / log.FILE)] == [3, 6, 9]


def test_a_replay_writes_as_the_fit_that_it_repeats(read, fit, scripted, tmp_path):
    lower = Adjust((Move(0.5),))
    fit(scripted(), Babysitter("score", policy=Scripted({4: [lower]})), version="first")
    seen, written = read(Babysitter.replay(tmp_path / "first"))
    assert [len(records) for records in seen] == [0] * 3 + [1] * 9 + [5] * 6
    assert len(written) == len(log.read(tmp_path / "first" / log.FILE))


def test_two_babysitters_write_in_the_order_of_what_they_do(read, fit, scripted, tmp_path):
    lower = Adjust((Move(0.5),))
    first = Babysitter("score", policy=Scripted({2: [Snapshot("first")], 3: [Snapshot("first")], 4: [lower]}))
    second = Babysitter("val_acc", policy=Scripted({2: [lower], 3: [Snapshot("second")]}))
    _, written = read(first, second)
    assert [record.batch for record in written] == sorted(record.batch for record in written)
    done = [(record.batch, record.detail["by"], record.actions) for record in written if record.event == "decision"]
    replayed = fit(scripted(), Babysitter.replay(tmp_path / "run"), version="replayed")
    records = log.read(tmp_path / "replayed" / log.FILE)
    assert [(each.batch, each.detail["by"], each.actions) for each in records if each.event == "decision"] == done
    assert replayed.global_step == 18
