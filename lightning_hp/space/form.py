"""What the hyperparameters of trials that may train as one have in common, and in which whole numbers these may differ.

Whether a number decides how a model is built, as a width does, or does not, as ``warmup_steps``, only the model can tell. So a
form leaves all of them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_hp.bounds import is_number
from lightning_hp.space.space import Hparams, split


def form_of(hparams: Hparams) -> str:
    """All but the model's numbers, to be compared.

    >>> form_of({"lr": 0.1, "layers": 2, "data.batch_size": 32}) == form_of({"lr": 0.2, "layers": 3, "data.batch_size": 32})
    True
    >>> form_of({"lr": 0.1, "data.batch_size": 32}) == form_of({"lr": 0.1, "data.batch_size": 64})
    False
    >>> form_of({"dropouts": [0.1, 0.2]}) == form_of({"dropouts": [0.3, 0.4]}) != form_of({"dropouts": [0.1]})
    True
    """
    parts = split(hparams)
    model = {name: _form(value) for name, value in parts["model"].items() if not is_number(value)}
    # Choices may be anything, lists and objects too.
    return repr((model, parts["data"], parts["trainer"]))


def whole_numbers(hparams: Hparams) -> dict[str, Any]:
    """The model's whole numbers, by name, and its lists in which there are some.

    >>> whole_numbers({"lr": 0.1, "layers": 2, "units": [16, 8], "bias": True, "data.batch_size": 32})
    {'layers': 2, 'units': [16, 8]}
    """
    return {name: value for name, value in split(hparams)["model"].items() if _is_whole(value)}


def differing(several: Sequence[Hparams]) -> tuple[str, ...]:
    """The names of the model's whole numbers in which trials differ.

    >>> differing([{"lr": 0.1, "layers": 2, "heads": 4}, {"lr": 0.2, "layers": 2, "heads": 8}])
    ('heads',)
    """
    numbers = [whole_numbers(each) for each in several]
    names = dict.fromkeys(name for each in numbers for name in each)
    return tuple(name for name in names if any(each.get(name) != numbers[0].get(name) for each in numbers))


def _is_list_of_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_number, value))


def _is_whole(value: Any) -> bool:
    return any(isinstance(each, int) for each in (value if _is_list_of_numbers(value) else filter(is_number, [value])))


def _form(value: Any) -> Any:
    """A value, or of a list of numbers how many they are."""
    return f"{len(value)} numbers" if _is_list_of_numbers(value) else value
