"""The report: ROOT/report/index.html, one file that needs no other, and its pictures as PNG beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lightning_hp.errors import cannot_write
from lightning_hp.report.pictures import PICTURES
from lightning_hp.report.pictures.times import busy_times, spans_of
from lightning_hp.report.rendered import drawn, png, svg
from lightning_hp.report.searched import Searched
from lightning_hp.report.sections import sections
from lightning_hp.report.style import DARK_RANKS, RANKS, look
from lightning_hp.trial import Trial
from lightning_hp.words import duration, number

FOLDER, PAGE = "report", "index.html"
_STATES = ("complete", "running", "waiting", "pruned", "failed", "diverged")


def write_report(searched: Searched) -> Path:
    """Writes ROOT/report/index.html, and its pictures as NAME.png beside it, over what stood there.

    Args:
        searched: the study as it stands; it may be running.

    Returns:
        The path of index.html.

    Raises:
        ConfigError: matplotlib is not installed.
        StorageError: the disk takes no data.
    """
    folder = searched.root / FOLDER
    svgs: dict[str, tuple[str, str]] = {}
    page = folder / PAGE
    with look():
        try:
            folder.mkdir(exist_ok=True)
            for name in PICTURES:
                wide, file = drawn(name, searched, "wide"), folder / f"{name}.png"
                if wide is None:
                    # Of an earlier report, when there was something to show.
                    file.unlink(missing_ok=True)
                    continue
                file.write_bytes(png(wide))
                svgs[name] = svg(wide, name), svg(drawn(name, searched, "narrow"), f"{name}-narrow")
            page.write_text(_page(searched, svgs), encoding="utf-8")
        except OSError as error:
            raise cannot_write(folder, error) from error
    return page


def _page(searched: Searched, svgs: dict[str, tuple[str, str]]) -> str:
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    # Names and reasons are the user's: only the pictures are taken as they are.
    template = Environment(loader=PackageLoader(__package__, "."), autoescape=True).get_template("page.html")
    shown = [each for each in sections(searched) if not each.picture or each.id in svgs or each.rows]
    wide, narrow = ({name: Markup(pair[index]) for name, pair in svgs.items()} for index in (0, 1))
    return template.render(
        title=f"{searched.root.name}: {searched.monitor}",
        monitor=searched.monitor,
        mode=searched.mode,
        best=_best(searched) if searched.best is not None else None,
        complete=sum(trial.state == "complete" for trial in searched.trials),
        states=_states(searched),
        took=_took(searched),
        sections=[{**vars(each), "wide": wide.get(each.id), "narrow": narrow.get(each.id)} for each in shown],
        ranks=RANKS,
        dark_ranks=DARK_RANKS,
        footer=" · ".join([str(searched.root.absolute()), *_versions()]),
    )


def _best(searched: Searched) -> dict[str, Any]:
    best = searched.best
    assert best is not None
    return {
        "value": f"{best.value:.5g}",
        "number": best.number,
        "epoch": _best_epoch(best, searched.monitor),
        "epochs": best.epochs,
        "hparams": [(name, number(value)) for name, value in best.hparams.items()],
        "checkpoint": best.checkpoint,
    }


def _best_epoch(trial: Trial, monitor: str) -> int | None:
    if trial.best is not None:
        return trial.best.epoch + 1
    values = [*trial.metrics.get(monitor, ())]
    return values.index(trial.value) + 1 if trial.value in values else None


def _states(searched: Searched) -> list[dict[str, Any]]:
    counts = {state: sum(trial.state == state for trial in searched.trials) for state in _STATES}
    counts["waiting"] += max((searched.asked.get("total") or 0) - len(searched.trials), 0)
    return [{"state": state, "count": count} for state, count in counts.items() if count]


def _took(searched: Searched) -> str:
    spans = list(spans_of(searched).values())
    return f"in {duration(sum(end - start for start, end in busy_times(spans)))}" if spans else ""


def _versions() -> Iterator[str]:
    for name in ("lightning-hp", "torch", "lightning"):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    yield f"Python {sys.version.split()[0]}, when this was written"
