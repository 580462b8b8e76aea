"""Hyperparameters that exist only with others, and lists with a value for each layer: the space that they make."""

from __future__ import annotations

import re
from collections import UserList

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lightning_hp import Choice, ConfigError, Int, Linear, Log, LogInt, ReverseLog, Space
from tests.conditional import SCALES, SPACE, right, spaces

UNITS = st.floats(0, 1)


def made(scales):
    try:
        return Space(scales)
    except ConfigError:
        # Of conditions drawn at random some contradict each other.
        return None


@given(points=st.lists(st.lists(UNITS, min_size=10, max_size=10), max_size=8))
def test_exactly_what_exists_is_in_a_point_and_comes_back(points):
    points = np.reshape(points, (-1, 10))
    hparams = SPACE.from_unit(points)
    assert all(map(right, hparams))
    back = SPACE.to_unit(hparams)
    assert back.shape == points.shape
    assert SPACE.from_unit(back) == hparams
    # What does not exist lies in the middle, whatever it came from.
    assert (back[~SPACE.active(hparams)] == 0.5).all()


@given(scales=spaces(), data=st.data())
def test_any_conditional_space_keeps_what_it_promises(scales, data):
    space = made(scales)
    assume(space is not None)
    points = data.draw(st.lists(st.lists(UNITS, min_size=space.dimensions, max_size=space.dimensions), min_size=1, max_size=5))
    hparams = space.from_unit(points)
    assert space.from_unit(space.to_unit(hparams)) == hparams
    for point in hparams:
        assert list(point) == [name for name in space if name in point]
        for name, declared in scales.items():
            exists = True
            for parent, condition in getattr(declared, "conditions", {}).items():
                exists = exists and parent in point and condition.holds(space.layout[parent].scale, point[parent])
            counter = getattr(declared, "counter", None)
            exists = exists and (counter is None or counter in point)
            assert (name in point) == exists
            if exists and counter is not None:
                assert len(point[name]) == point[counter]
        assert space.from_labels(space.labels(point)) == point
        assert len(space.flat(point)) == space.active([point]).sum()


@given(scales=spaces())
def test_a_space_written_in_a_config_is_the_same_space(scales):
    space = made(scales)
    assume(space is not None)
    assert Space(space.describe()) == space
    assert Space(space.describe()).describe() == space.describe()


def test_conditions_may_be_written_in_yaml():
    written = {
        "model.optimizer": {"scale": "choice", "values": ["sgd", "adam", "rmsprop"]},
        "model.momentum": {"scale": "reverse_log", "low": 0.5, "high": 0.99, "when": {"model.optimizer": ["sgd", "rmsprop"]}},
        "model.layers": {"scale": "int", "low": 1, "high": 4},
        "model.units": {"scale": "int", "low": 16, "high": 128, "per": "model.layers"},
        "model.skip": {"scale": "choice", "values": [True, False], "when": {"model.layers": {"at_least": 2}}},
    }
    assert Space(written) == Space(
        {
            "model.optimizer": Choice("sgd", "adam", "rmsprop"),
            "model.momentum": ReverseLog(0.5, 0.99).when({"model.optimizer": ("sgd", "rmsprop")}),
            "model.layers": Int(1, 4),
            "model.units": Int(16, 128).per("model.layers"),
            "model.skip": Choice(True, False).when({"model.layers": {"at_least": 2}}),
        }
    )
    assert Space(written).describe() == written


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        (2, {2}),
        ([1, 3], {1, 3}),
        ((1, 3), {1, 3}),
        ({3, 1}, {1, 3}),
        (range(2, 9), {2, 3, 4}),
        (range(1, 4, 2), {1, 3}),
        ({"at_least": 3}, {3, 4}),
        ({"at_least": np.int64(3)}, {3, 4}),
        ({"at_most": 2}, {1, 2}),
        ({"at_least": 2, "at_most": 3}, {2, 3}),
        (np.int64(2), {2}),
        (np.array([1, 3]), {1, 3}),
        (UserList([1, 3]), {1, 3}),
    ],
    ids=repr,
)
def test_a_condition_is_a_value_several_or_bounds(condition, met):
    space = Space({"layers": Int(1, 4), "skip": Linear(0.0, 1.0).when(layers=condition)})
    found = {point["layers"] for point in space.from_unit([[unit, 0.5] for unit in (0, 0.3, 0.6, 1)]) if "skip" in point}
    assert found == met
    assert Space(space.describe()) == space


