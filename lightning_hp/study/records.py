"""Each trial's own record, ROOT/trials/000012/trial.json: all that its row in study.db says, to rebuild that from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lightning_hp.errors import ConfigError, LightningHPError, storage_errors
from lightning_hp.study import decisions
from lightning_hp.study.files import write_whole
from lightning_hp.study.lock import Lock
from lightning_hp.study.store import FILE as STUDY
from lightning_hp.study.store import Store
from lightning_hp.trial import Best, Judged, RoundBegan, Trial, trial_folder

FILE = "trial.json"
_FIELDS = ("number", "hparams", "seed", "state", "value", "epochs", "metrics", "reason", "traceback")


def write_record(root: Path, asked: dict[str, Any], trial: Trial, started: float, ended: float) -> None:
    """Writes a finished trial's record, whole or not at all.

    Args:
        root: the study's folder.
        asked: what its search was asked for.
        trial: with hyperparameters as labels.
        started: seconds since the epoch of the clock.
        ended: the same.

    Raises:
        StorageError: the disk takes no data.
    """
    record = {name: getattr(trial, name) for name in _FIELDS}
    record["best"] = asdict(trial.best) if trial.best is not None else None
    record["checkpoint"] = str(trial.checkpoint.relative_to(root)) if trial.checkpoint else None
    text = json.dumps({"asked": asked, "trial": record, "started": started, "ended": ended})
    # The truth is study.db, which is synced; this is needed when that is damaged.
    write_whole(trial_folder(root, trial.number) / FILE, text, sync=False)


@dataclass(frozen=True)
class Repaired:
    """What `repair` did: how many trials it found, which records could not be read, where the old file is now."""

    trials: int
    unreadable: list[Path]
    old: Path | None


def sound(root: Path) -> bool:
    """Whether ROOT/study.db can be read to its end and has every trial that has left a record, as finished."""
    try:
        store = Store(root)
        try:
            store.check()
            finished = {trial.number for trial in store.trials(brief=True) if trial.finished}
        finally:
            store.close()
    except LightningHPError:
        return False
    return all(int(path.parent.name) in finished for path in root.glob(f"trials/*/{FILE}"))


def repair(root: Path, tell: Callable[[int, int], None] = lambda done, total: None) -> Repaired:
    """Rebuilds ROOT/study.db from the trials' records and the decisions. The old file is kept beside it under another name.

    Args:
        root: the study's folder.
        tell: told after each record how many have been read, of how many.

    Raises:
        ConfigError: there is no record to rebuild from.
        StorageError: a search is at work in the folder, or the disk takes no data.
    """
    if not any(root.glob(f"trials/*/{FILE}")):
        raise _nothing_found(root)
    lock = Lock(root)
    try:
        with storage_errors(root):
            return _repair(root, tell)
    finally:
        lock.release()


def _repair(root: Path, tell: Callable[[int, int], None]) -> Repaired:
    found, unreadable = [], []
    paths = sorted(root.glob(f"trials/*/{FILE}"))
    for done, path in enumerate(paths, start=1):
        tell(done, len(paths))
        try:
            record = json.loads(path.read_text())
            checkpoint = record["trial"].pop("checkpoint")
            # It may have been deleted since, when better trials came.
            path_of_best = root / checkpoint if checkpoint and (root / checkpoint).exists() else None
            # Records of older versions do not say it.
            best = record["trial"].pop("best", None)
            trial = Trial(**record["trial"], checkpoint=path_of_best, best=Best(**best) if best else None)
            found.append((trial, record["asked"], record["started"], record["ended"]))
        except (OSError, ValueError, KeyError, TypeError):
            unreadable.append(path)
    if not found:
        raise _nothing_found(root)
    # The newest knows best how many trials were asked for last.
    asked = max(found, key=lambda each: each[3])[1]
    old = _set_aside(root / STUDY)
    store = Store(root, create=True)
    try:
        store.fill(asked, ((trial, started, ended) for trial, _, started, ended in found), _decisions(root))
    finally:
        store.close()
    return Repaired(len(found), unreadable, old)


def _decisions(root: Path) -> Iterator[RoundBegan | Judged]:
    """What was decided, but for trials that the study has forgotten since."""
    for decision in decisions.read(root):
        if isinstance(decision, Judged):
            known = {number: value for number, value in decision.values.items() if trial_folder(root, number).exists()}
            yield replace(decision, values=known)
        else:
            yield decision


def _nothing_found(root: Path) -> ConfigError:
    return ConfigError(f"{root} holds no record of a finished trial to rebuild {STUDY} from")


def _set_aside(path: Path) -> Path | None:
    names = (f"{path.name}.damaged{number or ''}" for number in itertools.count())
    aside = next(each for each in map(path.with_name, names) if not each.exists())
    # The journal too, which would be played into the new file; last, since a file without its journal may seem whole.
    for suffix in ("", "-journal"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.replace(aside.with_name(aside.name + suffix))
    return aside if aside.exists() else None
