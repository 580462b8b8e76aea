"""What is wrong with what is asked of a Ray cluster is told before anything starts there."""

from __future__ import annotations

import socket
import sys

import pytest

from lightning_hp import ConfigError, RayCluster
from lightning_hp.executors.limits import Limits
from lightning_hp.executors.ray.demand import Demand


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
        ({"resources": {"GPU": 1}}, "resources cannot have 'GPU': num_gpus says it"),
        ({"resources": {7: 1}}, "resources needs names that are text, got 7"),
        (
            {"resources": {"late": 1e-5}},
            r"resources\['late'\] needs 0.0001 or more where it is not 0, as Ray has it, got 1e-05",
        ),
        ({"runtime_env": "env.yaml"}, "runtime_env needs a dict, got 'env.yaml'"),
        ({"label_selector": "big"}, "label_selector needs a dict, got 'big'"),
        ({"label_selector": {"": "big"}}, "label_selector needs names of labels such as 'ray.io/market-type', got ''"),
        (
            {"label_selector": {"kind": "in()"}},
            r"label_selector\['kind'\] needs 'value', '!value', 'in\(one,other\)' or '!in\(one,other\)', got 'in\(\)'",
        ),
        ({"label_selector": {"kind": 3}}, r"label_selector\['kind'\] needs 'value', .*, got 3"),
        ({"scheduling_strategy": "PACK"}, "scheduling_strategy needs 'DEFAULT' or 'SPREAD', got 'PACK'"),
        ({"shared": "yes"}, "shared needs True, False or None, got 'yes'"),
    ],
)
def test_a_wrong_argument_is_told(arguments, told):
    with pytest.raises(ConfigError, match=f"^RayCluster: {told}$"):
        RayCluster(**arguments)


class Cluster:
    """Ray, connected to a cluster of a machine with this many GPUs, and one without."""

    def __init__(self, gpus):
        self.gpus = gpus

    def connect(self):
        return self

    def nodes(self):
        resources = {"CPU": 8.0, "GPU": float(self.gpus)} if self.gpus else {"CPU": 8.0}
        return [
            {"Alive": True, "Labels": {"kind": "big"}, "Resources": resources},
            {"Alive": True, "Labels": {"kind": "small"}, "Resources": {"CPU": 2.0}},
        ]


def demand(gpus, cluster=None, **arguments):
    made = Demand(cluster or RayCluster(), **arguments)
    made._session = Cluster(gpus)
    return made


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ({}, 1),
        ({"limits": Limits(jobs_per_device=4)}, 0.25),
        ({"devices": 2}, 2),
        # Half of each of two GPUs is nothing that Ray gives, and one whole is not enough.
        ({"devices": 2, "limits": Limits(jobs_per_device=2)}, 2),
        ({"devices": 3, "limits": Limits(jobs_per_device=2)}, 3),
        ({"accelerator": "cpu"}, 0),
        ({"cluster": RayCluster(num_gpus=0)}, 0),
        ({"cluster": RayCluster(num_gpus=0.5)}, 0.5),
    ],
)
def test_a_job_takes_the_gpus_that_its_trial_trains_on(arguments, needed):
    assert demand(8, **arguments).needs()["GPU"] == needed
    if "cluster" not in arguments:
        assert demand(0, **arguments).needs()["GPU"] == 0


def test_only_machines_with_the_labels_count():
    made = {kind: demand(8, RayCluster(label_selector={"kind": kind})) for kind in ("big", "!big", "in(big, small)", "none")}
    assert [each.needs()["GPU"] for each in made.values()] == [1, 0, 1, 0]
    assert [each.at_a_time for each in made.values()] == [8, 2, 8, 1]


def test_what_a_job_takes_stays_the_same_when_a_machine_with_gpus_joins():
    made = demand(0)
    before = made.needs()
    made._session.gpus = 1
    assert made.needs() == before


def test_who_says_that_it_trains_on_a_gpu_waits_for_one_to_join():
    assert demand(0, accelerator="gpu").needs()["GPU"] == 1
    assert demand(0, accelerator="cuda", limits=Limits(jobs_per_device=2)).needs()["GPU"] == 0.5


def test_fewer_gpus_than_a_trial_trains_on_are_refused(search):
    with pytest.raises(ConfigError, match=r"^RayCluster: num_gpus needs 2, the devices that a trial trains on, got 1$"):
        search(executor=RayCluster(num_gpus=1), trainer={"max_epochs": 1, "devices": 2, "strategy": "ddp"})
    assert Demand(RayCluster(num_gpus=0), devices=2).needs() == {"CPU": 2, "GPU": 0}
    assert Demand(RayCluster(num_gpus=1), accelerator="cpu", devices=2).needs() == {"CPU": 2, "GPU": 1}


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
