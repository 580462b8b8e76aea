"""A search whose optimizer has arguments of its own, and whose layers have a width each: from the space to the report."""

from __future__ import annotations

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from examples.digits import DigitsData
from lightning_hp import Choice, ConfigError, Int, Log, ReverseLog, SearchLoop, Space, Study, Trial
from lightning_hp.advice import advice, find
from lightning_hp.samplers import Quasi
from tests.perceptron import Perceptron, small

SPACE = {
    "lr": Log(1e-3, 1e-1),
    "optimizer": Choice("sgd", "adam"),
    "momentum": ReverseLog(0.5, 0.95).when(optimizer="sgd"),
    "beta1": ReverseLog(0.8, 0.95).when(optimizer="adam"),
    "layers": Int(1, 2),
    "units": Int(16, 18).per("layers"),
}


def exists(hparams):
    names = {"lr", "optimizer", "layers", "units", "momentum" if hparams["optimizer"] == "sgd" else "beta1"}
    return hparams.keys() == names and len(hparams["units"]) == hparams["layers"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Of 16 trials, which begin with twice the same structure."""
    alike = {"optimizer": "sgd", "layers": 2, "units": [16, 17]}
    loop = SearchLoop(
        Perceptron,
        space=SPACE,
        data=DigitsData,
        monitor="val_acc",
        mode="max",
        trials=16,
        enqueue=[alike, alike],
        constraint=small,
        trainer={"max_epochs": 2, "accelerator": "cpu"},
        executor="inline",
        fuse="auto",
        root_dir=tmp_path_factory.mktemp("conditional"),
        progress=False,
    )
    return loop.run()


def test_each_trial_has_what_exists_and_its_model_was_made_of_that(study):
    assert [trial.state for trial in study.trials] == ["complete"] * 16
    for trial in study.trials:
        assert exists(trial.hparams), trial.hparams
        assert small(trial.hparams)
    assert study.trials[0].hparams["units"] == study.trials[1].hparams["units"] == [16, 17]
    best = study.best
    model = best.load()
    widths = [part[0].out_features for part in model.net[:-1]]
    assert widths == best.hparams["units"]
    # What does not exist has the model's own default.
    assert model.hparams.momentum == best.hparams.get("momentum", 0.0)
    assert model.hparams.beta1 == best.hparams.get("beta1", 0.9)


def test_the_folder_has_what_the_search_had(study):
    stored = Study(study.root)
    assert [trial.hparams for trial in stored.trials] == [trial.hparams for trial in study.trials]
    assert Space(stored.asked["space"]) == Space(SPACE)
    assert stored.asked["constraint"] == "small"
    for plain, trial in zip(stored.to_dict()["trials"], study.trials, strict=True):
        assert plain["hparams"] == trial.hparams


def test_the_hparams_table_leaves_empty_what_does_not_exist(study):
    experiment = metadata.parse_experiment_plugin_data(hparams_in(study.root / "search")[metadata.EXPERIMENT_TAG])
    columns = ["lr", "optimizer", "momentum", "beta1", "layers", "units[0]", "units[1]"]
    assert [info.name for info in experiment.hparam_infos] == columns
    for trial in study.trials:
        folder = study.root / "trials" / f"{trial.number:06d}"
        start = metadata.parse_session_start_info_plugin_data(hparams_in(folder)[metadata.SESSION_START_INFO_TAG])
        assert set(start.hparams) == set(Space(SPACE).flat(trial.hparams))
        assert [start.hparams[f"units[{i}]"].number_value for i in range(trial.hparams["layers"])] == trial.hparams["units"]


def hparams_in(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    return accumulator.PluginTagToContent("hparams")


def test_the_picture_of_the_rounds_is_drawn(study, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'lightning-hp[plots]'")
    study.draw_rounds(tmp_path / "rounds.png")
    assert (tmp_path / "rounds.png").stat().st_size > 10_000


def test_what_its_trials_say_is_told_by_its_names(study):
    assert list(study.importance()) == list(SPACE)
    assert Space(study.zoom().describe()).describe() == study.zoom().describe()


def test_optuna_gets_the_trials_without_what_does_not_exist(study):
    pytest.importorskip("optuna", reason="pip install 'lightning-hp[optuna]'")
    found = study.to_optuna()
    assert [trial.params for trial in found.trials] == [Space(SPACE).flat(trial.hparams) for trial in study.trials]


def test_the_same_trials_are_a_warm_start(study, tmp_path):
    asked = {"space": study.zoom(), "data": DigitsData, "monitor": "val_acc", "mode": "max", "trials": 1}
    loop = SearchLoop(Perceptron, **asked, warm_start=study.root, root_dir=tmp_path / "next")
    assert 0 < len(loop.terms.earlier) <= 16
    assert all(exists(trial.hparams) for trial in loop.terms.earlier)


@pytest.mark.parametrize("strategy", ["quasi", "random"])
def test_fused_or_not_the_trials_are_the_same(tmp_path, strategy):
    space = {**SPACE, "units": Choice(16, 24).per("layers"), "layers": Int(0, 1), "optimizer": Choice("sgd", "adam")}
    asked = {"space": space, "data": DigitsData, "monitor": "val_acc", "mode": "max", "trials": 8, "strategy": strategy}
    asked |= {"trainer": {"max_epochs": 1, "accelerator": "cpu"}, "executor": "inline", "progress": False}
    fused, single = (
        SearchLoop(Perceptron, **asked, fuse=fuse, root_dir=tmp_path / fuse).run().trials for fuse in ("always", "never")
    )
    assert [trial.hparams for trial in fused] == [trial.hparams for trial in single]
    assert [trial.value for trial in fused] == pytest.approx([trial.value for trial in single], abs=0.01)


def test_an_argument_without_a_default_has_to_be_given_in_every_trial():
    class Needs(Perceptron):
        def __init__(self, momentum, **arguments):
            super().__init__(momentum=momentum, **arguments)

    with pytest.raises(ConfigError) as error:
        SearchLoop(Needs, space=SPACE, monitor="val_acc", trials=1)
    assert str(error.value).endswith(
        "requires 'momentum', which space['momentum'] does not give in every trial: let it have a default"
    )


def trials(value, count=60):
    """Made-up trials of the space."""
    proposed = Quasi().propose(Space(SPACE), 0, range(count), [])
    return [Trial(number, hparams, 0, "complete", value=value(hparams)) for number, hparams in enumerate(proposed)]


def test_what_matters_where_it_exists_is_found_and_narrowed():
    space = Space(SPACE)
    scale = SPACE["momentum"].scale

    def value(hparams):
        return (scale.to_unit(hparams["momentum"]) - 0.3) ** 2 * 10 if hparams["optimizer"] == "sgd" else 2.0 + hparams["lr"]

    found = find(space, trials(value))
    assert found.importance["momentum"].matters
    assert found.importance["optimizer"].matters
    assert not found.importance["units"].matters
    narrowed = found.next_space["momentum"]
    assert narrowed.conditions == SPACE["momentum"].conditions
    assert scale.low <= narrowed.scale.low < narrowed.scale.high < 0.85
    assert advice(found)


def test_where_its_best_lies_is_told_by_the_trials_in_which_it_exists():
    scale = SPACE["momentum"].scale

    def value(hparams):
        # All that are good have no momentum.
        return 1.0 + (scale.to_unit(hparams["momentum"]) - 0.2) ** 2 * 10 if hparams["optimizer"] == "sgd" else hparams["lr"]

    found = find(Space(SPACE), trials(value)).ranges["momentum"]
    assert found.low < 0.2 < found.high < 0.6


def test_what_can_exist_no_longer_is_not_in_the_next_space():
    def value(hparams):
        return 10.0 + hparams["lr"] if hparams["optimizer"] == "sgd" else hparams["lr"]

    space = find(Space(SPACE), trials(value)).next_space
    assert space["optimizer"] == Choice("adam")
    assert "momentum" not in space
    assert space["beta1"].conditions == SPACE["beta1"].conditions


def test_a_list_is_narrowed_as_a_whole():
    space = Space({"layers": Int(1, 2), "units": Int(1, 100).per("layers")})
    proposed = Quasi().propose(space, 0, range(64), [])
    made = [
        Trial(number, each, 0, "complete", value=max((units - 30) ** 2 for units in each["units"]))
        for number, each in enumerate(proposed)
    ]
    found = find(space, made)
    assert found.importance["units"].matters
    narrowed = found.next_space["units"]
    assert narrowed.counter == "layers"
    assert narrowed.scale.low <= 30 <= narrowed.scale.high < 90


def test_where_fits_diverge_is_found_among_the_trials_in_which_it_exists():
    def ended(number, hparams):
        if hparams.get("momentum", 0.0) > 0.65:
            return Trial(number, hparams, 0, "diverged")
        return Trial(number, hparams, 0, "complete", value=hparams["lr"])

    proposed = Quasi().propose(Space(SPACE), 0, range(64), [])
    cut = find(Space(SPACE), [ended(number, hparams) for number, hparams in enumerate(proposed)]).limit
    assert (cut.name, cut.side, cut.elsewhere) == ("momentum", "above", 0)
    # Trials without momentum lie above it in the unit cube.
    assert cut.tried == cut.diverged
    assert 0.6 < cut.value < 0.7
