"""A few kills of a search at random moments; `kill.py` makes as many as one likes."""

from __future__ import annotations

import random

import pytest

from lightning_hp.executors.launch import CAN_FORK
from tests.chaos.kill import run


@pytest.mark.slow
@pytest.mark.skipif(not CAN_FORK, reason="processes are counted by /proc")
def test_a_search_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(tmp_path, capsys):
    code = run(kills=2, chance=random.Random(), folder=tmp_path, trials=6)
    assert code == 0, capsys.readouterr().out
