"""Reading a checkpoint without running any code of its: tensors, plain values, and a few types whose making does no harm."""

from __future__ import annotations

import datetime
import decimal
import fractions
import io
import pathlib
import pickle
import uuid
from collections import Counter, OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

# What the standard library and numpy have for values; those of dtypes are classes of their own.
_VALUES: frozenset[Any] = frozenset(
    {
        *(pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID, range, slice, frozenset),
        *(np.ndarray, np.dtype, *(type(np.dtype(code)) for code in np.typecodes["All"])),
    }
)
# How numpy makes an array and a scalar from what a file holds of it.
_MAKERS: tuple[Any, ...] = (np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0])
# What torch allows by itself.
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, torch.Tensor, torch.Size, torch.dtype})


class Closed:
    """An object that is in a file as bytes, which only those open who read the file with ``weights_only=False``.

    Args:
        value: the object, which is pickled at once; None where one is read from a file.
        content: the bytes then.

    >>> file = io.BytesIO()
    >>> torch.save(Closed(Counter("a")), file)
    >>> type(load(io.BytesIO(file.getvalue()))).__name__
    'Closed'
    >>> torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    Counter({'a': 1})
    """

    def __init__(self, value: Any = None, content: bytes | None = None) -> None:
        self.content = _pickled(value) if content is None else content

    def __reduce__(self) -> Any:
        return pickle.loads, (self.content,)


class _OnHost(pickle.Pickler):
    """Pickles tensors of a device for machines that have none."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, torch.Tensor) or obj.device.type == "cpu":
            return NotImplemented
        on_host = obj.detach().cpu()
        moved: Any = torch.nn.Parameter(on_host, obj.requires_grad) if isinstance(obj, torch.nn.Parameter) else on_host
        return moved.__reduce_ex__(2)


def _pickled(value: Any) -> bytes:
    file = io.BytesIO()
    _OnHost(file, protocol=4).dump(value)
    return file.getvalue()


def _read_closed(content: bytes) -> Closed:
    return Closed(content=content)


# What stands for the opening of one where a file is read here.
_OPENING: Any = (_read_closed, "pickle.loads")


def load(file: str | Path | IO[bytes], map_location: Any = "cpu", mmap: bool = False) -> Any:
    """What `torch.save` has written. Raises torch's error where a file is damaged, or holds anything of another type."""
    with safe_globals([*_VALUES, *_MAKERS, _OPENING]):
        return torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)


def why_not(path: Path, error: Exception) -> str:
    """Why `load` has raised an error, in a few words."""
    with suppress(Exception), safe_globals([*_VALUES, *_MAKERS, _OPENING]):
        if isinstance(error, pickle.UnpicklingError) and (names := get_unsafe_globals_in_checkpoint(path)):
            return f"holds {', '.join(sorted(names))}, not safe to read"
    return f"cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}"


def first_refused(state: dict[str, Any]) -> str | None:
    """Where in a checkpoint the first value is that `load` will refuse, and what it is; None if it reads all.

    >>> first_refused({"lr": np.float64(0.1), "callbacks": {"Mine": {"seen": [1, object()]}}})
    'callbacks.Mine.seen[1] of type object'
    """
    try:
        found = _refused(state)
    except RecursionError:
        # Of a state that holds itself only the saving tells.
        return None
    return None if found is None else found.removeprefix(".")


def _refused(value: Any) -> str | None:
    kind = type(value)
    if kind in _PLAIN:
        return None
    if kind in (dict, OrderedDict, Counter):
        for key, each in value.items():
            if (found := _refused(key) or _refused(each)) is not None:
                return f".{key}{found}"
    elif kind in (list, tuple, set, frozenset):
        for index, each in enumerate(value):
            if (found := _refused(each)) is not None:
                return f"[{index}]{found}"
    elif not _reads(value):
        return f" of type {kind.__qualname__}"
    return None


def _reads(value: Any) -> bool:
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        return True
    file = io.BytesIO()
    try:
        torch.save(value, file)
        file.seek(0)
        load(file)
    except Exception:
        return False
    return True
