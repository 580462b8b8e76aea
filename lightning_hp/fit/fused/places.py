"""Where a module keeps its parameters and buffers, so that a step can run with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class Places:
    """The places of a module's parameters and buffers.

    What ``torch.func.functional_call`` does, for a module whose places stay the same: it looks for them in each call, which
    takes as long as a small network's step.

    Args:
        module: whose tensors are lent out and come back.
    """

    def __init__(self, module: nn.Module) -> None:
        names = {id(tensor): name for name, tensor in (*module.named_parameters(), *module.named_buffers())}
        # A tied tensor has several places and one name.
        self._places: list[tuple[dict[str, Any], str, str]] = [
            (kept, key, names[id(tensor)])
            for part in module.modules()
            for kept in (part._parameters, part._buffers)
            for key, tensor in kept.items()
            if tensor is not None
        ]
        self._recurrent = [part for part in module.modules() if isinstance(part, nn.RNNBase)]

    @contextmanager
    def lent(self, tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Puts tensors in the places of the module's own for the time of a step.

        Yields:
            What has been put by name in the place of these in the meantime, once that is over.
        """
        own = [kept[key] for kept, key, _ in self._places]
        renewed: dict[str, Tensor] = {}
        try:
            for kept, key, name in self._places:
                kept[key] = tensors[name]
            for part in self._recurrent:
                # They keep a list of their parameters besides.
                part._flat_weights = [getattr(part, name) for name in part._flat_weights_names]
            yield renewed
            renewed |= {name: kept[key] for kept, key, name in self._places if kept[key] is not tensors[name]}
        finally:
            for (kept, key, _), tensor in zip(self._places, own, strict=True):
                kept[key] = tensor
