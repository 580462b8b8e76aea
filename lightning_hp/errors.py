"""The errors a user can meet, all under one root.

LightningHPError
├── ConfigError         what was asked for cannot work: nothing was trained (exit code 2)
│   └── MonitorError    the monitored metric is never logged: found after the first epoch
├── SearchStoppedError  the search gave up: its first trials all failed in the same way
└── StorageError        the study's folder takes no data now: full, read-only, damaged, or in use by another search
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LightningHPError(Exception):
    """Root of everything that lightning_hp raises on purpose."""


class ConfigError(LightningHPError, ValueError):
    """The space, the arguments or the config are wrong. The message names the value and what to do."""


class MonitorError(ConfigError):
    """The module never logs the metric named by ``monitor``. The message lists what it logged."""


class SearchStoppedError(LightningHPError, RuntimeError):
    """The first trials of a search all failed in the same way. The message ends with the traceback."""


class StorageError(LightningHPError, OSError):
    """The study's folder cannot be used as it is now. What was finished is safe; the message says what to do."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a mistyped name, or an empty string.

    >>> did_you_mean("hiden", ["hidden", "lr"])
    " (did you mean 'hidden'?)"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
