"""Searches that prune: what goes on ends as if it had never paused, in every lane, and what does not can be trained on."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from examples.digits import LitDigits
from lightning_hp import CoarseToFine, ConfigError, Halving, Log, Progressive, SearchLoop, Study
from lightning_hp.executors.launch import CAN_FORK
from lightning_hp.study import recorder as recorder_module
from lightning_hp.study.records import repair
from tests.fit.fused.digits import assert_alike, curves, loaders

SPACE = {"lr": Log(1e-3, 1.0)}


class Module(LitDigits):
    """Digits with dropout and a schedule; stops its search once when so many epochs have begun in all."""

    begun = 0
    interrupt = None

    def __init__(self, lr):
        super().__init__(lr=lr, hidden=16)
        self.net.insert(1, torch.nn.Dropout(0.2))

    def on_train_epoch_start(self):
        Module.begun += 1
        if Module.begun == Module.interrupt:
            raise KeyboardInterrupt

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.hparams.lr, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Plain(LitDigits):
    """Digits without random numbers, whose fused trials are to end as others do."""

    def __init__(self, lr):
        super().__init__(lr=lr, hidden=16)


def make(root, model=Module, trainer=None, **changes):
    """A search of nine trials of up to five epochs."""
    arguments = {
        "space": SPACE,
        "data": loaders,
        "monitor": "val_loss",
        "trials": 9,
        "strategy": "random",
        "pruner": Halving(first=1, factor=3),
        "trainer": {"max_epochs": 5, "accelerator": "cpu", "log_every_n_steps": 1, **(trainer or {})},
        "executor": "inline",
        "fuse": "never",
        "root_dir": root,
        "progress": False,
    }
    return SearchLoop(model, **{**arguments, **changes})


@pytest.fixture
def prune(tmp_path, monkeypatch):
    monkeypatch.setattr(Module, "begun", 0)
    monkeypatch.setattr(Module, "interrupt", None)
    return lambda model=Module, root="study", **changes: make(tmp_path / root, model, **changes)


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    return make(tmp_path_factory.mktemp("pruned") / "study").run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same without a pruner."""
    return make(tmp_path_factory.mktemp("whole") / "study", pruner=None).run()


def rows(study):
    return [(t.number, t.hparams, t.seed, t.state, t.value, t.epochs, t.metrics, t.reason, t.rungs) for t in study.trials]


def ends(study):
    return {trial.number: (trial.state, trial.epochs, trial.reason) for trial in study.trials}


def assert_ends_the_same_if_interrupted(prune, study, at, settings):
    """A search like the study's, stopped when so many epochs have begun and gone on with."""
    Module.begun, Module.interrupt = 0, at
    with pytest.raises(KeyboardInterrupt):
        prune(root=f"interrupted {at}", **settings).run()
    Module.interrupt = None
    assert rows(prune(root=f"interrupted {at}", **settings).run()) == rows(study)
    assert Study(prune(root=f"interrupted {at}", **settings).root).rounds == study.rounds


def test_who_goes_on_ends_as_without_a_pruner_and_the_others_have_what_they_had_by_then(pruned, whole):
    assert sorted(trial.epochs for trial in pruned.trials) == [1] * 6 + [3] * 2 + [5]
    for ours, theirs in zip(pruned.trials, whole.trials, strict=True):
        assert (ours.hparams, ours.seed) == (theirs.hparams, theirs.seed)
        assert ours.metrics == {name: values[: ours.epochs] for name, values in theirs.metrics.items()}
        assert ours.value == min(ours.metrics["val_loss"])
        if ours.state == "complete":
            assert rows(pruned)[ours.number][:-1] == rows(whole)[ours.number][:-1]
            one, other = (torch.load(each.checkpoint, weights_only=True)["state_dict"] for each in (ours, theirs))
            assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
        else:
            assert (ours.state, ours.reason) == ("pruned", f"not among the best at epoch {ours.epochs}")
        assert ours.rungs == tuple((rung, min(ours.metrics["val_loss"][:rung])) for rung in (1, 3) if rung <= ours.epochs)
    assert pruned.best.epochs == 5
    assert [(judged.rung, len(judged.values), len(judged.going_on)) for judged in pruned.rungs] == [(1, 9, 3), (3, 3, 1)]


