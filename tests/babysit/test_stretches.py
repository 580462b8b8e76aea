"""Which steps have led to the weights, and which were undone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.actions import Rollback, Snapshot
from lightning_hp.babysit.log import Record, to_plain
from lightning_hp.babysit.stretches import discarded, kept


def at(step, *actions, by="score"):
    return Record("decision", 0, step, step, "", {"actions": [to_plain(action) for action in actions], "by": by})


A, B = Snapshot("a"), Snapshot("b")
TO_A, TO_B = Rollback("a"), Rollback("b")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], [(0, 100)]),
        ([at(0, A), at(50, A)], [(0, 100)]),
        ([at(0, A), at(50, TO_A)], [(50, 100)]),
        ([at(20, A), at(50, TO_A)], [(0, 20), (50, 100)]),
        # Twice from the same place.
        ([at(20, A), at(50, TO_A), at(70, TO_A)], [(0, 20), (70, 100)]),
        # A later snapshot of the name counts.
        ([at(20, A), at(30, A), at(50, TO_A)], [(0, 30), (50, 100)]),
        # A probe: two ways from one place, and back to the end of the first.
        ([at(20, A), at(40, B, TO_A), at(60, TO_B)], [(0, 40), (60, 100)]),
        # The snapshot of a way that was left is gone with it only if nobody goes back there.
        ([at(20, A), at(40, B), at(50, TO_A), at(70, TO_B)], [(0, 40), (70, 100)]),
        ([at(20, A), at(100, TO_A)], [(0, 20)]),
        # Each babysitter has its own.
        ([at(20, A), at(40, A, by="other"), at(50, TO_A)], [(0, 20), (50, 100)]),
    ],
)
def test_what_is_kept_is_the_way_to_the_weights_at_the_end(records, expected):
    assert kept(records, 100) == expected


@given(places=st.lists(st.tuples(st.integers(0, 50), st.sampled_from([A, B, TO_A, TO_B])), max_size=12))
def test_each_step_is_either_kept_or_discarded(places):
    records = [at(step, action) for step, action in sorted(places, key=lambda place: place[0])]
    stretches = sorted(kept(records, 50) + discarded(records, 50))
    assert [step for stretch in stretches for step in range(*stretch)] == list(range(50))
