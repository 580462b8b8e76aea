"""Samplers over hyperparameters that exist only with others: each proposes exactly what exists, whatever has finished."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lightning_hp import Choice, CoarseToFine, ConfigError, Grid, Int, Linear, Log, OptunaSampler, Quasi, Space, Trial
from lightning_hp.samplers import STRATEGIES, InRounds, sampler_for
from lightning_hp.samplers.evidence import evidence
from tests.conditional import SCALES, SPACE, narrow, right

CONSTRAINED = Space(SCALES, narrow)
OPTUNAS = ("TPESampler", "CmaEsSampler", "QMCSampler", "NSGAIISampler", "RandomSampler")
SMALL = CoarseToFine(first=8, size=4)


def cost(hparams):
    return abs(math.log10(hparams["lr"]) + 2) + (hparams["optimizer"] == "adam") + abs(sum(hparams["units"]) - 90) / 100


def searched(space, sampler, trials, value=cost, seed=0):
    """The trials of a search that runs one after another."""
    history = []
    for number in range(trials):
        first = sampler.round_of(number).start if isinstance(sampler, InRounds) else number
        (hparams,) = sampler.propose(space, seed, [number], [trial for trial in history if trial.number < first])
        history.append(Trial(number, hparams, seed=0, state="complete", value=value(hparams)))
    return history


@pytest.fixture(params=[SPACE, CONSTRAINED], ids=["conditions", "conditions and a constraint"])
def space(request):
    return request.param


@pytest.fixture(params=[*sorted(STRATEGIES), *(f"optuna.samplers.{name}" for name in OPTUNAS)])
def sampler(request):
    if request.param.startswith("optuna"):
        pytest.importorskip("optuna", reason="pip install 'lightning-hp[optuna]'")
        pytest.importorskip("cmaes", reason="pip install 'lightning-hp[optuna]'")
    return SMALL if request.param == "coarse-to-fine" else sampler_for(request.param)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_each_proposes_exactly_what_exists_and_the_same_again(sampler, space):
    proposed = searched(space, sampler, 20)
    for trial in proposed:
        assert right(trial.hparams), trial.hparams
        assert space.allows(trial.hparams)
        assert space.from_unit(space.to_unit([trial.hparams])) == [trial.hparams]
    # A new sampler that has seen no proposal of its own, as after a restart.
    again = OptunaSampler(sampler.sampler, sampler.size) if isinstance(sampler, OptunaSampler) else sampler
    for number in (3, 19):
        first = again.round_of(number).start if isinstance(again, InRounds) else number
        assert again.propose(space, 0, [number], proposed[:first]) == [proposed[number].hparams]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_brute_force_goes_on_after_a_restart_as_without_one():
    pytest.importorskip("optuna", reason="pip install 'lightning-hp[optuna]'")
    scales = {"act": Choice("relu", "tanh"), "layers": Int(0, 3), "units": Choice(8, 40).per("layers")}
    space = Space({**scales, "slope": Int(1, 3).when(act="relu")}, lambda hparams: sum(hparams["units"]) < 60)
    sampler = sampler_for("optuna.samplers.BruteForceSampler")
    history = searched(space, sampler, 16, lambda hparams: float(sum(hparams["units"])))
    assert len({str(trial.hparams) for trial in history}) == 16
    for number in range(16):
        # Of what was asked for in vain a sampler made anew knows nothing.
        again = OptunaSampler(sampler.sampler)
        assert again.propose(space, 0, [number], history[:number]) == [history[number].hparams]


@pytest.mark.parametrize("name", ["random", "quasi", "grid"])
def test_one_by_one_gives_what_all_at_once_gives(name, space):
    sampler = sampler_for(name)
    together = sampler.propose(space, 1, range(12), [])
    assert [sampler.propose(space, 1, [number], []) for number in reversed(range(12))] == [[each] for each in together[::-1]]


def test_quasi_takes_the_points_that_meet_the_constraint_in_their_order():
    points = [each for each in Quasi().propose(SPACE, 2, range(200), []) if narrow(each)]
    assert Quasi().propose(CONSTRAINED, 2, range(len(points)), []) == points


def test_a_point_that_meets_the_constraint_at_once_is_the_one_without_it():
    for name in ("random", "coarse-to-fine"):
        sampler = sampler_for(name)
        first = sampler.propose(SPACE, 0, [0], [])[0]
        space = Space(SCALES, lambda hparams, first=first: hparams["lr"] == first["lr"])
        assert sampler.propose(space, 0, [0], []) == [first]


def test_a_grid_holds_each_combination_that_exists_once():
    space = Space(
        {
            "optimizer": Choice("sgd", "adam"),
            "momentum": Linear(0.0, 0.5).when(optimizer="sgd"),
            "layers": Int(0, 2),
            "units": Choice(8, 16).per("layers"),
        }
    )
    grid = Grid({"momentum": 2})
    proposed = grid.propose(space, 0, range(100), [])
    lists = [[], [8], [16], [8, 8], [8, 16], [16, 8], [16, 16]]
    with_sgd = [{"optimizer": "sgd", "momentum": momentum} for momentum in (0.0, 0.5)]
    assert proposed == [
        {**optimizer, "layers": len(units), "units": units}
        for optimizer in (*with_sgd, {"optimizer": "adam"})
        for units in lists
    ]
    assert grid.size(space) == 21


def test_a_grid_that_is_too_large_to_go_through_is_refused():
    space = Space({f"lr{index}": Log(0.1, 1.0) for index in range(30)})
    assert Grid(3).size(space) == 3**30
    with pytest.raises(ConfigError, match="Grid has more than 100,000 combinations"):
        Grid(3).size(Space({**space, "on": Choice(1, 2), "extra": Log(0.1, 1.0).when(on=1)}))


def test_coarse_to_fine_narrows_by_the_trials_in_which_a_hyperparameter_exists():
    space = Space(
        {
            "optimizer": Choice("sgd", "adam"),
            "momentum": Linear(0.0, 1.0).when(optimizer="sgd"),
            "beta1": Linear(0.0, 1.0).when(optimizer="adam"),
        }
    )

    def value(hparams):
        return (hparams["momentum"] - 0.9) ** 2 if "momentum" in hparams else 2.0

    history = searched(space, SMALL, 24, value)
    region = SMALL.explain(space, 0, 24, history)["region"]
    assert region["optimizer"]["weights"]["sgd"] > 0.8
    # Half of the first trials have no momentum, and lie in the middle to the model.
    assert region["momentum"]["unit"][0] > 0.55
    # Of what hardly exists any more among the best nothing is said.
    assert region["beta1"]["unit"][1] - region["beta1"]["unit"][0] > 0.8
    assert min(trial.value for trial in history) < 0.002


def test_coarse_to_fine_finds_the_best_within_a_constraint():
    history = searched(CONSTRAINED, SMALL, 24)
    by_chance = [cost(each) for each in Quasi().propose(CONSTRAINED, 0, range(24), [])]
    assert min(trial.value for trial in history) <= min(by_chance)
    assert np.mean([trial.value for trial in history[16:]]) < np.mean(by_chance)


def test_evidence_has_what_does_not_exist_in_the_middle():
    history = searched(SPACE, Quasi(), 16)
    units = evidence(SPACE, history, "min").units
    there = SPACE.active([trial.hparams for trial in history])
    assert (units[~there] == 0.5).all()
    assert not there.all()
