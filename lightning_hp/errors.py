"""The errors a user can meet, all under one root.

LightningHPError
├── ConfigError         what was asked for cannot work: nothing was trained (exit code 2)
│   └── MonitorError    the monitored metric is never logged, or watched twice: found in the first trial
├── SearchStoppedError  the search gave up: its first trials all failed in the same way
└── StorageError        the study's folder takes no data now: full, read-only, damaged, or in use by another search
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The disk is full, over its quota, or no longer writable.
_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class LightningHPError(Exception):
    """Root of everything that lightning_hp raises on purpose."""


class ConfigError(LightningHPError, ValueError):
    """The space, the arguments or the config are wrong. The message names the value and what to do."""


class MonitorError(ConfigError):
    """The module never logs the metric named by ``monitor``: the message lists what it logged. Or two Babysitters watch it."""


class SearchStoppedError(LightningHPError, RuntimeError):
    """The first trials of a search all failed in the same way. The message ends with the traceback."""


class StorageError(LightningHPError, OSError):
    """The study's folder cannot be used as it is now. What was finished is safe; the message says what to do."""


def disk_error(exception: BaseException | None) -> OSError | None:
    """The error of a disk that takes no more data, if that is what an exception comes from.

    >>> try:
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    ... except OSError as error:
    ...     disk_error(RuntimeError("unexpected pos")), disk_error(error)
    (None, OSError(28, 'No space left on device'))
    """
    found = (each for each in chain(exception) if isinstance(each, OSError))
    return next((each for each in found if isinstance(each, StorageError) or each.errno in _DISK_ERRNOS), None)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raises what comes from a disk that takes no more data as a `StorageError` that names the path."""
    try:
        yield
    except Exception as error:
        found = disk_error(error)
        if found is None or isinstance(error, StorageError):
            raise
        raise (found if isinstance(found, StorageError) else cannot_write(path, found)) from error


def cannot_write(path: Path, error: BaseException) -> StorageError:
    """The error to raise where a file or folder of a study cannot be written."""
    told = error.strerror if isinstance(error, OSError) and error.strerror else error
    return StorageError(f"{path}: {told}: see that the folder can be written and has space, then run the same again")


def chain(exception: BaseException | None) -> Iterator[BaseException]:
    """An exception, what it comes from, what that comes from, and so on."""
    # What is raised again from itself makes a ring.
    seen: list[BaseException] = []
    while exception is not None and exception not in seen:
        yield exception
        seen.append(exception)
        exception = exception.__cause__ or exception.__context__


def one_of(what: str, value: Any, known: Collection[str]) -> str:
    """A name that has to be one of those known. Raises ConfigError, with the nearest, if it is not.

    >>> one_of("fuse", "auto", ("auto", "never"))
    'auto'
    """
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{what}={value!r} is not one of {', '.join(known)}{did_you_mean(str(value), known)}")
    return value


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name, or an empty string.

    >>> did_you_mean("hiden", ["hidden", "lr"])
    " (did you mean 'hidden'?)"
    >>> did_you_mean("maximize", ["min", "max"])
    " (did you mean 'max'?)"
    >>> did_you_mean("lr", ["model.lr"]), did_you_mean("ADAM", ["adam"])
    (" (did you mean 'model.lr'?)", " (did you mean 'adam'?)")
    """
    names, low = list(known), name.lower()
    in_small_letters = {each.lower(): each for each in reversed(names)}
    # As max is of maximize, which as a whole is like neither max nor min; and lr of model.lr.
    beginnings = [each for each in names if len(each) > 1 and low.startswith(each.lower())]
    endings = [each for each in names if each != name and _last_part(each) == _last_part(name)]
    close = [in_small_letters[each] for each in difflib.get_close_matches(low, in_small_letters, n=1)]
    close = close or endings or sorted(beginnings, key=len)[-1:]
    return f" (did you mean '{close[0]}'?)" if close else ""


def _last_part(name: str) -> str:
    return name.rpartition(".")[2]


def missing_metric(
    monitor: str, logged: Iterable[str], *, validated: bool = True, seldom: str = "", barebones: bool = False
) -> str:
    """What to tell a user whose ``monitor`` is not among the metrics that the module logged.

    Args:
        monitor: the name that is missing.
        logged: the names that are there.
        validated: whether a validation has run.
        seldom: the argument of Trainer by which one comes too late, if there is one.
        barebones: whether the Trainer was told to log nothing.

    >>> missing_metric("val_los", ["val_acc", "val_loss"])
    "monitor='val_los' is not logged by the module (did you mean 'val_loss'?); it logged val_acc, val_loss"
    >>> missing_metric("loss", ["loss/dataloader_idx_0"])
    "monitor='loss' is not logged by the module (did you mean 'loss/dataloader_idx_0'?); it logged loss/dataloader_idx_0"
    >>> missing_metric("val_loss", ["train_loss"], validated=False, seldom="check_val_every_n_epoch=5")
    "monitor='val_loss' is not logged: no validation ran, by trainer check_val_every_n_epoch=5; the module logged train_loss"
    """
    if barebones:
        return f"monitor={monitor!r} is not logged: Trainer(barebones=True) turns all logging off, leave it out"
    names = sorted(logged)
    listed = f"logged {', '.join(names)}" if names else "logged nothing that lasts an epoch"
    if seldom and not validated:
        return f"monitor={monitor!r} is not logged: no validation ran, by trainer {seldom}; the module {listed}"
    unvalidated = "" if validated else ", and no validation ran"
    hint = did_you_mean(next(iter(_made_longer(monitor, names)), monitor), names)
    return f"monitor={monitor!r} is not logged by the module{hint}; it {listed}{unvalidated}"


def _made_longer(monitor: str, names: Iterable[str]) -> list[str]:
    """Names that Lightning may have made of one: by step and epoch, and of one of several loaders."""
    return [each for each in names if re.fullmatch(re.escape(monitor) + r"(_step|_epoch)?(/dataloader_idx_\d+)?", each)]
