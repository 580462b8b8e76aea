"""What a person asks for: what is understood, what it comes to, and what is refused and why."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.actions import Adjust, Knobs, Move, Rollback, Stop
from lightning_hp.babysit.request import Bounds, Change, Range, Request, actions, parse_changes
from lightning_hp.errors import ConfigError

BOUNDS = Bounds(min_lr=0.001, max_momentum=0.99)
FACTORS = st.builds(Change, st.floats(1e-6, 1e6), st.just(True))
REQUESTS = st.builds(
    Request,
    st.just("nudge"),
    st.sampled_from(["step", "epoch"]),
    FACTORS | st.builds(Change, st.floats(1e-9, 1e9)),
    st.none() | FACTORS | st.builds(Change, st.floats(0, 0.999)),
    st.none() | st.builds(Range, st.just("model.lr"), st.floats(1e-9, 1.0), st.floats(1.0, 10.0)),
)


def asked(*words, now=((0.1, 0.9),), peaks=None, bounds=BOUNDS, **ranges):
    groups = [Knobs(*group) for group in now]
    highest = [Knobs(*group) for group in peaks or now]
    (action,) = actions(Request("nudge", **parse_changes(words), **ranges), groups, highest, bounds, None)
    return [(move.lr_factor, move.momentum_factor) for move in action.moves]


def test_a_factor_is_of_lr_and_of_momentums_distance_to_1():
    assert asked("lr=x0.5", "momentum=x0.5") == [(0.5, 0.5)]


def test_a_value_is_reached():
    assert asked("lr=0.01") == [(pytest.approx(0.1), 1.0)]
    assert asked("momentum=0.95") == [(1.0, pytest.approx(0.5))]
    assert asked("momentum=0") == [(1.0, pytest.approx(10.0))]


def test_of_several_groups_the_highest_gets_the_value_and_the_others_keep_their_proportion():
    assert asked("lr=0.2", now=[(0.01, 0.9), (0.1, 0.9)]) == [(2.0, 1.0), (2.0, 1.0)]
    ((_, first), (_, second)) = asked("momentum=0.95", now=[(0.1, 0.8), (0.1, 0.9)])
    assert (first, second) == (pytest.approx(0.5), pytest.approx(0.5))


def test_momentum_that_is_off_beside_others_stays_off_and_may_be_turned_on_where_all_are():
    assert asked("momentum=x0.5", now=[(0.1, 0.0), (0.1, 0.9), (0.1, None)]) == [(1.0, 1.0), (1.0, 0.5), (1.0, 1.0)]
    assert asked("momentum=0.9", now=[(0.1, 0.0)]) == [(1.0, pytest.approx(0.1))]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to change"),
        (["lr"], "'lr' is no change: write lr=x0.5"),
        (["lrr=0.1"], "lrr is not one of lr, momentum (did you mean 'lr'?)"),
        (["lr=fast"], "lr=fast needs a value, such as lr=0.01, or a factor"),
        (["lr="], "lr= needs a value"),
        (["lr=0"], "lr=0 needs a value above 0"),
        (["lr=-0.1"], "lr=-0.1 needs a value"),
        (["lr=nan"], "lr=nan needs a value"),
        (["lr=1e999"], "lr=inf needs a value above 0 and finite"),
        (["lr=x0"], "lr=x0 needs a factor above 0"),
        (["momentum=1"], "momentum=1 needs a value from 0 to below 1"),
        (["lr=0.1", "lr=0.2"], "lr is there twice"),
    ],
)
def test_what_is_not_understood_is_told(words, told):
    with pytest.raises(ConfigError) as refused:
        parse_changes(words)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("words", "fit", "told"),
    [
        (["lr=0.0001"], {}, "lr would be 0.0001, and the Babysitter's min_lr is 0.001"),
        (["lr=x0.1"], {"now": [(0.1, 0.9), (0.002, 0.9)]}, "lr would be 0.0002, and the Babysitter's min_lr is 0.001"),
        (["momentum=0.995"], {}, "momentum would be 0.995, and the Babysitter's max_momentum is 0.99"),
        (["momentum=x0.05"], {"peaks": [(0.1, 0.95)]}, "momentum would be 0.9975 at the highest of its cycle"),
        (["momentum=x20"], {}, "momentum would be -1, and needs at least 0"),
        (["momentum=0.9"], {"now": [(0.1, None)]}, "the optimizer has no momentum"),
        (["momentum=0.9"], {"now": [(0.1, 1.0)]}, "momentum is 1, which has no distance to 1"),
        (["lr=x2"], {"now": [(0.0, 0.9)]}, "lr is 0 at this point of its schedule"),
        (["lr=x2"], {"now": [(math.nan, 0.9)]}, "lr is nan at this point"),
        (["lr=x1e308"], {"now": [(10.0, 0.9)]}, "no number that training can use"),
    ],
)
def test_what_the_bounds_forbid_is_refused_with_the_reason(words, fit, told):
    with pytest.raises(ConfigError) as refused:
        asked(*words, **fit)
    assert told in str(refused.value)


def test_a_fit_that_stands_outside_the_bounds_may_come_nearer_to_them():
    assert asked("lr=x2", now=[(1e-5, 0.9)]) == [(2.0, 1.0)]
    assert asked("momentum=x2", now=[(0.1, 0.999)]) == [(1.0, 2.0)]


def test_the_range_that_a_study_searches_is_not_left_and_may_be_come_back_to():
    searched = Range("model.lr", 0.01, 0.5)
    for word, told in [("lr=0.9", "lr would be 0.9"), ("lr=x0.05", "lr would be 0.005")]:
        with pytest.raises(ConfigError, match=f"{told}, and the study searches model.lr from 0.01 to 0.5; --anyway"):
            asked(word, lr_range=searched)
    assert asked("lr=0.5", lr_range=searched) == [(5.0, 1.0)]
    assert asked("lr=x2", now=[(0.002, 0.9)], lr_range=searched) == [(2.0, 1.0)]


def test_the_other_requests_come_to_their_actions():
    def comes_to(kind, snapshot="good"):
        return actions(Request(kind), [Knobs(0.1, 0.9)], [Knobs(0.1, 0.9)], BOUNDS, snapshot)

    assert comes_to("rollback") == (Rollback("good", keep_moves=False),)
    assert comes_to("stop") == (Stop(),)
    assert comes_to("pause") == comes_to("resume") == ()
    with pytest.raises(ConfigError, match="no snapshot to go back to yet"):
        comes_to("rollback", None)


@given(REQUESTS)
def test_a_request_comes_back_from_json(request):
    assert Request.from_plain(json.loads(json.dumps(request.to_plain()))) == request


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "at", "lr", "number"]), inner),
)


@given(
    JSON
    | st.fixed_dictionaries({"kind": st.sampled_from(["nudge", "stop"]), "at": st.just("step")}, optional={"lr": JSON})
    | st.fixed_dictionaries(
        {
            "kind": st.just("nudge"),
            "at": st.just("step"),
            "lr": st.fixed_dictionaries({"number": JSON, "factor": JSON}),
            "lr_range": st.fixed_dictionaries({"name": JSON, "low": JSON, "high": JSON}),
        }
    ),
    st.lists(st.tuples(st.floats(), st.none() | st.floats(0, 1)), max_size=3),
)
def test_whatever_json_comes_is_a_request_that_works_or_is_refused(plain, groups):
    now = [Knobs(*group) for group in groups]
    try:
        done = actions(Request.from_plain(plain), now, now, BOUNDS, None)
    except ConfigError:
        return
    assert all(isinstance(each, (Adjust, Stop)) for each in done)
    moves = [move for action in done if isinstance(action, Adjust) for move in action.moves]
    assert all(0 < move.lr_factor < math.inf and 0 < move.momentum_factor < math.inf for move in moves)
    assert all(isinstance(move, Move) for move in moves)
