"""Progressive halving, by how far trials have come alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_hp import ConfigError, Progressive
from lightning_hp.description import described
from lightning_hp.pruners import Climb, Oversees, pruner_for

GATE, SHORT, LONG, FAR = range(4)
PRUNER = Progressive(factor=2)
# Spread at the second rung from 1 to 2, by tenths.
SPREAD = [1 + tenth / 10 for tenth in range(11)]
CLIMB = st.builds(
    lambda values, waits, fails: Climb(
        tuple(sorted(values, reverse=True)) + ((None,) if fails and not waits else ()),
        len(values) - 1,
        waits,
        not waits,
    ),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
)
CLIMBS = st.lists(CLIMB, max_size=30).map(lambda climbs: dict(enumerate(climbs)))


def waits(*values):
    return Climb(values, len(values) - 1, waits=True)


def went_on(*values):
    """One at the fourth rung."""
    return waits(*values)


def decide(climbs, mode="min", total=None, closed=False, pruner=PRUNER):
    return pruner.decide(dict(enumerate(climbs)), mode, total, closed)


@settings(deadline=None)
@given(CLIMBS, st.sampled_from(["min", "max"]), st.one_of(st.none(), st.integers(1, 40)), st.booleans(), st.integers(2, 9))
def test_it_decides_about_those_who_wait_only_and_in_any_order_alike(climbs, mode, total, closed, factor):
    pruner = Progressive(factor=factor)
    decided = pruner.decide(climbs, mode, total, closed)
    assert all(climbs[number].waits for number in decided)
    assert pruner.decide(dict(reversed(climbs.items())), mode, total, closed) == decided
    worth = pruner.worth(climbs, mode, total)
    failed = {number for number, climb in climbs.items() if climb.ended and climb.values[-1] is None}
    assert worth.keys() == climbs.keys() - failed


@settings(deadline=None)
@given(CLIMBS, st.one_of(st.none(), st.integers(1, 40)), st.booleans())
def test_large_values_are_as_good_as_small_ones_where_they_are_to_be(climbs, total, closed):
    turned = {
        number: Climb(
            tuple(None if value is None else -value for value in climb.values), climb.passed, climb.waits, climb.ended
        )
        for number, climb in climbs.items()
    }
    assert PRUNER.decide(turned, "max", total, closed) == PRUNER.decide(climbs, "min", total, closed)
    worth = PRUNER.worth(turned, "max", total)
    assert {number: -value for number, value in worth.items()} == PRUNER.worth(climbs, "min", total)


def test_three_in_five_pass_the_gate_by_all_that_have_come_there():
    gate = [waits(value) for value in (5.0, 1.0, 3.0, 2.0, 4.0)]
    assert decide(gate) == {0: False, 1: True, 2: True, 3: True, 4: False}
    # A later round is compared with those before, whose own places stay as they are.
    earlier = [waits(0.5, 0.4) for _ in range(5)]
    assert decide([*earlier, *gate]) == {5: False, 6: True, 7: False, 8: False, 9: False}
    # None that failed passes, or one without a value.
    assert decide([Climb((None,), 0, waits=True), Climb((1.0, None), 0, ended=True)]) == {0: False}


def test_the_best_go_on_to_the_fourth_rung_as_many_as_one_in_so_many():
    short = [waits(3.0, value) for value in (1.3, 1.1, 1.2, 1.4)]
    assert decide(short) == {1: True, 2: True}
    # One more, since the other is on its way.
    assert decide([waits(3.0, 1.3), Climb((3.0, 1.1, 1.0), 3), waits(3.0, 1.2), waits(3.0, 1.4)]) == {2: True}
    # On it goes from the third, still as good as it was.
    assert decide([waits(3.0, 1.3), waits(3.0, 1.1, 1.0), waits(3.0, 1.2), waits(3.0, 1.4)]) == {1: True, 2: True}


def at_rungs(gained):
    """Eleven trials at the second rung, the best three at the fourth, where they have gained so much since the third."""
    far = [went_on(3.0, value, value - 0.5, value - 0.5 - gained) for value in SPREAD[:3]]
    return [*far, *(waits(3.0, value) for value in SPREAD[3:])]


def test_while_the_best_gain_by_going_on_the_others_stay_at_the_second_rung():
    # A round of three at the second.
    assert decide([*at_rungs(0.2), waits(3.0, 1.25)], pruner=Progressive(factor=4)) == {}
    worth = PRUNER.worth(dict(enumerate(at_rungs(0.2))), "min", None)
    assert list(worth.values()) == SPREAD


def test_once_the_best_have_settled_all_train_to_the_third_rung():
    trials = [*at_rungs(0.01), waits(3.0, 1.25)]
    assert decide(trials, pruner=Progressive(factor=9)) == dict.fromkeys(range(3, 12), True)
    trials[3:] = [waits(3.0, value, value - 0.3) for value in (*SPREAD[3:], 1.25)]
    assert decide(trials, pruner=Progressive(factor=9)) == {}
    worth = PRUNER.worth(dict(enumerate(trials)), "min", None)
    assert list(worth.values()) == pytest.approx([0.5, 0.6, 0.7, *(value - 0.3 for value in SPREAD[3:]), 0.95])
    # Four in five of them pass the gate.
    passed = decide([*trials, *(waits(2.9) for _ in range(20))])
    assert set(passed.values()) == {True}


def test_the_last_twelfth_goes_by_the_fourth_rung():
    trials = at_rungs(0.2)
    assert list(PRUNER.worth(dict(enumerate(trials)), "min", 12).values()) == pytest.approx([each - 0.7 for each in SPREAD])
    pruner = Progressive(factor=4)
    assert decide([*trials, waits(3.0, 1.19)], total=12, pruner=pruner) == {11: True}
    assert decide([*trials, waits(3.0, 1.21)], total=12, pruner=pruner) == {}
    assert decide([*trials, waits(3.0, 1.19)], total=24, pruner=pruner) == {}


def test_when_no_more_begin_a_fifth_of_those_at_the_fourth_rung_trains_to_the_end():
    far = [went_on(3.0, 2.0, 1.0, value / 10) for value in range(9, -1, -1)]
    trials = [*far, *(waits(3.0, 2.5) for _ in range(4))]
    assert decide(trials, closed=True) == {8: True, 9: True}
    # Those that wait have been waited for in vain once one of these has ended.
    trials[8:10] = [Climb((3.0, 2.0, 1.0, 0.1, None), 4, ended=True), Climb((3.0, 2.0, 1.0, 0.0, 0.0), 4, ended=True)]
    assert decide(trials, closed=True) == {}
    # Where all that went on have come to nothing, others do.
    trials[9] = trials[8]
    assert decide(trials, closed=True) == {7: True}


def test_a_search_of_few_trials_has_one_go_to_the_end():
    assert decide([waits(2.0)], closed=True) == {0: True}
    assert decide([waits(2.0, 1.0)], closed=True, pruner=Progressive()) == {0: True}
    assert decide([waits(2.0, 1.0, 1.0, 1.0)], closed=True) == {0: True}


def test_its_rungs_lie_alike_in_trials_of_any_length():
    def rungs(pruner, most):
        return [pruner.rung(index, most) for index in range(5)]

    assert rungs(Progressive(), 27) == [2, 4, 6, 10, None]
    assert rungs(Progressive(), 100) == [7, 15, 22, 37, None]
    assert rungs(Progressive(), 5) == [1, 2, 3, 4, None]
    assert rungs(Progressive(), None) == [2, 4, 6, 10, None]
    assert rungs(Progressive((1, 2, 4, 8)), 9) == [1, 2, 4, 8, None]
    # Too short to be compared at all of them.
    assert rungs(Progressive(), 4) == rungs(Progressive((1, 2, 4, 8)), 8) == [None] * 5


def test_it_is_known_by_name_and_described_as_a_config_has_it():
    assert pruner_for("progressive") == Progressive()
    assert isinstance(Progressive(), Oversees)
    assert described(Progressive()) == "progressive"
    assert described(Progressive(rungs=[1, 2, 3, 4])) == {"name": "progressive", "rungs": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"rungs": (1, 2, 3)}, r"needs four rungs, such as \(2, 4, 6, 10\), got \(1, 2, 3\)"),
        ({"rungs": (1, 2, 2, 3)}, "needs whole numbers that rise"),
        ({"rungs": 4}, "needs whole numbers that rise"),
        ({"factor": 1}, "factor"),
        ({"unit": "hours"}, r"Progressive\(unit=\)"),
    ],
)
def test_what_it_cannot_do_is_told(arguments, told):
    with pytest.raises(ConfigError, match=told):
        Progressive(**arguments)
