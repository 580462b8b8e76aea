"""Whatever the models of a stack have in common, each keeps its own values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_hp.fit.copies import address
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.stack import Stack

KINDS = ("trained", "trained, the same", "frozen", "frozen, the same", "buffer", "buffer, the same", "integers, the same")


def model_of(kinds, row):
    """A module with a tensor of each kind; those that are not the same have the row's number in them."""
    model = nn.Module()
    for number, kind in enumerate(kinds):
        value = torch.full((2, 3), 10.0 * number) + (0 if "same" in kind else row)
        name = f"tensor{number}"
        if "buffer" in kind:
            model.register_buffer(name, value)
        elif "integers" in kind:
            model.register_buffer(name, value.long())
        else:
            model.register_parameter(name, nn.Parameter(value, requires_grad="trained" in kind))
    return model


def values(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_holds(stack, expected):
    """Rows, models and what a step would take are what is expected."""
    for row, (model, own) in enumerate(zip(stack.models, expected, strict=True)):
        taken = {name: tensor[row] for name, tensor in (*stack.parameters.items(), *stack.buffers.items())}
        taken |= stack.shared.tensors
        for found in (values(model), stack.of(row), taken):
            assert found.keys() == own.keys()
            assert all(torch.equal(found[name], tensor) for name, tensor in own.items())
        for name, tensor in (*stack.parameters.items(), *stack.buffers.items()):
            assert address(model.state_dict()[name]) == tensor[row].data_ptr()


def write(model, name):
    model.state_dict()[name].add_(1)


def write_by_data(model, name):
    getattr(model, name).data.mul_(3)


def put_another(model, name):
    getattr(model, name).data = getattr(model, name).data + 5


def load(model, name):
    model.load_state_dict({**model.state_dict(), name: model.state_dict()[name] - 2})


def write_the_same(model, name):
    model.load_state_dict(values(model))


CHANGES = (write, write_by_data, put_another, load, write_the_same)


@settings(max_examples=150, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6),
    rows=st.integers(1, 4),
    data=st.data(),
)
def test_each_model_keeps_its_values(kinds, rows, data):
    stack = Stack([model_of(kinds, row) for row in range(rows)])
    expected = [values(model_of(kinds, row)) for row in range(rows)]
    gone = []
    assert stack.shared.tensors.keys() == {
        f"tensor{number}" for number, kind in enumerate(kinds) if "trained" not in kind and ("same" in kind or rows == 1)
    }
    for _ in range(data.draw(st.integers(0, 6))):
        names = sorted(expected[0])
        action = data.draw(st.sampled_from(["change one", "change all", "thaw", "keep", "step", "undone step", "replace"]))
        name = data.draw(st.sampled_from(names))
        change = data.draw(st.sampled_from(CHANGES))
        if action in ("change one", "change all"):
            changing = range(len(stack.models)) if action == "change all" else [data.draw(st.integers(0, len(expected) - 1))]
            for row in changing:
                change(stack.models[row], name)
                expected[row] = values(stack.models[row])
            stack.follow()
        elif action == "thaw":
            for model in stack.models:
                if isinstance(getattr(model, name), nn.Parameter):
                    getattr(model, name).requires_grad_(True)
            stack.follow()
            assert all(not tensor.requires_grad for tensor in stack.shared.tensors.values())
        elif action == "keep":
            rows_left = sorted(data.draw(st.sets(st.integers(0, len(expected) - 1), min_size=1)))
            gone += [(stack.models[row], own) for row, own in enumerate(expected) if row not in rows_left]
            stack.keep(rows_left)
            expected = [expected[row] for row in rows_left]
        elif action == "replace" and "buffer" in kinds[int(name.removeprefix("tensor"))]:
            new = torch.stack([torch.full((2, 3), 100.0 + row) for row in range(len(expected))])
            stack.replace({name: new})
            expected = [{**own, name: new[row]} for row, own in enumerate(expected)]
        else:
            before = stack.snapshot()
            for tensor in (*stack.buffers.values(), *stack.shared.tensors.values()):
                tensor.add_(1)
            stack.shared.stale = True
            if action == "undone step":
                stack.restore(before)
            else:
                step(stack, expected)
            stack.shared.hand_out()
        assert_holds(stack, expected)
    for model, own in gone:
        assert all(torch.equal(tensor, own[name]) for name, tensor in values(model).items())


def step(stack, expected):
    for own in expected:
        for name in (*stack.buffers, *stack.shared.tensors):
            own[name] = own[name] + 1


def pair():
    models = [nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        model[:2].requires_grad_(False)
    return models


def test_what_is_shared_is_in_memory_once():
    models = pair()
    stack = Stack(models)
    assert set(stack.parameters) == {"2.weight", "2.bias"}
    assert not stack.buffers
    for name, tensor in stack.shared.tensors.items():
        assert {address(model.state_dict()[name]) for model in models} == {address(tensor)}


def test_what_one_model_writes_to_gets_rows_and_the_rest_stays_shared():
    models = pair()
    stack = Stack(models)
    models[0][0].weight.data.zero_()
    stack.follow()
    assert "0.weight" in stack.parameters
    assert "0.bias" in stack.shared.tensors
    assert not models[0][0].weight.any()
    assert models[1][0].weight.any()


def test_what_is_thawed_trains_for_itself():
    models = pair()
    stack = Stack(models)
    for model in models:
        model[0].requires_grad_(True)
    stack.follow()
    assert stack.parameters["0.weight"].requires_grad
    with torch.no_grad():
        stack.parameters["0.weight"][1] += 1
    torch.testing.assert_close(models[1][0].weight, models[0][0].weight + 1)


def test_to_be_thawed_in_some_only_is_refused():
    models = pair()
    stack = Stack(models)
    models[1][0].requires_grad_(True)
    with pytest.raises(CannotFuseError, match="some train a parameter that is frozen in others"):
        stack.follow()


def test_one_frozen_module_in_all_models_is_shared():
    torch.manual_seed(0)
    backbone = nn.Linear(4, 4).requires_grad_(False)
    models = [nn.Sequential(backbone, nn.Linear(4, 2)) for _ in range(3)]
    stack = Stack(models)
    assert set(stack.shared.tensors) == {"0.weight", "0.bias"}
    backbone.requires_grad_(True)
    with pytest.raises(CannotFuseError, match=r"0\.weight is one tensor of several trials"):
        stack.follow()


def test_what_ordinary_steps_write_to_is_updated_by_steps_and_stays_shared():
    models = pair()
    stack = Stack(models)
    before = {name: tensor.clone() for name, tensor in stack.shared.tensors.items()}
    snapshot = stack.snapshot()
    for model in models:
        model(torch.rand(8, 4))
    stack.restore(snapshot)
    assert stack.shared.updated == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in stack.shared.tensors.items())
    for model in models:
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
