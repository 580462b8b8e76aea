"""Space: named scales in order, points of the unit cube to hyperparameters and back."""

from __future__ import annotations

import re
from collections import UserList

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from lightning_hp import Choice, ConfigError, Int, Linear, Log, LogInt, ReverseLog, Space
from lightning_hp.space import route, split

SIX = {
    "lr": Log(1e-4, 1.0),
    "momentum": ReverseLog(0.9, 0.999),
    "dropout": Linear(0.0, 0.5),
    "hidden": Int(50, 100),
    "data.batch_size": LogInt(16, 256),
    "activation": Choice("relu", "tanh", None),
}


def test_a_space_keeps_the_order_in_which_it_was_given():
    assert list(Space(SIX)) == list(SIX)
    assert list(Space(dict(reversed(SIX.items())))) == list(reversed(SIX))
    assert list(Space(SIX).sample(1)[0]) == list(SIX)


def test_scales_may_be_plain_dicts():
    plain = {
        "lr": {"scale": "log", "low": 1e-4, "high": 1},
        "momentum": {"scale": "reverse_log", "low": 0.9, "high": 0.999},
        "dropout": {"scale": "linear", "low": 0, "high": 0.5},
        "hidden": {"scale": "int", "low": 50, "high": 100},
        "data.batch_size": {"scale": "log_int", "low": 16, "high": 256},
        "activation": {"scale": "choice", "values": ["relu", "tanh", None]},
    }
    assert dict(Space(plain)) == SIX
    assert dict(Space(Space(plain).describe())) == SIX


@given(points=st_numpy.arrays(float, st.tuples(st.integers(0, 6), st.just(6)), elements=st.floats(0, 1)))
def test_points_to_hyperparameters_to_points_to_hyperparameters_is_the_identity(points):
    space = Space(SIX)
    hparams = space.from_unit(points)
    back = space.to_unit(hparams)
    assert back.shape == points.shape
    assert space.from_unit(back) == hparams


def test_hyperparameters_are_plain_python_values():
    (hparams,) = Space(SIX).sample(1)
    assert {type(value) for value in hparams.values()} <= {float, int, str, type(None)}


def test_a_seed_decides_the_sample():
    space = Space(SIX)
    assert space.sample(20, seed=3) == space.sample(20, seed=3)
    assert space.sample(20, seed=3) != space.sample(20, seed=4)
    assert space.sample(0) == []


def test_a_million_draws_stay_in_bounds():
    space = Space(SIX)
    points = np.random.default_rng(0).random((1_000_000, 6))
    for column, scale in enumerate(space.values()):
        values = scale.from_unit(points[:, column])
        if isinstance(scale, Choice):
            assert set(values) == set(scale.values)
        else:
            assert scale.low <= values.min() <= values.max() <= scale.high


@pytest.mark.parametrize("shape", [(6,), (2, 5), (1, 2, 6)])
def test_points_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"need shape (n, 6), got {shape}")):
        Space(SIX).from_unit(np.zeros(shape))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lr": 2.0}, "hparams['lr']: 2.0 is outside [0.0001, 1.0]"),
        ({"hidden": 60.5}, "hparams['hidden']: 60.5 is not a whole number"),
        ({"activation": "gelu"}, "hparams['activation']: 'gelu' is not one of the values"),
        ({"lr": "fast"}, "hparams['lr']: 'fast' is not a number"),
        ({"extra": 1}, "need the names"),
    ],
)
def test_hyperparameters_that_are_not_the_spaces_are_refused(change, told):
    space = Space(SIX)
    with pytest.raises(ValueError, match=re.escape(told)):
        space.to_unit([*space.sample(2), {**space.sample(1)[0], **change}])


@pytest.mark.parametrize("hparams", [{"lr": 0.1}, [0.1], ["lr"], "lr", 3, None])
def test_what_is_no_list_of_hyperparameters_has_no_points(hparams):
    with pytest.raises(ValueError, match=r"to_unit needs a list of hyperparameters, such as .{'lr': 0.1}., got "):
        Space({"lr": Log(1e-4, 1.0)}).to_unit(hparams)


