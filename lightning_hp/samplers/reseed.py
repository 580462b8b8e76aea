"""Copies of samplers whose random numbers begin anew from a seed, wherever inside they are drawn."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from copy import deepcopy
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_NO_STATE = (type, ModuleType, FunctionType, BuiltinFunctionType, np.ndarray)


def reseeded(sampler: T, seed: int) -> T:
    """A copy of a sampler, with every random generator that it holds seeded.

    Optuna's samplers take a seed only when they are made, their ``reseed_rng()`` takes one from the operating system, and
    each keeps its generators elsewhere, in other samplers or in parts of its own.

    >>> class Sampler:
    ...     def __init__(self):
    ...         self.parts = [np.random.RandomState()]
    >>> reseeded(Sampler(), 7).parts[0].random() == np.random.RandomState(7).random()
    True
    """
    copied = deepcopy(sampler)
    for each in _held(copied):
        if isinstance(each, (np.random.RandomState, random.Random)):
            each.seed(seed)
        elif isinstance(each, np.random.Generator):
            # A bit generator takes a seed only when it is made.
            each.bit_generator.state = type(each.bit_generator)(seed).state
    return copied


def _held(value: Any) -> Iterator[Any]:
    """A value and all that it holds, each once."""
    seen: dict[int, Any] = {}
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, _NO_STATE):
            continue
        # Kept, since the number of one that is gone may become that of another.
        seen[id(each)] = each
        yield each
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, (list, tuple, set, frozenset)):
            waiting += each
        elif hasattr(each, "__dict__"):
            if isinstance(getattr(type(each), "rng", None), property):
                # Optuna's LazyRandomState makes its generator when it is first asked for.
                waiting.append(each.rng)
            waiting += vars(each).values()
