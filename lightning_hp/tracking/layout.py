"""What TensorBoard's Custom Scalars tab shows of a study: what one compares trials by, each in one chart with all runs."""

from __future__ import annotations

import re
from typing import TypeAlias

OBJECTIVE_CURVE, BEST_CURVE = "search/objective", "search/best"
# As SummaryWriter.add_custom_scalars has it: charts by name, by category.
Layout: TypeAlias = dict[str, dict[str, tuple[str, list[str]]]]


def layout(monitor: str) -> Layout:
    """The charts of a study, each of tags that match one of its expressions from their beginning.

    >>> layout("val_acc")["trials"]["val_acc"]
    ('Multiline', ['val_acc$'])
    """
    return {
        "trials": {
            monitor: ("Multiline", [f"{re.escape(monitor)}$"]),
            "learning rate": ("Multiline", [r"lr-(?!.*-(momentum|weight_decay)$)"]),
        },
        "search": {"objective by trial": ("Multiline", [f"{OBJECTIVE_CURVE}$", f"{BEST_CURVE}$"])},
    }
