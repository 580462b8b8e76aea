"""TensorBoard: one readable run per trial, one HParams experiment per study. Read as TensorBoard reads it."""

from __future__ import annotations

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from examples.digits import LitDigits
from lightning_hp import Choice, Int, Log


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator


def hparams_tags(root):
    """HParams plugin data by run and tag."""
    found = {}
    for folder in [root / "search", *sorted((root / "trials").iterdir())]:
        for tag, content in events(folder).PluginTagToContent("hparams").items() if hparams_in(folder) else []:
            found[folder.name, tag] = content
    return found


def hparams_in(folder):
    try:
        return bool(events(folder).PluginTagToContent("hparams"))
    except KeyError:
        return False


def scalars(folder, tag):
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def test_there_is_exactly_one_experiment_and_a_session_per_trial(search):
    study = search().run()
    tags = hparams_tags(study.root)
    assert [run for run, tag in tags if tag == metadata.EXPERIMENT_TAG] == ["search"]
    for tag in (metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG):
        assert [run for run, found in tags if found == tag] == ["000000", "000001", "000002"]


def test_it_stays_one_after_resuming(search):
    search(trials=1).run()
    study = search(trials=3).run()
    tags = hparams_tags(study.root)
    assert len([run for run, tag in tags if tag == metadata.EXPERIMENT_TAG]) == 1
    assert [step for step, _ in scalars(study.root / "search", "search/objective")] == [0, 1, 2]


def test_the_experiment_has_every_hyperparameter_with_its_domain(search):
    space = {"lr": Log(1e-2, 1.0), "layers": Int(1, 2), "activation": Choice("relu", "tanh"), "weight_decay": Choice(0.0, 0.1)}
    study = search(space=space, trials=1).run()
    content = hparams_tags(study.root)["search", metadata.EXPERIMENT_TAG]
    experiment = metadata.parse_experiment_plugin_data(content)
    infos = {info.name: info for info in experiment.hparam_infos}
    assert list(infos) == list(space)
    assert (infos["lr"].domain_interval.min_value, infos["lr"].domain_interval.max_value) == (0.01, 1.0)
    assert [value.string_value for value in infos["activation"].domain_discrete.values] == ["relu", "tanh"]
    assert [metric.name.tag for metric in experiment.metric_infos] == ["objective"]
    assert [metric.display_name for metric in experiment.metric_infos] == ["val_acc"]


def test_sessions_hold_the_values_and_the_objective_is_the_studys(search):
    study = search().run()
    tags = hparams_tags(study.root)
    for trial in study.trials:
        run = f"{trial.number:06d}"
        start = metadata.parse_session_start_info_plugin_data(tags[run, metadata.SESSION_START_INFO_TAG])
        assert start.group_name == run
        assert start.hparams["lr"].number_value == trial.hparams["lr"]
        assert start.hparams["activation"].string_value == trial.hparams["activation"]
        assert scalars(study.root / "trials" / run, "objective") == [(trial.epochs, pytest.approx(trial.value))]


def test_statuses_are_true(search):
    class Diverging(LitDigits):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * math.nan if self.hparams.activation == "tanh" else loss

    def factory(lr, activation):
        if lr > 0.3:
            raise ValueError("too fast")
        return Diverging(lr=lr, activation=activation)

    study = search(factory, space={"lr": Log(1e-2, 1.0), "activation": Choice("relu", "tanh")}, trials=8).run()
    assert {trial.state for trial in study.trials} == {"complete", "failed", "diverged"}
    tags = hparams_tags(study.root)
    for trial in study.trials:
        end = metadata.parse_session_end_info_plugin_data(tags[f"{trial.number:06d}", metadata.SESSION_END_INFO_TAG])
        assert (end.status == api_pb2.STATUS_SUCCESS) == (trial.state == "complete")


def test_mixed_choices_are_text_on_both_sides(search):
    space = {"lr": Log(1e-2, 1.0), "trainer.gradient_clip_val": Choice(None, 0.5)}
    study = search(space=space, trials=4).run()
    tags = hparams_tags(study.root)
    experiment = metadata.parse_experiment_plugin_data(tags["search", metadata.EXPERIMENT_TAG])
    domain = {value.string_value for value in experiment.hparam_infos[1].domain_discrete.values}
    contents = [tags[f"{number:06d}", metadata.SESSION_START_INFO_TAG] for number in range(4)]
    starts = [metadata.parse_session_start_info_plugin_data(content) for content in contents]
    assert {start.hparams["trainer.gradient_clip_val"].string_value for start in starts} == domain == {"None", "0.5"}


def test_a_trial_has_its_curves_and_no_placeholder(search):
    study = search(trials=1).run()
    tags = events(study.root / "trials" / "000000").Tags()["scalars"]
    assert {"val_acc", "val_loss", "train_loss", "lr-SGD", "lr-SGD-momentum", "objective"} <= set(tags)
    assert not any("hp_metric" in tag for tag in tags)
    values = [value for _, value in scalars(study.root / "trials" / "000000", "val_acc")]
    assert values == pytest.approx(study.best.metrics["val_acc"])


def test_a_trial_is_one_event_file(search):
    study = search(trials=1).run()
    assert len(list((study.root / "trials" / "000000").glob("events.out.tfevents.*"))) == 1


def test_a_module_that_logs_hyperparameters_itself_breaks_nothing(search):
    class Logging(LitDigits):
        def on_train_end(self):
            self.logger.log_hyperparams({"mine": 1}, {"hp/mine": 0.5})

    study = search(Logging, trials=1).run()
    assert [run for run, tag in hparams_tags(study.root) if tag == metadata.EXPERIMENT_TAG] == ["search"]
    assert "hp/mine" in events(study.root / "trials" / "000000").Tags()["scalars"]


def test_the_search_run_has_objective_and_best_so_far(search):
    study = search(trials=4).run()
    values = [trial.value for trial in study.trials]
    assert scalars(study.root / "search", "search/objective") == [(n, pytest.approx(v)) for n, v in enumerate(values)]
    best = [(n, pytest.approx(max(values[: n + 1]))) for n in range(4)]
    assert scalars(study.root / "search", "search/best") == best
