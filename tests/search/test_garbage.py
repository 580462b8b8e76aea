"""What garbage collections pass over while a search runs."""

from __future__ import annotations

import gc

import pytest

from lightning_hp.search.garbage import little_garbage


@pytest.fixture(autouse=True)
def nothing_set_aside():
    set_aside = gc.get_freeze_count() > 0
    gc.unfreeze()
    yield
    gc.unfreeze()
    if set_aside:
        gc.freeze()


def test_what_is_there_already_is_set_aside_and_given_back():
    with little_garbage():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_what_is_made_meanwhile_is_collected():
    class Ring:
        pass

    with little_garbage():
        ring = Ring()
        ring.itself = ring
        del ring
        assert gc.collect() > 0


def test_what_others_have_set_aside_stays_so():
    gc.freeze()
    with little_garbage():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() > 0
