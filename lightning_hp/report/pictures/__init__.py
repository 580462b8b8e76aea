"""The pictures of a study, one a file: each a function of what was searched and how wide it may be, to a matplotlib figure.

A picture that a study has no data for is None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from lightning_hp.report.pictures.babysitter import draw_babysitter
from lightning_hp.report.pictures.best import draw_best
from lightning_hp.report.pictures.curves import draw_curves
from lightning_hp.report.pictures.hyperparameters import draw_hyperparameters
from lightning_hp.report.pictures.importance import draw_importance
from lightning_hp.report.pictures.isolation import draw_isolation
from lightning_hp.report.pictures.parallel import draw_parallel
from lightning_hp.report.pictures.rounds import draw_regions
from lightning_hp.report.pictures.times import draw_times
from lightning_hp.report.searched import Searched
from lightning_hp.report.style import Width

Draw: TypeAlias = Callable[[Searched, Width], Any]

# By name, in the order in which they are shown.
PICTURES: dict[str, Draw] = {
    "curves": draw_curves,
    "best": draw_best,
    "hyperparameters": draw_hyperparameters,
    "isolation": draw_isolation,
    "importance": draw_importance,
    "parallel": draw_parallel,
    "rounds": draw_regions,
    "babysitter": draw_babysitter,
    "times": draw_times,
}

__all__ = ["PICTURES", "Draw"]
