"""The fused step is compared with each model's own."""

from __future__ import annotations

from torch import nn
from torchmetrics import Accuracy

from lightning_hp import Linear
from tests.fit.fused.digits import SPACE, Classifier, trained


class Dampened(Classifier):
    """Draws in another way where trials train as one, so that it is compared without dropout."""

    def __init__(self, **hparams):
        super().__init__(**hparams)
        self.accuracy = Accuracy("multiclass", num_classes=10)
        self.dropout = nn.Dropout(self.hparams.dropout)

    def training_step(self, batch, batch_idx):
        logits = self.dropout(self.net(batch[0]))
        self.accuracy(logits, batch[1])
        loss = nn.functional.cross_entropy(logits, batch[1])
        self.log_dict({"train_loss": loss, "train_acc": self.accuracy}, on_step=False, on_epoch=True)
        return loss


def test_metrics_count_nothing_of_a_comparison_that_is_made_again(tmp_path):
    outcomes = trained(Dampened, tmp_path, True, space={**SPACE, "dropout": Linear(0.1, 0.5)}, trainer={"max_epochs": 3})
    for outcome in outcomes.values():
        assert outcome.state == "complete", outcome.traceback
        assert 0 < outcome.metrics["train_acc"][-1] <= 1
