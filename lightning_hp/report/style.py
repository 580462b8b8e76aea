"""How the report's pictures look: sizes, colours by rank and by state, and what all axes have in common.

Colours stand for what they mean. On the page each of them is a variable of the style sheet, which is another colour where the
reader's screen is dark (`lightning_hp.report.rendered`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from lightning_hp.errors import ConfigError
from lightning_hp.trial import Trial

Width = Literal["wide", "narrow"]
# In inches: on a screen, and on a phone, where letters have the same size.
WIDTHS: dict[Width, float] = {"wide": 10.2, "narrow": 3.7}
COLUMNS: dict[Width, int] = {"wide": 3, "narrow": 1}

INK, QUIET, PAPER, ACCENT, BAD, GOOD = "#1f2933", "#8793a0", "#fffffe", "#0f7b8a", "#c0392c", "#b7791f"
# Best first: viridis, from its dark end on paper, from its bright end on a dark screen, so that the best stand out on both.
RANKS = ("#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58")
DARK_RANKS = ("#fde725", "#b5de2b", "#6dcd59", "#35b779", "#1f9e8a", "#26838e", "#31698e", "#3e4b89")
# More trials than this are drawn as pixels, but for the best.
MOST_DRAWN, MOST_COLOURED = 300, 100
# And of so many, those between are left out.
MOST_SHOWN = 3000

_LOOK: Any = {
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.7,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    # Users' names may hold dollar signs.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@contextmanager
def look() -> Iterator[None]:
    """Draws and writes pictures in this style.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ModuleNotFoundError:
        raise ConfigError("pictures need matplotlib: pip install 'lightning-hp[plots]'") from None
    with rc_context(_LOOK):
        yield


@dataclass(frozen=True)
class Margins:
    """Around and between axes, in inches."""

    left: float = 0.65
    right: float = 0.2
    bottom: float = 0.5
    top: float = 0.3
    between: float = 0.25
    under: float = 0.6


def panels(count: int, width: Width, height: float, margins: Margins, **settings: Any) -> tuple[Any, list[Any]]:
    """A figure with that many axes of this height in inches, in as many columns as its width has room for."""
    from matplotlib.figure import Figure

    most = COLUMNS[width]
    inner = (WIDTHS[width] - margins.left - margins.right - margins.between * (most - 1)) / most
    # A single row of fewer is not stretched to the page's width.
    columns = min(most, count)
    rows = math.ceil(count / columns)
    wide = margins.left + margins.right + inner * columns + margins.between * (columns - 1)
    tall = margins.top + margins.bottom + rows * height + (rows - 1) * margins.under
    figure = Figure(figsize=(wide, tall))
    grid = {
        "left": margins.left / wide,
        "right": 1 - margins.right / wide,
        "bottom": margins.bottom / tall,
        "top": 1 - margins.top / tall,
        "wspace": margins.between / inner,
        "hspace": margins.under / height,
    }
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=grid, **settings)
    for left_over in axes.flat[count:]:
        left_over.set_visible(False)
    return figure, list(axes.flat[:count])


def single(width: Width, height: float, margins: Margins) -> tuple[Any, Any]:
    """A figure of one axes as wide as the page."""
    from matplotlib.figure import Figure

    wide, tall = WIDTHS[width], height + margins.top + margins.bottom
    figure = Figure(figsize=(wide, tall))
    box = (margins.left / wide, margins.bottom / tall, 1 - (margins.left + margins.right) / wide, height / tall)
    return figure, figure.add_axes(box)


def thinned(trials: Sequence[Trial]) -> Sequence[Trial]:
    """Those that are drawn one by one: all, or of very many the first that have colours, and of the rest one in so many."""
    if len(trials) <= MOST_SHOWN:
        return trials
    rest = trials[MOST_COLOURED:]
    return [*trials[:MOST_COLOURED], *rest[:: math.ceil(len(rest) / (MOST_SHOWN - MOST_COLOURED))]]


def rank_colours(count: int) -> list[str]:
    """A colour for each rank, best first; the rest of very many are grey."""
    coloured = MOST_COLOURED if count > MOST_DRAWN else count
    shades = [RANKS[rank * len(RANKS) // coloured] for rank in range(coloured)]
    return shades + [QUIET] * (count - coloured)


def rank_key(axes: Any, count: int) -> None:
    """What the colours of `rank_colours` mean, above the upper right corner."""
    from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea
    from matplotlib.patches import Rectangle

    swatches = DrawingArea(8 * len(RANKS), 5)
    for index, colour in enumerate(RANKS):
        swatches.add_artist(Rectangle((index * 8, 0), 8, 5, facecolor=colour, linewidth=0))
    ends = f"best of {count}", f"{MOST_COLOURED}th" if count > MOST_DRAWN else "worst"
    first, last = (TextArea(text, textprops={"fontsize": 8, "color": INK}) for text in ends)
    row = HPacker(children=[first, swatches, last], align="center", pad=0, sep=5)
    where = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.02), "bbox_transform": axes.transAxes}
    axes.add_artist(AnchoredOffsetbox(child=row, frameon=False, pad=0.3, borderpad=0, **where))


def rules(axes: Any, which: Literal["x", "y", "both"] = "y") -> None:
    """Faint lines to read values by."""
    axes.grid(axis=which, color=QUIET, alpha=0.25, linewidth=0.5)
    axes.set_axisbelow(True)


def cut(text: Any, most: int) -> str:
    """A label that fits.

    >>> cut("leaky_relu", 6)
    'leaky…'
    """
    shown = str(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def apart(heights: Sequence[float], gap: float) -> list[float]:
    """Heights moved as little upwards as puts each so far above the next lower one.

    >>> apart([0.25, 0.0, 5.0], 1.0)
    [1.0, 0.0, 5.0]
    """
    moved, lowest = list(heights), -math.inf
    for index in sorted(range(len(heights)), key=lambda index: heights[index]):
        moved[index] = max(heights[index], lowest)
        lowest = moved[index] + gap
    return moved
