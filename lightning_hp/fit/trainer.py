"""A trial's Trainer: the user's arguments, our callbacks around the user's, our logger beside theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lightning.fabric.utilities import registry
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.trainer.connectors.logger_connector.result import _ResultCollection
from lightning.pytorch.trainer.states import RunningStage, TrainerFn

from lightning_hp.babysit import Babysitter
from lightning_hp.bounds import is_number, text_hint
from lightning_hp.description import name_of
from lightning_hp.errors import ConfigError, MonitorError, did_you_mean
from lightning_hp.fit.checkpoints import TrialCheckpointIO
from lightning_hp.fit.finders import Found
from lightning_hp.fit.frozen import Frozen
from lightning_hp.fit.loggers import set_apart
from lightning_hp.fit.objects import Objects
from lightning_hp.fit.pruned import Pruned
from lightning_hp.fit.quiet import quiet
from lightning_hp.fit.users_checkpoints import KeepApart
from lightning_hp.signature import arguments, signature
from lightning_hp.trial import Trial

# Trainer arguments that are not a trial's to choose.
_FIXED = {
    "default_root_dir": "every trial has its own folder under root_dir",
    "barebones": "it turns off the callbacks and loggers that a search needs",
    "devices": "all trials run on equally many devices",
    "num_nodes": "a trial runs on one machine",
}
# In the names of strategies whose fit starts all of its processes itself.
_IN_OTHER_PROCESSES = ("spawn", "fork", "notebook")
_NOT_ZERO = ("max_epochs", "max_steps", "limit_train_batches")
# Lightning divides by these.
_ABOVE_ZERO = ("accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval")
# Made for each trial, but for what stands for none, or for Lightning's own: of which kind, an example, and that.
_MADE_BY_FUNCTIONS: dict[str, tuple[type, str, tuple[Any, ...]]] = {
    "callbacks": (Callback, "lambda: EarlyStopping('val_loss')", (None,)),
    "logger": (Logger, "lambda: CSVLogger('logs')", (None, True, False)),
}
# Whose kind is checked here, or by Lightning with the names that there are.
_OF_ANY_KIND = (*_MADE_BY_FUNCTIONS, "devices", "num_nodes", "accelerator", "strategy")
_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", dict: "a dict"}
# What a search sets where the user does not: one device a trial, and one picture of progress for all of them.
DEFAULTS = {"accelerator": "auto", "devices": 1, "enable_progress_bar": False, "enable_model_summary": False}


class TrialTrainer(Trainer):
    """Lightning's, of which the ``logger``, and so the module's, is the user's own first one, as in a fit without a search.

    Files go to the folder of the first of all ``loggers``, which is ours, the trial's.

    Attributes:
        objects: that its module puts into checkpoints.
    """

    objects: Objects

    @property
    def logging_loop(self) -> _TrainingEpochLoop | _EvaluationLoop:
        """Of a fit, the loop whose results the module's ``log`` adds to now."""
        stage, loop = self.state.stage, self.fit_loop.epoch_loop
        return loop.val_loop if stage is RunningStage.VALIDATING or stage is RunningStage.SANITY_CHECKING else loop

    @property
    def _results(self) -> _ResultCollection | None:
        # Whoever reads a metric asks for them, and Lightning compares several stages then, a microsecond each.
        in_loop = self.state.fn is TrainerFn.FITTING and self.state.stage is not None
        return self.logging_loop._results if in_loop else super()._results

    @property
    def logger(self) -> Logger | None:
        return next(iter([*self.loggers[1:], *self.loggers]), None)

    @logger.setter
    def logger(self, logger: Logger | None) -> None:
        self.loggers = [] if logger is None else [logger]


def make_trainer(
    settings: Mapping[str, Any], trial: Trial, folder: Path, logger: Logger, callbacks: list[Callback], last: Callback
) -> TrialTrainer:
    """Makes the Trainer of a trial.

    Args:
        settings: the user's arguments of Trainer, and over them the trial's own.
        trial: for factories that ask for it.
        folder: of the trial.
        logger: the trial's, beside the user's.
        callbacks: ours, to stand before the user's.
        last: the one of ours that stands behind them.
    """
    kwargs: dict[str, Any] = DEFAULTS | trainer_kwargs(settings, trial)
    users = kwargs.pop("callbacks")
    if "enable_progress_bar" not in settings:
        # The user's Trainer may have had one, but those of many trials would write over each other.
        users = [callback for callback in users if not isinstance(callback, ProgressBar)]
    for each in kwargs["logger"] or []:
        set_apart(each, folder.name, folder.parent.parent.name)
    # With logger=False the user wants none at all.
    kwargs["logger"] = [] if kwargs["logger"] is False else [logger, *kwargs["logger"]]
    if kwargs["logger"] and not any(isinstance(callback, LearningRateMonitor) for callback in users):
        callbacks = [*callbacks, LearningRateMonitor(log_momentum=True)]
    check_babysitters([*callbacks, *users])
    plugins = kwargs.pop("plugins")
    objects = Objects()
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins = [*plugins, TrialCheckpointIO(folder / "checkpoints", objects)]
    callbacks = [*callbacks, KeepApart(folder / "checkpoints"), Found(), Pruned(), Frozen()]
    # The user's False turns off our files, but without a Checkpoint callback there would be no reporter either.
    kwargs["enable_checkpointing"] = True
    with _plugins_looked_up_once():
        trainer = TrialTrainer(default_root_dir=folder, callbacks=[*callbacks, *users, last], plugins=plugins, **kwargs)
    name_profile(trainer)
    trainer.objects = objects
    objects.trainer = trainer
    return trainer