def test_a_choice_tells_true_from_one_and_may_hold_lists_and_classes():
    one = Space({"kind": Choice(True, 1, [8], dict), "lr": Log(0.1, 1.0).when(kind=1)})
    assert [len(point) for point in one.from_unit([[unit, 0.5] for unit in (0.1, 0.4, 0.6, 0.9)])] == [1, 2, 1, 1]
    several = Space({"kind": Choice(True, 1, [8], dict), "lr": Log(0.1, 1.0).when(kind=[[8], dict])})
    assert [len(point) for point in several.from_unit([[unit, 0.5] for unit in (0.1, 0.4, 0.6, 0.9)])] == [1, 1, 2, 2]
    # A study's folder has the names of its choices.
    assert Space(several.describe()).describe() == several.describe()


def test_without_conditions_nothing_but_scales_is_there():
    space = Space({"lr": Log(1e-4, 1.0), "layers": Int(1, 4)})
    assert (space.conditional, space.dimensions, space.sometimes) == (False, 2, set())
    assert dict(space.coordinates) == dict(space)


def test_what_is_not_in_every_point_is_known():
    assert SPACE.sometimes == {"momentum", "nesterov", "beta1", "dropout"}
    assert list(SPACE.coordinates)[6:] == ["units[0]", "units[1]", "units[2]", "dropout"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"beta1": 0.9}, "hparams['beta1']: it exists only where optimizer is 'adam', got 'sgd'"),
        ({"momentum": 0.6}, "hparams['nesterov']: it exists only where momentum is at least 0.9, got 0.6"),
        ({"optimizer": "adam"}, "hparams['momentum']: it exists only where optimizer is 'sgd', got 'adam'"),
        ({"units": [16]}, "hparams['units'] needs a list of layers=2 values, got [16]"),
        ({"units": (16, 32)}, "hparams['units'] needs a list of layers=2 values, got (16, 32)"),
        ({"units": 16}, "hparams['units'] needs a list of layers=2 values, got 16"),
        ({"units": [16, 200]}, "hparams['units[1]']: 200.0 is outside [16, 128]"),
        ({"layers": 9, "dropout": None}, "hparams['layers']: 9.0 is outside [0, 3]"),
        ({"momentum": None}, "is missing, which exists beside the others"),
        ({"extra": 1}, "hparams need the names"),
    ],
)
def test_hyperparameters_that_do_not_go_together_are_refused(change, told):
    point = {"optimizer": "sgd", "nesterov": True, "momentum": 0.95, "lr": 0.1, "layers": 2, "units": [16, 32], "dropout": 0.1}
    SPACE.to_unit([point])
    changed = {name: value for name, value in {**point, **change}.items() if value is not None}
    if change.get("momentum", 0) is None:
        del changed["nesterov"]
    with pytest.raises(ValueError, match=re.escape(told)):
        SPACE.to_unit([changed])


