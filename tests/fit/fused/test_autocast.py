"""Under vmap an operation has the same precision, and the same result, that torch.autocast gives it for one model."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F  # noqa: N812

from lightning_hp.fit.fused.overrides import Vectorizable

ROWS = 3
LABELS, TARGETS = torch.tensor([0, 1, 2, 3, 0]), torch.rand(5, 4)


def attended(q, w, b, out_w, out_b):
    return F.multi_head_attention_forward(q, q, q, 4, 2, w, b, None, None, False, 0.0, out_w, out_b)[0]


# What is run, and the shapes of an input and of the weights.
OPERATIONS = {
    "linear": (F.linear, (5, 4), (2, 4), (2,)),
    "no bias": (F.linear, (5, 4), (2, 4)),
    "conv1d": (F.conv1d, (2, 1, 8), (4, 1, 3), (4,)),
    "conv2d": (F.conv2d, (2, 1, 8, 8), (4, 1, 3, 3), (4,)),
    "conv3d": (F.conv3d, (2, 1, 4, 4, 4), (4, 1, 3, 3, 3), (4,)),
    "conv_transpose1d": (F.conv_transpose1d, (2, 1, 8), (1, 4, 3), (4,)),
    "conv_transpose2d": (F.conv_transpose2d, (2, 1, 8, 8), (1, 4, 3, 3), (4,)),
    "addmm": (lambda x, w, b: torch.addmm(b, x, w), (5, 4), (4, 2), (2,)),
    "baddbmm": (lambda x, w, b: b.baddbmm(x, w), (2, 5, 4), (2, 4, 2), (2, 5, 2)),
    "matmul": (torch.matmul, (5, 4), (4, 2)),
    "prelu": (F.prelu, (5, 4), (1,)),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x), (2, 2, 5, 4)),
    "multi-head attention": (attended, (5, 2, 4), (12, 4), (12,), (4, 4), (4,)),
    "cross_entropy": (lambda x: F.cross_entropy(x, LABELS), (5, 4)),
    "label smoothing": (lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.1), (5, 4)),
    "nll_loss": (lambda x: F.nll_loss(x.log_softmax(1), LABELS), (5, 4)),
    "mse_loss": (lambda x: F.mse_loss(x, TARGETS), (5, 4)),
    "binary_cross_entropy_with_logits": (lambda x: F.binary_cross_entropy_with_logits(x, TARGETS.half()), (5, 4)),
    "cdist": (lambda x: torch.cdist(x, x + 1), (5, 4)),
    "softmax": (lambda x: x.softmax(1), (5, 4)),
    "layer_norm": (lambda x, w: F.layer_norm(x, (4,), w, w), (5, 4), (4,)),
    "group_norm": (lambda x, w: F.group_norm(x, 2, w, w), (5, 4, 3), (4,)),
    "batch_norm": (lambda x, w: F.batch_norm(x, None, None, w, w, True), (5, 4, 3), (4,)),
    "instance_norm": (lambda x, w: F.instance_norm(x, None, None, w, w, True), (5, 4, 3), (4,)),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("given", [torch.float32, None], ids=["single", "half"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_precision_is_that_of_one_model(name, given, dtype):
    torch.manual_seed(0)
    run, *shapes = OPERATIONS[name]
    tensors = [torch.rand(ROWS, *shape) for shape in shapes]
    tensors[0] = tensors[0].to(given or dtype)
    seen = set()

    def row(*each):
        with Vectorizable():
            result = run(*each)
        seen.add(result.dtype)
        return result

    with torch.autocast("cpu", dtype, cache_enabled=False):
        theirs = torch.stack([run(*each) for each in zip(*tensors, strict=True)])
        ours = vmap(row)(*tensors)
    assert seen == {theirs.dtype}
    rounding = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=rounding, atol=rounding)


def test_without_autocast_nothing_is_cast():
    layer, x = nn.Linear(4, 2), torch.rand(ROWS, 5, 4)

    def row(each):
        with Vectorizable():
            return layer(each)

    assert vmap(row)(x).dtype == torch.float32
    torch.testing.assert_close(vmap(row)(x), layer(x))
