"""Where trials run, as a config and its flags say it."""

from __future__ import annotations

import json

import pytest
import yaml

from lightning_hp import RayCluster
from lightning_hp.cli.config import build, load
from lightning_hp.executors.inline import Inline
from lightning_hp.executors.ray.executor import OnRay


@pytest.fixture
def no_ray(monkeypatch):
    """Connecting to a cluster, or starting one, fails."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda *args, **keywords: pytest.fail("Ray was started"))


@pytest.fixture
def asked(config, no_ray, tmp_path):
    """The executor that a search gets, by what the config says and by flags, which nothing has started yet."""

    def executor(said, **flags):
        config["search"]["executor"] = said
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(config))
        return build(str(path), load(str(path), flags)).executor

    return executor


ALL = {
    "address": "head:6379",
    "num_gpus": 0.5,
    "num_cpus": 2,
    "resources": {"fast": 1},
    "runtime_env": {"working_dir": "."},
    "scheduling_strategy": "SPREAD",
    "shared": False,
}


def test_ray_is_a_name_or_a_mapping_of_its_arguments(asked):
    assert asked("ray").cluster == RayCluster()
    assert asked({"name": "ray"}).cluster == RayCluster()
    assert asked({"name": "ray", **ALL}).cluster == RayCluster(**ALL)


def test_another_executor_may_be_a_mapping_of_its_name_alone(asked):
    assert isinstance(asked({"name": "inline"}), Inline)


def test_the_flag_of_the_address_goes_with_ray_however_it_is_asked_for(asked):
    assert asked("ray", ray_address="auto").cluster == RayCluster("auto")
    assert asked("inline", executor="ray", ray_address="head:6379").cluster == RayCluster("head:6379")
    assert asked({"name": "ray", **ALL}, ray_address="auto").cluster == RayCluster(**{**ALL, "address": "auto"})


def test_other_settings_of_where_trials_run_go_with_ray(run, config, no_ray):
    config["search"] |= {"executor": "ray", "workers": 3, "memory_limit": 2}
    assert run(config, "lint", "config.yaml").code == 0
    executor = build("config.yaml", load("config.yaml", {})).executor
    assert isinstance(executor, OnRay)
    assert (executor.at_a_time, executor.memory_limit) == (3, 2 * 2**30)


def test_neither_lint_nor_printing_the_config_starts_ray(run, config, no_ray):
    config["search"]["executor"] = {"name": "ray", "num_gpus": 0.5}
    linted = run(config, "lint", "config.yaml")
    assert (linted.code, linted.out) == (0, "config.yaml: nothing to complain about\n")
    printed = run(None, "search", "config.yaml", "--ray-address", "auto", "--print_config")
    assert printed.code == 0
    # As it would be written in a config: the flag's name is no setting.
    search = yaml.safe_load(printed.out)["search"]
    assert search["executor"] == {"name": "ray", "num_gpus": 0.5, "address": "auto"}
    assert "ray_address" not in search
