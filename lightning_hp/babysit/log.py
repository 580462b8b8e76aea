"""The record of a babysat fit: babysit.jsonl, and the loggers' curves, markers and texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from lightning_hp.babysit.actions import Action, Adjust, Knobs, Move, Rollback, Skip, Snapshot, Stop
from lightning_hp.bounds import place
from lightning_hp.errors import ConfigError

FILE = "babysit.jsonl"

Event: TypeAlias = Literal["signal", "decision", "request", "state"]

_ACTIONS: dict[str, type[Action]] = {"adjust": Adjust, "snapshot": Snapshot, "rollback": Rollback, "skip": Skip, "stop": Stop}
_ENCODER = json.JSONEncoder(default=vars, allow_nan=False)


@dataclass(frozen=True)
class Record:
    """One thing that a babysitter saw or did, before a batch.

    Attributes:
        event: ``"signal"``, something that a signal has found; ``"decision"``, what the policy had done; ``"request"``, what a
            person had done; ``"state"``, how the fit stood at a check, and how lr and momentum went since the last one.
        epoch: in which it happened, from 0.
        step: the optimizer steps made before it.
        batch: the training batches made before it: a record is written before the batch of that number, so that a fit that
            goes on from a checkpoint makes those from its own batch on again, and no other.
        reason: why, in a sentence.
        detail: plain values. Of a decision and a request ``"actions"``, those carried out, in order, as `to_plain` gives them.
            Of a state ``"monitor"`` and its ``"value"`` at a check, and since the last state the training ``"losses"``, as
            means of a few stretches, each with its last step, and the ``"course"`` of lr and momentum, as knots
            (`lightning_hp.babysit.course`).
        before: lr and momentum of each parameter group before, numbered through all optimizers.
        after: the same after; of a state, as they stand.
    """

    event: Event
    epoch: int
    step: int
    batch: int
    reason: str
    detail: dict[str, Any] = field(default_factory=dict)
    before: list[Knobs] = field(default_factory=list)
    after: list[Knobs] = field(default_factory=list)

    @property
    def actions(self) -> list[Action]:
        """What was carried out, in order; of a signal and a state nothing."""
        return [from_plain(action) for action in self.detail.get("actions", [])]

    @property
    def intervenes(self) -> bool:
        """Whether training goes on otherwise than without: a snapshot alone changes nothing."""
        return any(action["action"] != "snapshot" for action in self.detail.get("actions", ()))

    def number(self, name: str) -> float | None:
        """A number of `detail`, which JSON keeps as a string where it is NaN or infinite; None where there is none."""
        value = self.detail.get(name)
        return None if value is None else float(value)

    def sentence(self) -> str:
        """The record in words.

        >>> actions = [to_plain(Rollback("good")), to_plain(Adjust((Move(0.5, 0.5),)))]
        >>> Record(
        ...     "decision", 3, 90, 90, "loss is nan", {"actions": actions}, [Knobs(0.1, 0.9)], [Knobs(0.05, 0.95)]
        ... ).sentence()
        "loss is nan: back to snapshot 'good', lr 0.1 -> 0.05, momentum 0.9 -> 0.95"
        """
        done = [_done(action) for action in self.actions]
        done += [_change(name, self.before, self.after) for name in ("lr", "momentum")] if self.before and self.after else []
        return ": ".join(part for part in (self.reason, ", ".join(filter(None, done))) if part)


def to_plain(action: Action) -> dict[str, Any]:
    """An action as a dict that JSON can hold.

    >>> to_plain(Skip(3))
    {'action': 'skip', 'batches': 3}
    """
    name = next(name for name, kind in _ACTIONS.items() if isinstance(action, kind))
    return {"action": name} | {key: list(value) if key == "moves" else value for key, value in asdict(action).items()}


def from_plain(plain: Mapping[str, Any]) -> Action:
    """The action of such a dict.

    Raises:
        KeyError, TypeError, ValueError: it is none.

    >>> from_plain({"action": "adjust", "moves": [{"lr_factor": 0.5, "momentum_factor": 1.0}]})
    Adjust(moves=(Move(lr_factor=0.5, momentum_factor=1.0),))
    """
    fields = {key: value for key, value in plain.items() if key != "action"}
    kind = _ACTIONS[plain["action"]]
    if kind is Adjust:
        moves = (Move(**{key: float(factor) for key, factor in move.items()}) for move in fields.pop("moves"))
        return Adjust(tuple(moves), **fields)
    return kind(**fields)


def read(file: Path) -> list[Record]:
    """The records of a babysit.jsonl, in order; none where there is no such file. A last line without its end is left out.

    Raises:
        ConfigError: a line is no record.
        OSError: the file can't be read.
    """
    records = []
    for number, line in enumerate(_lines(file), start=1):
        try:
            records.append(_parsed(line))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"{file}, line {number}, is no record of a babysitter ({error!r}): {line[:200]}") from None
    return records


def found(path: str | Path) -> Path:
    """The babysit.jsonl at a path, which may be its folder.

    Raises:
        ConfigError: there is none, or it is no path.
    """
    given = place("path", path, "a file or folder")
    file = given / FILE if given.is_dir() else given
    if not file.is_file():
        raise ConfigError(f"there is no log of a babysitter at {file}: a babysat fit writes {FILE} to its logger's folder")
    return file


def interventions(file: Path) -> list[Record]:
    """Those of the records that changed the fit."""
    return [record for record in read(file) if record.intervenes]


def extend(records: Iterable[Record], file: Path) -> None:
    """Adds lines to a babysit.jsonl.

    Raises:
        OSError: they can't be written.
    """
    lines = "".join(f"{_encoded(record)}\n" for record in records)
    try:
        # One for text takes twice as long to open.
        opened = file.open("ab")
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = file.open("ab")
    with opened:
        opened.write(lines.encode())


def rewind(file: Path, batch: int) -> None:
    """Drops the records from a training batch on: a fit that goes on from there, or starts anew at 0, makes them again.

    Raises:
        OSError: it can't be written.
    """
    if not file.exists():
        return
    kept = "".join(f"{line}\n" for line in _lines(file) if _batch(line) < batch)
    # Killed half-way, this leaves the old file or the new one.
    rewritten = file.with_suffix(".tmp")
    rewritten.write_text(kept)
    rewritten.replace(file)


def show(record: Record, loggers: Sequence[Logger], interventions: int) -> None:
    """Gives a record to the loggers: lr, momentum and the count of interventions as curves; to TensorBoard also its words.

    Args:
        record: a state gives curves, one that intervenes words too, any other nothing.
        loggers: the Trainer's.
        interventions: made up to now, this one included: the curve jumps where one was made.
    """
    if not record.intervenes and record.event != "state":
        return
    for logger in loggers:
        logger.log_metrics(_curves(record, interventions), step=record.step)
        if record.intervenes and isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("babysit", record.sentence(), record.step)


def _curves(record: Record, interventions: int) -> dict[str, float]:
    curves = {"babysit/interventions": float(interventions)}
    for index, knobs in enumerate(record.after):
        suffix = f"/group{index}" if len(record.after) > 1 else ""
        curves[f"babysit/lr{suffix}"] = knobs.lr
        if knobs.momentum is not None:
            curves[f"babysit/momentum{suffix}"] = knobs.momentum
    return curves


def _lines(file: Path) -> list[str]:
    # A process that is killed while it writes leaves a line without its end.
    return file.read_text().split("\n")[:-1] if file.exists() else []


def _encoded(record: Record) -> str:
    try:
        return _ENCODER.encode(vars(record))
    except ValueError:
        # Some number is none, as hardly ever; to look at each before takes longer than all the rest.
        return _ENCODER.encode(_plain(asdict(record)))


def _parsed(line: str) -> Record:
    plain = json.loads(line)
    record = Record(**{**plain, **{when: [_knobs(**group) for group in plain[when]] for when in ("before", "after")}})
    _ = record.epoch + record.step + record.batch, record.actions
    return record


def _batch(line: str) -> float:
    """Where the record stands; one that another version wrote belongs to another fit, and goes."""
    try:
        return float(json.loads(line)["batch"])
    except (KeyError, TypeError, ValueError):
        return math.inf


def _knobs(lr: float | str, momentum: float | str | None) -> Knobs:
    return Knobs(float(lr), None if momentum is None else float(momentum))


def _plain(value: Any) -> Any:
    """The value with infinities and NaN as strings, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _done(action: Action) -> str:
    match action:
        case Rollback(name):
            return f"back to snapshot {name!r}"
        case Snapshot(name):
            return f"snapshot {name!r}"
        case Skip(batches):
            return "skip 1 batch" if batches == 1 else f"skip {batches} batches"
        case Stop(diverged):
            return "stop as diverged" if diverged else "stop"
    # What became of lr and momentum says more.
    return ""


def _change(name: str, before: Sequence[Knobs], after: Sequence[Knobs]) -> str:
    then, now = ([getattr(knobs, name) for knobs in groups] for groups in (before, after))
    return "" if then == now else f"{name} {_listed(then)} -> {_listed(now)}"


def _listed(values: Sequence[float | None]) -> str:
    return ", ".join("none" if value is None else f"{value:.4g}" for value in values)
