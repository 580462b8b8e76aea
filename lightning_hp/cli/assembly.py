"""What a LightningCLI makes of a config, as often as asked, with other hyperparameters each time."""

from __future__ import annotations

import copy
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, _get_module_type
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters_context

from lightning_hp.cli.names import Config, Keys, drop, given_at, locate, put, put_all
from lightning_hp.cli.optimizers import Optimizers
from lightning_hp.cli.parsing import Parsing
from lightning_hp.cli.unrun import fit_parser, instantiated, of_fit, plain, sections_of, unrun
from lightning_hp.space import Hparams

# What a LightningCLI calls before and after a fit.
HOOKS = ("after_instantiate_classes", "before_fit", "after_fit")
# What is described by itself, or is no part of what a trial is.
_APART = frozenset({"model", "data", "trainer", "seed_everything", "ckpt_path", "weights_only"})
# What Lightning makes an object by that a LightningCLI has made, from a checkpoint.
_INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"
_TRAINER_DEFAULTS = {name: each.default for name, each in inspect.signature(Trainer).parameters.items()}


class Assembly:
    """A config from which a LightningCLI makes a model, data and the Trainer's arguments for a trial.

    All is parsed and made by the CLI's own parser, so that whatever the CLI has done to it (links, defaults, classes,
    callbacks) holds for the trials as well. It can be sent to a worker process, where the CLI is made anew.

    Args:
        make: calls the LightningCLI.
        given: the config's sections, without what is left to defaults.
    """

    def __init__(self, make: Callable[[], Any], given: Config) -> None:
        self._make = make
        self._cli: LightningCLI | None = None
        self._kept: tuple[Hparams, Namespace] | None = None
        self._parsing = Parsing()
        self._keys: dict[str, Keys] = {}
        self.given = copy.deepcopy(given)
        self.defaults: Config = self._parser.get_defaults().as_dict()

    @property
    def cli(self) -> LightningCLI:
        """The CLI, made where it is used, the first time it is."""
        if self._cli is None:
            self._cli = unrun(self._make)
        return self._cli

    @property
    def _parser(self) -> LightningArgumentParser:
        return fit_parser(self.cli)

    @property
    def sections(self) -> dict[str, list[str]]:
        """The top-level keys of a config, and the arguments of those that stand for one class."""
        return sections_of(self._parser)

    @property
    def linked(self) -> set[str]:
        """The sections on which arguments of others depend."""
        links: list[Any] = [action for action in self._parser._actions if hasattr(action, "apply_on")]
        return {source.partition(".")[0] for link in links for source, _ in link.source}

    @property
    def others(self) -> Config:
        """What is given besides model, data and trainer."""
        return {key: value for key, value in self.given.items() if key not in _APART}

    @property
    def hooked(self) -> bool:
        """Whether the CLI has code of its own that runs around a fit."""
        return any(getattr(type(self.cli), name, None) is not getattr(LightningCLI, name, None) for name in HOOKS)

    @property
    def forces_callbacks(self) -> bool:
        """Whether the CLI adds callbacks by itself."""
        return bool(self._parser.callback_keys or self.cli.trainer_defaults.get("callbacks")) or self.hooked

    def locate(self, name: str) -> Keys:
        """Where a dotted name stands in the config."""
        if name not in self._keys:
            self._keys[name] = locate(name, self.given, self.defaults, self.sections)
        return self._keys[name]

    def complete(self, names: Iterable[str]) -> None:
        """Has the config say which section and class take a name, where that is a default: for those who lack the CLI."""
        for keys in map(self.locate, names):
            section, default = keys[0], self.defaults.get(keys[0])
            if not given_at(self.given, keys):
                put(self.given, keys, None, self.defaults)
                drop(self.given, keys)
            if section not in _APART and section not in self.given:
                self.given[section] = {} if len(keys) > 1 else default

    def config(self, hparams: Hparams) -> Config:
        """The config with a trial's hyperparameters, as ``fit`` takes it."""
        config = copy.deepcopy(self.given)
        put_all(config, ((self.locate(name), value) for name, value in hparams.items()), self.defaults)
        return config

    def parsed(self, hparams: Hparams) -> Namespace:
        """The config with a trial's hyperparameters and all defaults.

        Raises:
            ConfigError: the parser refuses a name or a value.
        """
        # A trial asks for its model, its data and its Trainer one after another.
        if self._kept is None or self._kept[0] != hparams:
            located = {name: self.locate(name) for name in hparams}
            self._say(self._parsing.parse(self.cli, self.config(hparams), hparams, located))
            self.cli.before_instantiate_classes()
            self._kept = copy.deepcopy(hparams), of_fit(self.cli, self.cli.config)
        kept = self._kept[1]
        self._say(kept)
        return kept

    def _say(self, parsed: Namespace) -> None:
        """Has the CLI's own code find a trial's config where it looks for it."""
        self.cli.config = parsed if self.cli.subcommand is None else _namespace({"subcommand": "fit", "fit": parsed})

    def whole(self, hparams: Hparams) -> Config:
        """The config with a trial's hyperparameters and all defaults, as plain values."""
        return plain(self._parser, self.parsed(hparams))

    def model(self, hparams: Hparams) -> LightningModule:
        """A trial's model, with the optimizer that the config says, if it does."""
        parsed = self.parsed(hparams)
        model: LightningModule = self._made(parsed, "model")
        self._give_optimizers(model, parsed)
        return model

    def data(self, hparams: Hparams) -> Any:
        """A trial's data; None if the config has none."""
        return self._made(self.parsed(hparams), "data")

    def trainer(self, hparams: Hparams) -> dict[str, Any]:
        """A trial's arguments of Trainer, as far as they are not its defaults. Objects stand as the parser has them."""
        section = vars(self.parsed(hparams)["trainer"])
        return {key: value for key, value in section.items() if value != _TRAINER_DEFAULTS[key]}

    def trainer_object(self, hparams: Hparams, key: str) -> Any:
        """An object, or several, among a trial's arguments of Trainer."""
        section = _namespace({"trainer": _namespace({key: self.parsed(hparams)["trainer"][key]})})
        return self._instantiate(section)["trainer"][key]

    def forced_callbacks(self, hparams: Hparams) -> list[Callback]:
        """Those that the CLI adds to a trial's Trainer by itself."""
        parsed = self.parsed(hparams)
        own = [self._made(parsed, key) for key in self._parser.callback_keys]
        always = self.cli.trainer_defaults.get("callbacks") or []
        # A trial would see what those before it have done to a callback.
        return [*own, *copy.deepcopy(always if isinstance(always, list) else [always])]

    def _made(self, parsed: Namespace, key: str) -> Any:
        """What a section makes; with all that it is linked to, if it is."""
        if parsed.get(key) is None:
            return None
        if any(getattr(action, "apply_on", None) == "instantiate" for action in self._parser._actions):
            section = parsed.clone()
            del section["trainer"]
            return self._instantiate(section, groups=True)[key]
        made = self._instantiate(_namespace({key: parsed[key]}))[key]
        if not isinstance(made, Namespace):
            return made
        # A class that the CLI names itself takes the section's keys as arguments.
        fixed = {"model": self.cli._model_class, "data": self.cli._datamodule_class}
        if key in fixed:
            return self._call(key, fixed[key], **made)
        groups: Any = self._parser.groups
        return groups[key].group_class(**made)

    def _instantiate(self, section: Namespace, groups: bool = False) -> Any:
        own = [
            (partial(self._call, "model"), _get_module_type(self.cli._model_class), self.cli.subclass_mode_model),
            (partial(self._call, "data"), _get_module_type(self.cli._datamodule_class), self.cli.subclass_mode_data),
        ]
        try:
            return instantiated(self._parser, section, groups, own)
        except ValueError as error:
            # What the user's class raises comes wrapped in what jsonargparse says of the types that it tried.
            raise error.__cause__ or error from None

    def _call(self, key: str, made: Any, *args: Any, applied_instantiation_links: Any = None, **given: Any) -> Any:
        """Makes a model or data."""
        assert self._kept is not None
        if all(map(_plain, given.values())):
            one = made(*args, **given)
            class_path = self._kept[1][key].get("class_path")
            if isinstance(one, LightningModule) and class_path is not None and set(one.hparams) <= set(given):
                _say_class(one, class_path)
            return one
        # Objects among the arguments would be kept as hyperparameters: LightningCLI has it keep what they are made of.
        section = plain(self._parser, _namespace({key: self._kept[1][key]}))[key]
        if "class_path" in section:
            section = {"_class_path": section["class_path"], **section.get("init_args", {}), **section.get("dict_kwargs", {})}
        for target, value in (applied_instantiation_links or {}).items():
            if target.startswith(f"{key}."):
                put(section, tuple(target.removeprefix(f"{key}.").removeprefix("init_args.").split(".")), value, {})
        with _given_hyperparameters_context(section, _INSTANTIATOR):
            return made(*args, **given)

    def _give_optimizers(self, model: LightningModule, parsed: Namespace) -> None:
        """Has the model make the optimizer and scheduler of the config, if there is one, where Lightning asks for them.

        LightningCLI makes them with the model, whose parameters may be put elsewhere until then.
        """
        parser = self._parser
        config = _namespace({key: parsed.get(key) for key in (*parser._optimizers, *parser._lr_schedulers)})
        self._give(model, config)
        if "configure_optimizers" in model.__dict__:
            model.configure_optimizers = Optimizers(self._give, model, config)  # type: ignore[method-assign]

    @cached_property
    def _give(self) -> Callable[[LightningModule, Namespace], None]:
        # One function for all models, so that these are seen to be alike.
        def give(model: LightningModule, config: Namespace) -> None:
            cli = self.cli
            cli.model, cli.config_init = model, config
            with warnings.catch_warnings():
                # That they take the place of the module's own is what was asked for.
                warnings.simplefilter("ignore")
                cli._add_configure_optimizers_method_to_model(cli.subcommand)

        return give

    def __deepcopy__(self, memo: dict[int, Any]) -> Assembly:
        return self

    def __getstate__(self) -> dict[str, Any]:
        # A class of the user's script can be imported by no other process.
        script = {path: getattr(sys.modules["__main__"], path, None) for path in _of_script([self.given, self.defaults])}
        state = {key: value for key, value in vars(self).items() if key != "_give"}
        return {
            **state,
            "_cli": None,
            "_kept": None,
            "_parsing": Parsing(),
            "_script": script,
            "_last": self._kept and self._kept[0],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, made in state.pop("_script").items():
            setattr(sys.modules["__main__"], name, made)
        last = state.pop("_last")
        vars(self).update(state)
        if last is not None:
            # It takes seconds the first time: where processes are forked from this one, better before than in each.
            with suppress(Exception):
                self.parsed(last)


def _say_class(model: LightningModule, class_path: str) -> None:
    """Has a model's checkpoints say its class, if it keeps its arguments there.

    LightningCLI, given such a checkpoint and a config that names a class, takes the hyperparameters for those of that class
    only then.
    """
    if model.hparams:
        model.hparams.update(_class_path=class_path, _instantiator=_INSTANTIATOR)


def _namespace(values: dict[str, Any]) -> Namespace:
    return Namespace(values)  # type: ignore[no-untyped-call]


def _plain(value: Any) -> bool:
    """Whether a value is one that a config can hold."""
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _of_script(config: Any) -> Iterator[str]:
    """The names of what a config has from the user's script."""
    if isinstance(config, Mapping):
        for value in config.values():
            yield from _of_script(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _of_script(value)
    elif isinstance(config, str) and config.startswith("__main__."):
        yield config.split(".")[1]
