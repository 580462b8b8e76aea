"""The SQLite file of a study: what was asked, and one row per trial. One process writes; anyone may read.

Every write is one durable transaction. The journal is SQLite's default (a file deleted at commit) and not WAL, which has a
corruption bug with several connections in the versions that most machines have (fixed in 3.51.3, 3.50.7 and 3.44.6).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_hp.errors import ConfigError, StorageError, cannot_write
from lightning_hp.trial import Best, Judged, Mode, RoundBegan, Trial

FILE = "study.db"
# A transaction that has ended outlasts a power cut.
SYNCHRONOUS = "FULL"
# Kept in SQLite's user_version: a file of another layout is refused and not misread.
LAYOUT = 4
_ROUNDS = "CREATE TABLE rounds (first INTEGER PRIMARY KEY, seen TEXT NOT NULL, notes TEXT NOT NULL)"
_RUNGS = """CREATE TABLE rungs (
    number INTEGER NOT NULL,
    rung INTEGER NOT NULL,
    value REAL,
    goes_on INTEGER NOT NULL,
    PRIMARY KEY (number, rung)
)"""
# What brings a file of an older layout to the next.
_UPGRADES = {1: _ROUNDS, 2: _RUNGS, 3: "ALTER TABLE trials ADD COLUMN best TEXT"}
_SCHEMA = f"""
CREATE TABLE study (key TEXT PRIMARY KEY, value TEXT NOT NULL);
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
    ended REAL,
    best TEXT
);
CREATE INDEX ranking ON trials (state, value, number);
{_ROUNDS};
{_RUNGS};
PRAGMA user_version = {LAYOUT};
"""
_COLUMNS = ("number", "hparams", "seed", "state", "value", "epochs", "metrics", "reason", "checkpoint", "traceback", "best")
# Without what makes a row large.
_BRIEF_COLUMNS = "number, hparams, seed, state, value, epochs, '{}', reason, checkpoint, NULL, NULL"


class Store:
    """Reads and writes ROOT/study.db.

    Args:
        root: the study's folder.
        create: make the file when it is missing.

    Raises:
        ConfigError: there is no study and ``create`` is off, or the file is of another version.
        StorageError: here and in every method, the file is damaged or the disk takes no data.
    """

    def __init__(self, root: Path, create: bool = False) -> None:
        self.root = root
        self.path = root / FILE
        if not self.path.exists() and not create:
            raise ConfigError(f"{root} holds no study: {FILE} is missing")
        with _storage_errors(self.path):
            self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=30.0)
        try:
            with _storage_errors(self.path):
                self._prepare(create)
        except BaseException:
            self.close()
            raise

    def _prepare(self, create: bool) -> None:
        self._connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
        layout = self._connection.execute("PRAGMA user_version").fetchone()[0]
        empty = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if empty and create:
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif empty:
            raise ConfigError(f"{self.path} is empty: no search has begun")
        elif layout != LAYOUT and layout not in _UPGRADES:
            raise ConfigError(f"{self.path} has layout {layout}, this version of lightning_hp reads layout {LAYOUT}")
        elif create and layout < LAYOUT:
            with self._transaction():
                for older in range(layout, LAYOUT):
                    self._connection.execute(_UPGRADES[older])
                self._connection.execute(f"PRAGMA user_version = {LAYOUT}")
        # A file of an older layout, which only a search brings up, lacks some.
        found = {name for _, name, *_ in self._connection.execute("PRAGMA table_info(trials)")}
        self._columns = ", ".join(name if name in found else "NULL" for name in _COLUMNS)

    def close(self) -> None:
        self._connection.close()

    def check(self) -> None:
        """Reads the whole file once. Raises `StorageError` if any part of it is damaged."""
        found = self._read("PRAGMA quick_check(1)")[0][0]
        if found != "ok":
            raise _damaged(self.path, " ".join(found.split()))

    def asked(self) -> dict[str, Any]:
        """What the search was asked for, as `ask` wrote it. Empty for a new study."""
        return {key: json.loads(value) for key, value in self._read("SELECT key, value FROM study ORDER BY rowid")}

    def ask(self, asked: dict[str, Any]) -> None:
        """Writes down what the search is asked for, over what stood there."""
        with self._transaction():
            self._ask(asked)

    def write(self, trial: Trial, started: float, ended: float | None = None) -> None:
        """Writes a trial as it stands, over what stood there. On the disk when this returns.

        The checkpoint's path is kept relative to the root, so that a study can be moved.

        Args:
            trial: with hyperparameters as labels.
            started: seconds since the epoch of the clock.
            ended: the same; None while it runs.
        """
        self.write_all([(trial, started, ended)])

    def write_all(self, trials: Iterable[tuple[Trial, float, float | None]]) -> None:
        """Does what `write` does for several, all or none."""
        with self._transaction():
            self._write(trials)

    def fill(
        self,
        asked: dict[str, Any],
        trials: Iterable[tuple[Trial, float, float | None]],
        decisions: Iterable[RoundBegan | Judged],
    ) -> None:
        """Writes a whole study, or nothing: what `ask`, `write` and `decide` do."""
        with self._transaction():
            self._ask(asked)
            self._write(trials)
            for decision in decisions:
                self._decide(decision)

    def _ask(self, asked: dict[str, Any]) -> None:
        self._connection.execute("DELETE FROM study")
        self._connection.executemany("INSERT INTO study VALUES (?, ?)", [(k, json.dumps(v)) for k, v in asked.items()])

    def _write(self, trials: Iterable[tuple[Trial, float, float | None]]) -> None:
        places = ", ".join("?" * 13)
        self._connection.executemany(f"INSERT OR REPLACE INTO trials VALUES ({places})", (self._row(*each) for each in trials))

    def _row(self, trial: Trial, started: float, ended: float | None) -> tuple[Any, ...]:
        return (
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
            json.dumps(asdict(trial.best)) if trial.best is not None else None,
        )

    def release(self) -> None:
        """Marks the trials that an interrupted search left running as waiting."""
        if self._read("SELECT 1 FROM trials WHERE state = 'running' LIMIT 1"):
            with self._transaction():
                reason = "interrupted: the same search goes on with it"
                self._connection.execute("UPDATE trials SET state = 'waiting', reason = ? WHERE state = 'running'", (reason,))

    def decide(self, decision: RoundBegan | Judged) -> None:
        """Writes what is known of a round when it begins, or which trials go on from a rung, over what stood there."""
        with self._transaction():
            self._decide(decision)

    def _decide(self, decision: RoundBegan | Judged) -> None:
        if isinstance(decision, RoundBegan):
            row = (decision.first, decision.seen, json.dumps(decision.notes))
            self._connection.execute("INSERT OR REPLACE INTO rounds VALUES (?, ?, ?)", row)
        else:
            values, going_on = decision.values, decision.going_on
            rows = [(number, decision.rung, value, number in going_on) for number, value in values.items()]
            self._connection.executemany("INSERT OR REPLACE INTO rungs VALUES (?, ?, ?, ?)", rows)

    def rounds(self) -> list[RoundBegan]:
        """The rounds of trials so far, by their first."""
        if not self._has("rounds"):
            return []
        return [
            RoundBegan(first, seen, json.loads(notes))
            for first, seen, notes in self._read("SELECT * FROM rounds ORDER BY first")
        ]

    def judged(self) -> list[Judged]:
        """Which trials have gone on from each rung and which have not, from the lowest up."""
        if not self._has("rungs"):
            return []
        values: dict[int, dict[int, float | None]] = {}
        going_on: dict[int, set[int]] = {}
        for number, rung, value, goes_on in self._read("SELECT * FROM rungs ORDER BY rung, number"):
            values.setdefault(rung, {})[number] = value
            going_on.setdefault(rung, set()).update([number] if goes_on else [])
        return [Judged(rung, values[rung], frozenset(going_on[rung])) for rung in values]

    def forget_judged(self) -> None:
        """Removes what has been decided at rungs."""
        with self._transaction():
            self._connection.execute("DELETE FROM rungs")

    def _has(self, table: str) -> bool:
        return bool(self._read("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)))

    def forget(self, numbers: list[int]) -> None:
        """Removes trials."""
        with self._transaction():
            values = [(number,) for number in numbers]
            for table in ("trials", "rungs"):
                self._connection.executemany(f"DELETE FROM {table} WHERE number = ?", values)

    def drop_checkpoints(self, numbers: list[int]) -> None:
        """Notes that these trials have no checkpoints any more."""
        with self._transaction():
            values = [(number,) for number in numbers]
            self._connection.executemany("UPDATE trials SET checkpoint = NULL WHERE number = ?", values)

    def counts(self) -> dict[str, int]:
        """How many trials there are in each state."""
        return dict(self._read("SELECT state, count(*) FROM trials GROUP BY state"))

    def endings(self) -> dict[str, list[int]]:
        """The finished trials that are not complete: their numbers by state and reason."""
        found: dict[str, list[int]] = {}
        query = "SELECT state, reason, number FROM trials WHERE state IN ('failed', 'diverged', 'pruned') ORDER BY number"
        for state, reason, number in self._read(query):
            found.setdefault(f"{state}: {reason}" if reason else state, []).append(number)
        return found

    def trials(self, brief: bool = False) -> list[Trial]:
        """All trials by number, ``brief`` without metrics and tracebacks. Hyperparameters are labels, as stored."""
        columns = _BRIEF_COLUMNS if brief else self._columns
        return self._trials(self._read(f"SELECT {columns} FROM trials ORDER BY number"))

    def running(self) -> list[Trial]:
        """Those that run, as they stand."""
        return self._trials(self._read(f"SELECT {self._columns} FROM trials WHERE state = 'running' ORDER BY number"))

    def times(self) -> dict[int, tuple[float, float | None]]:
        """When trials began and ended, by number, in seconds since the epoch of the clock; None for one that has not."""
        query = "SELECT number, started, ended FROM trials ORDER BY number"
        return {number: (started, ended) for number, started, ended in self._read(query)}

    def ranked(self, mode: Mode, most: int | None = None) -> list[Trial]:
        """The complete trials, best first; equals by number."""
        order = "DESC" if mode == "max" else "ASC"
        which = f"state = 'complete' AND value IS NOT NULL ORDER BY value {order}, number LIMIT ?"
        query = f"SELECT {self._columns} FROM trials WHERE {which}"
        return self._trials(self._read(query, (-1 if most is None else most,)))

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with _storage_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def _trials(self, rows: list[Any]) -> list[Trial]:
        rungs = self._rungs([row[0] for row in rows]) if rows and self._has("rungs") else {}
        return [self._trial(row, tuple(rungs.get(row[0], ()))) for row in rows]

    def _rungs(self, numbers: list[int]) -> dict[int, list[tuple[int, float]]]:
        """The rungs of trials, by number; of those between them as well, since one query takes less than one for each."""
        query = "SELECT number, rung, value FROM rungs WHERE number BETWEEN ? AND ? AND value IS NOT NULL ORDER BY number, rung"
        found: dict[int, list[tuple[int, float]]] = {}
        for number, rung, value in self._read(query, (min(numbers), max(numbers))):
            found.setdefault(number, []).append((rung, value))
        return found

    def _trial(self, row: tuple[Any, ...], rungs: tuple[tuple[int, float], ...]) -> Trial:
        number, hparams, seed, state, value, epochs, metrics, reason, checkpoint, traceback, best = row
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
            rungs=rungs,
            traceback=traceback,
            best=Best(**json.loads(best)) if best else None,
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _storage_errors(self.path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself when the disk is full.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise cannot_write(path, error) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, found: object) -> StorageError:
    return StorageError(
        f"{path} is damaged ({found}). It is left alone; lightning-hp repair {path.parent} rebuilds it from the trials' records"
    )