def check_babysitters(callbacks: Iterable[Callback]) -> None:
    """Raises MonitorError where two Babysitters watch the same: a checkpoint would keep the state of one."""
    watched: set[str] = set()
    for each in callbacks:
        if not isinstance(each, Babysitter):
            continue
        if each.state_key in watched:
            raise MonitorError(
                f"monitor={each.monitor!r} is watched by two Babysitters with mode={each.plateau.mode!r}: leave out babysit, "
                "or all but one among trainer['callbacks']"
            )
        watched.add(each.state_key)


def name_profile(trainer: Trainer) -> None:
    """Has a profiler write its report to ``fit-profile.txt`` in the trial's folder, where Lightning would only print it."""
    profiler = trainer.profiler  # type: ignore[attr-defined]
    if not isinstance(profiler, PassThroughProfiler):
        profiler.filename = profiler.filename or "profile"


# A Trainer looks through all packages that are installed, which takes the most of its making.
_entry_points = cache(entry_points)


@contextmanager
def _plugins_looked_up_once() -> Iterator[None]:
    """Has Lightning remember which packages bring callbacks of their own."""
    module: Any = registry
    looking, module.entry_points = module.entry_points, _entry_points
    try:
        yield
    finally:
        module.entry_points = looking


def trainer_kwargs(trainer: Mapping[str, Any], trial: Trial | None = None) -> dict[str, Any]:
    """Keyword arguments of Trainer with every factory called, so that no two fits share a callback or logger.

    Args:
        trainer: the user's arguments.
        trial: for factories that require an argument of this name.

    Returns:
        ``callbacks`` and ``plugins`` are always lists; ``logger`` is False or a list of the loggers wanted besides our own;
        ``devices`` is never ``"auto"``, which would take all there are.
    """
    made = {key: _made(value, trial) for key, value in trainer.items()}
    if made.get("devices") == "auto":
        made["devices"] = 1
    logger = made.get("logger")
    made["callbacks"] = _listed(made.get("callbacks"))
    made["plugins"] = _listed(made.get("plugins"))
    made["logger"] = False if logger is False else _listed(None if logger is True else logger)
    # One that is None says the same as none at all.
    made.pop("default_root_dir", None)
    for key, (kind, *_) in _MADE_BY_FUNCTIONS.items():
        for each in made[key] or ():
            if not isinstance(each, kind):
                raise TypeError(f"trainer[{key!r}] has a function that returned {each!r}, not a {kind.__name__}")
    return made


def _made(value: Any, trial: Trial | None) -> Any:
    if isinstance(value, (list, tuple)):
        return [_made(each, trial) for each in value]
    if not callable(value):
        return value
    return value(trial=trial) if _required(value) else value()


