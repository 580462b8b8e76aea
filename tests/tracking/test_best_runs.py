"""Many trials in TensorBoard: the best keep their runs, and the search's own run has the objective of all."""

from __future__ import annotations

import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from examples.digits import LitDigits
from lightning_hp import ConfigError, Log
from lightning_hp.tracking.best_runs import BestRuns
from lightning_hp.trial import Finished, Outcome, Trial, trial_folder


def runs(root):
    """The numbers of the trials that TensorBoard lists."""
    return sorted({int(path.parent.name) for path in root.glob("trials/*/events.out.tfevents.*")})


@pytest.fixture
def finish(tmp_path):
    """Ends a trial that has an event file and another file."""

    def ended(runs, number, value):
        folder = trial_folder(tmp_path, number)
        folder.mkdir(parents=True)
        for name in ("events.out.tfevents.1.host", "events.out.tfevents.2.host", "babysit.jsonl"):
            (folder / name).write_text("")
        state = "complete" if value is not None else "failed"
        runs.record(Finished(number, Outcome(state, value), 1.0))

    return ended


def test_the_best_keep_their_runs_and_only_event_files_go(tmp_path, finish):
    best = BestRuns(tmp_path, 2, "max", [])
    left = []
    for number, value in enumerate([0.5, None, 0.4, 0.9, 0.1]):
        finish(best, number, value)
        left.append(runs(tmp_path))
    assert left == [[0], [0, 1], [0, 2], [0, 3], [0, 3]]
    assert all((trial_folder(tmp_path, number) / "babysit.jsonl").exists() for number in range(5))


def test_none_keeps_all(tmp_path, finish):
    best = BestRuns(tmp_path, None, "max", [])
    for number in range(5):
        finish(best, number, 0.1 * number)
    assert runs(tmp_path) == [0, 1, 2, 3, 4]


def test_what_a_killed_search_has_left_goes_when_the_next_begins(tmp_path, finish):
    everything = BestRuns(tmp_path, None, "min", [])
    for number in range(4):
        finish(everything, number, 0.1 * number)
    BestRuns(tmp_path, 2, "min", [Trial(number, {}, 0, "complete", 0.1 * number) for number in range(4)])
    assert runs(tmp_path) == [0, 1]


def test_what_cannot_be_removed_ends_no_search(tmp_path, finish):
    best = BestRuns(tmp_path, 1, "max", [])
    finish(best, 0, 0.5)
    (trial_folder(tmp_path, 0) / "events.out.tfevents.0.no-file").mkdir()
    finish(best, 1, 0.9)
    assert [path.name for path in trial_folder(tmp_path, 0).glob("events*")] == ["events.out.tfevents.0.no-file"]
    assert len(list(trial_folder(tmp_path, 1).glob("events*"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"executor": "inline"}, {"executor": "processes"}, {"fuse": "always"}])
def test_a_search_keeps_so_many_and_its_study_has_all(search, settings):
    study = search(space={"lr": Log(1e-2, 1.0)}, trials=5, keep_runs=2, **settings).run()
    assert runs(study.root) == sorted(trial.number for trial in study.leaderboard(2))
    assert all(trial.metrics["val_acc"] for trial in study.trials)
    points = EventAccumulator(str(study.root / "search")).Reload().Scalars("search/objective")
    assert sorted(point.step for point in points) == list(range(5))


def test_lines_of_a_chart_go_with_their_trial(search):
    class Charting(LitDigits):
        def on_train_epoch_end(self):
            self.logger.experiment.add_scalars("losses", {"one": 1.0, "other": 2.0}, self.current_epoch)

    study = search(Charting, trials=2, keep_runs=1).run()
    left = {path.relative_to(study.root / "trials").parts[0] for path in study.root.glob("trials/**/*tfevents*")}
    assert left == {f"{study.best.number:06d}"}


def test_a_search_that_goes_on_may_keep_more_or_fewer(search):
    search(trials=3, keep_runs=2).run()
    assert len(runs(search(trials=4, keep_runs=None).run().root)) == 3
    study = search(trials=4, keep_runs=1).run()
    assert runs(study.root) == [study.best.number]


def test_the_default_keeps_all_of_a_search_that_tensorboard_shows_well(search):
    study = search(trials=3).run()
    assert runs(study.root) == [0, 1, 2]
    with pytest.raises(ConfigError, match="keep_runs"):
        search(keep_runs=0)


def test_custom_scalars_show_the_objective_of_all_trials_in_one_chart(search):
    class Logging(LitDigits):
        def on_train_epoch_end(self):
            self.log("val_acc (top)", 0.5)

    study = search(Logging, trials=1, monitor="val_acc (top)").run()
    accumulator = EventAccumulator(str(study.root / "search")).Reload()
    [event] = accumulator.Tensors("custom_scalars__config__")
    found = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for category in found.category for chart in category.chart}
    assert list(charts) == ["val_acc (top)", "learning rate", "objective by trial"]
    tags = EventAccumulator(str(study.root / "trials/000000")).Reload().Tags()["scalars"]
    assert matching(charts["val_acc (top)"], tags) == ["val_acc (top)"]
    assert matching(charts["learning rate"], [*tags, "lr-Adam/pg1", "lr-Adam/pg1-momentum"]) == ["lr-SGD", "lr-Adam/pg1"]
    assert matching(charts["objective by trial"], accumulator.Tags()["scalars"]) == ["search/objective", "search/best"]


def matching(expressions, tags):
    """The tags that the Custom Scalars tab takes."""
    return [tag for tag in tags if any(re.match(expression, tag) for expression in expressions)]
