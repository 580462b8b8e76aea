"""One job: whatever a trial does, it ends with its outcome, and only Ctrl-C goes through."""

from __future__ import annotations

import logging
import re
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch.utils.data import DataLoader, TensorDataset

from examples.digits import LitDigits
from lightning_hp import Choice, ConfigError, Log, Study

SPACE = {"lr": Log(1e-2, 1.0)}


@pytest.mark.parametrize("where", ["factory", "training_step", "configure_optimizers", "validation_step", "on_fit_end"])
@pytest.mark.parametrize("error", [ValueError("not\n  this"), SystemExit(3), MemoryError(), AssertionError()], ids=repr)
def test_what_the_users_code_raises_fails_its_trial_alone(search, where, error):
    class Raising(LitDigits):
        def __init__(self, lr):
            super().__init__(lr=lr)
            if where == "factory":
                raise error

    def raises(self, *arguments):
        raise error

    if where != "factory":
        setattr(Raising, where, raises)
    study = search(Raising, space=SPACE, trials=2).run()
    for trial in study.trials:
        assert trial.state == "failed"
        assert trial.reason.startswith(type(error).__name__)
        assert "\n" not in trial.reason
        assert "test_run.py" in trial.traceback


@pytest.mark.parametrize("fuse", ["never", "always"])
def test_a_trial_without_a_batch_fails_alone_and_is_told_so(search, fuse):
    def loaders(batch_size):
        images, labels = torch.rand(48, 64), torch.randint(10, (48,))
        data = TensorDataset(images, labels)
        return DataLoader(data, batch_size=batch_size, drop_last=True), DataLoader(data, batch_size=48)

    space = SPACE | {"data.batch_size": Choice(16, 64)}
    study = search(space=space, data=loaders, trials=4, strategy="grid", fuse=fuse).run()
    empty = [trial for trial in study.trials if trial.hparams["data.batch_size"] == 64]
    assert 0 < len(empty) < len(study.trials)
    for trial in study.trials:
        assert trial.state == ("failed" if trial in empty else "complete")
        assert "there is no batch to train on" in (trial.reason or "") or trial not in empty


@pytest.mark.parametrize("where", ["factory", "training_step", "data"])
def test_ctrl_c_goes_through_wherever_it_strikes(search, where):
    class Interrupted(LitDigits):
        def __init__(self, lr):
            super().__init__(lr=lr)
            if where == "factory":
                raise KeyboardInterrupt

        def training_step(self, batch, batch_idx):
            raise KeyboardInterrupt

    def data():
        raise KeyboardInterrupt

    loop = search(Interrupted, space=SPACE, **({"data": data} if where == "data" else {}))
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert [trial.state for trial in Study(loop.root).trials] in ([], ["waiting"])


def test_a_model_that_torch_compile_has_wrapped_is_told_how_it_is_compiled_else(search):
    study = search(lambda lr: torch.compile(LitDigits(lr)), space=SPACE, trials=1).run()
    assert study.trials[0].reason.endswith("not a LightningModule: compile it in its place, model.compile()")


def test_data_of_another_kind_fail_with_what_was_returned(search):
    study = search(space=SPACE, data=lambda: [1, 2, 3], trials=1).run()
    assert study.trials[0].reason.endswith("returned a list, not a LightningDataModule or a tuple (train, val) of loaders")


def test_a_module_without_loaders_that_a_function_makes_is_told_to_need_data(search):
    study = search(lambda lr: LitDigits(lr), space=SPACE, data=None, trials=1).run()
    assert study.trials[0].reason.startswith("TypeError: LitDigits has no train_dataloader, and no data is given: give data=")


class Foreign:
    def __init__(self, lr=0.1):
        pass


Foreign.__module__ = "pytorch_lightning.core"
TOLD = r"import from lightning\.pytorch.*sys\.modules\['pytorch_lightning'\] = lightning\.pytorch"


@pytest.mark.parametrize("arguments", [{"model": Foreign}, {"data": Foreign}, {"data": Foreign()}])
def test_what_is_of_the_other_package_is_told_at_once_where_to_import_from(search, arguments):
    with pytest.raises(ConfigError, match=rf"(model|data) got Foreign, which .*{TOLD}"):
        search(space=SPACE, **arguments)


@pytest.mark.parametrize("arguments", [{"model": lambda lr: Foreign()}, {"data": lambda: Foreign()}])
def test_so_is_what_a_function_of_the_users_returns(search, arguments):
    study = search(space=SPACE, trials=1, **arguments).run()
    assert re.search(rf"returned a Foreign, not a Lightning.*{TOLD}", study.trials[0].reason)


def test_a_search_is_quiet_and_a_verbose_one_is_lightnings_own(search, caplog, capfd, tmp_path):
    logger = logging.getLogger("lightning.pytorch")
    logger.addHandler(caplog.handler)
    level = logger.level
    try:
        search(space=SPACE, trials=1).run()
        assert caplog.messages == []
        assert "".join(capfd.readouterr()).strip() == ""
        assert logger.level == level
        search(space=SPACE, trials=1, verbose=True, root_dir=tmp_path / "loud").run()
        assert any("GPU available" in message for message in caplog.messages)
    finally:
        logger.removeHandler(caplog.handler)


def test_optimizers_without_momentum_are_no_news(search):
    class Adagrad(LitDigits):
        def configure_optimizers(self):
            return torch.optim.Adagrad(self.parameters(), self.hparams.lr)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        search(Adagrad, space=SPACE, trials=1).run()
    assert not [each for each in told if "momentum" in str(each.message)]


def test_what_every_trial_warns_of_is_told_once(search, recwarn):
    class Warns(LitDigits):
        def on_fit_start(self):
            warnings.warn("odd", stacklevel=1)
            warnings.warn(
                "Attribute 'loss' is an instance of `nn.Module` and is already saved during checkpointing.", stacklevel=1
            )
            # As libraries do, and Python forgets what it has shown.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")

    warnings.simplefilter("default")
    search(Warns, space=SPACE, trials=3).run()
    assert [str(each.message) for each in recwarn] == ["odd"]


@pytest.mark.parametrize("normalized", [False, True])
def test_an_average_that_comes_after_the_last_validation_is_told(search, recwarn, normalized):
    def model(lr):
        made = LitDigits(lr)
        made.net.insert(0, torch.nn.BatchNorm1d(64) if normalized else torch.nn.Identity())
        return made

    averaging = {"max_epochs": 2, "accelerator": "cpu", "callbacks": [lambda: StochasticWeightAveraging(0.01, 1)]}
    search(model, space=SPACE, trainer=averaging, trials=2).run()
    assert sum("makes its average after the last validation" in str(each.message) for each in recwarn) == (not normalized)
