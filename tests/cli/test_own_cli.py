"""``lightning_hp.cli.search``: a LightningCLI of the user's own, and all that it does to its parser."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from jsonargparse import lazy_instance
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor
from lightning.pytorch.cli import LightningCLI

from lightning_hp import Study
from lightning_hp.cli import main, search
from tests.cli.lit import Blobs, Encoder, Net, WithParts

REPOSITORY = Path(__file__).parents[2]
LR = {"scale": "log", "low": 0.01, "high": 0.1}
TRAINER = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False}
CONFIG = {
    "trainer": TRAINER,
    "search": {"monitor": "val_loss", "trials": 2, "executor": "inline", "root": "study", "space": {"model.lr": LR}},
}


def config(space=None, **sections):
    return {**CONFIG, **sections, "search": {**CONFIG["search"], "space": space or {"model.lr": LR}}}


@pytest.fixture
def searched(tmp_path, monkeypatch, capsys):
    """Runs a script that ends with ``search(...)`` on a config; gives code, out, err and the trials."""
    monkeypatch.chdir(tmp_path)

    def script(make, content, *arguments, command=()):
        Path("config.yaml").write_text(yaml.safe_dump(content))
        monkeypatch.setattr(sys, "argv", ["script.py", *command, "config.yaml", *arguments])
        with pytest.raises(SystemExit) as ended:
            make()
        captured = capsys.readouterr()
        trials = Study("study").trials if Path("study", "study.db").exists() else []
        return SimpleNamespace(code=ended.value.code, out=captured.out, err=captured.err, trials=trials)

    return script


@pytest.fixture
def fit_best(monkeypatch, capsys):
    """Has the CLI fit the best trial's config."""

    def fit(*arguments, **keywords):
        make, *rest = arguments
        main(["best", "study"])
        Path("best.yaml").write_text(capsys.readouterr().out)
        monkeypatch.setattr(sys, "argv", ["script.py"])
        return make(*rest, args=["fit", "-c", "best.yaml"], **keywords)

    return fit


def checkpoint(number):
    return torch.load(Path("study", "trials", f"{number:06}", "checkpoints", "last.ckpt"), weights_only=False)


def complete(result):
    assert result.code == 0, result.err
    assert [trial.state for trial in result.trials] == ["complete", "complete"], result.trials
    return result


@pytest.mark.filterwarnings("ignore")
def test_the_best_weights_are_read_by_the_cli_that_its_config_is_for(searched, monkeypatch, capsys):
    content = config(model={"class_path": "tests.cli.lit.Net"}, data={"class_path": "tests.cli.lit.Blobs"})
    complete(searched(lambda: search(LightningCLI), content))
    main(["best", "study"])
    Path("best.yaml").write_text(capsys.readouterr().out)
    best = Study("study").best
    monkeypatch.setattr(sys, "argv", ["script.py"])
    cli = LightningCLI(args=["validate", "-c", "best.yaml", "--ckpt_path", str(best.checkpoint)])
    assert cli.model.hparams["lr"] == best.hparams["model.lr"] == Net.load_from_checkpoint(best.checkpoint).lr
    weights = torch.load(best.checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(value, weights[name]) for name, value in cli.model.state_dict().items())
    assert not {"_class_path", "_instantiator"} & yaml.safe_load(Path("study/trials/000000/hparams.yaml").read_text()).keys()


def test_classes_that_the_cli_names_itself_need_no_class_path(searched, fit_best):
    space = {
        "model.lr": LR,
        "width": {"scale": "int", "low": 2, "high": 3},
        "data.batch_size": {"scale": "int", "low": 8, "high": 9},
    }
    result = complete(searched(lambda: search(LightningCLI, Net, Blobs), config(space, model={"num_classes": 3})))
    weights = checkpoint(1)["state_dict"]
    assert weights["net.0.layers.0.weight"].shape == (result.trials[1].hparams["width"], 2)
    assert weights["net.1.weight"].shape[0] == 3
    best = fit_best(LightningCLI, Net, Blobs)
    assert best.model.lr == Study("study").best.hparams["model.lr"]
    assert best.datamodule.batch_size == Study("study").best.hparams["data.batch_size"]


