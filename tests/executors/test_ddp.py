"""A trial that trains on several devices: two processes with gloo on the CPU, which agree on everything."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest
from lightning.pytorch.callbacks import EarlyStopping

from examples.digits import LitDigits
from lightning_hp import Babysitter, Choice, Log
from lightning_hp.executors.launch import CAN_FORK

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")]


class Ranked(LitDigits):
    """Digits that note what each rank has, with a metric that differs between ranks."""

    notes = None

    def on_fit_end(self):
        weights = sum(value.sum().item() for value in self.state_dict().values())
        lr_now = self.optimizers().param_groups[0]["lr"]
        note = {"lr": self.hparams.lr, "epochs": self.current_epoch, "weights": weights, "lr now": lr_now}
        (self.notes / f"{os.getpid()}-{self.hparams.lr}-{self.global_rank}").write_text(json.dumps(note))

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        # Rises for the first rank and stands still for the second.
        self.log("score", 0.1 * self.current_epoch if self.global_rank == 0 else 0.0)


class Ending(Ranked):
    """Ends in many ways, by what happens on the second rank."""

    def __init__(self, lr, how):
        super().__init__(lr=lr)
        self.how = how

    def on_train_epoch_start(self):
        if self.how == "failing" and self.global_rank == 1:
            raise ValueError("only the second")
        flag = self.notes.parent / "died"
        if self.how == "dying" and self.global_rank == 1 and self.current_epoch == 2 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * math.nan if self.how == "diverging" and self.global_rank == 1 and self.current_epoch == 1 else loss


@pytest.fixture(scope="module")
def ranks(search_in, tmp_path_factory):
    """Runs trials on two devices each; gives (study, {lr: [what rank 0 noted, what rank 1 noted]})."""

    def run(module, trainer=None, **changes):
        folder = tmp_path_factory.mktemp("ranks")

        class Noting(module):
            notes = folder / "notes"

        Noting.notes.mkdir()
        trainer = {"max_epochs": 4, "accelerator": "cpu", "devices": 2, "strategy": "ddp", **(trainer or {})}
        study = search_in(folder / "study", Noting, trainer=trainer, executor="auto", monitor="score", **changes).run()
        noted = {}
        for path in sorted(Noting.notes.iterdir(), key=lambda each: each.name[-1]):
            note = json.loads(path.read_text())
            noted.setdefault(note["lr"], []).append(note)
        return study, noted

    return run


HOWS = ["well", "failing", "diverging", "dying"]


@pytest.fixture(scope="module")
def ended(ranks):
    """Trials by how they were to end, the study, and what its ranks noted."""
    space = {"lr": Log(1e-2, 1.0), "how": Choice(*HOWS)}
    enqueue = [{"lr": 0.1 + 0.1 * number, "how": how} for number, how in enumerate(HOWS)]
    study, noted = ranks(Ending, space=space, enqueue=enqueue, trials=len(HOWS), retries=1, trial_timeout=120)
    return {trial.hparams["how"]: trial for trial in study.trials}, study, noted


def test_both_ranks_train_the_same_trial_and_the_first_reports(ended):
    trials, study, noted = ended
    trial = trials["well"]
    first, second = noted[trial.hparams["lr"]]
    assert first == second
    assert trial.state == "complete"
    assert trial.metrics["score"] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert trial.value == pytest.approx(0.3)
    assert len(list((study.root / f"trials/{trial.number:06d}").glob("events.out.tfevents.*"))) == 1
    assert isinstance(study.best.load(), Ranked)


def test_stopping_and_babysitting_are_agreed_by_all_ranks(ranks):
    stopping = [lambda: EarlyStopping("val_loss", patience=0, min_delta=100.0)]
    babysit = Babysitter("score", "max", patience=0, min_delta=0.05)
    study, noted = ranks(Ranked, {"callbacks": stopping}, space={"lr": Log(1e-2, 1.0)}, trials=1, babysit=babysit)
    (trial,) = study.trials
    first, second = noted[trial.hparams["lr"]]
    assert first == second
    assert trial.epochs == 2


def test_a_loss_that_is_no_number_on_one_rank_ends_both(ended):
    trial = ended[0]["diverging"]
    assert (trial.state, trial.epochs) == ("diverged", 2)


def test_an_error_on_one_rank_is_the_trials_reason(ended):
    trial = ended[0]["failing"]
    assert (trial.state, trial.reason) == ("failed", "ValueError: only the second")


def test_a_rank_that_dies_is_tried_again_with_the_other(ended):
    trials, study, noted = ended
    trial = trials["dying"]
    assert (study.root.parent / "died").exists()
    assert (trial.state, trial.epochs) == ("complete", 4)
    first, second = noted[trial.hparams["lr"]]
    assert first == second
