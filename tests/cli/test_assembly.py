"""What a trial's config becomes, however many have been made before it."""

from __future__ import annotations

import copy

import pytest
from lightning.pytorch.cli import LightningCLI
from torch import nn

from lightning_hp.cli.config import assembled
from lightning_hp.errors import ConfigError
from tests.cli.lit import Base


class Sized(Base):
    def __init__(self, encoder: nn.Module, sizes: list[int], lr: float | str = 0.1, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.sizes = sizes
        self.net = encoder


CONFIG = {
    "model": {
        "class_path": f"{__name__}.Sized",
        "init_args": {"encoder": {"class_path": "tests.cli.lit.Encoder"}, "sizes": [4, 8]},
    },
    "data": {"class_path": "tests.cli.lit.Blobs"},
    "trainer": {"max_epochs": 1},
}
# Some differ in numbers alone from one before, others in classes or in what they have.
TRIALS = [
    {"model.lr": 0.1, "model.encoder.slope": 0.2, "data.spread": 0.5, "model.sizes": [3]},
    {"model.lr": 2, "model.encoder.slope": 0.4, "data.spread": 1, "model.sizes": [5]},
    {"model.lr": 0.3, "model.sizes": [2, 6]},
    {"model.lr": 0.4, "model.sizes": []},
    {"model.lr": "auto"},
    {"model.lr": 0.4, "trainer.max_epochs": 2, "trainer.gradient_clip_val": 1},
    {"model.lr": 0.5, "trainer.max_epochs": 3, "trainer.gradient_clip_val": 0.5},
    {"optimizer": "torch.optim.SGD", "optimizer.lr": 0.1},
    {"optimizer.lr": 0.2, "optimizer": "torch.optim.Adam"},
    {"optimizer": "torch.optim.SGD", "optimizer.lr": 0.3},
    {"model.encoder": {"class_path": "tests.cli.lit.Encoder", "init_args": {"width": 2}}, "model.encoder.slope": 0.1},
    {"model.encoder": {"class_path": "tests.cli.lit.Encoder", "init_args": {"width": 8}}, "model.encoder.slope": 0.2},
]


def assembly():
    return assembled(
        {**copy.deepcopy(CONFIG), "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}}, LightningCLI
    )


@pytest.mark.filterwarnings("ignore")
def test_a_trials_config_does_not_depend_on_those_before_it():
    one = assembly()
    for hparams in TRIALS:
        assert one.whole(hparams) == assembly().whole(hparams), hparams


def test_no_trial_sees_what_another_has_done_to_an_argument():
    one = assembly()
    for lr in (0.1, 0.2, 0.3):
        model = one.model({"model.lr": lr})
        assert model.sizes == [4, 8]
        model.sizes.append(0)


def test_values_are_checked_trial_by_trial():
    one = assembly()
    one.parsed({"trainer.max_epochs": 1})
    with pytest.raises(ConfigError, match="max_epochs"):
        one.parsed({"trainer.max_epochs": 1.5})


@pytest.mark.parametrize("names", [("optimizer", "optimizer.lr"), ("optimizer.lr", "optimizer")])
def test_a_class_and_its_arguments_are_searched_in_any_order(names):
    values = {"optimizer": "torch.optim.Adam", "optimizer.lr": 0.2}
    found = assembly().config({name: values[name] for name in names})["optimizer"]
    assert found == {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.2}}