@pytest.mark.parametrize(
    "make",
    [partial(search, partial(LightningCLI, Net, Blobs)), partial(search, lambda: LightningCLI(Net, Blobs, run=False))],
    ids=["a partial", "a function that makes one that runs nothing"],
)
def test_what_makes_a_cli_will_do(searched, make):
    complete(searched(make, config()))


def test_flags_of_the_cli_and_of_the_search_stand_side_by_side(searched):
    class Mail(LightningCLI):
        def add_arguments_to_parser(self, parser):
            parser.add_argument("--address", default="nobody")

        def before_fit(self):
            Path("mail.txt").write_text(self.config["fit"]["address"])

    result = searched(lambda: search(Mail, Net, Blobs), config(), "--address", "a@b.c", "--trials", "1", "--model.width=3")
    assert result.code == 0, result.err
    assert Path("mail.txt").read_text() == "a@b.c"
    assert checkpoint(0)["state_dict"]["net.0.layers.0.weight"].shape == (3, 2)


def test_linked_arguments_follow_what_is_searched(searched, fit_best):
    class Linked(LightningCLI):
        def add_arguments_to_parser(self, parser):
            parser.link_arguments("data.batch_size", "model.batch_size")

    space = {"data.batch_size": {"scale": "int", "low": 8, "high": 16}}
    result = complete(searched(lambda: search(Linked, Net, Blobs), config(space)))
    for number, trial in enumerate(result.trials):
        assert checkpoint(number)["hyper_parameters"]["batch_size"] == trial.hparams["data.batch_size"]
    best = fit_best(Linked, Net, Blobs)
    assert best.model.hparams["batch_size"] == Study("study").best.hparams["data.batch_size"]


def test_arguments_linked_to_what_the_data_know_follow_too(searched):
    class Classes(LightningCLI):
        def add_arguments_to_parser(self, parser):
            parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")

    complete(searched(lambda: search(Classes, Net, Blobs), config()))
    assert checkpoint(0)["state_dict"]["net.1.weight"].shape[0] == 2
    assert checkpoint(0)["hyper_parameters"]["num_classes"] == 2


def test_a_key_of_the_clis_own_that_others_depend_on_is_searched_trial_by_trial(searched):
    class Common(LightningCLI):
        def add_arguments_to_parser(self, parser):
            parser.add_argument("--batch_size", type=int, default=4)
            parser.link_arguments("batch_size", "data.batch_size")
            parser.link_arguments("batch_size", "model.batch_size")

    space = {"batch_size": {"scale": "choice", "values": [8, 32]}, "model.lr": LR}
    result = complete(searched(lambda: search(Common, Net, Blobs), config(space)))
    for number, trial in enumerate(result.trials):
        assert checkpoint(number)["hyper_parameters"]["batch_size"] == trial.hparams["batch_size"]
        assert checkpoint(number)["global_step"] == 64 // trial.hparams["batch_size"]
    refused = searched(lambda: search(Common, Net, Blobs), config(space), "--fuse", "always", "--root", "other")
    assert refused.code == 2
    assert "fuse='always', but other arguments may depend on search.space.batch_size" in refused.err
    refused = searched(lambda: search(Common, Net, Blobs), config(space), "--fuse", "alway", "--root", "other")
    assert refused.code == 2
    assert "fuse='alway' is not one of auto, never, always (did you mean 'always'?)" in refused.err


def test_forced_callbacks_are_there_and_their_arguments_can_be_searched(searched, fit_best):
    class Stopping(LightningCLI):
        def add_arguments_to_parser(self, parser):
            parser.add_lightning_class_args(EarlyStopping, "stopping")
            parser.set_defaults({"stopping.monitor": "val_loss", "stopping.min_delta": 1e6})

    space = {"stopping.patience": {"scale": "choice", "values": [1, 2]}}
    result = complete(searched(lambda: search(Stopping, Net, Blobs), config(space, trainer={**TRAINER, "max_epochs": 5})))
    assert [trial.epochs for trial in result.trials] == [trial.hparams["stopping.patience"] + 1 for trial in result.trials]
    best = fit_best(Stopping, Net, Blobs)
    assert best.trainer.early_stopping_callback.patience == Study("study").best.hparams["stopping.patience"]