def test_a_repaired_study_knows_what_was_decided_and_is_gone_on_with_as_before(prune, pruned, tmp_path):
    shutil.copytree(pruned.root, tmp_path / "study")
    before = Study(tmp_path / "study")
    (tmp_path / "study" / "study.db").write_bytes(b"damaged")
    # As a full disk may have left it.
    with (tmp_path / "study" / "decisions.jsonl").open("a") as file:
        file.write('\n{"rung": 3, "val')
    assert repair(tmp_path / "study").unreadable == []
    repaired = Study(tmp_path / "study")
    assert (rows(repaired), repaired.rungs, repaired.rounds) == (rows(before), before.rungs, before.rounds)
    # Nothing is trained again.
    begun = Module.begun
    assert rows(prune().run()) == rows(before)
    assert Module.begun == begun
    shutil.rmtree(tmp_path / "study" / "trials" / "000003")
    repair(tmp_path / "study")
    assert [3 in judged.values for judged in Study(tmp_path / "study").rungs] == [False, False]


def test_curves_go_on_after_each_pause_without_gaps_or_points_that_stand_twice(pruned, whole):
    for trial in pruned.trials:
        ours, theirs = curves(pruned.root, trial.number), curves(whole.root, trial.number)
        assert ours.keys() == theirs.keys()
        assert ours["objective"] == [(trial.epochs, pytest.approx(trial.value))]
        for tag in ours.keys() - {"objective"}:
            assert ours[tag] == theirs[tag][: len(ours[tag])], tag
            assert trial.state == "pruned" or ours[tag] == theirs[tag], tag


def test_a_search_that_is_interrupted_again_and_again_prunes_as_if_it_had_not_been(prune, pruned):
    # Before the first rung, in the middle of the epochs to the second and in the last of them, and in the very last.
    points = (4, 11, 15, 17)
    for before, point in enumerate(points):
        Module.interrupt = point + before
        with pytest.raises(KeyboardInterrupt):
            prune().run()
    Module.interrupt = None
    assert rows(prune().run()) == rows(pruned)
    # Only the epochs that were broken off are trained again.
    assert Module.begun == 6 * 1 + 2 * 3 + 5 + len(points)


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")
def test_two_workers_prune_as_one_does(prune):
    settings = {"trials": 5, "trainer": {"max_epochs": 4}, "pruner": Halving(factor=2)}
    inline = prune(root="inline", **settings).run()
    assert sorted(trial.epochs for trial in inline.trials) == [1] * 3 + [2] + [4]
    assert rows(prune(executor="processes", workers=2, **settings).run()) == rows(inline)


@pytest.mark.parametrize("keep", [10, 1])
def test_trials_that_train_as_one_pause_together_and_the_best_go_on_together(prune, keep):
    inline = prune(Plain).run()
    fused = prune(Plain, root="fused", fuse="always", keep_checkpoints=keep).run()
    assert ends(fused) == ends(inline)
    for ours, theirs in zip(fused.trials, inline.trials, strict=True):
        if ours.checkpoint is not None:
            assert_alike(ours, theirs)
    assert sum(trial.checkpoint is not None for trial in fused.trials) == min(keep, 9)


def test_a_fused_search_that_is_interrupted_prunes_as_if_it_had_not_been(prune, monkeypatch):
    class Interrupted(Plain):
        at = None

        def on_train_epoch_start(self):
            if self.current_epoch == self.at:
                raise KeyboardInterrupt

    whole = prune(Interrupted, root="whole", fuse="always").run()
    for at in (0, 2, 4):
        monkeypatch.setattr(Interrupted, "at", at)
        with pytest.raises(KeyboardInterrupt):
            prune(Interrupted, fuse="always").run()
    monkeypatch.setattr(Interrupted, "at", None)
    assert rows(prune(Interrupted, fuse="always").run()) == rows(whole)


