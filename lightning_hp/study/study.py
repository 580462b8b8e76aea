"""A study as users see it: read from its folder, whoever writes there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_hp.advice import Advice, Findings, Importance, advice, find
from lightning_hp.bounds import folder, whole_number_or_none
from lightning_hp.errors import ConfigError
from lightning_hp.report import Searched, interventions, machines, pngs, write_report, write_rounds
from lightning_hp.space import Space
from lightning_hp.study.config import read_config
from lightning_hp.study.leaderboard import headline, leaderboard_html
from lightning_hp.study.rows import flat_rows
from lightning_hp.study.store import Store
from lightning_hp.trial import Judged, RoundBegan, Trial

if TYPE_CHECKING:
    import optuna
    import pandas
    from optuna.storages import BaseStorage

# In a notebook.
MOST_SHOWN = 10


class Study:
    """The trials of one search, read from its folder as they stand at each look.

    Args:
        root: the folder that the search was given as ``root_dir``.
        space: gives choices back as the user's own objects; without it they are their names.
        loader: rebuilds a trial's model, for `Trial.load`.

    Raises:
        ConfigError: the folder holds no study.
    """

    def __init__(
        self,
        root: str | Path,
        space: Space | None = None,
        loader: Callable[[Trial], Any] | None = None,
    ) -> None:
        self.root = folder("Study(root=)", root)
        self._space = space
        self._loader = loader
        # What was found last, and what in: to find it takes seconds where trials are many.
        self._found: tuple[Any, Findings] | None = None
        with self._open():
            pass

    @property
    def asked(self) -> dict[str, Any]:
        """What the search was asked for: monitor, mode, seed, strategy, space and so on."""
        with self._open() as store:
            return store.asked()

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, by number."""
        with self._open() as store:
            return self._given(store.trials())

    @property
    def best(self) -> Trial:
        """The complete trial with the best value; of equals the first.

        Raises:
            LookupError: no trial is complete. The message counts what the trials are instead, and why one of them is.
        """
        ranked = self.leaderboard(1)
        if not ranked:
            counts = ", ".join(f"{count} {state}" for state, count in sorted(self.counts.items()))
            raise LookupError(f"no trial of {self.root} is complete: {counts or 'none has started'}{self._why()}")
        return ranked[0]

    @property
    def counts(self) -> dict[str, int]:
        """How many trials there are in each state."""
        with self._open() as store:
            return store.counts()

    @property
    def endings(self) -> dict[str, list[int]]:
        """How trials ended that are not complete, as state and reason, each with the trials' numbers."""
        with self._open() as store:
            return store.endings()

    @property
    def rounds(self) -> list[RoundBegan]:
        """How the sampler came to what it proposed: a round's first trial, what had finished by then, and its notes.

        Empty for samplers that learn nothing from finished trials.
        """
        with self._open() as store:
            return store.rounds()

    @property
    def rungs(self) -> list[Judged]:
        """What a pruner has decided, by rung: the best value that each trial had there, and which have gone on.

        Empty for a search without a pruner.
        """
        with self._open() as store:
            return store.judged()

    def leaderboard(self, most: int | None = None) -> list[Trial]:
        """The complete trials, best first, at most so many; equals by number."""
        most = whole_number_or_none("leaderboard(most=)", most, 0)
        with self._open() as store:
            return self._given(store.ranked(store.asked()["mode"], most))

    def findings(self) -> Findings:
        """What the finished trials say of their space; `advice`, `importance` and `zoom` are parts of it."""
        with self._open() as store:
            asked, rounds, trials = store.asked(), store.rounds(), store.trials(brief=True)
        return self._findings(asked, rounds, trials)

    def advice(self) -> list[Advice]:
        """What to change and to know after the search, in lines to print: ends to widen, bounds that avoid divergence, which
        hyperparameters matter, whether more trials are likely to help. What the trials do not tell is not made up."""
        return advice(self.findings())

    def importance(self) -> dict[str, Importance]:
        """How much each hyperparameter matters, with its uncertainty."""
        return dict(self.findings().importance)

    def zoom(self) -> Space:
        """The space to search next: the hyperparameters that matter narrowed to where the best may lie, or widened where the
        best trials lie at an end. What the trials say nothing of stays as it is."""
        return self.findings().next_space

    def draw_rounds(self, path: str | Path) -> None:
        """Draws where the trials of each round lay, and where the search zoomed in, as a PNG, SVG or PDF.

        Args:
            path: the file, whose folder is made when missing.

        Raises:
            ConfigError: it is no path, matplotlib is not installed, or cannot write such a file.
            StorageError: the file cannot be written there.
        """
        write_rounds(path, self._for_report())

    def report(self) -> Path:
        """Writes ROOT/report/index.html, a page that needs no other file, with its pictures as PNG beside it.

        It tells the best trial, what the trials say, their curves and hyperparameters, what a babysitter did, what failed, the
        time it took, and how to have the best trial again. A search that still runs is reported as it stands.

        Returns:
            The path of index.html.

        Raises:
            ConfigError: matplotlib is not installed.
            StorageError: the disk takes no data.
        """
        return write_report(self._for_report())

    def pictures(self) -> Iterator[tuple[str, bytes]]:
        """The report's pictures that there is something to show in, by name, as PNG.

        Raises:
            ConfigError: matplotlib is not installed.
        """
        return pngs(self._for_report())

    def to_dict(self, findings: bool = False) -> dict[str, Any]:
        """The study as plain values. Values that JSON lacks (NaN) become None.

        Args:
            findings: with what the trials say, as ``lightning-hp show --json`` has it: the advice, each hyperparameter's
                importance and the space to search next.
        """
        with self._open() as store:
            asked, trials, ranked = store.asked(), store.trials(), store.ranked(store.asked()["mode"], 1)
        plain: dict[str, Any] = _finite(
            {
                "study": {"root": str(self.root), **asked},
                "best": ranked[0].number if ranked else None,
                "trials": [_trial_dict(trial) for trial in trials],
                **(_findings_dict(self.findings()) if findings else {}),
            }
        )
        return plain

    def to_rows(self) -> list[dict[str, Any]]:
        """The trials by number as flat dicts with the same keys, for tables.

        ``number``, ``state``, ``value``, ``hparams.NAME``; ``best.NAME`` and ``last.NAME`` of each metric, where the
        objective was best and in the last epoch; ``epochs``, ``seed``, ``seconds``, ``reason``, ``checkpoint``.
        """
        with self._open() as store:
            asked, trials, times = store.asked(), store.trials(), store.times()
        return flat_rows(self._given(trials), asked["monitor"], asked["mode"], times)

    def to_dataframe(self) -> pandas.DataFrame:
        """The trials as a pandas DataFrame, a row each, with the columns of `to_rows`.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError(f"to_dataframe() needs pandas ({error}): pip install pandas, or take to_rows()") from None
        return pandas.DataFrame(self.to_rows())

    def to_optuna(self, storage: str | BaseStorage | None = None, study_name: str | None = None) -> optuna.study.Study:
        """The finished trials as a study of Optuna's, for ``optuna.visualization``, ``optuna.importance`` and its dashboard.

        Hyperparameters have their values, those of a list one by one, on Optuna's scales where it has ours; a trial lacks what
        does not exist in it. A `ReverseLog` is a plain range there, with
        the position on its scale as user attribute ``NAME (unit)``. Complete and pruned trials are that; failed and diverged
        ones are failed. Values reported are those of the monitored metric in each epoch. Further user attributes: ``number``,
        ``state``, ``seed``, ``epochs``, ``reason``, ``checkpoint``.

        Args:
            storage: where Optuna keeps it, such as ``"sqlite:///optuna.db"`` for optuna-dashboard; None for memory. Where this
                study is there by that name already, it gets the trials that it lacks.
            study_name: what it is called there; the name of the study's folder if left out.

        Raises:
            ConfigError: Optuna is not installed, cannot open the storage, or has another study of that name there.
        """
        from lightning_hp.study.optuna import optuna_study

        with self._open() as store:
            asked, trials, times = store.asked(), store.trials(), store.times()
        return optuna_study(self.root, asked, trials, times, storage, study_name)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(self.counts.items()))
        return f"<Study {self.root}: {counts or 'no trial yet'}>"

    def _why(self) -> str:
        """The commonest reason of those that failed, or if none did, of those that diverged; empty where there is none."""
        for state in ("failed", "diverged"):
            told = {reason: numbers for reason, numbers in self.endings.items() if reason.startswith(f"{state}: ")}
            if told:
                reason, (first, *_) = max(told.items(), key=lambda each: len(each[1]))
                return f"; trial {first} {reason}" + (f" (see trials[{first}].traceback)" if state == "failed" else "")
        return ""

    def _repr_html_(self) -> str:
        """How notebooks show a study: the best trials."""
        asked = self.asked
        told = f"{self.root}: {headline(self.counts, asked['total'])}; best {asked['monitor']} first ({asked['mode']})"
        return leaderboard_html(told, asked["monitor"], list(asked["space"]), self.leaderboard(MOST_SHOWN))

    def _space_of(self, asked: Mapping[str, Any]) -> Space:
        """The space, with choices as the trials have them."""
        return self._space if self._space is not None else Space(asked["space"])

    def _for_report(self) -> Searched:
        with self._open() as store:
            asked, rounds, times, trials = store.asked(), store.rounds(), store.times(), store.trials()
        found = self._findings(asked, rounds, trials)
        numbers = [trial.number for trial in trials]
        done, trained_on = interventions(self.root, numbers), machines(self.root, numbers)
        given, config = self._given(trials), read_config(self.root)
        return Searched(self.root, asked, self._space_of(asked), given, rounds, times, found, done, trained_on, config)

    def _findings(self, asked: Mapping[str, Any], rounds: list[RoundBegan], trials: list[Trial]) -> Findings:
        """What trials say that are as the store has them; what was found in the same ones is not looked for again."""
        # Curves and files tell nothing, and files go when others are better.
        finished = [
            replace(trial, metrics={}, traceback=None, checkpoint=None, best=None) for trial in trials if trial.finished
        ]
        told = asked, rounds, finished
        if self._found is None or self._found[0] != told:
            grid = asked.get("strategy") == "grid"
            found = find(self._space_of(asked), self._given(finished), asked["mode"], rounds, grid=grid)
            self._found = told, found
        return self._found[1]

    def _given(self, trials: list[Trial]) -> list[Trial]:
        return [replace(trial, hparams=self._values(trial.hparams), loader=self._loader) for trial in trials]

    @contextmanager
    def _open(self) -> Iterator[Store]:
        store = Store(self.root)
        try:
            # A search that has been killed at its very beginning leaves this.
            if not store.asked():
                raise ConfigError(f"{store.path} is empty: no search has begun")
            yield store
        finally:
            store.close()

    def _values(self, labels: dict[str, Any]) -> dict[str, Any]:
        return self._space.from_labels(labels) if self._space is not None else labels


def _findings_dict(found: Findings) -> dict[str, Any]:
    return {
        "advice": [asdict(each) for each in advice(found)],
        "importance": {name: asdict(each) for name, each in found.importance.items()},
        "next_space": found.next_space.describe(),
    }


def _trial_dict(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "value": trial.value,
        "hparams": trial.hparams,
        "seed": trial.seed,
        "epochs": trial.epochs,
        "metrics": trial.metrics,
        "reason": trial.reason,
        "checkpoint": str(trial.checkpoint) if trial.checkpoint else None,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
