"""TF32, in which a GPU's tensor cores compute with ten bits of single precision: in convolutions, unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def without_tf32() -> Iterator[None]:
    """Has products and convolutions take all bits for a while, so that a difference between two ways to them is small."""
    own = [(place, name, getattr(place, name)) for place, name, _ in _switches()]
    try:
        for place, name, exact in _switches():
            setattr(place, name, exact)
        yield
    finally:
        for place, name, value in own:
            setattr(place, name, value)


def _switches() -> list[tuple[Any, str, Any]]:
    """The switches, and how each is off."""
    cudnn: Any = torch.backends.cudnn
    matmul: Any = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):
        return [(place, "fp32_precision", "ieee") for place in (cudnn.conv, cudnn.rnn, matmul)]
    # Before torch 2.9.
    return [(cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]
