"""``lightning-hp lint``: advice on a config that would run."""

from __future__ import annotations

from pathlib import Path

MINE = """
from examples.digits import LitDigits


class Mine(LitDigits):
    def __init__(self, lr: float = 0.1, **kwargs):
        super().__init__(lr=lr, hidden=dict(kwargs)["width"])


class Passing(LitDigits):
    def __init__(self, lr: float = 0.1, **kwargs):
        super().__init__(lr=lr, **kwargs)


class Outer:
    class Inner(LitDigits):
        pass
"""


def linted(run, config):
    Path("mine_to_lint.py").write_text(MINE)
    result = run(config, "lint", "config.yaml")
    assert (result.code, result.err) == (0, "")
    return [line.removeprefix("config.yaml: ") for line in result.out.splitlines()]


def test_a_name_that_is_both_fixed_and_searched_is_told(run, config):
    config["model"]["init_args"]["lr"] = 0.1
    config["search"]["space"]["trainer.max_epochs"] = {"scale": "int", "low": 1, "high": 2}
    assert linted(run, config) == [
        "search.space.model.lr is searched; the config's own model.init_args.lr counts for fit alone",
        "search.space.trainer.max_epochs is searched; the config's own trainer.max_epochs counts for fit alone",
    ]


def test_a_grid_larger_than_the_trials_is_told(run, config):
    config["search"] |= {"strategy": "grid", "trials": 4}
    (line,) = linted(run, config)
    assert line.startswith("4 trials cover only the first 4 of the grid's 9 combinations")
    config["search"]["trials"] = 9
    assert linted(run, config) == ["nothing to complain about"]


def test_a_name_that_only_kwargs_take_is_told_and_searched(run, config):
    config["model"] = {"class_path": "mine_to_lint.Mine"}
    config["search"]["space"]["model.width"] = {"scale": "choice", "values": [8, 16]}
    (line,) = linted(run, config)
    assert line == "mine_to_lint.Mine takes **kwargs and names no 'width': make sure that it is used"
    result = run(config, "search", "config.yaml")
    assert result.code == 0
    assert f"note: {line}" in result.err
    assert "2 of 2 trials complete" in result.out


def test_names_that_kwargs_pass_on_are_known(run, config):
    config["model"] = {"class_path": "mine_to_lint.Passing", "init_args": {"hidden": 16}}
    config["search"]["space"]["model.layers"] = {"scale": "int", "low": 1, "high": 2}
    assert linted(run, config) == ["nothing to complain about"]


def test_a_class_within_a_class_can_be_named(run, config):
    config["model"]["class_path"] = "mine_to_lint.Outer.Inner"
    assert linted(run, config) == ["nothing to complain about"]
    assert run(config, "search", "config.yaml", "--trials", "1").code == 0
