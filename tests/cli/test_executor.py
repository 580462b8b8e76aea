"""Where trials run, as a config and its flags say it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import yaml

from lightning_hp import RayCluster
from lightning_hp.cli.config import build, load
from lightning_hp.executors.inline import Inline
from lightning_hp.executors.ray.executor import OnRay
from lightning_hp.study import Study


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
        return build([str(path)], load([str(path)], flags)).executor

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
    assert asked("ray").demand.cluster == RayCluster()
    assert asked({"name": "ray"}).demand.cluster == RayCluster()
    assert asked({"name": "ray", **ALL}).demand.cluster == RayCluster(**ALL)


def test_another_executor_may_be_a_mapping_of_its_name_alone(asked):
    assert isinstance(asked({"name": "inline"}), Inline)


def test_the_flag_of_the_address_goes_with_ray_however_it_is_asked_for(asked):
    assert asked("ray", ray_address="auto").demand.cluster == RayCluster("auto")
    assert asked("inline", executor="ray", ray_address="head:6379").demand.cluster == RayCluster("head:6379")
    assert asked({"name": "ray", **ALL}, ray_address="auto").demand.cluster == RayCluster(**{**ALL, "address": "auto"})


def test_other_settings_of_where_trials_run_go_with_ray(run, config, no_ray):
    config["search"] |= {"executor": "ray", "workers": 3, "trials": 8, "memory_limit": 2}
    assert run(config, "lint", "config.yaml").code == 0
    executor = build(["config.yaml"], load(["config.yaml"], {})).executor
    assert isinstance(executor, OnRay)
    assert (executor.at_a_time, executor.demand.limits.memory) == (3, 2 * 2**30)


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


@pytest.fixture
def cluster(monkeypatch):
    """A cluster with one machine, which commands find by RAY_ADDRESS."""
    pytest.importorskip("ray", reason="pip install 'lightning-hp[ray]'")
    # The paths of Ray's sockets, in there, may not be long.
    folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args=head)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    try:
        yield made
    finally:
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_study_goes_on_with_ray_and_without_it_and_a_module_that_machines_lack_is_told(
    run, config, cluster, tmp_path, monkeypatch
):
    config["search"]["fuse"] = "never"
    assert run(config, "search", "config.yaml", "--trials", "3", "--root", "inline").code == 0

    def search(trials, *flags):
        result = run(None, "search", "config.yaml", "--trials", trials, *flags)
        assert result.code == 0, result.err
        return result

    search("1", "--executor", "ray", "--ray-address", "auto")
    assert yaml.safe_load((tmp_path / "study/config.yaml").read_text())["search"]["executor"] == {
        "name": "ray",
        "address": "auto",
    }
    search("2", "--executor", "inline")
    told = search("3", "--executor", f"{{name: ray, address: '{cluster.address}', shared: false}}")
    assert told.err.splitlines()[-1].split(":")[0] == "[3/3] trial 2"
    both = [[(trial.hparams, trial.metrics) for trial in Study(root).trials] for root in ("study", "inline")]
    assert both[0] == both[1]

    here = tmp_path / "here"
    here.mkdir()
    (here / "far_away.py").write_text("from examples.digits import LitDigits\n\nclass Far(LitDigits): ...\n")
    monkeypatch.syspath_prepend(here)
    config["model"]["class_path"] = "far_away.Far"
    config["search"] |= {"executor": {"name": "ray"}, "root": "far", "trials": 1}
    lacking = run(config, "search", "config.yaml")
    assert lacking.code == 1
    assert "No module named 'far_away'; runtime_env={'working_dir': '.'}" in lacking.err
    brought = run(None, "search", "config.yaml", "--executor", f"{{name: ray, runtime_env: {{working_dir: {here}}}}}")
    assert brought.code == 0, brought.err
