"""Which trials may train as one: by their hyperparameters, and by what workers have found out about their models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lightning_hp.space import form_of, whole_numbers
from lightning_hp.trial import Rung, Trial


@dataclass(frozen=True)
class Kind:
    """What the trials of a job have in common. At a rung that few reach, to train as one may be slower and is refused.

    Attributes:
        until: where they pause.
        form: of their hyperparameters.
        numbers: the model's whole numbers, where only those with the same ones may train as one; None where all may.
        structure: of their models; None as long as no worker has told.
        only: the numbers of the trials, where these train with no others; empty where anyone may join.
    """

    until: Rung | None
    form: str = ""
    numbers: str | None = None
    structure: str | None = None
    only: tuple[int, ...] = ()


@dataclass
class Kinds:
    """Tells of what kind a trial is.

    First by its form; then a worker looks at the models, which may be of many structures. What it has found is kept, also for
    others with the same whole numbers. Where models of one structure turn out not to train as one, these numbers may be why,
    such as one that decides about a shape in the midst of a step: then only those that have them alike go together.
    """

    # By a trial's number.
    _structures: dict[int, str] = field(default_factory=dict)
    # By form, then by the whole numbers: one, unless models are built by real numbers, too.
    _found: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    # The forms of which only those with the same whole numbers train as one, and what does not at all.
    _by_numbers: set[str] = field(default_factory=set)
    _refused: set[Kind] = field(default_factory=set)

    def of(self, trial: Trial, until: Rung | None) -> Kind:
        """Of what kind a trial is, by what is known now."""
        form, numbers = _told_by(trial)
        found = self._found.get(form, {}).get(numbers, set())
        expected = next(iter(found)) if len(found) == 1 else None
        structure = self._structures.get(trial.number, expected)
        return Kind(until, form, numbers if form in self._by_numbers else None, structure)

    def learn(self, trial: Trial, structure: str) -> None:
        """Takes note of the structure of a trial's model."""
        form, numbers = _told_by(trial)
        self._structures[trial.number] = structure
        self._found.setdefault(form, {}).setdefault(numbers, set()).add(structure)

    def refuse(self, trials: Iterable[tuple[Trial, Rung | None]], differing: Sequence[str] | None) -> bool:
        """Takes note of trials that do not train as one; nor do others of their kind.

        Args:
            trials: each with the rung where it pauses.
            differing: as of `Unfused`.

        Returns:
            Whether others are of another kind now.
        """
        trials = list(trials)
        before = len(self._by_numbers)
        if differing is not None:
            self._by_numbers.update(form_of(trial.hparams) for trial, _ in trials)
        if not differing:
            self._refused.update(self.of(*each) for each in trials)
        return len(self._by_numbers) > before

    def is_refused(self, kind: Kind) -> bool:
        """Whether it is known that trials of a kind do not train as one."""
        whatever_numbers = replace(kind, numbers=None)
        if kind in self._refused or whatever_numbers in self._refused:
            return True
        if kind.structure is not None or not self._refused:
            return False
        # Nobody has looked at their models. Those of others with such hyperparameters tell what to expect.
        by_numbers = self._found.get(kind.form, {})
        alike = by_numbers.values() if kind.numbers is None else [by_numbers.get(kind.numbers, set())]
        found = {structure for each in alike for structure in each}
        return bool(found) and all(self.is_refused(replace(kind, structure=structure)) for structure in found)


def _told_by(trial: Trial) -> tuple[str, str]:
    """A trial's form, and its model's whole numbers."""
    return form_of(trial.hparams), repr(whole_numbers(trial.hparams))
