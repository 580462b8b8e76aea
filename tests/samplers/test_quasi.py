"""Quasi-random search: even, endless, and the same first trials however many there are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from lightning_hp import Choice, ConfigError, Int, Linear, Log, Quasi, Random, Space
from lightning_hp.samplers.quasi import BLOCK, scrambled, sobol

SPACE = Space({"lr": Log(1e-4, 1.0), "layers": Int(1, 4), "act": Choice("relu", "tanh"), "dropout": Linear(0.0, 0.5)})


def test_more_trials_keep_the_first():
    assert Quasi().propose(SPACE, 0, range(128), [])[:64] == Quasi().propose(SPACE, 0, range(64), [])


def test_points_are_those_of_one_sequence_across_blocks():
    numbers = [0, 5, BLOCK - 1, BLOCK, BLOCK + 7, 3 * BLOCK]
    whole = scrambled(3, 1, 3 * BLOCK + 1)
    np.testing.assert_array_equal(sobol(3, 1, numbers), whole[numbers])


@pytest.mark.parametrize("seed", range(3))
def test_every_value_of_an_integer_or_a_choice_comes_equally_often(seed):
    proposed = Quasi().propose(SPACE, seed, range(64), [])
    assert {sum(each["layers"] == n for each in proposed) for n in (1, 2, 3, 4)} == {16}
    assert {sum(each["act"] == act for each in proposed) for act in ("relu", "tanh")} == {32}


@pytest.mark.parametrize("seed", range(3))
def test_it_is_more_even_than_random_draws(seed):
    space = Space({name: Linear(0.0, 1.0) for name in "abcd"})
    quasi, drawn = (space.to_unit(each.propose(space, seed, range(64), [])) for each in (Quasi(), Random()))
    assert qmc.discrepancy(quasi) < 0.5 * qmc.discrepancy(drawn)


def test_seeds_scramble_it_otherwise():
    assert len({Quasi().propose(SPACE, seed, [0], [])[0]["lr"] for seed in range(20)}) == 20


def test_more_hyperparameters_than_it_has_dimensions_are_refused():
    with pytest.raises(ConfigError, match="at most 21201 hyperparameters, the space has 21202: take random"):
        sobol(21_202, 0, [0])
