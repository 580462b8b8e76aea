"""A constraint: a function of the user's that says whether hyperparameters may be tried together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from lightning_hp.description import name_of
from lightning_hp.errors import ConfigError

Constraint: TypeAlias = Callable[[dict[str, Any]], bool]

# So many draws in a row that break the constraint say that nothing meets it.
TRIES = 10_000
# So many are looked at before a search begins, so that what the function does not expect is found then.
CHECKED = 100


def meets(constraint: Constraint, hparams: Mapping[str, Any]) -> bool:
    """Whether hyperparameters meet a constraint, which is given a copy.

    Raises:
        ConfigError: the constraint raises an error, or returns neither True nor False.
    """
    copied = {name: list(value) if isinstance(value, list) else value for name, value in hparams.items()}
    try:
        met = constraint(copied)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise ConfigError(f"constraint {name_of(constraint)} raised {told}, given {dict(hparams)!r}") from error
    if not isinstance(met, (bool, np.bool_)):
        raise ConfigError(f"constraint {name_of(constraint)} needs to return True or False, got {met!r} for {dict(hparams)!r}")
    return bool(met)


def check(constraint: Constraint, draws: Iterator[dict[str, Any]]) -> None:
    """Tries a constraint on draws of a space, before a search begins.

    Raises:
        ConfigError: it raises an error, returns neither True nor False, or holds for none of 10,000 draws.
    """
    met = sum(meets(constraint, draw) for draw in islice(draws, CHECKED))
    if not met:
        first_met(constraint, draws)


def first_met(constraint: Constraint, candidates: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The first candidate that meets a constraint.

    Raises:
        ConfigError: none of 10,000 does; or as in `meets`.
    """
    tried = 0
    for candidate in islice(candidates, TRIES):
        if meets(constraint, candidate):
            return candidate
        tried += 1
    raise none_met(constraint, tried)


def none_met(constraint: Constraint, tried: int) -> ConfigError:
    """The error to raise where nothing has been found that meets a constraint."""
    return ConfigError(
        f"constraint {name_of(constraint)} holds for none of {tried:,} hyperparameters of the space: loosen it, or change the "
        "space so that it holds for more of it"
    )
