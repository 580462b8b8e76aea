"""The best trials keep their checkpoints, and a study names none that is not there."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.digits import LitDigits
from lightning_hp import ConfigError, Log, Study
from lightning_hp.cli import main
from lightning_hp.study.keep import Keep
from lightning_hp.trial import Trial

SPACE = {"lr": Log(1e-4, 1.0)}


@given(st.lists(st.one_of(st.none(), st.integers(0, 5).map(float))), st.integers(1, 4), st.sampled_from(["min", "max"]))
def test_who_is_left_is_the_best_of_all(values, most, mode):
    keep, left = Keep(most, mode), set()
    for number, value in enumerate(values):
        left.add(number)
        left -= set(keep.add(Trial(number, {}, 0, "complete", value)))
    sign = -1 if mode == "max" else 1
    ranked = sorted((math.inf if value is None else sign * value, number) for number, value in enumerate(values))
    assert left == {number for _, number in ranked[:most]}


@pytest.mark.parametrize("other", ["pruned", "failed", "diverged"])
def test_what_is_not_complete_comes_after_what_is_whatever_its_value(other):
    keep = Keep(1, "max")
    assert keep.add(Trial(0, {}, 0, other, 0.9)) == []
    assert keep.add(Trial(1, {}, 0, "complete", 0.5)) == [0]
    assert keep.add(Trial(2, {}, 0, other, 0.95)) == [2]


def test_a_pruned_trial_that_was_trained_on_counts_as_what_it_is_now():
    keep = Keep(1, "max")
    keep.add(Trial(0, {}, 0, "pruned", 0.9))
    assert keep.add(Trial(0, {}, 0, "complete", 0.9)) == []
    assert keep.add(Trial(1, {}, 0, "complete", 0.5)) == [1]


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_only_the_best_keep_their_checkpoints(search, fuse):
    loop = search(space=SPACE, trials=6, keep_checkpoints=2, fuse=fuse)
    study = loop.run()
    assert_kept(study, 2)
    # The next run may keep fewer, and more trials come.
    assert_kept(search(space=SPACE, trials=8, keep_checkpoints=1, fuse=fuse).run(), 1)
    (loop.root / "study.db").unlink()
    assert main(["repair", str(loop.root)]) == 0
    assert_kept(Study(loop.root), 1)


def assert_kept(study, most):
    ranked = study.leaderboard()
    for place, trial in enumerate(ranked):
        folder = study.root / "trials" / f"{trial.number:06d}" / "checkpoints"
        assert (trial.checkpoint is not None) == (place < most)
        assert folder.exists() == (place < most)
    assert ranked[0].checkpoint.exists()
    if most < len(ranked) and study.best.loader is not None:
        with pytest.raises(LookupError, match="keep_checkpoints"):
            ranked[-1].load()


def test_all_are_kept_when_asked(search):
    study = search(space=SPACE, trials=12, keep_checkpoints=None, fuse="always").run()
    assert all(trial.checkpoint.exists() for trial in study.trials)


def test_none_kept_is_refused(search):
    with pytest.raises(ConfigError, match="keep_checkpoints"):
        search(keep_checkpoints=0)


def test_a_trial_that_diverged_takes_no_checkpoint_from_one_that_ends_with_it(search):
    class Ending(LitDigits):
        """In its second epoch one diverges that was better, the other has enough."""

        def on_train_epoch_end(self):
            second = self.current_epoch == 1
            if self.hparams.lr > 0.1:
                self.log("score", math.nan if second else 0.9)
            else:
                self.log("score", 0.5)
                self.trainer.should_stop = second

    study = search(
        Ending,
        space={"lr": Log(0.01, 1.0)},
        enqueue=[{"lr": 0.2}, {"lr": 0.05}],
        trials=2,
        monitor="score",
        trainer={"max_epochs": 3, "accelerator": "cpu"},
        keep_checkpoints=1,
        fuse="always",
    ).run()
    assert [trial.state for trial in study.trials] == ["diverged", "complete"]
    assert study.best.checkpoint.exists()
