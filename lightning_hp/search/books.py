"""Which books are kept for a pruner while its search runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from lightning_hp.pruners import AnyPruner, Oversees
from lightning_hp.search.ladder import Ladder
from lightning_hp.search.overview import Overview
from lightning_hp.space import Hparams
from lightning_hp.trial import Judged, Mode, Trial

Books: TypeAlias = Ladder | Overview


def books_for(
    pruner: AnyPruner,
    mode: Mode,
    most: Callable[[Hparams], int | None],
    round_of: Callable[[int], range],
    total: int | None,
    judged: Iterable[Judged] = (),
    finished: Iterable[Trial] = (),
) -> Books:
    """Those by rungs, or for a pruner that looks at all of them at once an overview; see `Overview` for the arguments."""
    if isinstance(pruner, Oversees):
        return Overview(pruner, mode, most, round_of, total, judged, finished)
    return Ladder(pruner, mode, most, round_of, judged, finished)
