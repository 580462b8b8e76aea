"""Operations that vmap does not take as they are give each row what they give it alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from lightning_hp.fit.fused import attention as attention_module
from lightning_hp.fit.fused.overrides import Vectorizable

ROWS = 3
some = settings(max_examples=40, deadline=None)


def together(function, *tensors, in_dims=0, randomness="error"):
    def row(*each):
        with Vectorizable():
            return function(*each)

    return vmap(row, in_dims=in_dims, randomness=randomness)(*tensors)


def assert_alike(function, *tensors, **tolerance):
    """Outputs and gradients for all rows at once are those of each row by the ordinary operation."""
    tensors = [tensor.requires_grad_(tensor.is_floating_point()) for tensor in tensors]
    trained = [tensor for tensor in tensors if tensor.requires_grad]
    fused = together(function, *tensors)
    alone = torch.stack([function(*(tensor[row] for tensor in tensors)) for row in range(len(tensors[0]))])
    torch.testing.assert_close(fused, alone, **tolerance)
    if trained and alone.requires_grad:
        weights = torch.rand_like(alone)
        ours = torch.autograd.grad((fused * weights).sum(), trained, allow_unused=True)
        theirs = torch.autograd.grad((alone * weights).sum(), trained, allow_unused=True)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@some
@given(
    kind=st.sampled_from(["LSTM", "GRU", "RNN"]),
    nonlinearity=st.sampled_from(["tanh", "relu"]),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    bias=st.booleans(),
    batched=st.booleans(),
    given_state=st.booleans(),
)
def test_recurrent_networks(kind, nonlinearity, layers, bidirectional, batch_first, bias, batched, given_state):
    torch.manual_seed(0)
    options = {"nonlinearity": nonlinearity} if kind == "RNN" else {}
    options |= {"num_layers": layers, "bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
    networks = [getattr(nn, kind)(4, 5, **options) for _ in range(ROWS)]
    weights = [torch.stack(each).detach() for each in zip(*(network._flat_weights for network in networks), strict=True)]
    input = torch.randn(ROWS, 2, 6, 4) if batched else torch.randn(ROWS, 6, 4)
    size = 2 if batch_first else 6
    state = torch.randn(ROWS, layers * (1 + bidirectional), *([size] if batched else []), 5)

    def run(input, state, *weights):
        network = networks[0]
        network._flat_weights = list(weights)
        start = (state, state.flip(-1)) if kind == "LSTM" else state
        output, last = network(input, start if given_state else None)
        last = torch.cat(last, dim=-1) if kind == "LSTM" else last
        return torch.cat([output.flatten(), last.flatten()])

    assert_alike(run, input, state, *weights, rtol=1e-4, atol=1e-5)


def test_packed_sequences_are_not_taken_apart():
    network = nn.GRU(4, 5)

    def run(input):
        return network(nn.utils.rnn.pack_padded_sequence(input, [3, 2])).data

    with pytest.raises(RuntimeError):
        together(run, torch.randn(ROWS, 3, 2, 4))


@some
@given(
    leading=st.sampled_from([(), (2,), (2, 3), (2, 1, 3)]),
    mask=st.sampled_from([None, "bool", "float", "rows", "batch"]),
    causal=st.booleans(),
    scale=st.sampled_from([None, 0.3]),
    other_length=st.booleans(),
    short=st.booleans(),
)
def test_attention(leading, mask, causal, scale, other_length, short):
    torch.manual_seed(0)
    lengths = (4, 6 if other_length else 4)
    query, key, value = (torch.randn(ROWS, *leading, length, 8) for length in (lengths[0], lengths[1], lengths[1]))
    masks = {
        None: torch.zeros(ROWS, 0),
        "bool": (torch.arange(24).view(4, 6)[:, : lengths[1]] % 3 != 0).expand(ROWS, -1, -1),
        "float": torch.randn(lengths).expand(ROWS, -1, -1),
        "rows": torch.randn(ROWS, *lengths),
        "batch": torch.randn(ROWS, *leading, *lengths),
    }

    def run(query, key, value, given):
        given = None if mask is None or causal else given
        return functional.scaled_dot_product_attention(query, key, value, given, is_causal=causal, scale=scale)

    limit = attention_module.SHORT
    attention_module.SHORT = limit if short else 0
    try:
        assert_alike(run, query, key, value, masks[mask].detach().clone(), rtol=1e-4, atol=1e-5)
    finally:
        attention_module.SHORT = limit


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_multi_head_attention(need_weights, training):
    attentions = [nn.MultiheadAttention(8, 2, dropout=0.0 if training else 0.5, batch_first=True) for _ in range(ROWS)]
    parameters, _ = stack_module_state([each.train(training) for each in attentions])

    def run(x, *values):
        arguments = {"need_weights": need_weights, "attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(1)}
        return functional_call(attentions[0], dict(zip(parameters, values, strict=True)), (x, x, x), arguments)[0]

    assert_alike(run, torch.randn(ROWS, 2, 5, 8), *(each.detach() for each in parameters.values()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "dropout",
    [functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d],
    ids=lambda each: each.__name__,
)
def test_dropout_takes_a_probability_of_each_row(dropout):
    dims = int(dropout.__name__[-2]) if dropout.__name__.endswith("d") else 0
    p = torch.tensor([0.0, 0.3, 1.0])
    input = torch.rand(ROWS, 40, 50, *[2] * dims) + 1
    fused = together(lambda x, p: dropout(x, p, True), input, p, randomness="different")
    torch.testing.assert_close(fused[0], input[0])
    assert (fused[2] == 0).all()
    kept = fused[1] != 0
    assert 0.65 < kept.float().mean() < 0.75
    torch.testing.assert_close(fused[1][kept], input[1][kept] / 0.7)
    # What the last dimensions hold is dropped together.
    cells = kept.reshape(40, 50, -1)
    assert (cells.all(-1) | ~cells.any(-1)).all()
    torch.testing.assert_close(together(lambda x, p: dropout(x, p, False), input, p), input)


def test_dropout_of_each_row_in_attention():
    q, p = torch.randn(ROWS, 2, 4, 6, 8), torch.tensor([0.0, 0.0, 1.0])
    attend = functional.scaled_dot_product_attention
    fused = together(lambda q, p: attend(q, q, q, dropout_p=p), q, p, randomness="different")
    torch.testing.assert_close(fused[:2], attend(q, q, q)[:2])
    assert (fused[2] == 0).all()


@pytest.mark.parametrize("smoothing", [(0.0, 0.1, 1.0)])
def test_cross_entropy_takes_a_label_smoothing_of_each_row(smoothing):
    logits, target = torch.randn(ROWS, 5, 4), torch.tensor([0, 1, 2, 3, 3])
    fused = together(lambda x, s: functional.cross_entropy(x, target, label_smoothing=s), logits, torch.tensor(smoothing))
    alone = [functional.cross_entropy(x, target, label_smoothing=s) for x, s in zip(logits, smoothing, strict=True)]
    torch.testing.assert_close(fused, torch.stack(alone))


def test_counts_and_masked_values():
    labels = torch.randint(0, 4, (ROWS, 20))
    assert_alike(lambda x: torch.bincount(x, minlength=4), labels)

    def masked(x):
        x = x.clone()
        x[x > 0] = 7.0
        return x

    assert_alike(masked, torch.randn(ROWS, 20))


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_weight_norm(dim):
    v = torch.randn(ROWS, 4, 5, 6)
    g = torch.stack([torch.norm_except_dim(row, 2, dim) for row in v]) + 1
    assert_alike(lambda v, g: torch._weight_norm(v, g, dim), v, g)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 0, -1])
def test_bags_of_embeddings(mode, padding):
    ids = torch.randint(0, 7, (ROWS, 5, 4))
    # A bag of nothing but padding.
    ids[:, 0] = 0
    bags = functional.embedding_bag
    assert_alike(lambda i, w: bags(i, w, mode=mode, padding_idx=padding), ids, torch.randn(ROWS, 7, 3))
    if mode == "sum":
        weighted = lambda i, w, s: bags(i, w, mode=mode, padding_idx=padding, per_sample_weights=s)  # noqa: E731
        assert_alike(weighted, ids, torch.randn(ROWS, 7, 3), torch.randn(ROWS, 5, 4))


def test_normalize_into_a_tensor():
    def run(x, out):
        out = out.clone()
        return functional.normalize(x, dim=0, out=out)

    x, out = torch.randn(ROWS, 5), torch.zeros(ROWS, 5)
    torch.testing.assert_close(together(run, x, out), torch.nn.functional.normalize(x, dim=1))


def filled(like, kind):
    if kind == "normal":
        return torch.distributions.Normal(like.new_tensor(2.0), 0.5).rsample((1000,))
    return torch.empty(1000).uniform_(1, 3) if kind == "uniform" else torch.empty(1000).normal_(mean=2.0, std=0.5)


@pytest.mark.parametrize("kind", ["normal", "filled", "uniform"])
def test_new_tensors_filled_with_random_numbers(kind):
    like = torch.zeros(ROWS)
    torch.manual_seed(0)
    of_each = together(lambda each: filled(like[0], kind) + each, like, randomness="different")
    assert of_each.mean(1).tolist() == pytest.approx([2.0] * ROWS, abs=0.1)
    assert not torch.equal(of_each[0], of_each[1])
    torch.manual_seed(0)
    of_all = together(lambda each: filled(like[0], kind) + each, like, randomness="same")
    torch.manual_seed(0)
    torch.testing.assert_close(of_all, filled(like[0], kind).expand(ROWS, -1))


@pytest.mark.parametrize("fill", [torch.Tensor.normal_, torch.Tensor.uniform_])
@pytest.mark.parametrize("randomness", ["same", "different"])
def test_a_tensor_that_is_filled_and_then_read_by_another_name_is_found_out(fill, randomness):
    def noisy(input):
        noise = torch.zeros(5)
        fill(noise)
        return input + noise

    assert together(noisy, torch.zeros(ROWS, 5), randomness=randomness).isnan().all()


def test_tensors_of_each_row_are_filled_in_place():
    def noisy(input):
        noise = torch.zeros_like(input)
        noise.normal_(10)
        return noise

    assert (together(noisy, torch.zeros(ROWS, 5), randomness="different") > 1).all()


def test_what_all_rows_have_in_common_is_left_to_torch_itself():
    torch.manual_seed(0)
    network, query = nn.LSTM(4, 5), torch.randn(2, 2, 3, 4)
    input, offset = torch.randn(6, 2, 4), torch.randn(ROWS)
    seen = []

    def run(each):
        output, _ = network(input)
        attended = functional.scaled_dot_product_attention(query, query, query)
        seen.extend(torch._C._functorch.is_batchedtensor(tensor) for tensor in (output, attended))
        return output.sum() + attended.sum() + each

    found = together(run, offset)
    assert seen == [False, False]
    once = network(input)[0].sum() + functional.scaled_dot_product_attention(query, query, query).sum()
    torch.testing.assert_close(found, once + offset)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "attention"])
def test_of_what_they_have_in_common_each_row_drops_its_own(kind):
    torch.manual_seed(0)
    network = nn.MultiheadAttention(4, 2, 0.5) if kind == "attention" else getattr(nn, kind)(4, 4, 2, dropout=0.5)
    input = torch.randn(6, 2, 4)

    def run(offset):
        output, _ = network(input, input, input, need_weights=False) if kind == "attention" else network(input)
        return output + offset

    found = together(run, torch.zeros(ROWS), randomness="different")
    assert not torch.equal(found[0], found[1])
    same = together(run, torch.zeros(ROWS), randomness="same")
    assert torch.equal(same[0], same[1])
