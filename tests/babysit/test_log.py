"""babysit.jsonl: strict JSON, the documented keys, and the same records read back."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_hp.babysit.actions import Adjust, Knobs, Move, Rollback, Skip, Snapshot, Stop
from lightning_hp.babysit.log import FILE, Record, extend, from_plain, interventions, read, rewind, show, to_plain
from lightning_hp.errors import ConfigError

KNOBS = st.builds(Knobs, lr=st.floats(0, 1e3) | st.just(math.inf), momentum=st.none() | st.floats(0, 1))
MOVES = st.builds(Move, lr_factor=st.floats(0, 1e3, exclude_min=True), momentum_factor=st.floats(0, 10))
ACTIONS = st.one_of(
    st.builds(Adjust, st.lists(MOVES, max_size=3).map(tuple)),
    st.builds(Snapshot, st.text()),
    st.builds(Rollback, st.text(), st.booleans()),
    st.builds(Skip, st.integers(0, 10**6)),
    st.builds(Stop, st.booleans()),
)
RECORDS = st.builds(
    Record,
    event=st.sampled_from(["signal", "decision", "request", "state"]),
    epoch=st.integers(0, 10**6),
    step=st.integers(0, 10**12),
    batch=st.integers(0, 10**12),
    reason=st.text(),
    detail=st.lists(ACTIONS, max_size=3).map(lambda actions: {"actions": [to_plain(action) for action in actions]}),
    before=st.lists(KNOBS, max_size=3),
    after=st.lists(KNOBS, max_size=3),
)
LOWER = to_plain(Adjust((Move(0.5),)))
BEFORE, AFTER = Knobs(0.1, 0.9), Knobs(0.05, 0.9)


def decision(batch=90, actions=(LOWER,), before=(BEFORE,), after=(AFTER,)):
    return Record("decision", 3, 90, batch, "stalled", {"actions": list(actions)}, list(before), list(after))


def strict(line):
    """Parses a line as other languages would, which know no NaN."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(line, parse_constant=refuse)


def lines_in(folder):
    file = Path(folder) / FILE
    return file.read_text().splitlines() if file.exists() else []


@given(action=ACTIONS)
def test_an_action_comes_back_from_json_as_it_was(action):
    assert from_plain(strict(json.dumps(to_plain(action)))) == action