@pytest.mark.parametrize(
    ("scales", "told"),
    [
        ({}, "space is empty"),
        ([("lr", Log(0.1, 1))], "space needs scales by name"),
        (
            {"lr": 0.1},
            "space['lr'] needs a scale such as Log(1e-4, 1.0), in a config {scale: log, low: 1e-4, high: 1.0}, got",
        ),
        ({"lr": {"scale": "lgo", "low": 0.1, "high": 1}}, "scale='lgo' is not one of linear, log"),
        (
            {"lr": {"low": 0.1, "high": 1}},
            "space['lr'] has no scale, one of linear, log, reverse_log, int, log_int, choice",
        ),
        ({"optimizer": {"lr": Log(0.1, 1)}}, "what lies deeper has a dotted name, space['optimizer.lr']"),
        ({"lr": {"scale": "log", "low": 0.1}}, "space['lr']: scale log needs high and low, got low"),
        ({"lr": {"scale": "log", "low": 0.1, "high": 1, "base": 2}}, "got low, high, base"),
        ({"lr": {"scale": "log", "low": 0, "high": 1}}, "space['lr']: Log needs 0 < low < high, got low=0"),
        ({"a": {"scale": "choice", "values": "relu"}}, "space['a']: choice needs a list of values, got 'relu'"),
        ({"": Log(0.1, 1)}, "space['']: names are"),
        ({3: Log(0.1, 1)}, "space[3]: names are"),
        ({"data.": Int(1, 2)}, "space['data.']: names are"),
        ({"data": Int(1, 2)}, "space['data']: names are"),
        ({"../x": Int(1, 2)}, "space['../x']: names are"),
        ({"lr": Log(0.1, 1), "model.lr": Log(0.1, 1)}, "space['model.lr'] and space['lr'] both set the same argument"),
    ],
)
def test_a_bad_space_is_told_by_its_parameters_name(scales, told):
    with pytest.raises(ConfigError) as error:
        Space(scales)
    assert told in str(error.value)


@pytest.mark.parametrize(("change", "told"), [({"n": -1}, "got -1"), ({"n": 1.5}, "got 1.5"), ({"seed": -1}, "sample(seed=)")])
def test_what_cannot_be_sampled_is_told(change, told):
    with pytest.raises(ConfigError) as error:
        Space(SIX).sample(**{"n": 1, **change})
    assert told in str(error.value)


def test_a_config_may_hold_any_kind_of_list():
    assert Space({"a": {"scale": "choice", "values": UserList(["x", "y"])}}) == Space({"a": Choice("x", "y")})


def test_names_say_where_a_hyperparameter_goes():
    assert route("lr") == route("model.lr") == ("model", "lr")
    assert route("optimizer.lr") == ("model", "optimizer.lr")
    assert split({"model.lr": 0.1, "hidden": 64, "data.batch_size": 32, "trainer.max_epochs": 3}) == {
        "model": {"lr": 0.1, "hidden": 64},
        "data": {"batch_size": 32},
        "trainer": {"max_epochs": 3},
    }


def test_choices_of_any_objects_are_stored_by_name_and_come_back():
    space = Space({"cell": Choice(dict, list), "depth": Choice(1, "two", None), "lr": Log(0.1, 1.0)})
    for hparams in space.sample(20):
        labels = space.labels(hparams)
        assert labels["cell"] in ("dict", "list")
        assert labels["depth"] == hparams["depth"]
        assert space.from_labels(labels) == hparams


def test_a_choice_of_lists_may_be_a_plain_dict():
    space = Space({"widths": {"scale": "choice", "values": [[8]]}, "more": {"scale": "choice", "values": [[8], [8, 8]]}})
    assert space.from_unit([[0.5, 1.0]]) == [{"widths": [8], "more": [8, 8]}]
    assert space.from_labels(space.labels({"widths": [8], "more": [8, 8]})) == {"widths": [8], "more": [8, 8]}
