"""lr and momentum over the steps of a babysat fit, as a schedule for fits that nobody watches."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from lightning_hp.babysit import log
from lightning_hp.babysit.course import Knot
from lightning_hp.babysit.stretches import kept
from lightning_hp.errors import ConfigError

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Schedule:
    """lr and momentum of each parameter group over optimizer steps, numbered through all optimizers.

    Attributes:
        lrs: by step and group.
        momenta: the same of momentum; NaN where there is none.

    >>> schedule = Schedule(np.array([[0.1], [0.1], [0.05]]), np.array([[0.9], [0.9], [0.95]]))
    >>> schedule.lr(2), schedule.lr(1000), schedule.momentum(0)
    (0.05, 0.05, 0.9)
    """

    lrs: Numbers
    momenta: Numbers

    def __len__(self) -> int:
        return len(self.lrs)

    def lr(self, step: int, group: int = 0) -> float:
        """The lr of a group in a step, counted from 0; after the last step it stays."""
        return float(self.lrs[min(step, len(self) - 1), group])

    def momentum(self, step: int, group: int = 0) -> float | None:
        """The momentum of a group in a step; None if its optimizer has none."""
        value = float(self.momenta[min(step, len(self) - 1), group])
        return None if np.isnan(value) else value

    def lambda_lr(self, optimizer: Optimizer, first: int = 0) -> LambdaLR:
        """A scheduler that gives an optimizer these lrs, to be stepped after each optimizer step.

        Args:
            optimizer: with as many parameter groups; its own lr does not matter, but must not be 0.
            first: the number of its first group here, where the fit had several optimizers.

        Raises:
            ConfigError: the groups are other ones, or one has lr 0, of which nothing is a multiple.

        >>> import torch
        >>> schedule = Schedule(np.array([[0.1], [0.1], [0.05]]), np.array([[0.9], [0.9], [0.95]]))
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler, lrs = schedule.lambda_lr(optimizer), []
        >>> for step in range(3):
        ...     lrs.append(optimizer.param_groups[0]["lr"])
        ...     optimizer.step()
        ...     scheduler.step()
        >>> lrs
        [0.1, 0.1, 0.05]
        """
        self._check(optimizer, first)
        starts = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
        if 0.0 in starts:
            raise ConfigError("a LambdaLR multiplies the optimizer's own lr, which is 0: give the optimizer any other lr")
        return LambdaLR(optimizer, [self._relative(first + group, start) for group, start in enumerate(starts)])

    def lambda_momentum(self, optimizer: Optimizer, first: int = 0) -> LRScheduler:
        """A scheduler of torch's kind that gives an optimizer these momenta, and leaves lr alone.

        Args:
            optimizer: with as many parameter groups; of those of the Adam family, beta1 is the momentum.
            first: the number of its first group here, where the fit had several optimizers.

        Raises:
            ConfigError: the groups are other ones.
        """
        self._check(optimizer, first)
        return _LambdaMomentum(optimizer, lambda step, group: self.momentum(step, first + group))

    def to_csv(self, path: str | Path) -> None:
        """Writes a table with the columns step, group, lr and momentum.

        Raises:
            OSError: the file can't be written.
        """
        with Path(path).open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["step", "group", "lr", "momentum"])
            for step in range(len(self)):
                for group in range(self.lrs.shape[1]):
                    momentum = self.momentum(step, group)
                    table.writerow([step, group, self.lr(step, group), "" if momentum is None else momentum])

    def _relative(self, group: int, start: float) -> Callable[[int], float]:
        return lambda step: self.lr(step, group) / start

    def _check(self, optimizer: Optimizer, first: int) -> None:
        own, here = len(optimizer.param_groups), self.lrs.shape[1]
        if not 0 <= first <= here - own:
            raise ConfigError(
                f"the schedule has {here} parameter groups, and the optimizer groups {first} to {first + own - 1}"
            )


def schedule(path: str | Path, discarded: bool = False) -> Schedule:
    """The course of lr and momentum in a babysat fit, its own schedule and all interventions in one.

    It is exact where lr and momentum stay, and where they leap; along a curve it is true to a part in a million.

    Args:
        path: a babysit.jsonl, or the folder that it lies in.
        discarded: whether steps that a rollback has undone are in it too. Without, it is that of the steps that led to the
            weights at the end, and shorter than the fit.

    Raises:
        ConfigError: there is no such file, it is broken, or it does not begin with the fit.
    """
    file = log.found(path)
    records = log.read(file)
    knots: list[Knot] = sorted(
        (knot for record in records for knot in record.detail.get("course", ())), key=lambda knot: knot[0]
    )
    if not knots or knots[0][0] > 0:
        begins = f"begins at step {knots[0][0]}" if knots else "has no check"
        raise ConfigError(f"{file} {begins}: a schedule needs the log of a whole fit")
    lrs, momenta = along(knots)
    if not discarded:
        steps = np.concatenate([np.arange(*stretch) for stretch in kept(records, len(lrs))])
        lrs, momenta = lrs[steps], momenta[steps]
    return Schedule(lrs, momenta)


def along(knots: Sequence[Knot]) -> tuple[Numbers, Numbers]:
    """lr and momentum by step and group. Of several knots at one step, the last counts for it and the first before it."""
    steps, groups = knots[-1][0] + 1, max(len(lrs) for _, lrs, _ in knots)
    numbers = np.full((steps, 2 * groups), np.nan)
    rows = [_row(knot, groups) for knot in knots]
    for (knot, row), (after, then) in pairwise(zip(knots, rows, strict=True)):
        length = after[0] - knot[0]
        if length > 0:
            along = np.arange(length)[:, None] / length
            # No line leads to or from what is not finite.
            straight = np.isfinite(row) & np.isfinite(then)
            line = row + np.subtract(then, row, out=np.zeros_like(row), where=straight) * along
            numbers[knot[0] : after[0]] = line
    numbers[-1] = rows[-1]
    # A group that came later stands at what it came with.
    for column in numbers.T:
        there = np.flatnonzero(~np.isnan(column))
        if len(there):
            column[: there[0]] = column[there[0]]
    return numbers[:, :groups], numbers[:, groups:]


class _LambdaMomentum(LRScheduler):
    """Momentum by step and group; torch steps and saves it with the other schedulers."""

    def __init__(self, optimizer: Optimizer, momentum: Callable[[int, int], float | None]) -> None:
        self._momentum = momentum
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        for number, group in enumerate(self.optimizer.param_groups):
            momentum = self._momentum(self.last_epoch, number)
            if momentum is None:
                continue
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = momentum
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        # A function does not belong in a checkpoint.
        return {key: value for key, value in super().state_dict().items() if key != "_momentum"}


def _row(knot: Knot, groups: int) -> Numbers:
    _, lrs, momenta = knot
    row = np.full(2 * groups, np.nan)
    row[: len(lrs)] = lrs
    row[groups : groups + len(momenta)] = [np.nan if momentum is None else momentum for momentum in momenta]
    return row
