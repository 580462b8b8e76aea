"""A replay: the same actions at the same places, and so the same fit, or an error that says why not."""

from __future__ import annotations

import copy

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from torch.optim import lr_scheduler as schedulers

from lightning_hp import Babysitter, ConfigError
from lightning_hp.babysit.actions import Adjust, Knobs, Move, Rollback, Skip, Snapshot
from lightning_hp.babysit.log import FILE, Record, extend, interventions, read
from lightning_hp.babysit.replay import Replay
from tests.babysit.scripted import Scripted

EPOCHS = 8
ONE_GROUP = [Knobs(0.1, 0.9)], [Knobs(0.1, 0.9)]


EVERYTHING = {
    0: [Snapshot("start")],
    2: [Snapshot("second"), Adjust((Move(3.0, 0.5),))],
    3: [Skip(2)],
    4: [Rollback("second"), Adjust((Move(0.5, 1.0),))],
    5: [Rollback("start", keep_moves=False), Skip(1)],
    6: [Adjust((Move(0.1, 2.0),))],
}


def busy():
    return Babysitter("score", policy=Scripted(EVERYTHING))


def cosine(scripted, **hparams):
    """A module with a schedule, and always the same weights."""

    class Cosine(scripted):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            schedule = schedulers.CosineAnnealingLR(optimizer, 30)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    seed_everything(0, verbose=False)
    return Cosine(**hparams)


def same_weights(one, other):
    return all(torch.equal(here, there) for here, there in zip(one.parameters(), other.parameters(), strict=True))


def acted(folder):
    """All decisions, as they were carried out and with lr and momentum before and after."""
    return [record for record in read(folder / FILE) if record.event == "decision"]


@pytest.fixture
def logged(fit, scripted, tmp_path):
    """A fit with every kind of action, and the folder of its log."""
    module = cosine(scripted)
    fit(module, busy(), epochs=EPOCHS, version="logged")
    assert [record.detail["actions"] for record in acted(tmp_path / "logged")][1][0]["name"] == "second"
    return module, tmp_path / "logged"


def test_a_replay_ends_at_the_very_same_weights_and_writes_the_same_log(fit, scripted, logged, tmp_path):
    module, folder = logged
    replayed = cosine(scripted)
    fit(replayed, Babysitter.replay(folder), epochs=EPOCHS, version="replayed")
    assert (replayed.lrs, replayed.momenta) == (module.lrs, module.momenta)
    assert same_weights(replayed, module)
    assert acted(tmp_path / "replayed") == acted(folder)
    assert len(interventions(folder / FILE)) == 5


def test_without_it_the_fit_is_another(fit, scripted, logged):
    alone = cosine(scripted)
    fit(alone, epochs=EPOCHS, version="alone")
    assert not same_weights(alone, logged[0])


@pytest.mark.parametrize("stop", [3, 4, 6])
def test_a_replay_that_goes_on_from_its_own_checkpoint_is_the_fit_that_went_on_from_there(fit, scripted, tmp_path, stop):
    def run(version, make):
        parts = cosine(scripted), cosine(scripted)
        fit(parts[0], SaveAndEnd(tmp_path / f"{version}.ckpt", stop), make(), epochs=EPOCHS, version=version)
        torch.load(tmp_path / f"{version}.ckpt", weights_only=True)
        fit(parts[1], make(), epochs=EPOCHS, version=version, ckpt_path=tmp_path / f"{version}.ckpt")
        return parts

    logged = run("logged", busy)
    replayed = run("replayed", lambda: Replay(tmp_path / "logged"))
    assert [part.lrs for part in replayed] == [part.lrs for part in logged]
    assert same_weights(replayed[1], logged[1])
    assert acted(tmp_path / "replayed") == acted(tmp_path / "logged")


class SaveAndEnd(Callback):
    """Ends a fit after some epochs, as one that is cut off; saves what it goes on from."""

    def __init__(self, path, epochs):
        self.path, self.epochs = path, epochs

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch + 1 == self.epochs:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def test_a_fit_that_was_stopped_is_stopped_there(fit, scripted, tmp_path):
    stop = {"action": "stop", "diverged": True}
    extend([Record("decision", 2, 6, 6, "done", {"actions": [stop]}, *ONE_GROUP)], tmp_path / FILE)
    replay = Replay(tmp_path / FILE)
    assert fit(scripted(), replay, epochs=EPOCHS, min_epochs=6).global_step == 7
    assert replay.diverged == "done"


