"""Models of text and other sequences."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.demos.lstm import LightningLSTM, SimpleLSTM
from lightning.pytorch.demos.transformer import LightningTransformer
from lightning.pytorch.demos.transformer import Transformer as DemoTransformer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss, scaled_dot_product_attention

from tests.zoo.data import BLOCK, CHARACTERS, WORDS
from tests.zoo.images import Classifier


class EncoderClassifier(Classifier):
    """A transformer encoder as torch makes it, with its dropout."""

    def make(self) -> None:
        self.embed = nn.Linear(8, 16)
        self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.net(self.embed(x)).mean(1))


class LSTMClassifier(Classifier):
    def make(self) -> None:
        self.net = nn.LSTM(8, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Any:
        output, _ = self.net(x)
        return self.head(output[:, -1])


class GRUClassifier(Classifier):
    """In both directions."""

    def make(self) -> None:
        self.net = nn.GRU(8, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Any:
        _, last = self.net(x)
        return self.head(torch.cat([last[0], last[1]], dim=-1))


class TextClassifier(Classifier):
    """A bag of embeddings."""

    def make(self) -> None:
        self.net = nn.EmbeddingBag(WORDS, 16, mode="mean", padding_idx=0)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.net(x))


class TextCNN(Classifier):
    def make(self) -> None:
        self.embed = nn.Embedding(WORDS, 16, padding_idx=0)
        self.net = nn.Sequential(nn.Conv1d(16, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten())
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.net(self.embed(x).transpose(1, 2)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class GPT(Classifier):
    """Two causal blocks on characters, AdamW with a warm-up."""

    def make(self) -> None:
        self.embed, self.positions = nn.Embedding(len(CHARACTERS), 32), nn.Embedding(BLOCK, 32)
        self.net = nn.Sequential(Block(32, 2), Block(32, 2), nn.LayerNorm(32))
        self.head = nn.Linear(32, len(CHARACTERS))

    def forward(self, x: Tensor) -> Any:
        positions = torch.arange(x.size(1), device=x.device)
        return self.head(self.net(self.embed(x) + self.positions(positions)))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = cross_entropy(self(batch[0]).flatten(0, 1), batch[1].flatten())
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", cross_entropy(self(batch[0]).flatten(0, 1), batch[1].flatten()))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"] / 10, weight_decay=0.1)
        warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": warm_up, "interval": "step"}}


class Translation(LightningTransformer):
    """Lightning's transformer, made small."""

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__(vocab_size=1)
        self.save_hyperparameters()
        self.model = DemoTransformer(len(CHARACTERS), ninp=16, nhid=16, nlayers=1)

    def prepare_data(self) -> None:
        """No download."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=self.hparams["momentum"])


class LanguageLSTM(LightningLSTM):
    """Lightning's LSTM, made small; it takes its hidden state from one batch to the next."""

    def __init__(self, lr: float, momentum: float) -> None:
        super().__init__(vocab_size=1)
        self.save_hyperparameters()
        self.model = SimpleLSTM(len(CHARACTERS), ninp=16, nhid=16, nlayers=1, dropout=0.0)

    def prepare_data(self) -> None:
        """No download."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        output, _ = self.model(batch[0], self.model.init_hidden(len(batch[0])))
        self.log("val_loss", nll_loss(output, batch[1].view(-1)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=self.hparams["momentum"])