def _required(factory: Callable[..., Any]) -> set[str]:
    """The arguments that a factory cannot do without."""
    return {
        each.name
        for each in signature(factory).parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def check_trainer(trainer: Mapping[str, Any], searched: Iterable[str]) -> None:
    """Checks the user's Trainer arguments, as far as can be without a trial.

    Args:
        trainer: the arguments.
        searched: names of arguments that the trials choose.

    Raises:
        ConfigError: naming the argument, what it got and what to do.
    """
    if not isinstance(trainer, Mapping):
        raise ConfigError(f"trainer needs a dict of Trainer arguments, such as {{'max_epochs': 10}}, got {trainer!r}")
    known, _, _ = arguments(Trainer)
    for key, value in trainer.items():
        if key not in known:
            raise ConfigError(f"trainer[{key!r}] is not an argument of Trainer{did_you_mean(str(key), known)}")
        several = isinstance(value, (list, tuple))
        for each in value if several else [value]:
            _check_not_shared(key, each, alone=not several)
        if key not in _OF_ANY_KIND:
            _check_kind(key, value)
        if key in _NOT_ZERO and value is not None and value == 0:
            raise ConfigError(f"trainer[{key!r}]={value!r} trains nothing: give at least 1, or leave it out")
        if key in _ABOVE_ZERO and is_number(value) and value <= 0:
            raise ConfigError(f"trainer[{key!r}] needs a number above 0, got {value!r}")
        if key in ("default_root_dir", "barebones") and value:
            raise ConfigError(f"trainer[{key!r}] cannot be set in a search: {_FIXED[key]}")
    strategy = trainer.get("strategy")
    if isinstance(strategy, str) and any(part in strategy for part in _IN_OTHER_PROCESSES):
        raise ConfigError(
            f"trainer['strategy']={strategy!r} trains in processes that tell the search nothing: take 'ddp', of which the "
            "trial's own process is the first"
        )
    for key in searched:
        if key in _FIXED:
            raise ConfigError(f"space['trainer.{key}'] cannot be searched: {_FIXED[key]}")
    if trainer.get("num_nodes", 1) != 1:
        raise ConfigError(f"trainer['num_nodes'] needs 1, since a trial runs on one machine, got {trainer['num_nodes']!r}")
    if not _countable(trainer.get("devices", 1)):
        raise ConfigError(f"trainer['devices'] needs how many devices a trial trains on, got {trainer['devices']!r}")
    _check_values({key: value for key, value in trainer.items() if key not in searched})


def unwise(trainer: Mapping[str, Any], searched: Iterable[str]) -> list[str]:
    """What is unwise in the user's Trainer arguments, one line each.

    >>> unwise({}, [])
    ["trainer has no max_epochs, so each trial trains for Lightning's 1000 epochs: set one, such as max_epochs=10"]
    """
    ends = ("max_epochs", "max_steps", "max_time", "fast_dev_run")
    if any(trainer.get(each) for each in ends) or not set(searched).isdisjoint(ends):
        return []
    return ["trainer has no max_epochs, so each trial trains for Lightning's 1000 epochs: set one, such as max_epochs=10"]


def _countable(devices: Any) -> bool:
    # A list says which, but the search decides that; its workers see no others.
    return devices == "auto" or (str(devices).isdigit() and int(devices) > 0)


def _check_kind(key: str, value: Any) -> None:
    """Raises ConfigError for a value of a kind that Trainer does not name: it may fail in the fit, or take 'no' for True."""
    kinds, values = _kinds()[key], [value]
    if list in kinds and isinstance(value, (list, tuple)):
        kinds, values = tuple(kind for kind in kinds if kind not in (list, type(None))), [*value]
    wrong = [each for each in values if not callable(each) and not _is_one_of(kinds, each)]
    if not wrong:
        return
    # A float may be whole, and None needs no telling.
    told = [kind for kind in kinds if kind is not type(None) and not (kind is int and float in kinds)]
    wanted = " or ".join(_WORDS.get(kind, kind.__name__) for kind in told)
    raise ConfigError(f"trainer[{key!r}] needs {wanted}, got {wrong[0]!r}{text_hint(wrong[0])}")


def _is_one_of(kinds: tuple[type, ...], value: Any) -> bool:
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


@cache
def _kinds() -> dict[str, tuple[type, ...]]:
    """The kinds of values that each argument of Trainer may have, by its annotation."""
    return {key: tuple(dict.fromkeys(_named(hint))) for key, hint in get_type_hints(Trainer.__init__).items()}


def _named(hint: Any) -> Iterator[type]:
    if get_origin(hint) is Literal:
        yield from map(type, get_args(hint))
    elif isinstance(get_origin(hint) or hint, type) and get_origin(hint) is not UnionType:
        yield get_origin(hint) or hint
    else:
        for each in get_args(hint):
            yield from _named(each)


def _check_not_shared(key: str, value: Any, alone: bool) -> None:
    # A gradient scaler in a precision plugin is one of a trial, too.
    if isinstance(value, (Callback, Logger, Strategy, Profiler)) or getattr(value, "scaler", None) is not None:
        name = type(value).__qualname__
        raise ConfigError(
            f"trainer[{key!r}] holds one {name} that all trials would share: give a function that makes them, "
            f"lambda: {name}(...)"
        )
    kind, example, plain = _MADE_BY_FUNCTIONS.get(key, (object, "", ()))
    if example and not callable(value) and not (alone and any(value is each for each in plain)):
        raise ConfigError(f"trainer[{key!r}] needs functions that make one, such as {example}, got {value!r}")
    # One with a __new__ of its own may give anything.
    if isinstance(value, type) and not issubclass(value, kind) and value.__new__ is object.__new__:
        raise ConfigError(f"trainer[{key!r}] holds the class {name_of(value)}, which is no {kind.__name__}")
    if callable(value):
        required = _required(value) - {"trial"}
        if required:
            raise ConfigError(
                f"trainer[{key!r}] holds {name_of(value)}, which is called for each trial without arguments, or with trial=, "
                f"but requires {', '.join(map(repr, sorted(required)))}: wrap it, lambda: {name_of(value)}(...)"
            )


def _check_values(trainer: Mapping[str, Any]) -> None:
    """Lets Lightning look at the values that are plain, by making a Trainer of them that does nothing."""
    plain = {key: value for key, value in trainer.items() if not _makes(value) and key not in ("callbacks", "plugins")}
    ours = {"devices": 1, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    try:
        with quiet():
            Trainer(**{**plain, **ours})
    except (ValueError, TypeError, ImportError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from None


def _makes(value: Any) -> bool:
    return any(map(callable, value)) if isinstance(value, (list, tuple)) else callable(value)
