"""``lightning-hp best``: the config of a study's best trial, as ``fit`` of LightningCLI takes it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import yaml

from lightning_hp.cli.follow import searched_space
from lightning_hp.cli.names import Keys, locate, put_all
from lightning_hp.cli.settings import read_config
from lightning_hp.errors import ConfigError
from lightning_hp.report.nameless import SCRIPT, WHY, Place, nameless, place_name
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
    config = config_of(read_config(folder / FILE), trial)
    found = nameless(config)
    # A class of the script is one for the LightningCLI of that script.
    missing = {place: told for place, told in found.items() if not told.startswith(SCRIPT)}
    print(f"# Trial {trial.number} of {folder}{value}\n{_as_yaml(config, missing)}", end="")
    _tell(missing, f"fill in what stands there as a comment, as class_path of a module; {WHY}")
    of_script = [place for place in found if place not in missing]
    _tell(of_script, "a class of the script of the search: name its module for a LightningCLI elsewhere")
    return 1 if missing else 0


def config_of(config: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
    """A study's config with a trial's hyperparameters and seed in the place of the search."""
    given = {key: value for key, value in config.items() if key != "search"}
    put_all(given, [(_keys(name, given), value) for name, value in trial.hparams.items()], {})
    return {"seed_everything": trial.seed, **given}


def _tell(places: Collection[Place], told: str) -> None:
    if places:
        print(f"lightning-hp: {', '.join(map(place_name, places))}: {told}", file=sys.stderr)


def _as_yaml(config: Mapping[str, Any], missing: Mapping[Place, str]) -> str:
    """A config as text, with a comment in the place of what it cannot say."""
    plain: Any = copy.deepcopy(config)
    marks: dict[str, str] = {}
    for index, (place, told) in enumerate(missing.items()):
        mark = f"nameless_{index}_"
        marks[mark] = told
        reduce(getitem, place[:-1], plain)[place[-1]] = mark
    lines = yaml.safe_dump(plain, sort_keys=False).splitlines()
    for mark, told in marks.items():
        index = next(index for index, line in enumerate(lines) if line.endswith(mark))
        said = lines[index].lstrip()
        indent = lines[index].removesuffix(said)
        lines[index] = f"{indent}# {said.removesuffix(mark)}{told}"
    return "".join(f"{line}\n" for line in lines)


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