def test_defaults_of_the_trainer_hold_and_their_callbacks_are_each_trials_own(searched):
    stopping = EarlyStopping("val_loss", min_delta=1e6, patience=1)
    defaults = {"max_epochs": 4, "callbacks": [stopping, LearningRateMonitor()]}
    trainer = {key: value for key, value in TRAINER.items() if key != "max_epochs"}
    result = complete(searched(lambda: search(LightningCLI, Net, Blobs, trainer_defaults=defaults), config(trainer=trainer)))
    assert [trial.epochs for trial in result.trials] == [2, 2]
    assert stopping.stopped_epoch == 0


def test_an_optimizer_that_the_cli_names_itself_has_its_arguments_searched(searched, fit_best):
    class Adam(LightningCLI):
        def add_arguments_to_parser(self, parser):
            parser.add_optimizer_args(torch.optim.Adam)
            parser.add_lr_scheduler_args(torch.optim.lr_scheduler.ExponentialLR)

    space = {"optimizer.lr": LR, "lr_scheduler.gamma": LR}
    result = complete(searched(lambda: search(Adam, Net, Blobs), config(space, lr_scheduler={"gamma": 0.5})))
    for number, trial in enumerate(result.trials):
        (group,) = checkpoint(number)["optimizer_states"][0]["param_groups"]
        assert group["initial_lr"] == trial.hparams["optimizer.lr"]
        assert group["betas"] == (0.9, 0.999)
    best = fit_best(Adam, Net, Blobs)
    assert best.trainer.optimizers[0].param_groups[0]["initial_lr"] == Study("study").best.hparams["optimizer.lr"]


def test_a_class_that_is_a_default_of_the_clis_can_be_searched(searched, fit_best):
    class Default(LightningCLI):
        def add_arguments_to_parser(self, parser):
            parser.set_defaults({"model.encoder": lazy_instance(Encoder, width=5)})

    result = complete(searched(lambda: search(Default, WithParts, Blobs), config({"model.encoder.slope": LR})))
    assert checkpoint(0)["state_dict"]["net.0.layers.0.weight"].shape == (5, 2)
    assert checkpoint(0)["hyper_parameters"]["encoder"]["init_args"]["slope"] == result.trials[0].hparams["model.encoder.slope"]
    best = fit_best(Default, WithParts, Blobs)
    assert best.model.net[0].layers[1].negative_slope == Study("study").best.hparams["model.encoder.slope"]


def test_default_config_files_and_environment_variables_are_read_as_the_cli_reads_them(searched, monkeypatch, tmp_path):
    (tmp_path / "defaults.yaml").write_text(yaml.safe_dump({"model": {"width": 7}}))
    monkeypatch.setenv("PL_FIT__MODEL__NUM_CLASSES", "3")
    kwargs = {"fit": {"default_config_files": ["defaults.yaml"]}, "default_env": True}
    complete(searched(lambda: search(LightningCLI, Net, Blobs, parser_kwargs=kwargs), config()))
    weights = checkpoint(0)["state_dict"]
    assert (weights["net.0.layers.0.weight"].shape[0], weights["net.1.weight"].shape[0]) == (7, 3)


def test_what_runs_around_a_fit_runs_around_each_trials(searched):
    class Around(LightningCLI):
        def before_instantiate_classes(self):
            self.config["fit"]["model"]["width"] = 6

        def after_instantiate_classes(self):
            self.model.told = ["made"]

        def before_fit(self):
            self.model.told.append(self.trainer.max_epochs)

        def after_fit(self):
            with Path("told.txt").open("a") as file:
                print(self.config["fit"]["model"]["lr"], *self.model.told, type(self.datamodule).__name__, file=file)

    result = complete(searched(lambda: search(Around, Net, Blobs), config(), "--fuse", "never"))
    assert Path("told.txt").read_text().split("\n")[:2] == [
        f"{trial.hparams['model.lr']} made 1 Blobs" for trial in result.trials
    ]
    assert checkpoint(0)["state_dict"]["net.0.layers.0.weight"].shape == (6, 2)