def test_asha_prunes_whom_others_have_beaten_by_then(prune):
    study = prune(pruner="asha").run()
    values = [trial.metrics["val_loss"][0] for trial in study.trials]
    for number, trial in enumerate(study.trials):
        rank = sorted(values[: number + 1]).index(values[number])
        assert (trial.epochs > 1) == (rank < max(1, (number + 1) // 3))
    assert {trial.state for trial in study.trials} == {"complete", "pruned"}


def test_a_round_of_the_strategy_is_a_bracket(prune):
    settings = {"strategy": CoarseToFine(4, 3), "trials": 7, "pruner": Halving(factor=4)}
    study = prune(**settings).run()
    assert [trial.number >= 4 for trial in study.trials if trial.state == "complete"] == [False, True]
    assert [(judged.rung, len(judged.values)) for judged in study.rungs] == [(1, 7), (4, 2)]
    # The second round sees the rungs of the first, in a search that has been interrupted between them too.
    Module.begun, Module.interrupt = 0, 4 + 4 + 1
    with pytest.raises(KeyboardInterrupt):
        prune(root="interrupted", **settings).run()
    Module.interrupt = None
    assert rows(prune(root="interrupted", **settings).run()) == rows(study)


TWO_WORKERS = pytest.param({"executor": "processes", "workers": 2}, marks=pytest.mark.slow)


@pytest.mark.parametrize("lane", [{}, {"fuse": "always"}, TWO_WORKERS])
def test_with_the_whole_search_as_a_bracket_rounds_see_those_who_wait_and_the_best_of_all_go_on(prune, lane):
    settings = {"model": Plain, "strategy": CoarseToFine(4, 3), "trials": 10, "pruner": Halving(2, 5, size="all")}
    study = prune(**settings, **lane).run()
    (judged,) = study.rungs
    assert judged.values.keys() == set(range(10))
    assert judged.going_on == set(sorted(judged.values, key=judged.values.get)[:2])
    assert {trial.number for trial in study.trials if trial.state == "complete"} == judged.going_on
    assert {trial.epochs for trial in study.trials if trial.state == "pruned"} == {2}
    assert [round_.seen for round_ in study.rounds] == ["", "0-3", "0-6"]
    assert [round_.notes.get("trials_used") for round_ in study.rounds] == [None, 4, 7]


def test_rungs_that_are_named_are_where_trials_pause(prune):
    study = prune(model=Plain, strategy="quasi", trials=7, pruner=Halving(rungs=[1, 2, 4], factor=2, size="all")).run()
    assert [(judged.rung, len(judged.values), len(judged.going_on)) for judged in study.rungs] == [
        (1, 7, 3),
        (2, 3, 1),
        (4, 1, 1),
    ]
    assert sorted(trial.epochs for trial in study.trials) == [1, 1, 1, 1, 2, 2, 5]
    assert study.asked["pruner"] == {"name": "halving", "factor": 2, "size": "all", "rungs": [1, 2, 4]}


@pytest.mark.slow
def test_an_interrupted_search_with_the_whole_of_it_as_a_bracket_ends_the_same(prune, monkeypatch):
    # How trials stand is written seldom.
    monkeypatch.setattr(recorder_module, "UPDATE_INTERVAL", 1e9)
    settings = {"strategy": CoarseToFine(4, 3), "trials": 10, "pruner": Halving(1, 5, size="all")}
    study = prune(**settings).run()
    # In the first round, in the second, and when the best go on to the end.
    for at in (3, 6, 13):
        assert_ends_the_same_if_interrupted(prune, study, at, settings)


def test_a_pruned_trial_can_be_trained_to_its_end(prune, pruned, whole, tmp_path):
    study = Study(shutil.copytree(pruned.root, tmp_path / "study"))
    number, epochs = next((trial.number, trial.epochs) for trial in study.trials if trial.state == "pruned")
    trial = prune().finish(number)
    assert Module.begun == 5 - epochs
    assert trial.state == "complete"
    assert rows(study)[number][:-1] == rows(whole)[number][:-1]
    assert curves(study.root, number)["val_loss"] == curves(whole.root, number)["val_loss"]
    assert trial.load().hparams.lr == trial.hparams["lr"]
    before = rows(study)
    prune().run()
    assert rows(study) == before
    for wrong, told in (
        (number, f"but trial {number} is complete"),
        (99, "but there is no trial 99"),
        (True, "there is no trial True"),
    ):
        with pytest.raises(ConfigError, match=told):
            prune().finish(wrong)


def test_whose_checkpoints_are_gone_begins_anew_and_says_so(prune, pruned, whole, tmp_path):
    study = Study(shutil.copytree(pruned.root, tmp_path / "study"))
    number = next(trial.number for trial in study.trials if trial.state == "pruned")
    with pytest.warns(UserWarning, match=f"trial {number} has no checkpoint any more and begins anew"):
        prune(keep_checkpoints=1).finish(number)
    assert rows(study)[number][:-1] == rows(whole)[number][:-1]


def test_what_is_interrupted_while_it_is_finished_can_be_finished_again_or_stays_pruned(prune, pruned, tmp_path):
    study = Study(shutil.copytree(pruned.root, tmp_path / "study"))
    first, second, *_ = [trial.number for trial in study.trials if trial.state == "pruned"]
    for number in (first, second):
        Module.interrupt = Module.begun + 2
        with pytest.raises(KeyboardInterrupt):
            prune().finish(number)
    assert prune().finish(first).state == "complete"
    assert prune().run().trials[second].state == "pruned"


class Drawn:
    """A sampler of the user's own, whose trials do not train as one."""

    def propose(self, space, seed, numbers, history, mode="min"):
        return space.from_unit([[0.1 + 0.2 * number] for number in numbers])


def test_finishing_one_tells_nothing_that_is_about_the_search(prune, capsys):
    loop = prune(Plain, strategy=Drawn(), pruner=Halving(first=1, factor=2), trials=4, fuse="auto", progress=True)
    number = next(trial.number for trial in loop.run().trials if trial.state == "pruned")
    assert "not fused: Drawn may want to see" in capsys.readouterr().err
    assert loop.finish(number).state == "complete"
    told = capsys.readouterr().err
    assert f"[1/1] trial {number}: complete" in told
    assert "not fused" not in told


def test_rungs_may_be_at_steps(prune):
    study = prune(pruner=Halving(first=10, factor=3, unit="steps")).run()
    # An epoch has seven steps: the rungs at 10 and 30 are reached at the ends of the second and the fifth, which is the last.
    assert sorted(trial.epochs for trial in study.trials) == [2] * 6 + [5] * 3
    assert {trial.reason for trial in study.trials} == {None, "not among the best at step 10"}


def test_a_trial_is_compared_when_it_has_a_value(prune):
    study = prune(trainer={"check_val_every_n_epoch": 2}, pruner=Halving(1, 3)).run()
    assert sorted(trial.epochs for trial in study.trials) == [2] * 6 + [3] * 2 + [5]
    assert all(trial.value is not None for trial in study.trials)


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_a_trial_that_stops_by_itself_at_a_rung_or_before_is_complete_unless_min_epochs_puts_it_off(prune, fuse):
    stopping = {"callbacks": [lambda: EarlyStopping("val_loss", patience=1, min_delta=100.0)]}
    study = prune(Plain, pruner=Halving(2, 3), trainer=stopping, fuse=fuse).run()
    assert {(trial.state, trial.epochs) for trial in study.trials} == {("complete", 2)}
    study = prune(Plain, "longer", pruner=Halving(2, 3), trainer={**stopping, "min_epochs": 4}, fuse=fuse).run()
    assert sorted((trial.state, trial.epochs) for trial in study.trials) == [("complete", 4)] * 3 + [("pruned", 2)] * 6


def test_failures_and_diverged_trials_take_no_place(prune):
    class Failing(Plain):
        def on_train_epoch_end(self):
            if self.hparams.lr > 0.05:
                raise RuntimeError("too fast")

    study = prune(Failing).run()
    failed = sum(trial.hparams["lr"] > 0.05 for trial in study.trials)
    states = [trial.state for trial in study.trials]
    assert (states.count("failed"), states.count("complete")) == (failed, 1)


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="there is no fork server on this system")
def test_all_ranks_of_a_trial_pause_together(prune, tmp_path):
    class Ranked(Plain):
        def on_train_epoch_start(self):
            with (tmp_path / f"rank{self.global_rank}").open("a") as file:
                file.write(json.dumps([self.hparams.lr, self.current_epoch]) + "\n")

    trainer = {"devices": 2, "strategy": "ddp", "max_epochs": 3}
    study = prune(Ranked, trials=3, trainer=trainer, executor="auto").run()
    assert sorted((trial.state, trial.epochs) for trial in study.trials) == [("complete", 3), ("pruned", 1), ("pruned", 1)]
    epochs = [sorted((tmp_path / f"rank{rank}").read_text().splitlines()) for rank in (0, 1)]
    assert epochs[0] == epochs[1]
    assert len(epochs[0]) == 1 + 1 + 3


def test_another_pruner_is_another_search_and_none_is_as_before(prune):
    study = prune(trials=2, pruner=None).run()
    assert study.asked["pruner"] is None
    with pytest.raises(ConfigError, match="pruner was None, is "):
        prune(trials=2).run()
    shutil.rmtree(study.root)
    assert prune(trials=2, pruner=Halving(first=2)).run().asked["pruner"] == {"name": "halving", "first": 2}


FEW = {"strategy": CoarseToFine(4, 3), "trials": 10, "pruner": Progressive(factor=3)}


@pytest.mark.parametrize("lane", [{}, {"fuse": "always"}, TWO_WORKERS])
def test_progressive_halving_stops_trials_at_four_rungs_and_trains_the_best_to_their_end(prune, lane):
    study = prune(model=Plain, **FEW, **lane).run()
    gate = study.rungs[0]
    assert (gate.rung, gate.values.keys()) == (1, set(range(10)))
    # Three of the first four, and of later ones those that are as good.
    assert gate.going_on & {0, 1, 2, 3} == set(sorted(range(4), key=gate.values.get)[:3])
    assert {trial.number for trial in study.trials if trial.epochs > 1} == gate.going_on
    assert {trial.epochs for trial in study.trials if trial.state == "complete"} == {5}
    for trial in study.trials:
        assert trial.rungs == tuple(
            (rung, min(trial.metrics["val_loss"][:rung])) for rung in (1, 2, 3, 4) if rung <= trial.epochs
        )
        assert trial.state == "complete" or trial.reason == f"not among the best at epoch {trial.epochs}"
    # Each round has seen all trials before it, with what they are worth at one rung.
    assert [round_.seen for round_ in study.rounds] == ["", "0-3", "0-6"]
    assert [round_.notes.get("trials_used") for round_ in study.rounds] == [None, 4, 7]


def test_progressive_halving_learns_the_same_in_every_lane(prune):
    inline, fused = prune(model=Plain, **FEW).run(), prune(model=Plain, root="fused", fuse="always", **FEW).run()
    assert ends(fused) == ends(inline)
    for ours, theirs in zip(fused.trials, inline.trials, strict=True):
        assert ours.hparams["lr"] == pytest.approx(theirs.hparams["lr"], rel=1e-3)


@pytest.mark.slow
def test_progressive_halving_that_is_interrupted_ends_the_same(prune, monkeypatch):
    monkeypatch.setattr(recorder_module, "UPDATE_INTERVAL", 1e9)
    study = prune(**FEW).run()
    epochs = sum(trial.epochs for trial in study.trials)
    # In each round, between its rungs, and when the best goes on to its end.
    for at in (3, 5, 8, 11, 14, epochs - 1, epochs):
        assert_ends_the_same_if_interrupted(prune, study, at, FEW)


def test_what_progressive_halving_has_pruned_can_be_trained_on_and_the_search_can_grow(prune):
    before = ends(prune(**FEW).run())
    number = next(number for number, (state, *_) in before.items() if state == "pruned")
    assert prune(**FEW).finish(number).epochs == 5
    after = ends(prune(**{**FEW, "trials": 13}).run())
    assert after == {**before, **{each: after[each] for each in (number, 10, 11, 12)}}
    assert after[number] == ("complete", 5, None)
    assert {after[each][0] for each in (10, 11, 12)} <= {"complete", "pruned"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"trainer": {"enable_checkpointing": False}}, r"leave trainer\['enable_checkpointing'\] out, or the pruner"),
        ({"trainer": {"max_epochs": 1}}, "with trainer max_epochs=1 none goes on from there"),
        ({"pruner": Halving(first=5)}, r"\{'name': 'halving', 'first': 5\} compares no trial before its end: .* max_epochs=5"),
        ({"pruner": Halving(rungs=(2, 5))}, "pruner has a rung at 5, but trials end at trainer max_epochs=5: leave it out"),
        ({"pruner": "progressive", "trainer": {"max_epochs": 4}}, "pruner progressive compares no trial .* max_epochs=4"),
        ({"pruner": "half"}, "pruner='half' is not one of halving, asha, progressive"),
    ],
)
def test_what_could_prune_no_trial_is_told_before_any_trains(prune, tmp_path, change, told):
    with pytest.raises(ConfigError, match=told):
        prune(**change)
    assert not (tmp_path / "study").exists()
