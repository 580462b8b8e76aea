"""What each picture is called, and how to read it."""

from __future__ import annotations

from lightning_hp.report.searched import Searched
from lightning_hp.report.style import MOST_COLOURED, MOST_DRAWN, thinned

# By the pictures' names, in the order of the page.
CAPTIONS = {
    "curves": (
        "Learning curves",
        """{monitor} of each trial over its epochs. {coloured}; grey lines have no rank (yet). Crosses are where trials failed
        or diverged; the dot is the best epoch.""",
    ),
    "best": (
        "Best so far",
        """The steps are what this search had found after each trial. The band is what it would have found if its trials had
        been drawn at random from all of them: nine of ten such searches lie in it, half on either side of the dashed line.""",
    ),
    "hyperparameters": (
        "Hyperparameters",
        """A point is a trial, on the hyperparameter's own scale. {coloured}; the star is the best. Crosses at the {edge} edge
        failed or diverged; triangles lie {beyond} it. Vertical lines are the ends of the range: at a dashed one with an arrow
        the best trials crowd, so look beyond. Red is where fits diverge.""",
    ),
    "isolation": (
        "One at a time, the others at their best",
        """The best trial in each part of a hyperparameter's range, whatever the others were. The bar goes to what nine of ten
        repetitions of that part's trials would reach at least. Figures at the top count them: hollow
        is one or two. Triangles lie {beyond} the axis.""",
    ),
    "importance": (
        "What matters",
        """How much of the differences between trials is due to each hyperparameter, alone or together with others, with its 90%
        interval. Hollow: these trials do not tell.""",
    ),
    "parallel": (
        "All together",
        """A line is a trial, through its hyperparameters to {monitor}. {coloured}, the best three bold.""",
    ),
    "rounds": (
        "Coarse to fine",
        """Trials from first to last, on each hyperparameter's scale. Shaded is the region that each round drew from, a choice
        by its weight. {coloured}; crosses failed or diverged.""",
    ),
}


def caption(name: str, searched: Searched) -> tuple[str, str]:
    """A picture's title, and how to read it."""
    title, text = CAPTIONS[name]
    many = len(searched.ranked) > MOST_DRAWN
    coloured = f"The best {MOST_COLOURED} are coloured by rank, the others grey" if many else "Coloured by rank"
    if any(len(thinned(each)) < len(each) for each in (searched.ranked, searched.bad)):
        coloured += f"; of these {len(searched.trials):,} trials an even part is drawn, all of the best among them"
    edge, beyond = ("upper", "above") if searched.mode == "min" else ("lower", "below")
    words = " ".join(text.split())
    return title, words.format(monitor=searched.monitor, coloured=coloured, edge=edge, beyond=beyond)
