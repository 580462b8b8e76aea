"""Which machines of a cluster fail the jobs that they are given, one after the other, while others run theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from lightning_hp.executors.ray.labels import NODE

# Jobs in a row that are lost on a machine, or cannot begin there, until it gets no more.
MOST_FAILURES = 3


class Nodes:
    """How the machines fare with the jobs of a search, by Ray's ids of its nodes.

    Attributes:
        left_alone: those that get no more jobs.

    >>> nodes = Nodes()
    >>> [nodes.failed("mine", before, others=["yours"]) for before in range(3)]
    [False, False, True]
    >>> nodes.left_alone
    {'mine'}
    """

    def __init__(self) -> None:
        self.left_alone: set[str] = set()
        self._failures: Counter[str] = Counter()

    def failures(self, node: str) -> int:
        """How many jobs in a row have failed there."""
        return self._failures[node]

    def ran(self, node: str) -> None:
        """Takes in that a job has run there, whatever came of it."""
        del self._failures[node]

    def failed(self, node: str, before: int, others: Collection[str]) -> bool:
        """Takes in that a job could not begin there, or was lost.

        Args:
            node: the machine.
            before: failures in a row when the job was given: those that are lost at the same time count once.
            others: the machines of all other agents that are ready.

        Returns:
            Whether the machine gets no more jobs from now on. It does where no other works.
        """
        known = self._failures[node]
        self._failures[node] = max(known, min(known, before) + 1)
        if node in self.left_alone or self._failures[node] < MOST_FAILURES:
            return False
        if not any(self._failures[each] == 0 for each in others if each != node and each not in self.left_alone):
            return False
        self.left_alone.add(node)
        return True

    def selector(self) -> dict[str, str]:
        """What keeps an actor from those that are left alone, as Ray's label selector."""
        return {NODE: f"!in({','.join(sorted(self.left_alone))})"} if self.left_alone else {}
