"""One thread for what samplers compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine has to spare, so that the same trials give the same proposal."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
