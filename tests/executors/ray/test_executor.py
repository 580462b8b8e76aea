"""What is wrong with what is asked of a Ray cluster is told before anything starts there."""

from __future__ import annotations

import socket
import sys

import pytest

from lightning_hp import ConfigError, RayCluster


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"address": ""}, "address needs 'auto', 'host:port' or None, got ''"),
        ({"address": 6379}, "address needs 'auto', 'host:port' or None, got 6379"),
        ({"num_cpus": -1}, "num_cpus needs a number of at least 0, got -1"),
        ({"num_cpus": True}, "num_cpus needs a number of at least 0, got True"),
        ({"num_cpus": 1.5}, "num_cpus needs a whole number where it is above 1, as Ray has it, got 1.5"),
        ({"num_gpus": "1"}, "num_gpus needs a number of at least 0, got '1'"),
        ({"num_gpus": float("nan")}, "num_gpus needs a number of at least 0, got nan"),
        ({"resources": ["late"]}, r"resources needs a dict, got \['late'\]"),
        ({"resources": {"late": None}}, r"resources\['late'\] needs a number of at least 0, got None"),
        ({"runtime_env": "env.yaml"}, "runtime_env needs a dict, got 'env.yaml'"),
        ({"scheduling_strategy": "PACK"}, "scheduling_strategy needs 'DEFAULT' or 'SPREAD', got 'PACK'"),
        ({"shared": "yes"}, "shared needs True, False or None, got 'yes'"),
    ],
)
def test_a_wrong_argument_is_told(arguments, told):
    with pytest.raises(ConfigError, match=f"^RayCluster: {told}$"):
        RayCluster(**arguments)


def test_where_ray_is_missing_it_is_told_how_to_get_it(search, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"Ray cannot be imported .*: pip install 'lightning-hp\[ray\]'$"):
        search(executor="ray").run()


def test_an_address_for_those_outside_the_cluster_is_refused(search, monkeypatch):
    pytest.importorskip("ray", reason="pip install 'lightning-hp[ray]'")
    told = "the search has to run on a machine of the cluster, and 'ray://head:10001' is for those that do not"
    with pytest.raises(ConfigError, match=told):
        search(executor=RayCluster(address="ray://head:10001")).run()
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match=told):
        search(executor="ray").run()


def test_an_address_where_no_cluster_is_is_told(search):
    pytest.importorskip("ray", reason="pip install 'lightning-hp[ray]'")
    with socket.socket() as probe:
        # Nobody listens there, and nobody else will.
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"^no Ray cluster at address '{address}': [^\n]*$"):
            search(executor=RayCluster(address=address)).run()
