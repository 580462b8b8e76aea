"""Who goes on from a rung, by the trials' values alone."""

from __future__ import annotations

import math
import sys
from collections import UserList

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import MedianPruner

from lightning_hp import Asha, ConfigError, Halving
from lightning_hp.description import described
from lightning_hp.pruners import Standing, pruner_for

VALUES = st.dictionaries(
    st.integers(0, 50), st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3]), st.floats(width=32)), min_size=1, max_size=40
)
MODES = st.sampled_from(["min", "max"])
FACTORS = st.integers(2, 5)


def usable(value):
    return value is not None and not math.isnan(value)


def undecided(values):
    return {number: Standing(value) for number, value in values.items()}


def going_on(decided):
    return {number for number, on in decided.items() if on}


@settings(deadline=None)
@given(VALUES, MODES, FACTORS)
def test_halving_lets_the_best_go_on_once_all_are_there(values, mode, factor):
    pruner = Halving(factor=factor)
    assert pruner.judge(undecided(values), False, mode) == {}
    decided = pruner.judge(undecided(values), True, mode)
    assert decided.keys() == values.keys()
    best = going_on(decided)
    assert len(best) == min(max(1, len(values) // factor), sum(map(usable, values.values())))
    sign = 1 if mode == "min" else -1
    for one in best:
        for other in values.keys() - best:
            if usable(values[other]):
                assert (sign * values[one], one) < (sign * values[other], other)


@settings(deadline=None)
@given(VALUES, MODES, FACTORS, st.randoms())
def test_who_was_first_does_not_matter_to_halving(values, mode, factor, random):
    shuffled = list(values.items())
    random.shuffle(shuffled)
    pruner = Halving(factor=factor)
    assert pruner.judge(undecided(dict(shuffled)), True, mode) == pruner.judge(undecided(values), True, mode)


@settings(deadline=None)
@given(VALUES, MODES, FACTORS, st.data())
def test_what_is_written_down_of_a_decision_does_not_change_the_rest_of_it(values, mode, factor, data):
    pruner = Halving(factor=factor)
    whole = pruner.judge(undecided(values), True, mode)
    known = data.draw(st.sets(st.sampled_from(sorted(values))))
    standings = {number: Standing(value, whole[number] if number in known else None) for number, value in values.items()}
    assert pruner.judge(standings, True, mode) == {number: on for number, on in whole.items() if number not in known}


@settings(deadline=None)
@given(VALUES, MODES, FACTORS)
def test_asha_decides_at_once_and_the_best_so_far_always_goes_on(values, mode, factor):
    pruner, standings = Asha(factor=factor), {}
    sign = 1 if mode == "min" else -1
    for number, value in values.items():
        standings[number] = Standing(value)
        decided = pruner.judge(standings, False, mode)
        assert decided.keys() == {number}
        ranked = sorted((sign * each.value, other) for other, each in standings.items() if usable(each.value))
        among_the_best = (sign * value, number) in ranked[: max(1, len(standings) // factor)] if usable(value) else False
        assert decided[number] == among_the_best
        standings[number] = Standing(value, decided[number])


@pytest.mark.parametrize("kind", [Halving, Asha])
def test_rungs_lie_ever_further_apart_and_below_the_end(kind):
    assert [kind(first=2, factor=3).rung(index, 54) for index in range(4)] == [2, 6, 18, None]
    assert kind(first=2, factor=3).rung(10, None) == 2 * 3**10
    assert kind().rung(0, 1) is None


@pytest.mark.parametrize("kind", [Halving, Asha])
def test_rungs_may_be_named_and_are_those_below_the_end(kind):
    pruner = kind(rungs=[6, 12], factor=3)
    assert [pruner.rung(index, 27) for index in range(3)] == [6, 12, None]
    assert [pruner.rung(index, 12) for index in range(2)] == [6, None]
    assert pruner.rung(1, None) == 12
    assert pruner == kind(rungs=(6, 12), factor=3)
    assert described(pruner) == {"name": kind.__name__.lower(), "factor": 3, "rungs": [6, 12]}


def test_numpys_counts_are_counts():
    halving, asha = Halving(first=np.int64(2), size=np.int64(8)), Asha(factor=np.int64(3))
    assert [type(each) for each in (halving.first, halving.size, asha.factor)] == [int, int, int]
    assert Halving(rungs=UserList([np.int64(2), 4])) == Halving(rungs=(2, 4))


def test_a_bracket_is_a_round_or_a_part_of_it():
    everything = range(sys.maxsize)
    assert Halving().bracket(20, range(16, 24)) == range(16, 24)
    assert Halving(size=8).bracket(20, range(30)) == range(16, 24)
    assert Halving(size=8).bracket(29, range(30)) == range(24, 30)
    assert Halving().bracket(40, everything) == range(32, 64)
    assert Asha().bracket(20, range(16, 24)) == everything
    assert Halving(size="all").bracket(20, range(16, 24)) == everything


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Halving(first=0), r"Halving\(first=\) needs a whole number of at least 1, got 0"),
        (lambda: Asha(factor=1), r"Asha\(factor=\) needs a whole number of at least 2, got 1"),
        (
            lambda: Halving(rungs=(6, 6)),
            r"Halving\(rungs=\) needs whole numbers that rise, such as .* got \(6, 6\)",
        ),
        (lambda: Halving(rungs=()), r"such as \(6, 12\), got \(\)"),
        (lambda: Asha(rungs="6"), r"Asha\(rungs=\) needs whole numbers that rise, .* got '6'"),
        (lambda: Asha(rungs=6), r"Asha\(rungs=\) needs whole numbers that rise, .* got 6"),
        (lambda: Asha(rungs=[0, 6]), r"Asha\(rungs=\) needs a whole number of at least 1, got 0"),
        (lambda: Halving(first=2, rungs=(2, 4)), r"takes first= or rungs=, got first=2 and rungs=\(2, 4\)"),
        (lambda: Halving(size=0), r"Halving\(size=\)"),
        (lambda: Halving(size="al"), r"Halving\(size=\)='al' is not one of all \(did you mean 'all'\?\)"),
        (lambda: Asha(unit="epoch"), r"Asha\(unit=\)='epoch' is not one of epochs, steps \(did you mean 'epochs'\?\)"),
        (
            lambda: pruner_for("halfing"),
            r"pruner='halfing' is not one of halving, asha, progressive \(did you mean 'halving'\?\)",
        ),
        (lambda: pruner_for(Halving), r"got the class Halving: write Halving\(\)"),
        (
            lambda: pruner_for("median"),
            r"one of halving, asha, progressive, .* got 'median': Optuna's are not taken; 'asha' decides",
        ),
        (lambda: pruner_for("HyperbandPruner"), "Optuna's are not taken"),
        (lambda: pruner_for(MedianPruner), "Optuna's are not taken"),
        (lambda: pruner_for(MedianPruner()), "Optuna's are not taken"),
        (lambda: pruner_for(3), r"or a pruner with judge\(\), got 3"),
    ],
)
def test_what_makes_no_pruner_is_told(make, told):
    with pytest.raises(ConfigError, match=told):
        make()
