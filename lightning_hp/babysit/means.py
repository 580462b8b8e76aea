"""A long series in a few means, while it comes in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# The most means that are kept; with one more, neighbours are joined.
MOST = 32
_MOST_WAITING = 1000


class Means:
    """Means of stretches of a series, all of one length but the last, and never more than `MOST` of them.

    >>> means = Means()
    >>> means.add((step, float(step)) for step in range(100))
    >>> means.take()[:3]
    [(3, 1.5), (7, 5.5), (11, 9.5)]
    """

    def __init__(self) -> None:
        self._length = 1
        # Each with the step of its last value, their sum and their number.
        self._bins: list[tuple[int, float, int]] = []
        # Those that no bin has yet: many at once take less time.
        self._waiting: list[tuple[int, float]] = []

    def add(self, values: Iterable[tuple[int, float]]) -> None:
        """Takes in values with their steps."""
        self._waiting += values
        if len(self._waiting) > _MOST_WAITING:
            self._sort_in()

    def peek(self) -> list[tuple[int, float]]:
        """The means since the last `take`, each with the step of its last value."""
        self._sort_in()
        return [(step, total / number) for step, total, number in self._bins]

    def take(self) -> list[tuple[int, float]]:
        """As `peek`, and from here on they count as given."""
        means = self.peek()
        self._length, self._bins = 1, []
        return means

    def state_dict(self) -> dict[str, Any]:
        self._sort_in()
        return {"length": self._length, "bins": list(self._bins)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._length, self._bins, self._waiting = state_dict["length"], list(state_dict["bins"]), []

    def _sort_in(self) -> None:
        bins, waiting, self._waiting = self._bins, self._waiting, []
        for step, value in waiting:
            if bins and bins[-1][2] < self._length:
                _, total, number = bins[-1]
                bins[-1] = step, total + value, number + 1
                continue
            bins.append((step, value, 1))
            if len(bins) > MOST:
                pairs = zip(bins[::2], bins[1::2], strict=False)
                odd = bins[-1:] if len(bins) % 2 else []
                bins[:] = [_joined(first, second) for first, second in pairs] + odd
                self._length *= 2


def _joined(first: tuple[int, float, int], second: tuple[int, float, int]) -> tuple[int, float, int]:
    return second[0], first[1] + second[1], first[2] + second[2]
