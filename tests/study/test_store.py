"""The SQLite file: whole rows or none, on the disk when written, and never misread."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_hp import ConfigError, StorageError, Trial
from lightning_hp.study.store import FILE, Store
from lightning_hp.trial import Best, Judged

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXT
TRIALS = st.builds(
    Trial,
    number=st.integers(0, 10**9),
    hparams=st.dictionaries(TEXT, VALUES),
    seed=st.integers(0, 2**32 - 1),
    state=st.sampled_from(["waiting", "running", "complete", "pruned", "failed", "diverged"]),
    value=st.none() | st.floats(allow_nan=False),
    epochs=st.integers(0, 10**6),
    metrics=st.dictionaries(TEXT, st.lists(st.none() | st.floats(allow_nan=False))),
    reason=st.none() | TEXT,
    traceback=st.none() | TEXT,
    best=st.none() | st.builds(Best, st.integers(0, 10**6), st.dictionaries(TEXT, st.floats(allow_nan=False))),
)


@pytest.fixture
def store(tmp_path):
    (tmp_path / "study").mkdir()
    opened = Store(tmp_path / "study", create=True)
    yield opened
    opened.close()


def test_any_trial_comes_back_as_it_was_written(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    store = Store(root, create=True)

    @settings(max_examples=50)
    @given(TRIALS)
    def check(trial):
        store.write(trial, started=1.0)
        assert next(each for each in store.trials() if each.number == trial.number) == trial

    check()
    store.close()


def test_metrics_that_are_no_numbers_come_back(store):
    store.write(Trial(0, {}, 0, metrics={"loss": [1.0, math.nan, math.inf, None]}), started=1.0)
    loss = store.trials()[0].metrics["loss"]
    assert loss[0] == 1.0
    assert math.isnan(loss[1])
    assert loss[2:] == [math.inf, None]


def test_writing_a_trial_again_replaces_it(store):
    trial = Trial(3, {"lr": 0.1}, seed=7, state="running")
    store.write(trial, started=1.0)
    done = replace(trial, state="complete", value=0.5, epochs=2)
    store.write(done, started=1.0, ended=3.5)
    assert store.trials() == [done]


def test_trials_come_by_number(store):
    for number in (5, 0, 3):
        store.write(Trial(number, {}, 0), started=0.0)
    assert [trial.number for trial in store.trials()] == [0, 3, 5]


def test_what_was_asked_is_kept_and_replaced_as_a_whole(store):
    store.ask({"seed": 0, "space": {"lr": {"low": 0.1}}})
    store.ask({"seed": 1, "monitor": "val_loss"})
    assert store.asked() == {"seed": 1, "monitor": "val_loss"}


def test_released_trials_wait(store):
    for number, state in enumerate(["running", "complete", "running", "failed"]):
        store.write(Trial(number, {}, 0, state=state), started=0.0)
    store.release()
    assert [trial.state for trial in store.trials()] == ["waiting", "complete", "waiting", "failed"]


def test_checkpoints_are_kept_relative_to_the_folder(store, tmp_path):
    store.write(Trial(0, {}, 0, checkpoint=store.root / "trials/000000/best.ckpt"), started=0.0)
    moved = store.root.rename(tmp_path / "moved")
    other = Store(moved)
    assert other.trials()[0].checkpoint == moved / "trials/000000/best.ckpt"
    other.close()


def test_a_reader_sees_whole_rows_while_a_writer_writes(store):
    reader = Store(store.root)
    store.write(Trial(0, {"lr": 0.1}, 0), started=0.0)
    store._connection.execute("BEGIN IMMEDIATE")
    store._connection.execute("INSERT INTO trials (number, hparams, seed, state) VALUES (1, '{}', 0, 'running')")
    assert [trial.number for trial in reader.trials()] == [0]
    store._connection.execute("COMMIT")
    assert [trial.number for trial in reader.trials()] == [0, 1]
    reader.close()


# Each kills itself without a chance to clean up.
FIVE_ROWS = """
import os, signal, sys
from pathlib import Path
from lightning_hp import Trial
from lightning_hp.study.store import FILE, Store
from lightning_hp.trial import Judged

