"""A trial once more: the same where it has to be, told where it is not, and its study is left alone."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from examples.digits import DigitsData, LitDigits
from lightning_hp import ConfigError, Halving, Log


class Noisy(LitDigits):
    """Draws from generators that nobody seeds, from its second epoch on."""

    generator = random.SystemRandom()

    def training_step(self, batch, batch_idx):
        noise = self.generator.random() if self.current_epoch > 0 else 0.0
        return super().training_step(batch, batch_idx) * (1 + noise)


class Dropping(LitDigits):
    def __init__(self, lr):
        super().__init__(lr=lr)
        self.net.insert(1, torch.nn.Dropout(0.3))


def files(root):
    return {path: path.stat().st_mtime_ns for path in sorted(root.rglob("*"))}


def test_a_trial_comes_out_the_same_to_the_last_bit_and_its_study_is_not_touched(search):
    loop = search(Dropping, space={"lr": Log(1e-2, 1.0)})
    study = loop.run()
    before = files(study.root)
    done = loop.rerun(1)
    assert done.exact
    assert done.same
    assert done.unlike == ()
    assert done.after.metrics == done.before.metrics == study.trials[1].metrics
    assert str(done).startswith("trial 1: the same to the last bit (")
    assert str(done).endswith("; epochs: 2)")
    assert files(study.root) == before


def test_a_trial_that_does_not_come_out_the_same_is_told_with_both_values(search):
    loop = search(Noisy, trials=1)
    loop.run()
    done = loop.rerun(0)
    assert not done.same
    first = done.comparison.first or done.comparison.largest
    assert first.epoch == 1
    assert first.before == done.before.metrics[first.metric][1]
    assert first.after == done.after.metrics[first.metric][1]
    assert f"{first.metric} in epoch 1 was {first.before!r}, is {first.after!r}" in str(done)


def test_trained_as_one_with_others_it_is_the_same_to_float_tolerance(search):
    loop = search(space={"lr": Log(1e-2, 0.3)}, fuse="always", trials=4)
    loop.run()
    done = loop.rerun(2)
    assert done.same
    assert "together was 4, is 1" in done.unlike
    assert done.exact or "the same to float tolerance" in str(done)
    # Without what excuses it, differences in the last bits count.
    assert done.exact or not type(done)(done.before, done.after, done.comparison).same


def test_another_number_of_threads_is_told(search, monkeypatch):
    loop = search(trials=1)
    loop.run()
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 7)
    assert loop.rerun(0).unlike == (f"threads was {threads}, is {threads + 7}",)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_every_executor_runs_it(search, executor):
    loop = search(trials=1, executor=executor)
    loop.run()
    assert loop.rerun(0).exact


class Located(LitDigits):
    """Writes down where its files go."""

    seen: Path

    def on_fit_start(self):
        with self.seen.open("a") as file:
            file.write(f"{self.trainer.logger.save_dir}\n")


def test_it_trains_in_a_folder_of_the_study_which_is_gone_afterwards_as_is_one_of_a_killed_run(search, tmp_path, monkeypatch):
    monkeypatch.setattr(Located, "seen", tmp_path / "seen", raising=False)
    loop = search(Located, space={"lr": Log(1e-2, 1.0)}, trials=1)
    root = loop.run().root
    (root / ".rerun-killed/trials").mkdir(parents=True)
    loop.rerun(0)
    _, folder = map(Path, Located.seen.read_text().splitlines())
    assert folder.parents[2] == root
    assert folder.parents[1].name.startswith(".rerun-")
    assert [*root.glob(".rerun-*")] == []


def test_a_study_that_cannot_be_written_can_be_run_again(search, tmp_path, monkeypatch):
    monkeypatch.setattr(Located, "seen", tmp_path / "seen", raising=False)
    loop = search(Located, space={"lr": Log(1e-2, 1.0)}, trials=1)
    root = loop.run().root
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != root)
    assert loop.rerun(0).exact
    assert not Path(Located.seen.read_text().splitlines()[1]).is_relative_to(root)


def test_a_pruned_trial_trains_as_far_as_it_came(search):
    loop = search(
        space={"lr": Log(1e-3, 1.0)}, trials=4, strategy="random", pruner=Halving(first=1, factor=2), trainer={"max_epochs": 4}
    )
    pruned = next(trial for trial in loop.run().trials if trial.state == "pruned")
    done = loop.rerun(pruned.number)
    assert done.exact
    assert done.after.epochs == pruned.epochs < 4


def test_a_trial_that_failed_fails_again(search):
    class Failing(LitDigits):
        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                raise RuntimeError("enough")

    loop = search(Failing, trials=1)
    loop.run()
    done = loop.rerun(0)
    assert done.exact
    assert done.after.reason == "RuntimeError: enough"


def test_a_trial_that_fails_for_another_reason_is_different(search):
    class Failing(LitDigits):
        reason = "no weights"

        def configure_optimizers(self):
            raise RuntimeError(Failing.reason)

    loop = search(Failing, trials=1)
    loop.run()
    assert str(loop.rerun(0)) == "trial 0: the same to the last bit (failed (RuntimeError: no weights); epochs: 0)"
    Failing.reason = "no data"
    done = loop.rerun(0)
    assert not done.same
    assert "it was failed (RuntimeError: no weights), is failed (RuntimeError: no data)" in str(done)


def test_a_trial_that_fails_only_now_is_different(search):
    class Breaking(LitDigits):
        broken = False

        def on_train_epoch_start(self):
            if Breaking.broken:
                raise RuntimeError("enough")

    loop = search(Breaking, trials=1)
    loop.run()
    Breaking.broken = True
    done = loop.rerun(0)
    assert not done.same
    assert "it was complete, is failed (RuntimeError: enough)" in str(done)


def test_what_cannot_be_run_again_is_told(search):
    loop = search(trials=1)
    with pytest.raises(ConfigError, match="holds no study"):
        loop.rerun(0)
    loop.run()
    with pytest.raises(ConfigError, match=r"rerun\(3\) needs the number of a finished trial, but there is no trial 3"):
        loop.rerun(3)
    with pytest.raises(ConfigError, match=r"rerun\(False\) needs the number of a finished trial, but there is no trial False"):
        loop.rerun(False)
    with pytest.raises(ConfigError, match="tolerance needs a number of at least 0, got nan"):
        loop.rerun(0, float("nan"))
    with pytest.raises(ConfigError, match="seed was 0, is 1"):
        search(trials=1, seed=1).rerun(0)
    with pytest.raises(ConfigError, match="data was 'DigitsData', is 'Other'"):
        search(trials=1, data=type("Other", (DigitsData,), {})).rerun(0)


def test_more_trials_or_another_strategy_change_nothing_about_a_trial(search):
    search(trials=1).run()
    assert search(trials=5, strategy="random").rerun(0).exact
