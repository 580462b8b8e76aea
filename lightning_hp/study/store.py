"""The SQLite file of a study: what was asked, and one row per trial. One process writes; anyone may read.

Every write is one durable transaction. The journal is SQLite's default (a file deleted at commit) and not WAL, which has a
corruption bug with several connections in the versions that most machines have (fixed in 3.51.3, 3.50.7 and 3.44.6).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_hp.errors import ConfigError
from lightning_hp.trial import Trial

FILE = "study.db"
# Kept in SQLite's user_version: a file of another layout is refused and not misread.
LAYOUT = 1
_SCHEMA = f"""
CREATE TABLE study (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE trials (
    number INTEGER PRIMARY KEY,
    hparams TEXT NOT NULL,
    seed INTEGER NOT NULL,
    state TEXT NOT NULL,
    value REAL,
    epochs INTEGER NOT NULL DEFAULT 0,
    metrics TEXT NOT NULL DEFAULT '{{}}',
    reason TEXT,
    checkpoint TEXT,
    traceback TEXT,
    started REAL,
    ended REAL
) STRICT;
PRAGMA user_version = {LAYOUT};
"""
_COLUMNS = "number, hparams, seed, state, value, epochs, metrics, reason, checkpoint, traceback"


class Store:
    """Reads and writes ROOT/study.db.

    Args:
        root: the study's folder.
        create: make the folder and the file when they are missing.

    Raises:
        ConfigError: there is no study and ``create`` is off, or the file is not one of ours.
    """

    def __init__(self, root: Path, create: bool = False) -> None:
        self.root = root
        path = root / FILE
        if not path.exists() and not create:
            raise ConfigError(f"{root} holds no study: {FILE} is missing")
        if create:
            _make(root)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
        try:
            self._prepare(create)
        except sqlite3.DatabaseError as error:
            self.close()
            raise ConfigError(f"{path} cannot be used as a study: {error}") from None
        except ConfigError:
            self.close()
            raise

    def _prepare(self, create: bool) -> None:
        self._connection.execute("PRAGMA synchronous = FULL")
        layout = self._connection.execute("PRAGMA user_version").fetchone()[0]
        empty = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if empty and create:
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif layout != LAYOUT:
            raise ConfigError(f"{self.root / FILE} has layout {layout}, this version of lightning_hp reads layout {LAYOUT}")

    def close(self) -> None:
        self._connection.close()

    def asked(self) -> dict[str, Any]:
        """What the search was asked for, as `ask` wrote it. Empty for a new study."""
        return {key: json.loads(value) for key, value in self._connection.execute("SELECT key, value FROM study")}

    def ask(self, asked: dict[str, Any]) -> None:
        """Writes down what the search is asked for, over what stood there."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM study")
            connection.executemany("INSERT INTO study VALUES (?, ?)", [(k, json.dumps(v)) for k, v in asked.items()])

    def write(self, trial: Trial, started: float, ended: float | None = None) -> None:
        """Writes a trial as it stands, over what stood there. On the disk when this returns.

        The checkpoint's path is kept relative to the root, so that a study can be moved.

        Args:
            trial: with hyperparameters as labels.
            started: seconds since the epoch of the clock.
            ended: the same; None while it runs.
        """
        row = (
            trial.number,
            json.dumps(trial.hparams),
            trial.seed,
            trial.state,
            trial.value,
            trial.epochs,
            json.dumps(trial.metrics),
            trial.reason,
            str(trial.checkpoint.relative_to(self.root)) if trial.checkpoint else None,
            trial.traceback,
            started,
            ended,
        )
        with self._transaction() as connection:
            connection.execute(f"INSERT OR REPLACE INTO trials VALUES ({', '.join('?' * len(row))})", row)

    def release(self) -> None:
        """Marks the trials that an interrupted search left running as waiting."""
        with self._transaction() as connection:
            connection.execute("UPDATE trials SET state = 'waiting' WHERE state = 'running'")

    def trials(self) -> list[Trial]:
        """All trials by number. Hyperparameters are labels, as stored."""
        return [self._trial(row) for row in self._connection.execute(f"SELECT {_COLUMNS} FROM trials ORDER BY number")]

    def seconds(self) -> dict[int, float]:
        """How long each ended trial took."""
        return dict(self._connection.execute("SELECT number, ended - started FROM trials WHERE ended IS NOT NULL"))

    def _trial(self, row: tuple[Any, ...]) -> Trial:
        number, hparams, seed, state, value, epochs, metrics, reason, checkpoint, traceback = row
        return Trial(
            number=number,
            hparams=json.loads(hparams),
            seed=seed,
            state=state,
            value=value,
            epochs=epochs,
            metrics=json.loads(metrics),
            reason=reason,
            checkpoint=self.root / checkpoint if checkpoint else None,
            traceback=traceback,
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def _make(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the study's folder {root} cannot be made: {error.strerror}") from None