store = Store(Path(sys.argv[1]), create=True)
for number in range(5):
    store.write(Trial(number, {}, 0), started=0.0)
os.kill(os.getpid(), signal.SIGKILL)
"""
MANY_ROWS_UNCOMMITTED = FIVE_ROWS.replace(
    "os.kill",
    """
store._connection.execute("PRAGMA cache_size = 1")
store._connection.execute("BEGIN IMMEDIATE")
for number in range(5, 2000):
    row = (number, "{}", 0, "running", "x" * 500)
    store._connection.execute("INSERT INTO trials (number, hparams, seed, state, reason) VALUES (?, ?, ?, ?, ?)", row)
os.kill""",
)


@pytest.mark.parametrize(
    "script", [FIVE_ROWS, MANY_ROWS_UNCOMMITTED], ids=["between writes", "in a write that spilled to the file"]
)
def test_after_a_kill_there_is_what_was_written_and_no_more(tmp_path, script):
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    store = Store(tmp_path)
    assert [trial.number for trial in store.trials()] == [0, 1, 2, 3, 4]
    store.close()


def test_a_folder_without_a_study_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no study: study\.db is missing"):
        Store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    (tmp_path / "study.db").write_bytes(b"not a database, but somebody's" * 100)
    before = (tmp_path / "study.db").read_bytes()
    for create in (True, False):
        with pytest.raises(StorageError, match=r"is damaged .file is not a database."):
            Store(tmp_path, create=create)
    assert (tmp_path / "study.db").read_bytes() == before


def test_a_database_of_another_layout_is_refused_and_left_alone(tmp_path):
    connection = sqlite3.connect(tmp_path / "study.db")
    connection.executescript("CREATE TABLE theirs (x); PRAGMA user_version = 99;")
    connection.close()
    before = (tmp_path / "study.db").read_bytes()
    for create in (True, False):
        with pytest.raises(ConfigError, match="has layout 99, this version of lightning_hp reads layout 4"):
            Store(tmp_path, create=create)
    assert (tmp_path / "study.db").read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="unable to open"):
        Store(tmp_path, create=True)


def test_a_database_of_an_older_layout_is_read_as_it_is_and_brought_up_by_a_search(tmp_path):
    trial = Trial(0, {"lr": 0.1}, 7, "complete", 0.5, 2, {"acc": [0.25, 0.5]})
    writer = Store(tmp_path, create=True)
    writer.write(trial, 0.0, 1.0)
    writer.close()
    connection = sqlite3.connect(tmp_path / FILE)
    old = "DROP TABLE rungs; DROP TABLE rounds; ALTER TABLE trials DROP COLUMN best; PRAGMA user_version = 1"
    connection.executescript(old)
    connection.close()
    reader = Store(tmp_path)
    assert (reader.judged(), reader.rounds(), reader.trials(), reader.ranked("max")) == ([], [], [trial], [trial])
    reader.close()
    writer = Store(tmp_path, create=True)
    told = replace(trial, best=Best(1, {"acc": 0.75}))
    writer.write(told, 0.0, 1.0)
    assert writer.trials() == [told]
    judged = Judged(1, {0: 0.5, 1: None}, frozenset({0}))
    writer.decide(judged)
    assert (writer.judged(), writer.rounds()) == ([judged], [])
    writer.close()


def test_what_is_written_waits_for_the_disk(tmp_path):
    # In a Python of its own: here the tests have turned it off.
    script = (
        "import sys; from pathlib import Path; from lightning_hp.study.store import Store\n"
        "print(*Store(Path(sys.argv[1]), create=True)._connection.execute('PRAGMA synchronous').fetchone())"
    )
    told = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["2"]  # FULL
