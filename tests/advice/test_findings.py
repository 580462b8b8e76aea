"""Findings: nothing is made of noise, and what is planted is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lightning_hp import Choice, Grid, Int, Linear, Log, Quasi, ReverseLog, Space, Trial
from lightning_hp.advice import advice, diverged, find
from tests.advice.studies import SPACE, adaptive, heavy, noise, trials


def said(findings):
    return {(each.kind, each.hparam) for each in advice(findings)}


def changed(findings):
    return {name for name in findings.space if findings.next_space[name] != findings.space[name]}


# Noise


@pytest.mark.parametrize("objective", [noise, heavy])
def test_of_noise_almost_never_anything_is_made(objective):
    wrong = 0
    for seed in range(10):
        findings = find(SPACE, trials(objective, seed=seed))
        wrong += bool(changed(findings)) or any(each.matters is not None for each in findings.importance.values())
        assert findings.limit is None
    assert wrong <= 1


@pytest.mark.slow
def test_of_noise_that_a_sampler_has_followed_almost_never_anything_is_made():
    wrong = 0
    for seed in range(6):
        made, rounds = adaptive(noise, count=48, seed=seed)
        wrong += bool(changed(find(SPACE, made, "min", rounds)))
    assert wrong <= 1


@pytest.mark.slow
def test_what_a_sampler_moved_along_with_the_rest_is_not_said_to_matter():
    wrong = found = 0
    for seed in range(6):
        made, rounds = adaptive(planted, count=48, seed=seed)
        matters = {name for name, each in find(SPACE, made, "min", rounds).importance.items() if each.matters}
        wrong += bool(matters - {"lr", "momentum"})
        found += bool(matters)
    assert wrong <= 1
    assert found >= 2


# Planted effects


def planted(unit, hparams, generator):
    lr, momentum = 9 * (unit["lr"] - 0.6) ** 2, 6 * (unit["momentum"] - 0.7) ** 2
    return lr + momentum + 0.4 * generator.standard_normal()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_what_matters_is_found_and_narrowed_to_where_the_best_lies(mode):
    wide = narrow = 0
    for seed in range(8):
        findings = find(SPACE, trials(planted, seed=seed, mode=mode), mode)
        assert findings.importance["lr"].matters
        assert findings.importance["lr"].low > 0
        narrow += findings.next_space["lr"].high < 1.0 and findings.next_space["lr"].low > 1e-4
        lr = findings.next_space["lr"]
        wide += lr.low <= SPACE["lr"].from_unit(0.6) <= lr.high
    assert narrow >= 7
    assert wide >= 7


def test_what_makes_little_difference_is_told_only_beside_what_is_explained():
    findings = find(SPACE, trials(planted))
    little = {name for kind, name in said(findings) if kind == "little"}
    assert little & {"weight_decay", "hidden", "layers", "batch_size"}
    assert not little & {"lr", "momentum"}
    assert not any(kind == "little" for kind, _ in said(find(SPACE, trials(noise))))


def test_what_makes_little_difference_is_not_told_by_trials_that_were_stopped_early():
    def stopped(trial):
        return replace(trial, state="pruned", epochs=2) if trial.number % 4 else replace(trial, epochs=8)

    whole = [replace(trial, epochs=8) for trial in trials(planted)]
    early = find(SPACE, [stopped(trial) for trial in whole])
    assert {"little", "matters"} <= {kind for kind, _ in said(find(SPACE, whole))}
    assert not any(kind == "little" for kind, _ in said(early))
    # That something matters they do tell.
    assert early.importance["lr"].matters
    assert "weight_decay" in next(str(line) for line in advice(early) if line.kind == "unknown")


def on_grid(points, objective, space=SPACE):
    made, generator = [], np.random.default_rng(0)
    grid = Grid(points={**dict.fromkeys(space, 1), **points})
    for number, hparams in enumerate(grid.propose(space, 0, range(grid.size(space)), [])):
        unit = dict(zip(space, space.to_unit([hparams])[0], strict=True))
        made.append(Trial(number, hparams, 0, "complete", value=float(objective(unit, hparams, generator))))
    return made


def test_what_had_one_value_in_all_trials_is_not_said_to_make_little_difference():
    space = Space({"lr": Log(1e-4, 1e-1), "dropout": Linear(0.0, 0.9), "hidden": Int(1, 31), "layers": Int(1, 3)})
    made = on_grid({"lr": 8, "layers": 3}, lambda unit, hparams, generator: unit["lr"] ** 2 + 0.1 * unit["layers"], space)
    findings = find(space, made)
    assert findings.fixed == {"dropout": 0.45, "hidden": 16}
    for name in findings.fixed:
        assert (findings.importance[name].matters, findings.importance[name].varied) == (None, False)
        assert str(findings.importance[name]) == "cannot tell: not varied"
    told = [str(line) for line in advice(findings) if "dropout" in str(line) or "hidden" in str(line)]
    assert told == ["dropout was 0.45 and hidden 16 in all trials, which say nothing of them"]
    assert findings.next_space["dropout"] == space["dropout"]


def test_few_trials_do_not_tell_that_something_makes_little_difference():
    def together(unit, hparams, generator):
        # Half of the differences are due to layers, though none to layers alone.
        return 2 * unit["lr"] + (unit["lr"] - 0.5) * (hparams["layers"] - 2) + 0.01 * generator.standard_normal()

    few = [on_grid({"lr": 2, "layers": 2}, together), *(trials(together, count=12, seed=seed) for seed in range(6))]
    for made in few:
        assert not any(kind == "little" for kind, _ in said(find(SPACE, made)))


def test_a_scale_that_was_tried_in_a_part_only_is_not_said_to_make_little_difference():
    def flat_below(unit, hparams, generator):
        return 5 * unit["momentum"] + 9 * max(unit["lr"] - 0.5, 0.0)

    whole = trials(flat_below, count=160)
    part = [trial for trial in whole if SPACE.to_unit([trial.hparams])[0, 0] < 0.45]
    assert find(SPACE, whole).importance["lr"].matters
    assert find(SPACE, part).importance["lr"].matters is None


def test_where_a_sampler_has_zoomed_in_it_is_not_said_to_make_little_difference():
    space = Space({"kind": Choice("a", "b", "c"), "lr": Log(1e-4, 1e-1)})

    def objective(unit, hparams, generator):
        return 0.6 * (hparams["kind"] == "a" and unit["lr"] > 0.8) + (unit["lr"] - 0.3) ** 2

    for seed in range(2):
        made = trials(objective, count=120, seed=seed, space=space)
        # All but a few have the same value, whose differences are those of lr.
        others = [trial for trial in made if trial.hparams["kind"] != "b"]
        zoomed = [trial for trial in made if trial.hparams["kind"] == "b"] + others[:6]
        assert find(space, zoomed).importance["kind"].matters is not False


def test_what_matters_only_together_with_another_is_not_said_to_make_little_difference():
    def together(unit, hparams, generator):
        mixed = 5 * (unit["weight_decay"] - 0.5) * (unit["batch_size"] - 0.5)
        return 4 * unit["lr"] + mixed + 0.2 * generator.standard_normal()

    for seed in range(5):
        little = {name for kind, name in said(find(SPACE, trials(together, seed=seed))) if kind == "little"}
        assert not little & {"lr", "weight_decay", "batch_size"}


def test_more_trials_of_a_grid_are_not_offered():
    made = trials(planted)
    assert any(kind == "trials" for kind, _ in said(find(SPACE, made)))
    assert not any(kind == "trials" for kind, _ in said(find(SPACE, made, grid=True)))


def better_upwards(unit, hparams, generator):
    return -8 * unit["lr"] + generator.standard_normal()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_at_an_end_widen_it(mode):
    found = [find(SPACE, trials(better_upwards, seed=seed, mode=mode), mode) for seed in range(10)]
    widened = [each for each in found if ("lr", True) in each.wider]
    assert len(widened) >= 7
    for each in widened:
        assert set(each.wider) == {("lr", True)}
        assert each.next_space["lr"].high == 10.0
        assert each.next_space["lr"].low > 1e-4
        line = next(str(line) for line in advice(each) if line.kind == "widen")
        assert line == "lr: the best trials lie at its upper end, 1, and improve towards it: set its high to 10"


def test_whole_numbers_are_widened_too_but_into_no_nonsense():
    def more_layers(unit, hparams, generator):
        return -2 * hparams["layers"] + 0.5 * generator.standard_normal()

    def fewer_layers(unit, hparams, generator):
        return -more_layers(unit, hparams, generator)

    assert find(SPACE, trials(more_layers)).next_space["layers"].high > 3
    assert find(SPACE, trials(fewer_layers)).next_space["layers"].low == 1


def test_a_best_well_inside_widens_nothing():
    def inside(unit, hparams, generator):
        return 5 * (unit["lr"] - 0.75) ** 2 + 0.3 * generator.standard_normal()

    assert sum(bool(find(SPACE, trials(inside, seed=seed)).wider) for seed in range(10)) <= 1


def test_a_useless_value_of_a_choice_goes_and_the_others_stay():
    def tanh_is_bad(unit, hparams, generator):
        return 3.0 * (hparams["activation"] == "tanh") + 0.5 * generator.standard_normal()

    found = [find(SPACE, trials(tanh_is_bad, seed=seed)).next_space["activation"] for seed in range(6)]
    assert sum(each == Choice("relu", "gelu") for each in found) >= 4
    assert all({"relu", "gelu"} <= set(each.values) for each in found)


def test_the_best_trial_stays_in_the_next_space():
    for objective in (planted, better_upwards):
        for seed in range(5):
            made = trials(objective, seed=seed)
            best = min(made, key=lambda trial: trial.value)
            find(SPACE, made).next_space.to_unit([best.hparams])


# Divergence


def diverges_above(unit, hparams, generator):
    return np.inf if hparams["lr"] > 0.1 else generator.standard_normal()


def test_where_trials_are_many_some_bounds_are_tried_and_their_trials_counted(monkeypatch):
    monkeypatch.setattr(diverged, "MOST_CUTS", 16)
    made = trials(diverges_above, 200)
    limit = find(SPACE, made).limit
    beyond = [trial for trial in made if trial.hparams["lr"] > limit.value]
    assert (limit.name, limit.side) == ("lr", "above")
    assert limit.tried == len(beyond)
    assert limit.diverged == sum(trial.state == "diverged" for trial in beyond)
    assert limit.elsewhere <= 200 / 16


def test_a_bound_that_avoids_divergence_is_told_and_taken():
    findings = find(SPACE, trials(diverges_above))
    made = trials(diverges_above)
    bad = [trial for trial in made if trial.state == "diverged"]
    limit = findings.limit
    assert (limit.name, limit.side, limit.diverged, limit.tried, limit.elsewhere) == ("lr", "above", len(bad), len(bad), 0)
    fine = max(trial.hparams["lr"] for trial in made if trial.state == "complete")
    assert fine < limit.value < min(trial.hparams["lr"] for trial in bad)
    assert findings.next_space["lr"].high <= limit.value
    line = next(str(line) for line in advice(findings) if line.kind == "diverges")
    told = f"diverged in {len(bad)} of {len(bad)} trials, elsewhere none did: set its high to {limit.value:.4g}"
    assert line == f"lr above {limit.value:.4g} {told}"


def test_a_value_that_diverges_is_left_out():
    def objective(unit, hparams, generator):
        return np.inf if hparams["activation"] == "gelu" else generator.standard_normal()

    findings = find(SPACE, trials(objective))
    assert (findings.limit.side, findings.limit.value) == ("at", "gelu")
    assert findings.next_space["activation"] == Choice("relu", "tanh")


def test_divergence_that_no_bound_parts_gives_none():
    def anywhere(unit, hparams, generator):
        return np.inf if generator.random() < 0.3 else generator.standard_normal()

    assert [find(SPACE, trials(anywhere, seed=seed)).limit for seed in range(20)] == [None] * 20


# Little to go by


@pytest.mark.parametrize(
    "made",
    [
        [],
        trials(noise, count=1),
        [replace(trial, state="failed", value=None) for trial in trials(noise)],
        [replace(trial, state="diverged", value=None) for trial in trials(noise)],
        [replace(trial, value=0.5) for trial in trials(noise)],
        [replace(trial, value=float("nan")) for trial in trials(noise)],
        [replace(trial, state="running", value=None) for trial in trials(noise)],
    ],
    ids=["none", "one", "failed", "diverged", "equal", "nan", "running"],
)
def test_where_there_is_nothing_to_tell_it_says_so(made):
    findings = find(SPACE, made)
    assert not changed(findings)
    assert {each.matters for each in findings.importance.values()} == {None}
    assert {kind for kind, _ in said(findings)} <= {"unknown", "trials"}
    (line,) = [str(each) for each in advice(findings) if each.kind == "unknown"]
    assert "not tell whether any of the hyperparameters matters" in line


@pytest.mark.parametrize(
    "space",
    [
        Space({"a": Choice("x", "y"), "b": Choice(1, 2, 3)}),
        Space({"a": Choice("only")}),
        Space({"lr": Log(1e-4, 1.0)}),
        Space({"m": ReverseLog(0.9, 0.999), "d": Linear(0.0, 0.5), "i": Int(1, 2)}),
    ],
    ids=repr,
)
def test_any_space_will_do(space):
    name = next(iter(space))

    def objective(unit, hparams, generator):
        return 5 * unit[name] + 0.2 * generator.standard_normal()

    findings = find(space, trials(objective, count=40, space=space))
    if len({str(value) for value in space.sample(20)}) > 1 and getattr(space[name], "values", None) != ("only",):
        assert findings.importance[name].matters
    assert list(findings.next_space) == list(space)


def test_the_same_trials_say_the_same():
    made = trials(planted)
    assert find(SPACE, made) == find(SPACE, list(made))


def test_trials_that_were_given_by_the_user_count_as_well():
    made = [*trials(planted), Trial(64, SPACE.sample(1, seed=9)[0], 0, "complete", value=1.0)]
    assert find(SPACE, made).finished == 65


def test_where_the_best_lies_is_told_of_whole_trials_not_of_those_that_were_stopped():
    space = Space({"lr": Log(1e-4, 1.0)})

    def after(epochs, unit):
        # High rates are fast, lower ones get further: the best are near 0.7 after two epochs, near 0.4 after eight.
        return abs(unit - 0.7) + 0.5 if epochs == 2 else abs(unit - 0.4)

    made = []
    for number, hparams in enumerate(Quasi().propose(space, 0, range(32), [])):
        early, end = (after(epochs, space.to_unit([hparams])[0, 0]) for epochs in (2, 8))
        stopped = {"state": "pruned", "value": early, "epochs": 2}
        ended = {"state": "complete", "value": end, "epochs": 8}
        made.append(Trial(number, hparams, 0, rungs=((2, early),), **(ended if early < 0.62 else stopped)))
    assert {trial.state for trial in made} == {"pruned", "complete"}
    reached = find(space, made).next_space["lr"]
    assert space["lr"].to_unit(reached.low) < 0.5 < space["lr"].to_unit(reached.high)
