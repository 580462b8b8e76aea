"""``lightning-hp report``: a page with pictures of a study."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lightning_hp.study import Study


def main(root: str, in_browser: bool, console: Console | None = None) -> int:
    """Writes the page and prints where it is.

    Args:
        root: the study's folder.
        in_browser: open the page.
        console: where a terminal sees that the drawing goes on; standard error by default.
    """
    study = Study(Path(root).absolute())
    with _drawing(len(study.trials), console or Console(file=sys.stderr)):
        page = study.report()
    print(page)
    if in_browser:
        webbrowser.open(page.as_uri())
    return 0


def _drawing(trials: int, console: Console) -> Progress:
    """A bar that moves until the page is written, and leaves nothing behind."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    # How long a picture takes depends on what it shows: there is no share that is done.
    progress.add_task(f"drawing {trials} trial{'s' * (trials != 1)}", total=None)
    return progress
