"""What the picture shows of a log."""

from __future__ import annotations

import pytest

from lightning_hp import Babysitter, ConfigError
from lightning_hp.babysit.actions import Adjust, Move, Rollback, Skip, Snapshot, Stop
from lightning_hp.babysit.log import FILE, Record, read, to_plain
from lightning_hp.babysit.picture import shown


def decision(step, *actions, event="decision"):
    return Record(event, 0, step, step, "so", {"actions": [to_plain(action) for action in actions]})


def test_a_fits_curves_are_those_it_had(fit, scripted, tmp_path):
    module = scripted([1.0, 0.5, 0.5, 0.5, 0.5])
    fit(module, Babysitter("score", patience=1), epochs=6)
    run = shown(read(tmp_path / "run" / FILE))
    assert (run.monitor, list(run.values)) == ("score", list(zip(range(3, 21, 3), [1.0, *[0.5] * 5], strict=True)))
    assert [step for step, _ in run.losses] == list(range(18))
    assert run.lrs[0][0] == (0, module.lrs[0])
    assert run.lrs[0][-1] == (17, module.lrs[-1])
    assert run.momenta[0][-1] == (17, module.momenta[-1])
    assert [(mark.step, mark.kind) for mark in run.marks] == [(12, "moved")]
    assert "lr 0.1 -> 0.02" in run.marks[0].words
    assert run.discarded == []


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (decision(5, Adjust((Move(0.5),))), "moved"),
        (decision(5, Rollback("good"), Adjust((Move(0.5),))), "went back"),
        (decision(5, Skip(3)), "skipped"),
        (decision(5, Stop(diverged=True)), "stopped"),
        (decision(5, Adjust((Move(0.5),)), event="request"), "asked"),
        (decision(5, Rollback("good"), event="request"), "went back"),
    ],
)
def test_each_thing_done_has_its_kind(record, kind):
    (mark,) = shown([record]).marks
    assert (mark.step, mark.kind, mark.words) == (5, kind, record.sentence())


def test_a_snapshot_is_not_shown_and_what_was_undone_is():
    run = shown([decision(4, Snapshot("good")), decision(9, Rollback("good")), Record("state", 1, 12, 12, "")])
    assert [mark.step for mark in run.marks] == [9]
    assert run.discarded == [(4, 9)]


def test_of_two_babysitters_the_first_ones_metric_is_shown():
    states = [Record("state", 0, step, step, "", {"monitor": name, "value": 1.0}) for step in (3, 6) for name in ("one", "two")]
    run = shown(states)
    assert (run.monitor, list(run.values)) == ("one", [(3, 1.0), (6, 1.0)])


def test_it_is_a_file(fit, scripted, tmp_path):
    fit(scripted(), Babysitter("score", patience=1), epochs=4)
    figure = Babysitter.picture(tmp_path / "run", tmp_path / "fit.png")
    assert (tmp_path / "fit.png").stat().st_size > 5000
    assert [axes.get_ylabel() for axes in figure.axes] == ["score", "training loss", "lr", "momentum"]


def test_no_log_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no log of a babysitter"):
        Babysitter.picture(tmp_path, tmp_path / "fit.png")
