"""What finished trials say, in lines to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightning_hp.advice.diverged import Limit
from lightning_hp.advice.findings import Findings
from lightning_hp.advice.gain import Gain
from lightning_hp.words import number

Kind = Literal["widen", "diverges", "matters", "little", "unknown", "trials"]


@dataclass(frozen=True)
class Advice:
    """One thing that finished trials say of their search.

    Attributes:
        kind: ``widen``, the best trials lie at an end of a scale; ``diverges``, fits diverge in a part of one; ``matters``
            and ``little``, how much a hyperparameter counts; ``unknown``, what these trials do not tell; ``trials``, whether
            more of them are likely to help.
        hparam: the hyperparameter, None where it is about no single one.
        line: in words, which is also its ``str``.
    """

    kind: Kind
    hparam: str | None
    line: str

    def __str__(self) -> str:
        return self.line


def advice(findings: Findings) -> list[Advice]:
    """What to know and to do, what is to be changed first."""
    return [
        *_ends(findings),
        *_limits(findings.limit),
        *_importance(findings),
        *_unknown(findings),
        *_fixed(findings.fixed),
        *_trials(findings.gain),
    ]


def _ends(findings: Findings) -> Iterator[Advice]:
    for (name, upper), scale in findings.wider.items():
        end, bound = ("upper", "high") if upper else ("lower", "low")
        before, after = getattr(findings.space.layout[name].scale, bound), getattr(scale, bound)
        told = f"the best trials lie at its {end} end, {number(before)}, and improve towards it"
        yield Advice("widen", name, f"{name}: {told}: set its {bound} to {number(after)}")


def _limits(limit: Limit | None) -> Iterator[Advice]:
    if limit is None:
        return
    value, name = number(limit.value), limit.name
    part = f"{name} {value}" if limit.side == "at" else f"{name} {limit.side} {value}"
    way_out = "leave it out" if limit.side == "at" else f"set its {'high' if limit.side == 'above' else 'low'} to {value}"
    elsewhere = f"elsewhere {limit.elsewhere or 'none'} did"
    yield Advice("diverges", name, f"{part} diverged in {limit.diverged} of {limit.tried} trials, {elsewhere}: {way_out}")


def _importance(findings: Findings) -> Iterator[Advice]:
    ranked = sorted(findings.importance.items(), key=lambda each: -each[1].share)
    for name, found in ranked:
        share = f"{max(found.share, 0):.0%} of the differences between trials ({max(found.low, 0):.0%} to {found.high:.0%})"
        if found.matters:
            yield Advice("matters", name, f"{name} matters: about {share} are due to it")
    for name, found in ranked:
        if found.matters is False:
            told = f"no more than about {max(found.high, 0.01):.0%} of the differences between trials are due to it"
            yield Advice("little", name, f"{name} makes little difference in this range: {told}; a fixed value will do")


def _unknown(findings: Findings) -> Iterator[Advice]:
    names = [name for name, found in findings.importance.items() if found.matters is None and found.varied]
    if not names:
        return
    count = findings.finished
    trials = f"{count} finished trial{'s do' if count != 1 else ' does'} not tell whether"
    if len(names) == 1:
        yield Advice("unknown", names[0], f"{trials} {names[0]} matters")
    elif len(names) == len(findings.importance):
        yield Advice("unknown", None, f"{trials} any of the hyperparameters matters")
    else:
        yield Advice("unknown", None, f"{trials} {_listed(names)} matter")


def _fixed(fixed: Mapping[str, Any]) -> Iterator[Advice]:
    if not fixed:
        return
    name = next(iter(fixed)) if len(fixed) == 1 else None
    first, *others = fixed.items()
    told = [f"{first[0]} was {number(first[1])}", *(f"{each} {number(value)}" for each, value in others)]
    yield Advice("unknown", name, f"{_listed(told)} in all trials, which say nothing of {'them' if others else 'it'}")


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _trials(gain: Gain | None) -> Iterator[Advice]:
    if gain is None:
        return
    like = "the latest" if gain.in_rounds else "these"
    if gain.most == 0:
        yield Advice("trials", None, f"{gain.trials} more trials like {like} are unlikely to improve the best value")
        return
    judged = "little to gain, beside the differences between trials" if gain.little else "they may pay"
    amount = f"by {gain.expected:.2g} on average, and in 9 of 10 cases by no more than {gain.most:.2g}"
    yield Advice("trials", None, f"{gain.trials} more trials like {like} would improve the best value {amount}: {judged}")
