"""Lint: what is unwise in a search is told before it begins, and nothing else is."""

from __future__ import annotations

import pytest

from lightning_hp import Choice, CoarseToFine, Grid, Int, Linear, Log, LogInt, Quasi, ReverseLog, Space
from lightning_hp.advice import lint


@pytest.mark.parametrize(
    ("scale", "advice"),
    [
        (Linear(1e-4, 1.0), "use log"),
        (Int(1, 1000), "use log_int"),
        (Linear(0.9, 0.999), "use reverse_log"),
        (Log(0.9, 0.999), "use reverse_log"),
        (Choice("relu"), "only one value, 'relu'"),
        (Linear(0.0, 0.5), None),
        (Linear(0.1, 1.0), None),
        (Int(32, 128), None),
        (Int(0, 1000), None),
        (Log(1e-4, 1.0), None),
        (ReverseLog(0.9, 0.999), None),
        (LogInt(1, 1024), None),
        (Choice("relu", "tanh"), None),
        (Log(1e-20, 1.0), "spans 20 decades, so each gets 5.0% of the draws"),
        (Log(1e-300, 1e300), "spans 600 decades"),
        (Linear(-1.0, 1.0), None),
        (Linear(0.8, 0.99), "use reverse_log"),
        (Linear(0.1, 0.1001), "differ by 0.001 of themselves, practically one"),
        (Log(0.1, 0.1001), "practically one"),
        (ReverseLog(0.9, 0.901), "practically one"),
        (Int(1000, 1001), "practically one"),
        (LogInt(1000, 1010), "practically one"),
        (Int(2, 3), None),
        (Int(-5, 5), None),
        (ReverseLog(0.98, 0.99), None),
        (Linear(0.0, 1e-4), None),
    ],
    ids=repr,
)
def test_lint_tells_what_is_unwise_and_nothing_else(scale, advice):
    lines = lint(Space({"x": scale}))
    if advice is None:
        assert lines == []
    else:
        (line,) = lines
        assert line.startswith("space['x']: ")
        assert advice in line


@pytest.mark.parametrize("name", ["lr", "model.lr", "optimizer.weight_decay", "momentum"])
def test_lint_tells_of_values_below_zero_where_none_can_be(name):
    (line,) = lint(Space({name: Linear(-0.1, 0.1)}))
    assert f"starts below 0, which no {name.split('.')[-1]} can be" in line


@pytest.mark.parametrize(
    ("name", "scale", "told"),
    [
        ("momentum", Linear(0.0, 0.95), "use reverse_log"),
        ("model.beta2", Linear(0.5, 0.96), "use reverse_log"),
        ("ema_decay", Linear(0.9, 1.0), "reaches 1"),
        ("momentum", Linear(0.5, 0.8), None),
        ("dropout", Linear(0.0, 0.95), None),
        ("lr", Linear(0.0, 0.1), "use log, from 0.0001"),
        ("lr", Log(1e-4, 0.1), None),
        ("weight_decay", Linear(0.0, 0.1), "use log"),
        ("loss_weight", Linear(0.0, 0.1), None),
    ],
)
def test_what_a_name_says_counts(name, scale, told):
    lines = lint(Space({name: scale}))
    assert [told in line and line.startswith(f"space['{name}']: ") for line in lines] == ([True] if told else [])


SEVEN = Space({f"x{index}": Linear(0.0, 1.0) for index in range(7)})


@pytest.mark.parametrize(
    ("sampler", "trials", "earlier", "told"),
    [
        (Grid(2), 100, 0, ["100 trials cover only the first 100 of the grid's 128 combinations"]),
        (Grid(2), 128, 0, []),
        (Grid(2), 130, 0, ["the grid has 128 combinations and ends there, 2 short of the trials asked for: take more points"]),
        (Quasi(), 29, 0, ["29 trials are few for 7 hyperparameters, of which some 3 may matter", "Take 30 trials"]),
        (Quasi(), 30, 0, []),
        (Quasi(), 20, 10, []),
        (Quasi(), None, 0, []),
        (Quasi(), 4, 0, []),
        (CoarseToFine(), 32, 0, []),
        (CoarseToFine(first=32), 32, 0, ["begins with 32 quasi-random trials, and 32 are all there are"]),
        (CoarseToFine(first=32), 32, 8, []),
        # One number to take, where that is enough for the other as well.
        (CoarseToFine(first=16), 16, 0, ["begins with 16 quasi-random trials, and 16 are all there are", "such as 32"]),
    ],
)
def test_too_few_trials_are_told_with_the_number_that_will_do(sampler, trials, earlier, told):
    lines = lint(SEVEN, sampler, trials, earlier)
    assert len(lines) == bool(told)
    for words in told:
        assert words in lines[0]


def test_of_a_single_hyperparameter_nothing_is_told_apart():
    told = "9 trials are few to tell what a hyperparameter does: take 10"
    assert lint(Space({"x": Linear(0.0, 1.0)}), Quasi(), 9, 0) == [told]


def test_trials_that_come_before_a_grid_are_none_of_its_own():
    assert lint(SEVEN, Grid(2), 130, queued=2) == []
    assert "first 126 of the grid's 128" in lint(SEVEN, Grid(2), 128, queued=2)[0]