@pytest.mark.parametrize(
    ("scales", "told"),
    [
        (
            {"momentum": Log(0.1, 1).when(optimiser="sgd")},
            "space['momentum']: when 'optimiser' is not in the space (did you mean 'optimizer'?)",
        ),
        ({"units": Int(1, 9).per("layer")}, "space['units']: per 'layer' is not in the space (did you mean 'layers'?)"),
        (
            {"momentum": Log(0.1, 1).when(optimizer="sdg")},
            "space['momentum']: when['optimizer'] is never 'sdg', but one of sgd, adam (did you mean 'sgd'?)",
        ),
        ({"skip": Int(1, 2).when(layers="2")}, "space['skip']: when['layers'] needs numbers, got '2'"),
        ({"skip": Int(1, 2).when(layers=[2, True])}, "space['skip']: when['layers'] needs numbers, got 2 or True"),
        ({"skip": Int(1, 2).when(layers=5)}, "space['skip']: when['layers'] is never 5: its scale is Int(low=1, high=4)"),
        ({"skip": Int(1, 2).when(layers=2.5)}, "when['layers'] is never 2.5"),
        ({"skip": Int(1, 2).when(layers={"at_least": 5})}, "when['layers'] is never at least 5"),
        ({"skip": Int(1, 2).when(layers="two")}, "when['layers'] needs numbers, got 'two'"),
        ({"skip": Int(1, 2).when(lr=0.1)}, "when['lr'] is hardly ever a given number: give bounds"),
        ({"units": Int(1, 9).per("lr")}, "space['units']: per 'lr' needs whole numbers, Int or LogInt, got Log("),
        ({"units": Int(1, 9).per("optimizer")}, "per 'optimizer' needs whole numbers"),
        ({"n": LogInt(1, 512), "units": Int(1, 9).per("n")}, "per 'n' needs numbers from 0 to at most 128"),
        ({"n": Int(-1, 2), "units": Int(1, 9).per("n")}, "per 'n' needs numbers from 0"),
        (
            {"units": Int(1, 9).per("layers"), "more": Int(1, 2).when(units=3)},
            "space['more']: when 'units' needs a single value, got a list per 'layers'",
        ),
        (
            {"a": Int(1, 2).when(b=1), "b": Int(1, 2).when(c=1), "c": Int(1, 2).when(a=1)},
            "space['a'] depends on itself, so it can never exist: a -> b -> c -> a",
        ),
        ({"a": Int(1, 2).when(a=1)}, "space['a'] depends on itself"),
        (
            {"a": Int(1, 2).when(optimizer="sgd"), "b": Int(1, 2).when(a=1, optimizer="adam")},
            "space['b'] can never exist: with what it depends on, optimizer would have to be 'adam' and 'sgd'",
        ),
        ({"a": {"scale": "int", "low": 1, "high": 2, "when": "sgd"}}, "space['a']: when needs values by name"),
        ({"a": {"scale": "int", "low": 1, "high": 2, "when": {}}}, "space['a']: when needs another hyperparameter"),
        ({"a": {"scale": "int", "low": 1, "high": 2, "per": 3}}, "space['a']: per needs the name of a whole number"),
        ({"a": {"scale": "int", "low": 1, "high": 2, "whem": {}}}, "needs high and low, got low, high, whem"),
    ],
)
def test_conditions_that_cannot_be_are_told(scales, told):
    with pytest.raises(ConfigError) as error:
        Space({"optimizer": Choice("sgd", "adam"), "layers": Int(1, 4), "lr": Log(1e-3, 1.0), **scales})
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Int(1, 2).when(), "when needs another hyperparameter and its values"),
        (lambda: Int(1, 2).when(a=[]), "when['a'] needs at least one value, got none"),
        (lambda: Int(1, 2).when(a=range(0)), "when['a'] needs at least one value, got none"),
        (lambda: Int(1, 2).when(a=1).when(a=2), "when['a'] stands twice"),
        (lambda: Int(1, 2).when(a={"at_leats": 2}), "got 'at_leats' (did you mean 'at_least'?)"),
        (lambda: Int(1, 2).when(a={"at_least": "two"}), "at_least needs a number, got 'two'"),
        (lambda: Int(1, 2).when(a={}), "at_least and at_most, got nothing"),
        (lambda: Int(1, 2).per("a").per("b"), "per needs one whole number, got 'a' and 'b'"),
    ],
)
def test_what_is_no_condition_is_told_at_once(make, told):
    with pytest.raises(ConfigError) as error:
        make()
    assert told in str(error.value)


def test_a_list_may_exist_only_with_a_value_of_another():
    space = Space(
        {"head": Choice("mlp", "linear"), "layers": Int(1, 2), "units": Int(1, 9).per("layers").when(head="mlp")},
    )
    assert space == Space({**space, "units": Int(1, 9).when(head="mlp").per("layers")})
    assert space.from_unit([[0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0]]) == [
        {"head": "mlp", "layers": 2, "units": [1, 9]},
        {"head": "linear", "layers": 2},
    ]


def test_where_the_number_of_layers_does_not_exist_neither_does_their_list():
    space = Space({"head": Choice("mlp", "linear"), "layers": Int(1, 2).when(head="mlp"), "units": Int(1, 9).per("layers")})
    assert space.from_unit([[1.0, 1.0, 0.0, 1.0]]) == [{"head": "linear"}]
    assert space.sometimes == {"layers", "units"}


def test_the_mapping_holds_what_was_declared():
    assert dict(SPACE) == SCALES
    assert Space(SPACE) == SPACE
