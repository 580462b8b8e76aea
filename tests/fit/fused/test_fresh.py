"""Steps that write into new tensors train as one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.fit.fused.digits import Classifier, assert_the_same_alone


class Decoding(Classifier):
    """Fills a tensor with the outputs of one column after another."""

    def forward(self, x):
        outputs = torch.zeros(4, len(x), 10, dtype=x.dtype, device=x.device)
        for place in range(4):
            outputs[place] = self.net(x.roll(place, 1))
        return outputs.mean(0)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


class Summing(Decoding):
    """Sums up over its layers, as a flow does the logarithms of determinants."""

    def forward(self, x):
        total = x.new_zeros(len(x), 10)
        for _ in range(2):
            total += self.net(x)
        return total


class Masking(Decoding):
    """Writes into a copy of its batch."""

    def forward(self, x):
        copied = x.clone()
        copied[:, :10] = self.net(x).detach()
        return self.net(copied)


@pytest.mark.parametrize("kind", [Decoding, Summing, Masking])
def test_it_is_the_same_as_alone(kind, tmp_path):
    assert_the_same_alone(kind, tmp_path)
