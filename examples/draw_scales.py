"""Where three scales put the draws of a momentum on (0.9, 0.999), as a picture.

    python examples/draw_scales.py [scales.png]

`ReverseLog` makes 1 - value log-uniform. What KerasTuner and Vizier call "reverse log" is the mirror image of a log scale.
"""

from __future__ import annotations

import sys

import matplotlib
import numpy as np

from lightning_hp import Linear, Log, ReverseLog

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LOW, HIGH, MARK = 0.9, 0.999, 0.99
INK, QUIET = "#1f2933", "#9aa5b1"
DRAWS = {
    "Linear": ("#7b8794", lambda u: Linear(LOW, HIGH).from_unit(u)),
    "mirrored log\n(KerasTuner, Vizier)": ("#d9822b", lambda u: LOW + HIGH - Log(LOW, HIGH).from_unit(1 - u)),
    "ReverseLog": ("#0f7b8a", lambda u: ReverseLog(LOW, HIGH).from_unit(u)),
}


def main(path: str = "scales.png") -> None:
    figure, axes = plt.subplots(figsize=(9, 3.1), dpi=160)
    few, many = (np.arange(48) + 0.5) / 48, np.linspace(0, 1, 200_001)
    for row, (name, (colour, draw)) in enumerate(DRAWS.items()):
        memory = 1 / (1 - draw(few))
        share = float(np.mean(draw(many) > MARK))
        axes.plot(memory, np.full(len(few), -row), "|", color=colour, markersize=30, markeredgewidth=1.8)
        axes.text(1080, -row, f"{share:.1%} above {MARK}", va="center", color=colour, fontweight="bold")
        print(f"{' '.join(name.split())}: {share:.1%} of the draws lie above {MARK}")
    axes.axvline(1 / (1 - MARK), color=QUIET, linewidth=1, linestyle=":", zorder=0)
    axes.set_xscale("log")
    momenta = [0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999]
    axes.set_xticks([1 / (1 - each) for each in momenta], [f"{each:g}" for each in momenta])
    axes.minorticks_off()
    axes.set_yticks([0, -1, -2], list(DRAWS))
    axes.set_ylim(-2.6, 0.6)
    axes.set_xlim(9.4, 1060)
    axes.set_xlabel("momentum, on an axis of its memory 1 / (1 - momentum)", color=INK)
    axes.set_title("48 evenly spaced draws of a momentum between 0.9 and 0.999", color=INK, fontsize=11)
    axes.tick_params(colors=INK, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, bbox_inches="tight")
    print(f"picture: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
