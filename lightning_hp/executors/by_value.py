"""Pickles in which what the user's script defines goes by value: a worker has no module to import it from."""

from __future__ import annotations

import inspect
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

    def reducer_override(self, obj: Any) -> Any:
        try:
            return super().reducer_override(obj)
        except Exception:
            annotate = getattr(obj, "__annotate__", None) if inspect.isfunction(obj) else None
            if annotate is None:
                raise
        # From Python 3.14 on, annotations may name what only type checkers import, and raise once they are asked for.
        obj.__annotations__ = {}
        try:
            return super().reducer_override(obj)
        finally:
            obj.__annotate__ = annotate


def dumps(obj: Any) -> bytes:
    """An object as ``pickle.loads`` takes it."""
    file = io.BytesIO()
    Pickler(file).dump(obj)
    return file.getvalue()
