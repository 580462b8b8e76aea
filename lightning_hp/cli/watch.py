"""``lightning-hp watch``: follows a search that runs in another terminal. It only reads, and touches no lock."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console

from lightning_hp.cli.show import print_leaderboard, table_console
from lightning_hp.cli.table import print_line
from lightning_hp.errors import ConfigError
from lightning_hp.study import Study
from lightning_hp.study.changes import Standing, changes, standing
from lightning_hp.study.lock import holder
from lightning_hp.study.store import Store
from lightning_hp.tracking.progress import Progress
from lightning_hp.trial import FINISHED, Trial

# Seconds from one look to the next: as often as a search writes how its trials stand.
INTERVAL = 1.0
MOST_SHOWN = 10


def main(root: str) -> int:
    folder, console = Path(root).expanduser().absolute(), table_console()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: watch needs that of a study, which may be empty")
    try:
        _wait(folder, console)
        _follow(folder, console)
    except KeyboardInterrupt:
        # The search goes on; so much is known until now.
        if _look(folder) is None:
            return 0
    study = Study(folder)
    print_leaderboard(study, console, most=MOST_SHOWN)
    _tell_end(study, console)
    return 0


def _look(folder: Path) -> tuple[dict[str, Any], dict[int, Trial]] | None:
    """What is asked for, and how the trials stand; None as long as no search has begun."""
    try:
        with closing(Store(folder)) as store:
            asked = store.asked()
            return (asked, standing(store)) if asked else None
    except ConfigError:
        if (folder / "study.db").exists() and (folder / "study.db").stat().st_size > 0:
            raise
        return None


def _wait(folder: Path, console: Console) -> None:
    """Waits for a search to begin."""
    if _look(folder) is None:
        print_line(console, f"no search has begun in {folder} yet: waiting")
    while _look(folder) is None:
        time.sleep(INTERVAL)


def _follow(folder: Path, console: Console) -> None:
    """Shows what happens until nobody is at work any more."""
    looked = _look(folder)
    if looked is None or not _at_work(folder):
        return
    asked, seen = looked
    with _progress(folder, asked, seen, console) as progress:
        before: Standing = {number: trial for number, trial in seen.items() if trial.finished}
        while looked is not None:
            _, now = looked
            for event in changes(before, now, lambda trial: _max_epochs(trial, asked["trainer"])):
                progress.record(event)
            before = now
            if not _at_work(folder):
                return
            time.sleep(INTERVAL)
            looked = _look(folder)


def _progress(folder: Path, asked: Mapping[str, Any], seen: Standing, console: Console) -> Progress:
    """As the search shows it itself, with the time that it has run already."""
    found = holder(folder)
    finished = [trial for trial in seen.values() if trial.finished]
    with closing(Store(folder)) as store:
        ends = [ended for _, ended in store.times().values() if ended is not None]
    since = found.since if found is not None else time.time()
    # A trial that is trained on after the end is no news of the search's.
    total = asked["total"] if asked["total"] is None or len(finished) < asked["total"] else None
    return Progress(
        total,
        asked["monitor"],
        asked["mode"],
        finished,
        console=console,
        lines=True,
        elapsed=max(time.time() - since, 0.0),
        before=min(sum(ended < since for ended in ends), len(finished)),
    )


def _at_work(folder: Path) -> bool:
    found = holder(folder)
    return found is not None and found.lives


def _max_epochs(trial: Trial, trainer: Mapping[str, Any]) -> int | None:
    asked = trial.hparams.get("trainer.max_epochs", trainer.get("max_epochs"))
    return asked if isinstance(asked, int) and asked > 0 else None


def _tell_end(study: Study, console: Console) -> None:
    counts, total = study.counts, study.asked["total"]
    if _at_work(study.root):
        told = f"the search goes on: lightning-hp watch {shlex.quote(str(study.root))}"
    elif total is not None and sum(counts.get(state, 0) for state in FINISHED) >= total:
        told = "the search is over"
    else:
        told = "no search is at work there; the same search goes on from here"
    print_line(console, told)
