"""Pickles in which what the user's script defines goes by value: a worker has no module to import it from."""

from __future__ import annotations

import io
from collections import ChainMap
from collections.abc import Callable
from types import CodeType
from typing import Any

import cloudpickle


def _reduced(code: CodeType) -> tuple[Any, ...]:
    make, arguments = _CLOUDPICKLES[CodeType](code)
    return _in_its_file, (code.co_filename, make, arguments)


def _in_its_file(name: str, make: Callable[..., CodeType], arguments: tuple[Any, ...]) -> CodeType:
    return make(*arguments).replace(co_filename=name)


_CLOUDPICKLES: Any = cloudpickle.Pickler.dispatch_table
# Cloudpickle leaves out the file, by which tracebacks and warnings of a worker show the user's line.
_TABLE: Any = ChainMap({CodeType: _reduced}, _CLOUDPICKLES)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle's, whose functions know the file that they are written in."""

    dispatch_table = _TABLE


def dumps(obj: Any) -> bytes:
    """An object as ``pickle.loads`` takes it."""
    file = io.BytesIO()
    Pickler(file).dump(obj)
    return file.getvalue()
