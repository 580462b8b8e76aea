"""An address at which nothing answers is told at once, in the words of the network."""

from __future__ import annotations

import socket

import pytest

from lightning_hp import ConfigError
from lightning_hp.executors.ray.address import check_answers


@pytest.fixture
def port():
    """One that nobody listens at, since it is ours."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_where_nothing_answers_the_address_and_the_reason_are_told(port):
    with pytest.raises(ConfigError, match=rf"no Ray cluster at address '127\.0\.0\.1:{port}': Connection refused.*--head"):
        check_answers(f"127.0.0.1:{port}")


def test_the_address_of_the_environment_is_tried_where_none_is_asked_for(port, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    for address in (None, "auto"):
        with pytest.raises(ConfigError, match=f"'127.0.0.1:{port}'"):
            check_answers(address)


def test_where_somebody_answers_nothing_is_told():
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_answers(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize(
    "address", [None, "auto", "local", "head", "head:", ":6379", "head:port", "head:99999", "ray://head:1"]
)
def test_what_names_no_host_and_port_is_left_to_ray(address, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    check_answers(address)
