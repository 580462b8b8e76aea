"""Modules that go by another name in the user's process, and so in its workers.

With ``sys.modules["pytorch_lightning"] = lightning.pytorch`` before it is imported, a library that is built on that package is
built on this one. Its classes come to a worker by name, and the worker has to import them under the same conditions.
"""

from __future__ import annotations

import contextlib
import importlib
import pickle
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


def with_names(payload: bytes) -> bytes:
    """What is pickled, to be loaded where its modules go by the names that they have here.

    >>> pickle.loads(with_names(pickle.dumps([1, 2])))
    [1, 2]
    """
    return pickle.dumps(_Named(payload))


class _Named:
    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self) -> Any:
        return _loaded, (_other_names(), self.payload)


def _loaded(names: Mapping[str, str], payload: bytes) -> Any:
    for name, own_name in names.items():
        if name not in sys.modules:
            with contextlib.suppress(ImportError):
                sys.modules[name] = importlib.import_module(own_name)
    return pickle.loads(payload)


def _other_names() -> dict[str, str]:
    """Names of whole packages that are another package's, and that one's own."""
    found = {}
    for name, module in list(sys.modules.items()):
        own_name = module.__name__ if isinstance(module, ModuleType) and hasattr(module, "__path__") else name
        if name != own_name and "." not in name and sys.modules.get(own_name) is module:
            found[name] = own_name
    return found
