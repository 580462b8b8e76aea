"""Everything that is no plain classifier: generation, regression, contrast, segmentation, metric objects."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.demos.boring_classes import BoringModel, ManualOptimBoringModel
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss, pairwise_distance, relu
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score

from tests.zoo.images import Classifier


class Autoencoder(Classifier):
    def make(self) -> None:
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8), nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64)
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return mse_loss(self(batch[0]), batch[0].flatten(1))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", mse_loss(self(batch[0]), batch[0].flatten(1)))


class VAE(Classifier):
    def make(self) -> None:
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
        self.decoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))

    def loss(self, x: Tensor) -> Tensor:
        mean, log_variance = self(x).chunk(2, dim=-1)
        drawn = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(-1).mean()
        return binary_cross_entropy_with_logits(self.decoder(drawn), x.flatten(1)) + 1e-3 * divergence

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch[0])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch[0]))


class GAN(LightningModule):
    """Two optimizers in turns."""

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))
        self.critic = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        real = batch[0].flatten(1)
        one, other = self.optimizers()  # type: ignore[misc, union-attr]
        fake = self.generator(torch.randn(len(real), 8, device=self.device))
        loss = relu(1 - self.critic(real)).mean() + relu(1 + self.critic(fake.detach())).mean()
        one.zero_grad()
        self.manual_backward(loss)
        one.step()
        other.zero_grad()
        self.manual_backward(-self.critic(fake).mean())
        other.step()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", -self.critic(batch[0].flatten(1)).mean())

    def configure_optimizers(self) -> Any:
        sides = (self.critic, self.generator)
        return [torch.optim.Adam(side.parameters(), self.hparams["lr"], (self.hparams["momentum"], 0.99)) for side in sides]


class QuantileRegression(Classifier):
    """Three quantiles, and a metric object that is logged itself."""

    def make(self) -> None:
        self.net = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 3))
        self.register_buffer("quantiles", torch.tensor([0.1, 0.5, 0.9]))
        self.error = MeanSquaredError()

    def loss(self, predicted: Tensor, y: Tensor) -> Tensor:
        error = y.unsqueeze(1) - predicted
        return torch.maximum(self.quantiles * error, (self.quantiles - 1) * error).mean()  # type: ignore[operator]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        predicted = self(batch[0])
        self.error(predicted[:, 1], batch[1])
        self.log("val_mse", self.error)
        self.log("val_loss", self.loss(predicted, batch[1]))


class Siamese(Classifier):
    def make(self) -> None:
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))

    def loss(self, batch: Any) -> Tensor:
        first, second, same = batch
        distance = pairwise_distance(self(first), self(second))
        return (same * distance.square() + (1 - same) * relu(1 - distance).square()).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


class UNet(Classifier):
    def make(self) -> None:
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.net = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Any:
        fine = self.down(x)
        return self.head(torch.cat([fine, self.up(self.net(fine))], dim=1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", binary_cross_entropy_with_logits(self(batch[0]), batch[1]))


class Measured(Classifier):
    """Collections of metrics, in training and validation."""

    def make(self) -> None:
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        metrics = MetricCollection({"acc": MulticlassAccuracy(10), "f1": MulticlassF1Score(10)})
        self.train_metrics, self.val_metrics = metrics.clone("train_"), metrics.clone("val_")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits = self(batch[0])
        self.log_dict(self.train_metrics(logits, batch[1]))
        return cross_entropy(logits, batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.val_metrics.update(logits, batch[1])
        self.log_dict(self.val_metrics)  # type: ignore[arg-type]
        self.log("val_loss", cross_entropy(logits, batch[1]))


class AreaUnderCurve(Measured):
    """A metric that keeps all predictions."""

    def make(self) -> None:
        super().make()
        self.area = MulticlassAUROC(10)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.area.update(self(batch[0]).softmax(-1), batch[1])
        self.log("val_auroc", self.area)


class Collecting(Classifier):
    """Keeps what its validation steps give for the end of the epoch."""

    def make(self) -> None:
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        self.outputs: list[dict[str, Tensor]] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self(batch[0])
        self.outputs.append({"loss": cross_entropy(logits, batch[1]), "right": logits.argmax(-1) == batch[1]})

    def on_validation_epoch_end(self) -> None:
        self.log("val_loss", torch.stack([output["loss"] for output in self.outputs]).mean())
        self.log("val_acc", torch.cat([output["right"] for output in self.outputs]).float().mean())
        self.outputs.clear()


class Boring(BoringModel):
    """Lightning's, with a rate and a metric."""

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__()
        self.lr, self.momentum = lr, momentum
        self.layer = nn.Linear(10, 2)

    def step(self, batch: Any) -> Tensor:
        return super().step(batch[0])

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        output = super().validation_step(batch, batch_idx)
        self.log("val_loss", output["x"])  # type: ignore[index, call-overload]
        return output

    def configure_optimizers(self) -> Any:
        [optimizer], schedulers = super().configure_optimizers()
        optimizer.param_groups[0].update(lr=self.lr, momentum=self.momentum)
        return [optimizer], schedulers


class ManualBoring(ManualOptimBoringModel):
    """The same with manual optimization."""

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__()
        self.lr = lr
        self.layer = nn.Linear(10, 2)

    def step(self, batch: Any) -> Tensor:
        return super().step(batch[0])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.step(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)
