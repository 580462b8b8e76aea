"""Whether a search from the command line starts the server of its workers before it imports torch."""

from __future__ import annotations

import pytest

from lightning_hp import SearchLoop
from lightning_hp.executors import ahead
from lightning_hp.executors.launch import CAN_FORK

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="nothing is forked here")


@pytest.fixture
def begun(monkeypatch):
    """Notes what is started, and what ends untaken."""
    told = []
    monkeypatch.setattr(ahead, "begin", lambda: told.append("begun"))
    monkeypatch.setattr(ahead, "stop", lambda: told.append("stopped"))
    return told


@pytest.mark.parametrize(
    ("asked", "flags"),
    [
        ("inline", []),
        ("processes", ["--executor", "inline"]),
        ("processes", ["--print-config"]),
        ({"ray": {}}, []),
    ],
)
def test_where_no_worker_will_be_forked_none_is_started(run, config, begun, asked, flags):
    config["search"]["executor"] = asked
    run(config, "search", "config.yaml", *flags)
    assert "begun" not in begun


def test_where_one_worker_is_enough_which_is_this_process_it_is_stopped_before_anything_trains(run, config, begun, monkeypatch):
    class BegunError(Exception):
        pass

    def runs(self):
        begun.append("runs")
        raise BegunError

    monkeypatch.setattr(SearchLoop, "run", runs)
    del config["search"]["executor"]
    with pytest.raises(BegunError):
        run(config, "search", "config.yaml", "--workers", "1")
    assert begun == ["begun", "stopped", "runs", "stopped"]


def test_a_config_that_is_wrong_leaves_none_behind(run, config, begun):
    config["search"]["executor"] = "processes"
    config["search"]["trials"] = 0
    code = run(config, "search", "config.yaml").code
    assert (code, begun) == (2, ["begun", "stopped"])


@pytest.mark.slow
def test_the_workers_come_from_it(run, config, monkeypatch):
    taken = []
    take = ahead.take

    def noted():
        before = ahead._ahead
        started = take()
        taken.append(started is before)
        return started

    monkeypatch.setattr(ahead, "take", noted)
    config["search"]["executor"] = "processes"
    code = run(config, "search", "config.yaml").code
    assert (code, taken, ahead._ahead) == (0, [True], None)
