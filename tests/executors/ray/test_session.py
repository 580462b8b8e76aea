"""What Ray would refuse, or not even look at, is told in one line before anything is sent to a cluster."""

from __future__ import annotations

import signal

import pytest

from lightning_hp import ConfigError, RayCluster
from lightning_hp.executors.ray.session import Session


@pytest.fixture
def ray(monkeypatch):
    """Ray, which is not initialised whatever else runs on this machine, and where an error of ray.init is made by `fails`."""
    module = pytest.importorskip("ray", reason="pip install 'lightning-hp[ray]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(module, "is_initialized", lambda: False)
    monkeypatch.setattr(module, "init", lambda **keywords: pytest.fail("Ray was asked"))
    return module


@pytest.fixture
def fails(ray, monkeypatch):
    def make(error):
        def init(**keywords):
            raise error

        monkeypatch.setattr(ray, "init", init)

    return make


def test_a_field_of_runtime_env_that_ray_does_not_know_is_refused(ray):
    with pytest.raises(ConfigError, match=r"runtime_env has 'workingdir', .*did you mean 'working_dir'"):
        Session(RayCluster(runtime_env={"workingdir": "."})).connect()


def test_labels_that_an_old_ray_cannot_be_told_are_refused(ray, monkeypatch):
    monkeypatch.setattr(ray, "__version__", "2.40.0")
    with pytest.raises(ConfigError, match=r"^RayCluster: label_selector needs Ray 2\.49 or later, this is 2\.40\.0$"):
        Session(RayCluster(label_selector={"kind": "big"})).connect()


def test_where_there_is_no_cluster_the_reason_is_told_and_that_it_may_be_the_token(fails):
    fails(ConnectionError("Failed to connect\nto Ray"))
    told = (
        r"^no Ray cluster at address 'auto': Failed to connect to Ray\. .* RAY_AUTH_MODE=token and the same ~/\.ray/auth_token$"
    )
    with pytest.raises(ConfigError, match=told):
        Session(RayCluster("auto")).connect()


@pytest.mark.parametrize("kind", [ValueError, TypeError, RuntimeError])
def test_what_ray_refuses_is_not_told_as_a_cluster_that_is_not_there(fails, kind):
    fails(kind("directory /nowhere must be an existing directory"))
    cluster = RayCluster(runtime_env={"working_dir": "/nowhere"})
    with pytest.raises(ConfigError, match=r"^Ray refuses .*'working_dir': '/nowhere'\}: directory /nowhere must be"):
        Session(cluster).connect()


def test_a_signal_to_end_means_what_it_meant_before_ray(ray, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ray, "init", lambda **keywords: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    Session(RayCluster()).connect()
    assert signal.getsignal(signal.SIGTERM) == before
