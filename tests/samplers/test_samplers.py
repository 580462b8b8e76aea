"""What every sampler promises: trial n is a function of (seed, n), whoever asks, in whatever company."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp import Choice, CoarseToFine, ConfigError, Grid, Int, Log, OptunaSampler, Random, ReverseLog, Space, Trial
from lightning_hp.samplers import STRATEGIES, described_strategy, sampler_for

SPACE = Space({"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.9, 0.999), "layers": Int(1, 4), "act": Choice("relu", "tanh")})
HISTORY = [Trial(0, SPACE.sample(1)[0], seed=0, state="complete", value=0.5)]


@pytest.fixture(params=sorted(STRATEGIES))
def sampler(request):
    return sampler_for(request.param)


def test_one_by_one_gives_what_all_at_once_gives(sampler):
    together = sampler.propose(SPACE, 1, range(12), [])
    assert [sampler.propose(SPACE, 1, [number], HISTORY) for number in range(12)] == [[each] for each in together]
    assert sampler.propose(SPACE, 1, [3, 7], []) == [together[3], together[7]]


def test_what_it_proposes_lies_in_the_space(sampler):
    proposed = sampler.propose(SPACE, 0, range(12), [])
    assert len(proposed) == 12
    assert SPACE.from_unit(SPACE.to_unit(proposed)) == proposed


def test_asked_for_nothing_it_proposes_nothing(sampler):
    assert sampler.propose(SPACE, 0, [], []) == []


def test_random_trials_differ_by_seed_and_by_number():
    seen = [tuple(hparams.values()) for seed in range(5) for hparams in Random().propose(SPACE, seed, range(20), [])]
    assert len(set(seen)) == 100


def test_random_draws_are_uniform_over_the_trials_of_a_study():
    points = SPACE.to_unit(Random().propose(SPACE, 0, range(4000), []))
    for column in (0, 1):
        assert abs(points[:, column].mean() - 0.5) < 0.02
        assert abs(points[:, column].var() - 1 / 12) < 0.005


def test_a_grid_is_every_combination_once_the_last_name_fastest():
    proposed = Grid({"lr": 2, "momentum": 1, "layers": 2}).propose(SPACE, 0, range(100), [])
    assert [tuple(hparams.values()) for hparams in proposed] == [
        (lr, 0.99, layers, act) for lr in (1e-4, 1.0) for layers in (1, 4) for act in ("relu", "tanh")
    ]
    assert Grid({"lr": 2, "momentum": 1, "layers": 2}).size(SPACE) == 8


@given(points=st.integers(1, 6))
def test_a_grid_has_as_many_trials_as_its_size(points):
    grid = Grid(points)
    size = grid.size(SPACE)
    proposed = grid.propose(SPACE, 0, range(size + 3), [])
    assert len(proposed) == size
    assert len({tuple(hparams.values()) for hparams in proposed}) == size


def test_a_grid_takes_three_points_where_it_is_not_told():
    values = Grid({"lr": 2}).values(SPACE)
    assert [len(each) for each in values.values()] == [2, 3, 3, 2]


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (Grid(np.int64(2)), Grid(2)),
        (Grid({"lr": np.int64(2)}), Grid({"lr": 2})),
        (CoarseToFine(np.int64(8), np.int64(4)), CoarseToFine(8, 4)),
    ],
)
def test_numpys_counts_are_counts(given, plain):
    assert json.dumps(described_strategy(given)) == json.dumps(described_strategy(plain))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Grid(0), "Grid(points=) needs a whole number of at least 1, got 0"),
        (lambda: Grid(2.5), "got 2.5"),
        (lambda: Grid(True), "got True"),
        (lambda: Grid({"lr": 0}), "Grid points['lr'] needs a whole number of at least 1, got 0"),
        (lambda: Grid({"lrr": 2}).values(SPACE), "points['lrr'] is not in the space (did you mean 'lr'?)"),
        (
            lambda: sampler_for("gird"),
            "strategy='gird' is not one of coarse-to-fine, quasi, random, grid, optuna (did you mean 'grid'?)",
        ),
        (
            lambda: sampler_for("tpe"),
            "strategy='tpe' is not one of coarse-to-fine, quasi, random, grid, optuna: that of Optuna is "
            "optuna.samplers.TPESampler(), or its name 'optuna.samplers.TPESampler' (pip install 'lightning-hp[optuna]')",
        ),
        (lambda: sampler_for("gp"), "optuna.samplers.GPSampler()"),
        (lambda: sampler_for("cmaes"), "optuna.samplers.CmaEsSampler()"),
        (lambda: sampler_for("GPSampler"), "optuna.samplers.GPSampler()"),
        (lambda: sampler_for(Grid), "got the class Grid: write Grid()"),
        (lambda: sampler_for(3), "strategy needs a name or a sampler with propose(), got 3"),
    ],
)
def test_what_makes_no_sampler_is_told(make, told):
    with pytest.raises(ConfigError) as error:
        make()
    assert told in str(error.value)


def test_without_optuna_its_name_tells_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    for make in (lambda: sampler_for("optuna"), lambda: sampler_for("optuna.samplers.GPSampler"), OptunaSampler):
        with pytest.raises(ConfigError, match=re.escape("pip install 'lightning-hp[optuna]'")):
            make()


def test_a_sampler_of_the_users_own_passes():
    class Mine:
        def propose(self, space, seed, numbers, history, mode="min"):
            return []

    mine = Mine()
    assert sampler_for(mine) is mine
