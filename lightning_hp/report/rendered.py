"""Pictures as they are written: PNG for files and TensorBoard, SVG for the page, whose colours follow the reader's screen."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lightning_hp.bounds import place
from lightning_hp.errors import ConfigError, cannot_write
from lightning_hp.report.pictures import PICTURES
from lightning_hp.report.pictures.rounds import draw_rounds
from lightning_hp.report.searched import Searched
from lightning_hp.report.style import ACCENT, BAD, GOOD, INK, PAPER, QUIET, RANKS, Width, look

# Which variable of the style sheet takes a colour's place.
VARIABLES = {
    INK: "ink",
    QUIET: "quiet",
    PAPER: "paper",
    ACCENT: "accent",
    BAD: "bad",
    GOOD: "good",
    **{colour: f"rank{index}" for index, colour in enumerate(RANKS)},
}
_DPI, _COMPRESSION = 130, 1
_COLOUR = re.compile("|".join(VARIABLES))
# Nothing refers to these, and two pictures would have the same.
_NAMES = re.compile(r' id="[A-Za-z0-9.]+_\d+"')
_FONT = re.compile(r"font: ((?:bold |italic )?)([\d.]+)px [^;\"]*")


def pngs(searched: Searched) -> Iterator[tuple[str, bytes]]:
    """The pictures that the study has data for, by name, on white.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    for name in PICTURES:
        figure = drawn(name, searched, "wide")
        if figure is not None:
            yield name, png(figure)


def write_rounds(path: str | Path, searched: Searched) -> None:
    """Writes the picture of the rounds, on white; see `draw_rounds`.

    Args:
        path: where to, by its ending .png, .svg or .pdf. Its folder is made when missing.
        searched: the study.

    Raises:
        ConfigError: it is no path, matplotlib is not installed, or cannot write such a file.
        StorageError: the file cannot be written there.
    """
    path = place("draw_rounds(path=)", path, "a file")
    with look():
        figure = draw_rounds(searched, "wide")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=_DPI, facecolor="white")
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
        except OSError as error:
            raise cannot_write(path, error) from error


def drawn(name: str, searched: Searched, width: Width) -> Any:
    """A picture, as a figure of matplotlib; None where there is nothing to show.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    with look():
        return PICTURES[name](searched, width)


def png(figure: Any) -> bytes:
    """A figure on white, in the colours that it has."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set(dpi=_DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    with look():
        canvas.draw()
    # All of it is opaque, and lines that shine through each other hardly get smaller by trying harder.
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    pixels.save(file, format="png", compress_level=_COMPRESSION, dpi=(_DPI, _DPI))
    return file.getvalue()


def svg(figure: Any, name: str) -> str:
    """A figure as an element of a page, whose style sheet has the `VARIABLES` and one called ``font``.

    Args:
        figure: of matplotlib.
        name: of its own, so that no two pictures of a page refer to each other's parts.
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with look(), rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", dpi=_DPI, transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _NAMES.sub("", text)
    text = _FONT.sub(r"font: \1\2px var(--font)", text)
    text = _COLOUR.sub(lambda found: f"var(--{VARIABLES[found[0]]})", text)
    # Its size is that of its place.
    text = re.sub(
        r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 xmlns:xlink="http://www.w3.org/1999/xlink" role="img">', text, count=1
    )
    return re.sub(r"\n\s*", "\n", text).strip()
