"""The course of lr and momentum over a fit's steps, kept in few points, whatever the schedule and the number of steps.

Each step shows the optimizers' values; what is kept are knots, between which the course is straight to a part in a million.
A constant lr takes two knots, a step down two more, a cosine of a million steps some thousands.

The lines are drawn as by a swing filter (Elmeleegy et al., Online Piece-wise Linear Approximation of Numerical Streams with
Precision Guarantees, VLDB 2009), with knots at points that were seen, so that these, and constants, are exact.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer

from lightning_hp.babysit.knobs import momentum

# Of the value, and of its distance to 1, which is what counts for momentum.
PRECISION = 1e-6
# No optimizer's.
_NO_MOMENTUM = -1.0

Knot: TypeAlias = tuple[int, list[float], list[float | None]]
"""The optimizer steps made, and lr and momentum of each parameter group in the step that comes."""

_Point: TypeAlias = tuple[int, tuple[float, ...]]
_Slopes: TypeAlias = list[tuple[float, float]]
_ANY = (-sys.float_info.max, sys.float_info.max)


class Course:
    """Follows the optimizers of a fit, step by step; gives the knots since it was last asked.

    >>> from torch import nn
    >>> optimizer, course = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1, momentum=0.9), Course()
    >>> for step in range(1000):
    ...     optimizer.param_groups[0]["lr"] = 0.1 if step < 500 else 0.05
    ...     course.follow(step, [optimizer])
    >>> [(step, lr) for step, (lr,), _ in course.take()]
    [(0, 0.1), (499, 0.1), (500, 0.05), (999, 0.05)]
    """

    def __init__(self) -> None:
        self._knots: list[_Point] = []
        self._start: _Point | None = None
        # The last point that a line from the start goes by, and the one after it, which may still change within its step.
        self._settled: _Point | None = None
        self._last: _Point | None = None
        # The least and the greatest slope of such a line for each number; none where all are as at the start.
        self._slopes: _Slopes = []

    def follow(self, step: int, optimizers: Sequence[Optimizer], *, at_check: bool = False) -> None:
        """Takes in lr and momentum of the step that comes; of a step that was taken in before, the last counts.

        Args:
            step: optimizer steps made so far.
            optimizers: the Trainer's.
            at_check: whether to take in an lr that is a tensor on a device, and no other. To wait for it each step would be
                dear; between checks it is taken to stay.
        """
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        if at_check != any(isinstance(group["lr"], torch.Tensor) and group["lr"].device.type != "cpu" for group in groups):
            return
        momenta = [_NO_MOMENTUM if (own := momentum(group)) is None else own for group in groups]
        point = step, tuple([float(group["lr"]) for group in groups] + momenta)
        if self._last is None:
            self._begin(point)
        elif step != self._last[0]:
            self._settle(self._last)
        self._last = point

    def hold(self, step: int) -> None:
        """Tells that lr and momentum have stayed as they were last seen, up to a step."""
        if self._last is not None and step > self._last[0]:
            self._settle(self._last)
            self._last = step, self._last[1]

    def peek(self) -> list[Knot]:
        """The knots since the last `take`, up to the last step."""
        copy = Course()
        copy.load_state_dict(self.state_dict())
        return copy.take()

    def take(self) -> list[Knot]:
        """As `peek`, and from here on they count as given."""
        if self._last is not None:
            self._settle(self._last)
            if self._start != self._last:
                self._begin(self._last)
        knots, self._knots = self._knots, []
        return [_knot(*knot) for knot in knots]

    def state_dict(self) -> dict[str, Any]:
        return {name.strip("_"): list(value) if isinstance(value, list) else value for name, value in vars(self).items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._knots, self._slopes = list(state_dict["knots"]), list(state_dict["slopes"])
        self._start, self._settled, self._last = (state_dict[name] for name in ("start", "settled", "last"))
        if self._settled == self._start:
            # By which `_settle` knows that no line was drawn yet.
            self._settled = self._start

    def _begin(self, knot: _Point) -> None:
        self._knots.append(knot)
        self._start = self._settled = knot
        self._slopes = []

    def _settle(self, point: _Point) -> None:
        """Draws the line on through the point, or ends it at the one before."""
        start, settled = self._start, self._settled
        assert start is not None
        assert settled is not None
        if point[1] == start[1] and not self._slopes:
            self._settled = point
            return
        drawable = point[0] > start[0] and len(point[1]) == len(start[1])
        slopes = _narrowed(self._slopes, start, point) if drawable and (self._slopes or settled is start) else []
        if slopes:
            self._slopes, self._settled = slopes, point
        elif settled is start:
            self._begin(point)
        else:
            self._begin(settled)
            self._settle(point)


def _narrowed(slopes: _Slopes, start: _Point, point: _Point) -> _Slopes:
    """The least and greatest slopes with which lines from the start go by this point too; none if no line through it does."""
    steps = point[0] - start[0]
    narrowed = []
    for then, now, (low, high) in zip(start[1], point[1], slopes or [_ANY] * len(point[1]), strict=True):
        slope, room = (now - then) / steps, PRECISION * min(abs(now), abs(1.0 - now)) / steps
        # Of what is not finite, too, there is none.
        if not low <= slope <= high:
            return []
        narrowed.append((max(low, slope - room), min(high, slope + room)))
    return narrowed


def _knot(step: int, numbers: tuple[float, ...]) -> Knot:
    groups = len(numbers) // 2
    return step, list(numbers[:groups]), [None if number == _NO_MOMENTUM else number for number in numbers[groups:]]
