"""``lightning-hp best``: the config of a study's best trial, as ``fit`` of LightningCLI takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_hp.cli.follow import searched_space
from lightning_hp.cli.names import Keys, locate, put_all
from lightning_hp.cli.settings import read_config
from lightning_hp.errors import ConfigError
from lightning_hp.study import Study
from lightning_hp.study.config import FILE
from lightning_hp.trial import Trial

_SECTIONS = ("model", "data", "trainer", "optimizer", "lr_scheduler")


def main(root: str, number: int | None = None) -> int:
    folder = Path(root)
    study = Study(folder)
    if not (folder / FILE).is_file():
        raise ConfigError(f"{root} holds no {FILE}, of which the trial's config is made")
    study = Study(folder, searched_space(study))
    trial = _trial(study, number)
    value = f": {study.asked['monitor']} {trial.value:.6g}" if trial.value is not None else f", {trial.state}"
    config = yaml.safe_dump(config_of(read_config(folder / FILE), trial), sort_keys=False)
    print(f"# Trial {trial.number} of {folder}{value}\n{config}", end="")
    return 0


def config_of(config: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
    """A study's config with a trial's hyperparameters and seed in the place of the search."""
    given = {key: value for key, value in config.items() if key != "search"}
    put_all(given, [(_keys(name, given), value) for name, value in trial.hparams.items()], {})
    return {"seed_everything": trial.seed, **given}


def _keys(name: str, given: Mapping[str, Any]) -> Keys:
    # Where a whole section is searched, the study's config has it: a name alone that is none of its sections is the model's.
    known = (*_SECTIONS, *given) if "." in name else tuple(given)
    sections: Mapping[str, Sequence[str]] = dict.fromkeys(known, ())
    try:
        return locate(name, given, {}, sections)
    except ConfigError:
        # A class of the user's script cannot be asked here.
        return locate(name, given, {}, sections, ask=False)


def _trial(study: Study, number: int | None) -> Trial:
    if number is None:
        try:
            return study.best
        except LookupError as error:
            raise ConfigError(str(error)) from None
    for trial in study.trials:
        if trial.number == number:
            return trial
    raise ConfigError(f"{study.root} has no trial {number}")