class OwnTrainer(Trainer):
    pass


class OwnFit(LightningCLI):
    def instantiate_trainer(self, **keywords):
        return super().instantiate_trainer(**keywords)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (partial(search, LightningCLI, Net, Blobs, trainer_class=OwnTrainer), "trainer_class=OwnTrainer"),
        (partial(search, OwnFit, Net, Blobs), "OwnFit.instantiate_trainer is of its own"),
        (partial(search, lambda: None), "makes no LightningCLI"),
    ],
)
def test_what_no_trial_would_do_is_refused_in_one_line(searched, make, told):
    result = searched(make, config())
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert told in result.err


@pytest.mark.parametrize(
    ("change", "arguments", "told"),
    [
        ({"model": {"lrr": 1}}, [], "config.yaml: model.lrr is not an argument (did you mean 'lr'?)"),
        ({"space": {"model.lrr": LR}}, [], "search.space.model.lrr: model has no argument 'lrr' (did you mean 'lr'?)"),
        ({"space": {"stoping.patience": LR}}, [], "search.space.stoping.patience"),
        ({}, ["--trails", "3"], "--trails"),
        ({}, ["--model.lrr", "3"], "lrr"),
    ],
)
def test_mistakes_are_told_in_one_line(searched, change, arguments, told):
    result = searched(lambda: search(LightningCLI, Net, Blobs), config(**change), *arguments)
    assert (result.code, result.out) == (2, "")
    (line,) = result.err.splitlines()
    assert told in line


def test_its_config_can_be_checked(searched):
    made = partial(search, LightningCLI, Net, Blobs)
    result = searched(made, config(), command=["lint"])
    assert (result.code, result.out) == (0, "config.yaml: nothing to complain about\n")
    result = searched(made, config({"model.lrr": LR}), command=["lint"])
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "model has no argument 'lrr'" in result.err


@pytest.mark.filterwarnings("ignore")
def test_its_trials_can_be_rerun(searched, monkeypatch, capsys):
    made = partial(search, LightningCLI, Net, Blobs)
    complete(searched(made, config()))
    assert main(["rerun", "study", "1"]) == 2
    assert "give its script the same command" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["script.py", "rerun", "study", "1"])
    with pytest.raises(SystemExit) as ended:
        made()
    assert ended.value.code == 0
    assert "trial 1: the same to the last bit" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_one_fit_of_its_config_can_be_babysat(searched):
    fitted = []

    class Told(LightningCLI):
        def after_fit(self):
            fitted.append((self.config["model"]["lr"], self.trainer.current_epoch))

    result = searched(partial(search, Told, Net, Blobs, run=False), config(), "--model.lr", "0.3", command=["babysit"])
    assert result.code == 0, result.err
    assert "best val_loss" in result.out
    assert fitted == [(0.3, 1)]


SCRIPT = """
from lightning.pytorch.cli import LightningCLI

from lightning_hp.cli import search
from tests.cli.lit import Blobs, Encoder, Net, WithParts


class Mine(WithParts):
    pass


class MyEncoder(Encoder):
    pass


class MyCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.add_argument("--note", default="")


if __name__ == "__main__":
    search(MyCLI, datamodule_class=Blobs)
"""


@pytest.mark.slow
def test_a_script_searches_its_own_classes_in_processes(tmp_path):
    model = {"class_path": "Mine", "init_args": {"encoder": {"class_path": "MyEncoder"}}}
    content = config({"model.encoder.slope": LR}, model=model)
    content["search"] |= {"executor": "processes", "workers": 2, "fuse": "never"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "script.py", "config.yaml", "--note", "x"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [trial.state for trial in Study(tmp_path / "study").trials] == ["complete", "complete"]
    printed = subprocess.run(
        [sys.executable, "-m", "lightning_hp", "best", "study"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert printed.returncode == 0, printed.stderr
    best = yaml.safe_load(printed.stdout)
    assert best["model"]["class_path"] == "__main__.Mine"
    slope = best["model"]["init_args"]["encoder"]["init_args"]["slope"]
    assert slope == Study(tmp_path / "study").best.hparams["model.encoder.slope"]
