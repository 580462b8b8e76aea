"""What is unwise in a search, before it begins."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from lightning_hp.samplers import CoarseToFine, Grid, Sampler
from lightning_hp.space import Space
from lightning_hp.space.scales import Choice, Int, Linear, Log, LogInt, ReverseLog, Scale

# Below 0 these make a fit fail or run away.
_NEVER_NEGATIVE = frozenset({"lr", "learning_rate", "weight_decay", "momentum", "dropout"})
# What is found by its order of magnitude, so that a range from 0 has its best values in a sliver.
_BY_MAGNITUDE = frozenset({"lr", "learning_rate", "weight_decay"})
_NEAR_ONE = re.compile(r"(\w+_)?momentum|betas?_?[12]?|ema(_\w+)?|(\w+_)?polyak(_\w+)?")
MOST_DECADES = 12
# Bounds no further apart than this share of themselves hold one sensible value.
ALIKE = 0.02
# Of a few trials nobody expects a search.
TRY_OUT = 4
TRIALS_EACH = 10


def lint(
    space: Space, sampler: Sampler | None = None, trials: int | None = None, earlier: int = 0, queued: int = 0
) -> list[str]:
    """What is unwise in a space and in what is to become of it, one line each, naming the parameter and what is better.

    Args:
        space: to search.
        sampler: that will.
        trials: how many there will be; None if that is open.
        earlier: how many trials of earlier studies the sampler sees.
        queued: how many of the trials come before the sampler is asked.

    >>> lint(Space({"lr": Linear(1e-4, 1.0)}))
    ["space['lr']: Linear(low=0.0001, high=1.0) spans 4.0 decades, so 90% of the draws lie above 0.1: use log"]
    """
    lines = [f"space[{name!r}]: {advice}" for name, each in space.layout.items() if (advice := _about(name, each.scale))]
    return [*lines, *_about_number(space, sampler, trials, earlier, queued)] if trials is not None else lines


def _about(name: str, scale: Scale) -> str | None:
    argument = name.rpartition(".")[2]
    if isinstance(scale, Choice):
        return _about_choice(scale)
    assert isinstance(scale, (Linear, Log, ReverseLog, Int, LogInt)), scale
    if not isinstance(scale, (Log, LogInt)) and scale.low < 0 and argument in _NEVER_NEGATIVE:
        return f"{scale} starts below 0, which no {argument} can be: start at 0 or above"
    return _about_one(argument, scale) or _about_span(scale) or _about_magnitude(argument, scale)


def _about_choice(scale: Choice) -> str | None:
    if len(scale.values) > 1:
        return None
    return f"only one value, {scale.values[0]!r}: a fixed value belongs to the factory, in a config to init_args"


def _about_one(argument: str, scale: Linear | Log | ReverseLog | Int | LogInt) -> str | None:
    """What approaches 1 is told apart by its distance to it."""
    if not isinstance(scale, (Linear, Log)) or scale.low < 0:
        return None
    named = _NEAR_ONE.fullmatch(argument) is not None
    if named and scale.high >= 1:
        return f"{scale} reaches 1, where nothing new counts any more: use reverse_log, up to 0.999"
    if scale.high >= 1:
        return None
    ratio = (1 - scale.low) / (1 - scale.high)
    if (scale.low >= 0.5 and (scale.high >= 0.99 or ratio >= 10)) or (named and ratio >= 10):
        return f"{scale} approaches 1, where the distance to 1 is what matters: use reverse_log"
    return None


def _about_span(scale: Linear | Log | ReverseLog | Int | LogInt) -> str | None:
    size = 1 - scale.low if isinstance(scale, ReverseLog) else max(abs(scale.low), abs(scale.high))
    apart = (scale.high - scale.low) / size
    if apart <= ALIKE:
        return f"{scale} holds values that differ by {apart:.1g} of themselves, practically one: fix it, or take a wider range"
    if isinstance(scale, Log) and math.log10(scale.high) - math.log10(scale.low) > MOST_DECADES:
        decades = math.log10(scale.high) - math.log10(scale.low)
        return f"{scale} spans {decades:.0f} decades, so each gets {1 / decades:.1%} of the draws: take a narrower range"
    if isinstance(scale, (Linear, Int)) and scale.low > 0 and scale.high / scale.low >= 100:
        better = "log" if isinstance(scale, Linear) else "log_int"
        share = 1 - (scale.high / 10 - scale.low) / (scale.high - scale.low)
        return (
            f"{scale} spans {math.log10(scale.high / scale.low):.1f} decades, so {share:.0%} of the draws lie above "
            f"{scale.high / 10:g}: use {better}"
        )
    return None


def _about_magnitude(argument: str, scale: Scale) -> str | None:
    if isinstance(scale, Linear) and scale.low == 0 and argument in _BY_MAGNITUDE:
        return f"{scale} puts 90% of the draws into the last decade: use log, from {scale.high / 1000:g} or so"
    return None


def _about_number(space: Space, sampler: Sampler | None, trials: int, earlier: int, queued: int) -> Iterator[str]:
    if isinstance(sampler, Grid):
        yield from _about_grid(sampler.size(space), max(trials - queued, 0))
        return
    if trials <= TRY_OUT:
        return
    first = len(sampler.round_of(0)) if isinstance(sampler, CoarseToFine) else 0
    never_zooms = trials <= first and not earlier
    if never_zooms:
        yield (
            f"coarse-to-fine begins with {first} quasi-random trials, and {trials} are all there are, so it never zooms in: "
            f"take more, such as {2 * first}"
        )
    # About ten runs an input (Loeppky et al., Choosing the Sample Size of a Computer Experiment, 2009), and of several
    # hyperparameters about a third matters (Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, 2012).
    likely = math.ceil(len(space) / 3)
    # Whoever follows that takes so many.
    taken = 2 * first if never_zooms else trials + earlier
    if taken < TRIALS_EACH * likely:
        if len(space) == 1:
            yield f"{trials + earlier} trials are few to tell what a hyperparameter does: take {TRIALS_EACH}"
            return
        yield (
            f"{trials + earlier} trials are few for {len(space)} hyperparameters, of which some {likely} may matter: about "
            f"{TRIALS_EACH} for each of these tell them apart. Take {TRIALS_EACH * likely} trials, or fix what matters least"
        )


def _about_grid(size: int, trials: int) -> Iterator[str]:
    if size > trials:
        yield (
            f"{trials} trials cover only the first {trials} of the grid's {size} combinations: take fewer points, or "
            "quasi, which covers the space evenly with any number"
        )
    elif size < trials:
        yield (
            f"the grid has {size} combination{'s' if size != 1 else ''} and ends there, {trials - size} short of the trials "
            "asked for: take more points, or quasi, which goes on for any number"
        )