def test_what_a_person_asked_for_is_done_too(fit, scripted, tmp_path):
    lower = {"action": "adjust", "moves": [{"lr_factor": 0.5, "momentum_factor": 1.0}]}
    extend([Record("request", 1, 4, 4, "lr=x0.5", {"actions": [lower]}, *ONE_GROUP)], tmp_path / FILE)
    module = scripted()
    fit(module, Replay(tmp_path), epochs=2)
    assert module.lrs == [0.1] * 4 + [0.05] * 2


def test_its_own_log_never_takes_the_place_of_the_one_it_follows(fit, scripted, logged):
    _, folder = logged
    before = (folder / FILE).read_text()
    fit(cosine(scripted), Replay(folder), epochs=EPOCHS, version="logged")
    assert (folder / FILE).read_text() == before


def test_no_file_is_an_error_at_once(tmp_path):
    with pytest.raises(ConfigError, match=f"no log of a babysitter at {tmp_path / FILE}"):
        Replay(tmp_path)
    with pytest.raises(ConfigError, match=f"no log of a babysitter at {tmp_path / 'other.jsonl'}"):
        Babysitter.replay(tmp_path / "other.jsonl")


@pytest.mark.parametrize("path", [None, 3, ""])
def test_so_is_what_is_no_path(path):
    with pytest.raises(ConfigError, match=f"path needs the name of a file or folder, got {path!r}"):
        Babysitter.replay(path)


@pytest.mark.parametrize(("text", "message"), [("", "no records to replay"), ("{}\n", "line 1, is no record")])
def test_so_is_a_file_that_is_empty_or_broken(tmp_path, text, message):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match=message):
        Replay(tmp_path)


def test_a_fit_that_is_too_short_for_the_log_is_an_error_before_it_trains(fit, scripted, logged):
    short = scripted()
    with pytest.raises(ConfigError, match=r"6 places .*before batch 18 \(step 18\), which this fit never reaches: .* batch 18"):
        fit(short, Replay(logged[1]), epochs=6, version="short")
    assert short.steps == []
    with pytest.raises(ConfigError, match="it ends after step 10"):
        fit(short, Replay(logged[1]), epochs=EPOCHS, max_steps=10, version="short")


def test_a_fit_that_somebody_ends_early_is_a_warning(fit, scripted, logged, recwarn, tmp_path):
    fit(cosine(scripted), Replay(logged[1]), SaveAndEnd(tmp_path / "some.ckpt", 3), epochs=EPOCHS, version="short")
    (told,) = [str(each.message) for each in recwarn if "Replay" in str(each.message)]
    assert "never reached: this fit ended after batch 9" in told


def test_other_batches_are_an_error_at_the_first_place(fit, scripted, logged):
    with pytest.raises(ConfigError, match=r"state before batch 3, in epoch 1, step 3, but .* comes in epoch 0, step 3"):
        fit(scripted(), Replay(logged[1]), epochs=EPOCHS, limit_train_batches=5, version="other")


def test_other_parameter_groups_are_an_error(fit, scripted, logged):
    class TwoGroups(scripted):
        def configure_optimizers(self):
            first, *rest = self.parameters()
            return torch.optim.SGD([{"params": [first]}, {"params": rest}], lr=0.1, momentum=0.9)

    with pytest.raises(ConfigError, match=r"the log has .* with 1 parameter group, and this fit has 2"):
        fit(TwoGroups(), Replay(logged[1]), epochs=EPOCHS, version="other")


def test_another_lr_is_a_warning(fit, scripted, logged, recwarn):
    fit(cosine(scripted, lr=0.2), Replay(logged[1]), epochs=EPOCHS, version="other")
    (told,) = [str(each.message) for each in recwarn if "Replay" in str(each.message)]
    assert "lr=0.1" in told
    assert "lr=0.2" in told


def test_a_checkpoint_without_the_snapshots_is_an_error(fit, scripted, logged, tmp_path):
    fit(cosine(scripted), SaveAndEnd(tmp_path / "some.ckpt", 3), epochs=EPOCHS, version="other")
    with pytest.raises(ConfigError, match="there is no snapshot 'second' to go back to"):
        fit(cosine(scripted), Replay(logged[1]), epochs=EPOCHS, version="other", ckpt_path=tmp_path / "some.ckpt")


def test_each_babysitter_of_a_fit_has_its_own_snapshots(fit, scripted, tmp_path):
    class Two(scripted):
        def validation_step(self, batch, batch_idx):
            self.log("other", 1.0)

    late = Babysitter("other", policy=Scripted({1: [Snapshot("start")], 3: [Rollback("start")]}))
    seed_everything(0, verbose=False)
    module = Two()
    replayed = copy.deepcopy(module)
    fit(module, busy(), late, epochs=EPOCHS, version="logged")
    fit(replayed, Replay(tmp_path / "logged"), epochs=EPOCHS, version="replayed")
    assert same_weights(replayed, module)