@given(records=st.lists(RECORDS, max_size=4))
def test_what_is_written_is_read_back(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("log") / "deeper"
    extend(records[:1], folder / FILE)
    extend(records[1:], folder / FILE)
    assert read(folder / FILE) == records
    assert [list(strict(line)) for line in lines_in(folder)] == [[each.name for each in fields(Record)]] * len(records)


@pytest.mark.parametrize("number", [1.5, math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_none_for_is_written_as_a_string_and_read_as_a_number(tmp_path, number):
    extend([Record("state", 0, 0, 0, "", {"value": number}, after=[Knobs(number, None)])], tmp_path / FILE)
    strict(lines_in(tmp_path)[0])
    (record,) = read(tmp_path / FILE)
    assert record.number("value") == pytest.approx(number, nan_ok=True)
    assert record.after[0].lr == pytest.approx(number, nan_ok=True)
    assert record.number("loss") is None


def test_no_file_is_no_record(tmp_path):
    assert read(tmp_path / FILE) == []


def test_a_last_line_that_a_kill_cut_off_is_left_out(tmp_path):
    extend([decision()], tmp_path / FILE)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"event": "deci')
    assert read(tmp_path / FILE) == [decision()]


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "deci',
        "[]",
        '{"epoch": 3, "step": 90, "reason": "an older version", "before": [], "after": []}',
        json.dumps(
            strict('{"event": "decision", "epoch": 0, "step": 0, "batch": "x", "reason": "", "before": [], "after": []}')
        ),
        '{"event": "decision", "epoch": 0, "step": 0, "batch": 0, "reason": "", "before": [], "after": [],'
        ' "detail": {"actions": [{"action": "dance"}]}}',
    ],
)
def test_any_other_broken_line_is_named(tmp_path, line):
    extend([decision()], tmp_path / FILE)
    with (tmp_path / FILE).open("a") as file:
        file.write(f"{line}\n")
    extend([decision()], tmp_path / FILE)
    with pytest.raises(ConfigError, match=rf"{FILE}, line 2, is no record of a babysitter"):
        read(tmp_path / FILE)


def test_rewinding_drops_the_records_from_a_batch_on_and_those_of_other_versions(tmp_path):
    file = tmp_path / FILE
    extend([decision(batch) for batch in (0, 5, 7)], file)
    with file.open("a") as opened:
        opened.write('{"epoch": 3, "step": 1, "reason": "an older version"}\nnonsense\n{"torn')
    rewind(file, 7)
    assert [record.batch for record in read(file)] == [0, 5]
    rewind(file, 0)
    assert file.read_text() == ""
    assert list(tmp_path.iterdir()) == [file]


def test_rewinding_no_file_makes_none(tmp_path):
    rewind(tmp_path / FILE, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_alone_is_no_intervention(tmp_path):
    snapshot, lower = decision(0, [to_plain(Snapshot("good"))]), decision(1)
    state = Record("state", 0, 0, 0, "", {}, after=[Knobs(0.1, 0.9)])
    extend([snapshot, state, lower], tmp_path / FILE)
    assert interventions(tmp_path / FILE) == [lower]


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ([Knobs(0.1, 0.9)], [Knobs(0.05, 0.95)], "stalled: lr 0.1 -> 0.05, momentum 0.9 -> 0.95"),
        ([Knobs(0.1, 0.9)], [Knobs(0.05, 0.9)], "stalled: lr 0.1 -> 0.05"),
        ([Knobs(0.1, 0.9)], [Knobs(0.1, 0.95)], "stalled: momentum 0.9 -> 0.95"),
        ([Knobs(0.1, None)], [Knobs(0.05, None)], "stalled: lr 0.1 -> 0.05"),
        (
            [Knobs(0.1, 0.0), Knobs(1e-5, 0.9)],
            [Knobs(0.05, 0.0), Knobs(5e-6, 0.95)],
            "stalled: lr 0.1, 1e-05 -> 0.05, 5e-06, momentum 0, 0.9 -> 0, 0.95",
        ),
    ],
)
def test_the_sentence_says_what_changed_and_only_that(before, after, sentence):
    assert decision(before=before, after=after).sentence() == sentence


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ([Rollback("good")], "back to snapshot 'good', lr 0.1 -> 0.05"),
        ([Skip(1)], "skip 1 batch, lr 0.1 -> 0.05"),
        ([Snapshot("probe"), Skip(20)], "snapshot 'probe', skip 20 batches, lr 0.1 -> 0.05"),
        ([Stop()], "stop, lr 0.1 -> 0.05"),
        ([Stop(diverged=True)], "stop as diverged, lr 0.1 -> 0.05"),
    ],
)
def test_the_sentence_says_what_else_was_done_in_its_order(actions, words):
    assert decision(actions=[to_plain(action) for action in actions]).sentence() == f"stalled: {words}"


def test_the_sentence_of_what_changed_nothing_is_its_reason():
    assert Record("signal", 0, 0, 0, "loss is nan").sentence() == "loss is nan"


def test_tensorboard_gets_curves_markers_and_words_and_other_loggers_the_curves(tmp_path, events):
    board, table = TensorBoardLogger(tmp_path, name="", version="board"), CSVLogger(tmp_path, name="", version="table")
    show(Record("state", 0, 6, 6, "", {}, after=[Knobs(0.1, 0.9)]), [board, table], 0)
    show(Record("signal", 3, 80, 80, "stalls"), [board, table], 0)
    show(decision(), [board, table], 1)
    for logger in (board, table):
        logger.save()
    board.finalize("success")
    seen = events(tmp_path / "board")
    assert seen["babysit/lr"] == [(6, pytest.approx(0.1)), (90, pytest.approx(0.05))]
    assert seen["babysit/momentum"] == [(6, pytest.approx(0.9)), (90, pytest.approx(0.9))]
    assert seen["babysit/interventions"] == [(6, 0.0), (90, 1.0)]
    assert seen["babysit/text_summary"] == [(90, "stalled: lr 0.1 -> 0.05")]
    header, *rows = (tmp_path / "table" / "metrics.csv").read_text().splitlines()
    assert sorted(header.split(",")) == ["babysit/interventions", "babysit/lr", "babysit/momentum", "step"]
    assert len(rows) == 2


def test_each_group_has_its_own_curves(tmp_path, events):
    board = TensorBoardLogger(tmp_path, name="", version="board")
    show(decision(after=[Knobs(0.1, 0.9), Knobs(0.2, None)]), [board], 1)
    board.finalize("success")
    seen = events(tmp_path / "board")
    assert {tag for tag in seen if tag.startswith("babysit/lr") or tag.startswith("babysit/m")} == {
        "babysit/lr/group0",
        "babysit/lr/group1",
        "babysit/momentum/group0",
    }
