"""What of a search's arguments hangs together, checked before anything trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lightning_hp.babysit import Babysitter
from lightning_hp.bounds import is_any_number
from lightning_hp.description import described
from lightning_hp.errors import ConfigError, one_of
from lightning_hp.fit import Recipe
from lightning_hp.pruners import AnyPruner
from lightning_hp.samplers import InRounds, Sampler
from lightning_hp.trial import Judged, Trial

FUSE = ("auto", "never", "always")


def finished_trial(trials: Iterable[Trial], number: int) -> Trial:
    """The trial of that number, to be trained once more. Raises ConfigError if there is none, or it has not finished."""
    return _trial_for("rerun", "finished", trials, number, lambda trial: trial.finished)


def pruned_trial(trials: Iterable[Trial], judged: Iterable[Judged], number: int) -> Trial:
    """The trial of that number, to be trained to its end. Raises ConfigError if there is none, or it was not pruned."""
    # Of one whose finishing was interrupted, only the pruner's decision is left.
    going_on = [number in each.going_on for each in judged if number in each.values]
    states = ("pruned", "waiting") if going_on[-1:] == [False] else ("pruned",)
    return _trial_for("finish", "pruned", trials, number, lambda trial: trial.state in states)


def _trial_for(call: str, wanted: str, trials: Iterable[Trial], number: int, fits: Callable[[Trial], bool]) -> Trial:
    # To Python, True is trial 1.
    trial = next((each for each in trials if each.number == number), None) if is_any_number(number) else None
    if trial is None or not fits(trial):
        found = f"trial {number} is {trial.state}" if trial is not None else f"there is no trial {number!r}"
        raise ConfigError(f"{call}({number!r}) needs the number of a {wanted} trial, but {found}")
    return trial


def babysitter_of(babysit: bool | Babysitter) -> Babysitter | None:
    """The Babysitter that is asked for, None where none is. Raises ConfigError where it is neither."""
    if isinstance(babysit, Babysitter):
        return babysit
    if not isinstance(babysit, bool):
        raise ConfigError(f"babysit needs True, False or a Babysitter(...), got {babysit!r}")
    return Babysitter() if babysit else None


def why_apart(sampler: Sampler, devices: int) -> str | None:
    """Why no trials of a search can train as one, whatever its model is; None if they may."""
    if devices > 1:
        return f"a trial trains on {devices} devices"
    if not isinstance(sampler, InRounds):
        return f"{type(sampler).__name__} may want to see what has finished before it proposes more"
    return None


def checked_fuse(fuse: str | bool, apart: str | None) -> str:
    """Whether trials train as one. Raises ConfigError where that is none of `FUSE`, or they have to and may not.

    Args:
        fuse: one of `FUSE`.
        apart: why they may not.
    """
    if fuse is False:
        # As YAML reads no and off.
        raise ConfigError(f"fuse=False is not one of {', '.join(FUSE)} (did you mean 'never'?)")
    asked = one_of("fuse", fuse, FUSE)
    if asked == "always" and apart is not None:
        raise ConfigError(f"fuse='always', but {apart}. Take fuse='auto'")
    return asked


def check_pruning(pruner: AnyPruner | None, recipe: Recipe) -> None:
    """Raises ConfigError where a pruner could not compare trials before they end, or have them go on."""
    if pruner is None:
        return
    if recipe.trainer.get("enable_checkpointing") is False or "trainer.enable_checkpointing" in recipe.space:
        raise ConfigError(
            "pruner needs the checkpoints from which trials go on: leave trainer['enable_checkpointing'] out, or the pruner"
        )
    searched = [name for name in ("max_epochs", "max_steps") if f"trainer.{name}" in recipe.space]
    epochs, steps = recipe.max_epochs({}), recipe.max_steps({})
    if not searched and epochs == 1:
        raise ConfigError("pruner compares trials at the ends of epochs, and with trainer max_epochs=1 none goes on from there")
    unit, most = ("max_epochs", epochs) if pruner.unit == "epochs" else ("max_steps", steps)
    if not searched and most is not None and pruner.rung(0, most) is None:
        raise ConfigError(
            f"pruner {described(pruner)} compares no trial before its end: let its rungs be below trainer {unit}={most}"
        )
    beyond = [rung for rung in getattr(pruner, "rungs", None) or () if most is not None and rung >= most]
    if not searched and beyond:
        raise ConfigError(f"pruner has a rung at {beyond[0]}, but trials end at trainer {unit}={most}: leave it out")
