"""Loss scales of a fused fit in float16: each row has its own, which grows and shrinks as in a fit by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch.plugins import MixedPrecision, Precision
from torch import Tensor
from torch.amp import GradScaler

from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.trees import per_row


class LossScales:
    """Does for all rows at once what a GradScaler does for one model.

    Small gradients would be lost in float16, so the loss is multiplied by a scale and the gradients are divided by it. Where
    they overflow, the step is skipped and the scale shrinks; after enough steps without, it grows (Micikevicius et al., Mixed
    Precision Training, 2018).

    The rows' own scalers stay whole: their scales and growth trackers become views of the rows, so that a checkpoint, a hook
    or what is restored sees and changes what holds here. They are on the host, which has to know of each overflow anyway.

    Args:
        scalers: one per row; what they are set to is followed.

    Attributes:
        values: the scales.
        overflowed: the rows of which a gradient was infinite or no number when they were unscaled last.
    """

    def __init__(self, scalers: Sequence[GradScaler]) -> None:
        self._scalers = list(scalers)
        self.values = torch.tensor([scaler.get_scale() for scaler in scalers])
        self._trackers = torch.tensor([scaler._get_growth_tracker() for scaler in scalers], dtype=torch.int32)
        self.overflowed: list[int] = []
        self._bind()

    def of(self, losses: Tensor) -> Tensor:
        """The scales, to multiply losses by, one per row."""
        return per_row(self.values.to(losses.device, losses.dtype), losses).expand_as(losses)

    @torch.no_grad()
    def unscale(self, gradients: Sequence[Tensor]) -> None:
        """Divides gradients by their rows' scales, and looks which have overflowed.

        Raises:
            CannotFuseError: they are float16 themselves, in which torch would refuse to unscale them.
        """
        if any(gradient.dtype == torch.float16 for gradient in gradients):
            raise CannotFuseError("gradients in float16, which cannot be unscaled")
        largest = [
            torch.linalg.vector_norm(gradient.reshape(len(gradient), -1), torch.inf, dim=1)
            for gradient in gradients
            if gradient.numel()
        ]
        # One look for all rows; a scaler by itself takes one, too.
        finite = torch.stack(largest).isfinite().all(dim=0).tolist() if largest else [True] * len(self._scalers)
        self.overflowed = [row for row, each in enumerate(finite) if not each]
        # As torch.amp, since a reciprocal in single precision may be imprecise.
        inverse = self.values.double().reciprocal().float()
        for gradient in gradients:
            gradient.mul_(per_row(inverse.to(gradient.device), gradient))

    def update(self) -> None:
        """Shrinks the scales of the rows that have overflowed, and lets those of the others grow when it is time."""
        factors = [(each._growth_factor, each._backoff_factor, each._growth_interval) for each in self._scalers]
        growth, backoff, interval = torch.tensor(factors, dtype=torch.float64).T
        found = torch.zeros(len(factors), dtype=torch.bool)
        found[self.overflowed] = True
        successes = self._trackers + 1
        grown = (self.values * growth).float()
        # A scale that would be infinite stays, and its count begins anew.
        due = successes == interval
        grown = torch.where(due & grown.isfinite(), grown, self.values)
        # In place, for the views.
        self.values.copy_(torch.where(found, (self.values * backoff).float(), grown))
        self._trackers.copy_(successes.masked_fill(found | due, 0))

    def keep(self, rows: Sequence[int]) -> None:
        """Leaves only these rows, in this order. The scalers of the others get scales of their own."""
        for row, scaler in enumerate(self._scalers):
            if row not in rows:
                scaler._scale, scaler._growth_tracker = self.values[row].clone(), self._trackers[row].clone()
        self._scalers = [self._scalers[row] for row in rows]
        self.values, self._trackers = self.values[list(rows)], self._trackers[list(rows)]
        self._bind()

    def _bind(self) -> None:
        for row, scaler in enumerate(self._scalers):
            scaler._scale, scaler._growth_tracker = self.values[row], self._trackers[row]


def loss_scales(plugins: Sequence[Precision]) -> LossScales | None:
    """The loss scales of trials with these plugins; None if their losses are not scaled.

    Raises:
        CannotFuseError: a plugin or scaler does what no rule here is for.
    """
    found = [getattr(plugin, "scaler", None) for plugin in plugins]
    scalers = [scaler for scaler in found if scaler is not None and scaler.is_enabled()]
    if not scalers:
        return None
    if len(scalers) < len(plugins):
        raise CannotFuseError("some scale their losses and others do not")
    if len(set(map(id, scalers))) < len(scalers):
        raise CannotFuseError("trials that share a gradient scaler")
    for plugin, scaler in zip(plugins, scalers, strict=True):
        for each, known in ((plugin, (MixedPrecision,)), (scaler, _SCALERS)):
            # Exactly these classes: a subclass may do anything.
            if type(each) not in known:
                raise CannotFuseError(f"losses are scaled in a way of its own by {type(each).__name__}")
    return LossScales(scalers)


# torch.amp's, and those that it has replaced.
_SCALERS = (GradScaler, torch.cuda.amp.GradScaler, torch.cpu.amp.GradScaler)  # type: ignore[attr-defined]
