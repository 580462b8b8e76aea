"""Optuna's samplers: each proposal is a function of the seed, the number and the trials that are shown, in any company."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.digits import LitDigits
from lightning_hp import (
    Choice,
    ConfigError,
    Int,
    Linear,
    Log,
    LogInt,
    OptunaSampler,
    Random,
    ReverseLog,
    SearchLoop,
    Space,
    Study,
    Trial,
)
from lightning_hp.cli.config import build
from lightning_hp.samplers import InRounds, sampler_for
from lightning_hp.samplers.reseed import reseeded
from lightning_hp.search.ask import Ask
from lightning_hp.seeds import proposal_seed
from lightning_hp.study import recorder

optuna = pytest.importorskip("optuna", reason="these are about Optuna's samplers: pip install 'lightning-hp[optuna]'")
pytest.importorskip("cmaes", reason="Optuna's CMA-ES needs it: pip install 'lightning-hp[optuna]'")
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE = Space(
    {
        "lr": Log(1e-4, 1.0),
        "momentum": ReverseLog(0.9, 0.999),
        "dropout": Linear(0.0, 0.5),
        "layers": Int(1, 4),
        "data.batch_size": LogInt(16, 256),
        "cell": Choice(dict, list),
    }
)
LINE = Space({"lr": Log(1e-4, 1.0)})
CHOICES = Space({"activation": Choice("relu", "tanh"), "cell": Choice(dict, list), "one": Choice(None)})
SAMPLERS = {
    "tpe": lambda: optuna.samplers.TPESampler(n_startup_trials=4),
    "gp": lambda: optuna.samplers.GPSampler(n_startup_trials=4),
    "cma-es": lambda: optuna.samplers.CmaEsSampler(),
    "cma-es with margin": lambda: optuna.samplers.CmaEsSampler(with_margin=True),
    "qmc": lambda: optuna.samplers.QMCSampler(scramble=True, warn_asynchronous_seeding=False),
    "nsga-ii": lambda: optuna.samplers.NSGAIISampler(population_size=6),
    "nsga-iii": lambda: optuna.samplers.NSGAIIISampler(population_size=6),
    "random": lambda: optuna.samplers.RandomSampler(),
}
# Its proposals take long.
GP = pytest.param("gp", marks=pytest.mark.slow)
ONE_BY_ONE = ("tpe", GP, "random")


@pytest.fixture(params=SAMPLERS)
def make(request):
    return SAMPLERS[request.param]


def cost(hparams):
    return abs(math.log10(hparams["lr"]) + 2)


def ended(number, hparams, state="complete", value=None, mode="min"):
    """A trial that has ended so, by the cost of its hyperparameters."""
    if value is None and state in ("complete", "pruned"):
        value = cost(hparams) * (1 if mode == "min" else -1)
    return Trial(number, hparams, seed=0, state=state, value=value, epochs=3)


def drawn(space, count, seed=0, states=("complete",), mode="min"):
    """Trials of hyperparameters drawn at random, that have ended in these states in turn."""
    return [
        ended(number, hparams, states[number % len(states)], mode=mode)
        for number, hparams in enumerate(Random().propose(space, seed, range(count), []))
    ]


def searched(sampler, trials, space=SPACE, states=("complete",), mode="min", seed=0):
    """The trials of a search that runs one after another."""
    history = []
    for number in range(trials):
        first = sampler.round_of(number).start if isinstance(sampler, InRounds) else number
        (hparams,) = sampler.propose(space, seed, [number], [t for t in history if t.number < first], mode)
        history.append(ended(number, hparams, states[number % len(states)], mode=mode))
    return history


def near(trials):
    return np.mean([cost(trial.hparams) for trial in trials])


# What it proposes

numbers = st.integers(1, 40)
spaces = st.fixed_dictionaries(
    {},
    optional={
        "log": st.tuples(st.floats(1e-9, 1e3), st.floats(1.5, 1e6)).map(lambda t: Log(t[0], t[0] * t[1])),
        "linear": st.tuples(st.floats(-1e3, 1e3), st.floats(0.1, 1e3)).map(lambda t: Linear(t[0], t[0] + t[1])),
        "reverse": st.tuples(st.floats(-1, 0.9), st.floats(1e-4, 0.05)).map(lambda t: ReverseLog(t[0], 1 - t[1])),
        "int": st.tuples(st.integers(-5, 2**40), numbers).map(lambda t: Int(t[0], t[0] + t[1])),
        "log_int": st.tuples(st.integers(1, 2**30), numbers).map(lambda t: LogInt(t[0], t[0] + t[1])),
        "choice": st.integers(1, 4).map(lambda n: Choice(*["relu", None, dict, 0.5][:n])),
    },
).filter(bool)
states = st.lists(st.sampled_from(["complete", "pruned", "failed", "diverged"]), min_size=1, max_size=5)


@pytest.mark.parametrize("name", SAMPLERS)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_every_proposal_lies_in_the_space(name, data):
    space = Space(data.draw(spaces))
    mode = data.draw(st.sampled_from(["min", "max"]))
    given_states = data.draw(states)
    sampler = OptunaSampler(SAMPLERS[name](), size=4)
    values = data.draw(st.lists(st.floats(-1e300, 1e300), min_size=12, max_size=12))
    history = [
        Trial(number, hparams, 0, state, value if state in ("complete", "pruned") else None, epochs=1)
        for number, (hparams, value, state) in enumerate(
            zip(Random().propose(space, 0, range(12), []), values, given_states * 12, strict=False)
        )
    ]
    proposed = sampler.propose(space, 0, [12, 13], history, mode)
    assert space.from_unit(space.to_unit(proposed)) == proposed


@pytest.mark.parametrize("space", [SPACE, LINE, CHOICES], ids=["all scales", "one dimension", "only choices"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_whole_search_stays_in_the_space_whatever_becomes_of_its_trials(make, space, mode):
    def value(number):
        return None if number % 5 in (3, 4) else float(number % 3)

    states = ("complete", "complete", "pruned", "failed", "diverged")
    sampler, history = OptunaSampler(make(), size=4), []
    for number in range(12):
        (hparams,) = sampler.propose(space, 0, [number], history[: number - number % 4], mode)
        history.append(Trial(number, hparams, 0, states[number % 5], value(number), epochs=number % 2))
    points = [trial.hparams for trial in history]
    assert space.from_unit(space.to_unit(points)) == points


@pytest.mark.parametrize(
    "outcome", [("failed", None), ("diverged", None), ("complete", 0.5), ("complete", math.nan), ("pruned", None)]
)
def test_trials_that_say_nothing_leave_a_sampler_working(make, outcome):
    state, value = outcome
    sampler = OptunaSampler(make(), size=4)
    history = [Trial(number, trial.hparams, 0, state, value) for number, trial in enumerate(drawn(SPACE, 8))]
    assert len(sampler.propose(SPACE, 0, range(8, 12), history)) == 4


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("name", ["tpe", "gp", "cma-es"])
def test_it_learns_from_what_has_finished(name, mode):
    trials = searched(OptunaSampler(SAMPLERS[name](), size=4), 32, LINE, mode=mode)
    assert near(trials[8:]) < 0.7 * near(drawn(LINE, 200))


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_it_keeps_away_from_where_trials_diverge_and_not_from_where_they_fail(name):
    def proposed_where_they_end_so(state):
        values = np.random.default_rng(0).random(24)
        history = [
            ended(trial.number, trial.hparams, state) if trial.hparams["lr"] > 0.01 else replace(trial, value=float(value))
            for trial, value in zip(drawn(LINE, 24), values, strict=True)
        ]
        sampler = OptunaSampler(SAMPLERS[name]())
        return sum(sampler.propose(LINE, seed, [24], history)[0]["lr"] > 0.01 for seed in range(6))

    assert proposed_where_they_end_so("diverged") == 0
    assert proposed_where_they_end_so("failed") == 6


# A pure function


def propose_in_another_process(name, seed, numbers, count):
    script = (
        "import sys, json; sys.path[:0] = json.loads(sys.argv[1]); import test_optuna as t\n"
        f"sampler, seen = t.OptunaSampler(t.SAMPLERS[{name!r}]()), t.drawn(t.SPACE, {count})\n"
        f"proposed = sampler.propose(t.SPACE, {seed}, {numbers}, seen)\n"
        "print(json.dumps([t.SPACE.labels(each) for each in proposed]))"
    )
    path = json.dumps([str(Path(__file__).parent), *sys.path])
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script, path], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


EXHAUSTIVE = [pytest.param(name, marks=pytest.mark.exhaustive) for name in ("qmc", "nsga-iii")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tpe", GP, "cma-es", *EXHAUSTIVE])
def test_another_process_proposes_the_same(name):
    here = OptunaSampler(SAMPLERS[name]()).propose(SPACE, 3, [16, 17], drawn(SPACE, 16))
    assert propose_in_another_process(name, 3, [16, 17], 16) == [SPACE.labels(each) for each in here]


def test_another_seed_or_number_gives_another_proposal(make):
    history = drawn(SPACE, 8)
    proposed = [OptunaSampler(make(), size=1).propose(SPACE, seed, [8], history)[0] for seed in (0, 1)]
    proposed += OptunaSampler(make(), size=4).propose(SPACE, 0, [9, 10], history)
    assert len({tuple(each.values()) for each in proposed}) == 4


def test_a_seed_of_its_own_changes_nothing():
    history = drawn(SPACE, 12)
    samplers = [optuna.samplers.TPESampler(seed=seed) for seed in (None, 1, 2)]
    first, *others = [OptunaSampler(each).propose(SPACE, 0, [12], history) for each in samplers]
    assert others == [first, first]


def test_the_users_sampler_is_left_as_it_was():
    sampler = optuna.samplers.TPESampler(n_startup_trials=2, seed=1)
    before = reseeded(sampler, 5)
    OptunaSampler(sampler).propose(SPACE, 0, [12], drawn(SPACE, 12))
    after = sampler._rng.rng.random()
    assert after == optuna.samplers.TPESampler(seed=1)._rng.rng.random()
    assert before._rng.rng.random() != after


@pytest.mark.slow
def test_what_was_asked_before_changes_no_proposal_in_rounds(make):
    states = ("complete", "diverged", "complete", "failed", "pruned")
    history = searched(OptunaSampler(make(), size=4), 18, states=states)
    for number in (3, 4, 9, 17):
        seen = history[: number - number % 4]
        assert OptunaSampler(make(), size=4).propose(SPACE, 0, [number], seen) == [history[number].hparams]


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_what_was_asked_before_changes_no_proposal_beside_running_trials(name):
    """As if three workers ran, whose trials end in any order."""
    sampler, order = OptunaSampler(SAMPLERS[name]()), random.Random(0)
    trials = []
    for number in range(16):
        (hparams,) = sampler.propose(SPACE, 0, [number], list(trials))
        assert OptunaSampler(SAMPLERS[name]()).propose(SPACE, 0, [number], list(trials)) == [hparams]
        assert sampler.propose(SPACE, 0, [number], list(trials)) == [hparams]
        trials.append(Trial(number, hparams, 0, "running"))
        running = [trial.number for trial in trials if trial.state == "running"]
        if len(running) == 3:
            index = order.choice(running)
            state = order.choice(["complete", "complete", "pruned", "failed", "diverged"])
            trials[index] = ended(index, trials[index].hparams, state)


@pytest.mark.parametrize("name", [GP, *(name for name in SAMPLERS if name != "gp")])
def test_it_changes_its_mind_when_another_history_is_shown(name):
    sampler = OptunaSampler(SAMPLERS[name](), size=4)
    one, other = drawn(SPACE, 8), drawn(SPACE, 8, seed=1)
    for history in (one, other, one[:4], one):
        number = len(history)
        expected = OptunaSampler(SAMPLERS[name](), size=4).propose(SPACE, 0, [number + 1], history)
        assert sampler.propose(SPACE, 0, [number + 1], history) == expected


# As in Optuna


@pytest.mark.parametrize("name", ["tpe", GP, "cma-es", "cma-es with margin", "nsga-ii", "nsga-iii"])
def test_it_proposes_what_an_optuna_study_in_rounds_would(name):
    """Also where a sampler goes on from notes that it made on its earlier trials."""
    space = Space({"x": Linear(0.0, 1.0), "y": Linear(0.0, 1.0)})
    distributions = {each: optuna.distributions.FloatDistribution(0, 1) for each in space}
    study = optuna.create_study()
    ours = OptunaSampler(SAMPLERS[name](), size=6)
    history = []
    # Values are rounded here to 14 digits, from which a fit of a Gaussian process makes more and more.
    tolerance = 0.05 if name == "gp" else 1e-6
    for first in range(0, 30, 6):
        asked = []
        for number in range(first, first + 6):
            study.sampler = reseeded(SAMPLERS[name](), proposal_seed(0, number))
            asked.append(study.ask(distributions))
        # A new one goes through all rounds once more.
        for sampler in (ours, OptunaSampler(SAMPLERS[name](), size=6)):
            proposed = sampler.propose(space, 0, range(first, first + 6), history)
            assert [list(each.values()) for each in proposed] == [
                pytest.approx(list(each.params.values()), abs=tolerance) for each in asked
            ]
        for trial, hparams in zip(asked, proposed, strict=True):
            value = (hparams["x"] - 0.3) ** 2 + (hparams["y"] - 0.8) ** 2
            study.tell(trial, value)
            history.append(Trial(trial.number, hparams, 0, "complete", value))


def test_cma_es_converges_by_its_generations():
    trials = searched(
        OptunaSampler(optuna.samplers.CmaEsSampler(popsize=6), size=6), 120, Space({"lr": LINE["lr"], "b": Linear(0, 1)})
    )
    assert near(trials[-12:]) < 0.1


# Rounds


def test_only_with_a_size_it_proposes_in_rounds():
    assert not isinstance(OptunaSampler(), InRounds)
    assert isinstance(OptunaSampler(size=5), InRounds)
    assert OptunaSampler(size=5).round_of(7) == range(5, 10)


@pytest.mark.parametrize("name", ["cma-es", "qmc", "nsga-ii", "nsga-iii"])
def test_what_goes_on_from_its_own_proposals_is_always_in_rounds(name):
    assert OptunaSampler(SAMPLERS[name]()).round_of(0) == range(8)


@pytest.mark.parametrize("name", ["tpe", "gp"])
@pytest.mark.parametrize(
    "space", [SPACE, Space({"layers": Int(1, 5), "act": Choice("relu", "tanh")})], ids=["all", "ten points"]
)
def test_the_trials_of_a_round_differ(name, space):
    points = Random().propose(space, 0, range(12), [])
    history = [ended(number, hparams, value=float(number)) for number, hparams in enumerate(points)]
    proposed = OptunaSampler(SAMPLERS[name](), size=4).propose(space, 0, range(12, 16), history)
    units = space.to_unit(proposed)
    assert min(np.abs(one - other).max() for one, other in combinations(units, 2)) >= 1e-3


def test_where_there_are_fewer_points_than_trials_a_round_repeats_them():
    assert len(OptunaSampler(size=12).propose(CHOICES, 0, range(12, 24), drawn_choices(12))) == 12


def drawn_choices(count):
    return [Trial(n, each, 0, "complete", 0.5) for n, each in enumerate(Random().propose(CHOICES, 0, range(count), []))]


# Trials that run


def test_a_trial_that_runs_is_seen_and_one_in_rounds_waits():
    seen = []

    class Watching(OptunaSampler):
        def propose(self, space, seed, numbers, history, mode="min"):
            seen.append([(trial.number, trial.state) for trial in history])
            return super().propose(space, seed, numbers, history, mode)

    ask = Ask(LINE, Watching(), seed=0, queue=[{"lr": 0.5}])
    for number in range(3):
        ask.begin(Trial(number, ask.propose(number), 0))
    ask.finish(ended(1, {"lr": 0.1}))
    ask.propose(3)
    assert seen == [[(-1, "running")], [(-1, "running"), (0, "running")], [(-1, "running"), (0, "complete"), (1, "running")]]

    rounds = Ask(LINE, OptunaSampler(size=2), seed=0)
    for number in range(2):
        rounds.begin(Trial(number, rounds.propose(number), 0))
    assert rounds.propose(2) is None


def test_only_finished_trials_are_noted_as_seen():
    told = []
    ask = Ask(LINE, OptunaSampler(), seed=0, tell=told.append)
    for number in range(3):
        ask.begin(Trial(number, ask.propose(number), 0))
        if number == 1:
            ask.finish(ended(0, {"lr": 0.1}))
    assert [(began.first, began.seen) for began in told] == [(0, ""), (1, ""), (2, "0")]


def test_a_gaussian_process_keeps_away_from_what_runs():
    history = drawn(LINE, 12)
    sampler = OptunaSampler(SAMPLERS["gp"]())
    (first,) = sampler.propose(LINE, 0, [12], history)
    (blind,) = sampler.propose(LINE, 0, [13], history)
    (seeing,) = sampler.propose(LINE, 0, [13], [*history, Trial(12, first, 0, "running")])
    assert distance(seeing, first) > distance(blind, first)


def distance(one, other):
    return abs(math.log10(one["lr"] / other["lr"]))


# How it is given


def test_a_sampler_of_optunas_is_known_as_one():
    tpe = optuna.samplers.TPESampler()
    assert sampler_for(tpe) == OptunaSampler(tpe)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("optuna", "TPESampler"), ("optuna.samplers.GPSampler", "GPSampler"), ("optuna.samplers.QMCSampler", "QMCSampler")],
)
@pytest.mark.filterwarnings("error")
def test_a_name_gives_a_sampler(name, kind):
    assert type(sampler_for(name).sampler).__name__ == kind


@pytest.mark.parametrize("name", ["tpe", "gp", "cma-es", "nsga-ii"])
def test_as_it_describes_itself_it_can_be_given_where_it_has_a_name(name):
    plain = OptunaSampler(type(SAMPLERS[name]())())
    assert type(sampler_for(plain.describe()).sampler) is type(plain.sampler)
    assert sampler_for(plain.describe()).describe() == plain.describe()


def test_with_arguments_it_describes_those():
    sampler = OptunaSampler(optuna.samplers.TPESampler(n_startup_trials=3, seed=4), size=6)
    assert sampler.describe() == {"OptunaSampler": {"sampler": {"TPESampler": {"n_startup_trials": 3}}, "size": 6}}


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated where they stand")
def test_arguments_whose_annotations_only_type_checkers_can_evaluate_are_described():
    script = "class Own(RandomSampler):\n    def __init__(self, depth: Depth = 1): super().__init__(); self._depth = depth"
    names = {"__name__": "__main__", "RandomSampler": optuna.samplers.RandomSampler}
    exec(compile(script, "script.py", "exec", dont_inherit=True), names)
    assert OptunaSampler(names["Own"](depth=3)).describe()["OptunaSampler"]["sampler"] == {"Own": {"depth": 3}}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: sampler_for("optuna.samplers.GPSampeler"), "is not one of BruteForceSampler"),
        (lambda: sampler_for("optuna.samplers.GPSampeler"), "did you mean 'GPSampler'?"),
        (lambda: sampler_for("optuna.study.Study"), "'optuna.study.Study' is not one of"),
        (lambda: sampler_for("optuna.samplers.BaseSampler"), "'BaseSampler' is not one of"),
        (lambda: sampler_for("optuna.samplers.GridSampler"), "cannot be made"),
        (lambda: sampler_for(optuna.samplers.TPESampler), "write TPESampler()"),
        (lambda: sampler_for(optuna.samplers.GridSampler({"lr": [0.1]})), "take strategy='grid'"),
        (
            lambda: sampler_for(optuna.samplers.PartialFixedSampler({"lr": 0.1}, optuna.samplers.TPESampler())),
            "give a fixed value to the factory",
        ),
        (
            lambda: sampler_for(optuna.samplers.CmaEsSampler(source_trials=[])),
            "CmaEsSampler(source_trials=) cannot be used here",
        ),
        (lambda: OptunaSampler(3), "needs a sampler of Optuna, such as TPESampler(), got 3"),
        (lambda: OptunaSampler(size=0), "OptunaSampler(size=) needs a whole number of at least 1, got 0"),
        (
            lambda: OptunaSampler(optuna.samplers.BruteForceSampler()).propose(LINE, 0, [0], []),
            "Optuna's BruteForceSampler cannot propose a trial: FloatDistribution.step must be given",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_is_told(make, told):
    with pytest.raises(ConfigError) as error:
        make()
    assert told in str(error.value)


def test_brute_force_tries_every_combination_once():
    trials = searched_choices(OptunaSampler(optuna.samplers.BruteForceSampler()), 4)
    assert len({(each["activation"], each["cell"]) for each in trials}) == 4


def searched_choices(sampler, count):
    history = []
    for number in range(count):
        (hparams,) = sampler.propose(CHOICES, 0, [number], history)
        history.append(Trial(number, hparams, 0, "complete", 0.5))
    return [trial.hparams for trial in history]


# Searches


def hparams_of(study):
    return [trial.hparams for trial in study.trials]


def test_a_search_by_tpe_goes_on_where_it_was(search, tmp_path):
    def run(trials, root, strategy):
        return search(
            trials=trials, strategy=strategy, root_dir=tmp_path / root, trainer={"max_epochs": 1, "accelerator": "cpu"}
        ).run()

    tpe = optuna.samplers.TPESampler(n_startup_trials=2)
    whole = run(6, "whole", tpe)
    assert [trial.state for trial in whole.trials] == ["complete"] * 6
    assert whole.asked["strategy"] == {"OptunaSampler": {"sampler": {"TPESampler": {"n_startup_trials": 2}}, "size": None}}
    assert [began.seen for began in whole.rounds] == ["", "0", "0-1", "0-2", "0-3", "0-4"]
    run(3, "parts", optuna.samplers.TPESampler(n_startup_trials=2))
    assert hparams_of(run(6, "parts", optuna.samplers.TPESampler(n_startup_trials=2))) == hparams_of(whole)
    with pytest.raises(ConfigError, match="strategy"):
        run(6, "parts", optuna.samplers.TPESampler(n_startup_trials=3))


def test_a_trial_that_was_begun_keeps_its_hyperparameters(search, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "UPDATE_INTERVAL", 0.0)

    class Stopping(LitDigits):
        fits = 0

        def on_train_start(self):
            Stopping.fits += 1
            if Stopping.fits == 3:
                raise KeyboardInterrupt

    def run():
        return search(Stopping, trials=4, strategy="optuna", trainer={"max_epochs": 1, "accelerator": "cpu"}).run()

    with pytest.raises(KeyboardInterrupt):
        run()
    begun = Study(tmp_path / "study").trials
    assert [trial.state for trial in begun] == ["complete", "complete", "waiting"]
    study = run()
    assert hparams_of(study)[:3] == [trial.hparams for trial in begun]
    assert [trial.state for trial in study.trials] == ["complete"] * 4


def test_with_a_size_the_trials_of_a_round_train_as_one_and_are_the_same(search, tmp_path):
    def run(fuse):
        loop = search(
            strategy=OptunaSampler(optuna.samplers.TPESampler(n_startup_trials=4), size=4),
            space={"lr": Log(1e-2, 1.0), "momentum": ReverseLog(0.5, 0.95)},
            trials=8,
            fuse=fuse,
            root_dir=tmp_path / fuse,
            trainer={"max_epochs": 1, "accelerator": "cpu"},
        )
        assert isinstance(loop, SearchLoop)
        return loop.run()

    fused, apart = run("always"), run("never")
    assert hparams_of(fused) == hparams_of(apart)
    assert [trial.value for trial in fused.trials] == pytest.approx([trial.value for trial in apart.trials], abs=0.02)
    assert [began.first for began in fused.rounds] == [0, 4]


def test_a_config_names_a_sampler_and_the_study_keeps_the_name(tmp_path):
    config = {
        "model": {"class_path": "examples.digits.LitDigits"},
        "data": {"class_path": "examples.digits.DigitsData"},
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
        "search": {
            "monitor": "val_acc",
            "mode": "max",
            "trials": 2,
            "strategy": "optuna.samplers.QMCSampler",
            "executor": "inline",
            "root": str(tmp_path / "study"),
            "space": {"model.lr": {"scale": "log", "low": 0.01, "high": 1.0}},
        },
    }
    study = build("digits.yaml", config).run()
    assert [trial.state for trial in study.trials] == ["complete", "complete"]
    assert study.asked["strategy"] == "optuna.samplers.QMCSampler"
    again = {**config, "search": {**config["search"], "strategy": study.asked["strategy"], "trials": 3}}
    assert [trial.state for trial in build("digits.yaml", again).run().trials] == ["complete"] * 3
