"""What was done to babysat trials, as their logs tell it."""

from __future__ import annotations

from lightning_hp.babysit import log
from lightning_hp.babysit.actions import Adjust, Knobs, Move, Rollback, Skip, Snapshot, Stop
from lightning_hp.babysit.log import Record, to_plain
from lightning_hp.report import interventions
from lightning_hp.trial import trial_folder

BEFORE, AFTER = [Knobs(0.1, 0.9)], [Knobs(0.05, None)]
HALF = Adjust((Move(0.5, 1.0),))
DONE = {
    "moved": ("decision", [HALF]),
    "went back": ("decision", [Rollback("good"), HALF]),
    "skipped": ("decision", [Skip(2), HALF]),
    "stopped": ("decision", [Stop(diverged=True)]),
    "asked": ("request", [Rollback("good")]),
}


def written(root, number, event, actions, after=AFTER):
    detail = {"actions": [to_plain(each) for each in actions]}
    record = Record(event, 2, 90, 91, f"why {number}", detail, BEFORE, after)
    log.extend([record], trial_folder(root, number) / log.FILE)
    return record


def test_each_kind_of_a_babysitters_records_is_told(tmp_path):
    records = [written(tmp_path, number, event, actions) for number, (event, actions) in enumerate(DONE.values())]
    assert all(record.intervenes for record in records)
    found = interventions(tmp_path, range(len(records)))
    assert [each.kind for each in found] == list(DONE)
    assert {(each.epoch, each.step) for each in found} == {(2, 90)}
    assert [each.reason for each in found] == [f"why {number}" for number in range(len(records))]
    assert found[0].change == "lr 0.1 → 0.05, momentum 0.9 → none"


def test_what_changes_nothing_is_left_out(tmp_path):
    records = [written(tmp_path, 0, "decision", [Snapshot("good")]), written(tmp_path, 0, "signal", [])]
    assert not any(record.intervenes for record in records)
    assert interventions(tmp_path, [0, 1]) == []


def test_numbers_that_json_lacks_are_told_as_they_are(tmp_path):
    written(tmp_path, 0, "decision", [HALF], after=[Knobs(float("inf"), 0.9)])
    (found,) = interventions(tmp_path, [0])
    assert found.change == "lr 0.1 → inf"


def test_a_line_half_written_and_one_of_something_else_say_nothing(tmp_path):
    written(tmp_path, 0, "decision", [HALF])
    file = trial_folder(tmp_path, 0) / log.FILE
    file.write_text(f'[1, 2]\n"text"\n{{"event": "decision"}}\n{file.read_text()}{{"event": "dec')
    assert len(interventions(tmp_path, [0])) == 1
