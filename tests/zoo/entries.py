"""The zoo: LightningModules of many kinds as their users write them, and which of them train as one fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from lightning_hp import Linear, Log, ReverseLog
from lightning_hp.errors import ConfigError
from lightning_hp.fit import Recipe, run_job
from lightning_hp.fit.quiet import quiet
from lightning_hp.samplers import Random
from lightning_hp.seeds import trial_seed
from lightning_hp.space import Space
from lightning_hp.space.scales import Scale
from lightning_hp.trial import Event, Job, Trial
from tests.zoo import data, images, others, sequences


@dataclass(frozen=True)
class Entry:
    """One module.

    Attributes:
        model: the class.
        data: makes its loaders.
        space: of its hyperparameters, besides lr and momentum.
        monitor: what it minimizes.
        random: whether its steps draw random numbers, so that two runs are alike in distribution only.
        unfused: why it does not train as one fit; None if it does.
    """

    model: type[LightningModule]
    data: Callable[[], data.Loaders] = data.digits
    space: Mapping[str, Scale] = field(default_factory=dict)
    monitor: str = "val_loss"
    random: bool = False
    unfused: str | None = None


ZOO: dict[str, Entry] = {
    "MLP": Entry(images.MLP),
    "CNN, BatchNorm": Entry(images.BatchNormCNN),
    "residual network": Entry(images.ResNet),
    "depthwise CNN": Entry(images.DepthwiseCNN),
    "CNN, GroupNorm": Entry(images.GroupNormCNN),
    "MNIST network (Lightning's demo)": Entry(images.DemoNet, data.large_digits, random=True),
    "vision transformer": Entry(images.ViT),
    "transformer encoder": Entry(sequences.EncoderClassifier, data.rows_of_digits, random=True),
    "transformer (Lightning's demo)": Entry(sequences.Translation, data.text, monitor="loss", random=True),
    "GPT": Entry(sequences.GPT, data.text),
    "embedding bag": Entry(sequences.TextClassifier, data.lines),
    "text CNN": Entry(sequences.TextCNN, data.lines),
    "LSTM": Entry(sequences.LSTMClassifier, data.rows_of_digits),
    "LSTM (Lightning's demo)": Entry(sequences.LanguageLSTM, data.text, unfused="training_step changes hidden"),
    "GRU, both directions": Entry(sequences.GRUClassifier, data.rows_of_digits),
    "autoencoder": Entry(others.Autoencoder),
    "VAE": Entry(others.VAE, random=True),
    "GAN": Entry(others.GAN, unfused="manual optimization"),
    "U-Net": Entry(others.UNet, data.noisy_digits),
    "Siamese network": Entry(others.Siamese, data.pairs_of_digits),
    "quantile regression, metric object": Entry(others.QuantileRegression, data.diabetes),
    "metric collections": Entry(others.Measured),
    "metric collections, AUROC": Entry(others.AreaUnderCurve),
    "outputs kept for the epoch's end": Entry(others.Collecting),
    "mixture of experts": Entry(images.MixtureOfExperts),
    "weight_norm": Entry(images.WeightNorm),
    "spectral_norm": Entry(images.SpectralNorm),
    "dropout searched": Entry(images.DropoutSearched, space={"dropout": Linear(0.0, 0.5)}, random=True),
    "loss weight searched": Entry(images.MultiTask, space={"weight": Log(0.1, 10.0)}),
    "moving average of weights": Entry(images.Averaged),
    "mixup": Entry(images.Smoothed, random=True),
    "branch on the loss": Entry(images.Branching, unfused="training_step cannot be vectorized"),
    "BoringModel (Lightning's demo)": Entry(others.Boring, data.diabetes),
    "BoringModel, manual (Lightning's demo)": Entry(others.ManualBoring, data.diabetes, unfused="manual optimization"),
}


def train(entry: Entry, trials: int, together: bool, root: Path, emit: Callable[[Event], None], **trainer: Any) -> str | None:
    """Trains trials of an entry, together or one after another.

    Returns:
        Why they cannot train together.
    """
    space = Space({"lr": Log(1e-3, 3e-2), "momentum": ReverseLog(0.5, 0.9), **entry.space})
    recipe = Recipe(
        model=entry.model,
        space=space,
        data=entry.data,
        trainer={"accelerator": "cpu", **trainer},
        monitor=entry.monitor,
        mode="min",
        root=root,
    )
    drawn = Random().propose(space, 0, range(trials), [])
    every = [Trial(number, hparams, trial_seed(0, number)) for number, hparams in enumerate(drawn)]
    try:
        with quiet():
            for job in [Job(tuple(every))] if together else [Job((trial,)) for trial in every]:
                run_job(recipe, job, emit, always=True)
    except ConfigError as error:
        return str(error).partition("cannot train as one: ")[2]
    return None
