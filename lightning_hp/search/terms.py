"""What a search was asked for: which trials there shall be, and what decides how each comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_hp.advice import lint
from lightning_hp.advice.objective import doubt
from lightning_hp.description import described
from lightning_hp.errors import ConfigError
from lightning_hp.fit import Recipe
from lightning_hp.pruners import AnyPruner
from lightning_hp.samplers import Grid, Sampler, described_strategy
from lightning_hp.search.ask import Ask
from lightning_hp.search.books import Books, books_for
from lightning_hp.search.checks import check_pruning
from lightning_hp.search.earlier import earlier_trials
from lightning_hp.space import Hparams, Space
from lightning_hp.trial import Judged, Trial


@dataclass(frozen=True)
class Terms:
    """All that a search goes by, but for where its trials run, which changes nothing of them. Checked when made.

    Args:
        recipe: how each trial is trained.
        space: the recipe's, with the constraint.
        sampler: decides each trial's hyperparameters.
        pruner: ends trials early; None prunes none.
        trials: how many there shall be in all; None if only the sampler or the time ends the search.
        seconds: after which no further trial begins; None for no limit.
        queue: hyperparameters of the first trials, before the sampler is asked.
        warm_start: folders of earlier studies.

    Attributes:
        earlier: the trials of earlier studies, numbered below 0.
        total: how many trials there will be; None if only time will tell.

    Raises:
        ConfigError: an earlier study does not fit, the search has no end, or the pruner could not compare its trials.
    """

    recipe: Recipe
    space: Space
    sampler: Sampler
    pruner: AnyPruner | None
    trials: int | None
    seconds: float | None
    queue: Sequence[Hparams]
    warm_start: Sequence[Path]
    earlier: Sequence[Trial] = field(init=False)
    total: int | None = field(init=False)

    def __post_init__(self) -> None:
        earlier = earlier_trials(self.space, self.recipe.monitor, self.recipe.mode, self.warm_start)
        object.__setattr__(self, "earlier", earlier)
        check_pruning(self.pruner, self.recipe)
        total = self.trials
        if isinstance(self.sampler, Grid):
            size = self.sampler.size(self.space) + len(self.queue)
            total = size if total is None else min(total, size)
        elif total is None and self.seconds is None:
            raise ConfigError("the search has no end: give trials=, max_time= or both")
        object.__setattr__(self, "total", total)

    @property
    def unwise(self) -> list[str]:
        """What is unwise in it, one line each."""
        of_space = lint(self.space, self.sampler, self.trials, len(self.earlier), len(self.queue))
        return [*of_space, *doubt(self.recipe.monitor, self.recipe.mode), *self.recipe.unwise]

    def describe(self) -> dict[str, Any]:
        """As plain values: what a study is known by."""
        recipe = self.recipe
        return {
            "model": described(recipe.model),
            "data": described(recipe.data),
            "monitor": recipe.monitor,
            "mode": recipe.mode,
            "trials": self.trials,
            "total": self.total,
            "max_time": self.seconds,
            **described_strategy(self.sampler),
            "enqueue": [self.space.labels(each) for each in self.queue] or None,
            "pruner": described(self.pruner),
            "warm_start": [*map(str, self.warm_start), f"{len(self.earlier)} trials"] if self.warm_start else None,
            "seed": recipe.seed,
            "babysit": False if recipe.babysitter is None else described(recipe.babysitter),
            "trainer": described(recipe.trainer),
            "space": self.space.describe(),
            "constraint": described(self.space.constraint),
        }

    def ask(self) -> Ask:
        """What decides the hyperparameters, before it has seen a trial of the search."""
        return Ask(self.space, self.sampler, self.recipe.seed, self.recipe.mode, self.queue, self.earlier)

    def ladder(self, round_of: Callable[[int], range], judged: Iterable[Judged], finished: Iterable[Trial]) -> Books | None:
        """The books for the pruner, if there is one: see `Ladder` for the arguments."""
        if self.pruner is None:
            return None

        def round_to_total(number: int) -> range:
            round_ = round_of(number)
            # An earlier run may have had more trials.
            cut = self.total if self.total is not None and number < self.total else round_.stop
            return range(round_.start, min(round_.stop, cut))

        most = self.recipe.max_epochs if self.pruner.unit == "epochs" else self.recipe.max_steps
        return books_for(self.pruner, self.recipe.mode, most, round_to_total, self.total, judged, finished)
