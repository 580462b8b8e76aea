"""The sections of the report, in order: what is said beside the pictures. A section that has nothing to say is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from lightning_hp.advice import Advice, advice
from lightning_hp.report.captions import CAPTIONS, caption
from lightning_hp.report.nameless import zoom_call
from lightning_hp.report.pictures.times import Span, busy_times, spans_of
from lightning_hp.report.reproduce import lines
from lightning_hp.report.searched import Searched
from lightning_hp.space.scales import Choice, Scale
from lightning_hp.trial import Trial, ranges
from lightning_hp.words import duration, number

# Of a table, and of trials in one of its cells.
MOST_ROWS, MOST_NUMBERS = 25, 12


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        id: by which links and, where it has one, its picture are called.
        title: above it.
        caption: how to read it.
        picture: whether it is about the picture of its name, and left out without it.
        advice: lines of it.
        heads: of a table.
        rows: of a table.
        more: said below it.
        folded: titles and texts that are shown when asked for.
        code: what it does, and what to type.
    """

    id: str
    title: str
    caption: str = ""
    picture: bool = False
    advice: Sequence[Advice] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    more: str = ""
    folded: Sequence[tuple[str, str]] = ()
    code: Sequence[tuple[str, str]] = field(default=())


def sections(searched: Searched) -> Iterator[Section]:
    """The sections that a study has something to say in; those with a picture may turn out to have none."""
    yield from _advice(searched)
    for name in CAPTIONS:
        yield Section(name, *caption(name, searched), picture=True)
    yield from _babysitter(searched)
    yield from _failures(searched)
    yield from _times(searched)
    yield from _reproduce(searched)


def _advice(searched: Searched) -> Iterator[Section]:
    found = searched.findings
    after = found.next_space.layout
    changed = [
        [name, _range(before.scale), _range(after[name].scale) if name in after else "left out"]
        for name, before in searched.space.layout.items()
        if name not in after or after[name].scale != before.scale
    ]
    told = advice(found)
    if told:
        code = [("Search it next:", zoom_call(searched.root, searched.config))] if changed else []
        heads = ("hyperparameter", "searched", "to search next") if changed else ()
        yield Section("advice", "What the trials say", advice=told, heads=heads, rows=changed, code=code)


def _range(scale: Scale) -> str:
    if isinstance(scale, Choice):
        return ", ".join(map(number, scale.values))
    plain = scale.describe()
    return f"{number(plain['low'])} to {number(plain['high'])}" if {"low", "high"} <= plain.keys() else str(plain)


def _babysitter(searched: Searched) -> Iterator[Section]:
    done = searched.interventions
    if not done:
        return
    rows = [[str(each.number), str(each.epoch), str(each.step), each.reason, each.change or each.kind] for each in done]
    rest = len(rows) - MOST_ROWS
    yield Section(
        "babysitter",
        "What the babysitter did",
        f"{len(done)} interventions in {len({each.number for each in done})} trials. The best trials stand at the top, their "
        "values at the right.",
        picture=True,
        heads=("trial", "epoch", "step", "why", "what"),
        rows=rows[:MOST_ROWS],
        more=f"and {rest} more, in the trials' babysit.jsonl" if rest > 0 else "",
    )


def _failures(searched: Searched) -> Iterator[Section]:
    """Trials that ended alike together, those that went wrong first, with the first traceback of each failure."""
    ended: dict[tuple[str, str], list[Trial]] = {}
    for state in ("failed", "diverged", "pruned"):
        for trial in searched.trials:
            if trial.state == state:
                # One that diverged in another epoch did so for the same reason.
                ended.setdefault((state, re.sub(r"[\d.]+", "#", trial.reason or "")), []).append(trial)
    if not ended:
        return
    rows = [[state, str(len(trials)), _reason(trials), _numbers(trials)] for (state, _), trials in ended.items()]
    rest = len(rows) - MOST_ROWS
    folded = [
        (f"traceback of trial {trials[0].number}", trials[0].traceback)
        for trials in list(ended.values())[:MOST_ROWS]
        if trials[0].traceback
    ]
    yield Section(
        "failures",
        "Trials that did not complete",
        heads=("state", "trials", "reason", "which"),
        rows=rows[:MOST_ROWS],
        more=f"and {rest} more reasons" if rest > 0 else "",
        folded=folded,
    )


def _reason(trials: Sequence[Trial]) -> str:
    reasons = {trial.reason: None for trial in trials}
    return (trials[0].reason or "") + (f", and {len(reasons) - 1} alike" if len(reasons) > 1 else "")


def _numbers(trials: Sequence[Trial]) -> str:
    parts = ranges(trial.number for trial in trials).split(",")
    return ", ".join(parts[:MOST_NUMBERS]) + (", ..." if len(parts) > MOST_NUMBERS else "")


def _times(searched: Searched) -> Iterator[Section]:
    spans = spans_of(searched)
    if not spans:
        return
    lengths = [end - start for start, end in spans.values()]
    busy, ran = (sum(end - start for start, end in busy_times(list(spans.values()), gap)) for gap in (0.1, 0.0))
    trainer = searched.asked.get("trainer") or {}
    rows = [
        ["the search took", duration(busy)],
        ["of that, no trial ran for", duration(busy - ran)],
        ["its trials, one after the other", duration(sum(lengths))],
        ["at a time, on average", f"{sum(lengths) / busy:.1f}" if busy > 0 else "?"],
        ["a trial, median", duration(median(lengths))],
        ["the longest", f"{duration(max(lengths))} (trial {max(spans, key=lambda each: spans[each][1] - spans[each][0])})"],
        *_machines(searched, spans, busy),
        *([f"trainer {key}", str(trainer[key])] for key in ("accelerator", "devices", "precision") if key in trainer),
    ]
    caption = "A bar is a trial, at its place in time; trials below each other ran at the same time."
    yield Section("times", "Time", caption, picture=True, heads=("", ""), rows=rows)


def _machines(searched: Searched, spans: Mapping[int, Span], busy: float) -> Iterator[list[str]]:
    """How many trials trained on which devices, and for how much of the search's time."""
    there: dict[str, list[Span]] = {}
    for trial, machine in searched.machines.items():
        if trial in spans:
            there.setdefault(machine.place, []).append(spans[trial])
    for place, trained in there.items():
        used = sum(end - start for start, end in busy_times(trained, 0.0))
        # Of several devices of one name, a single one that trains makes them busy.
        at_a_time = sum(end - start for start, end in trained) / used if used > 0 else 1.0
        count = f"{len(trained)} trial{'s' if len(trained) > 1 else ''}"
        several = f", {at_a_time:.1f} at a time" if at_a_time >= 1.05 else ""
        yield [place, f"{count}{several}, busy {used / busy:.0%} of the time" if busy > 0 else count]


def _reproduce(searched: Searched) -> Iterator[Section]:
    if searched.best is not None:
        yield Section("reproduce", f"Trial {searched.best.number} again", code=lines(searched, searched.best))
