"""LSTM, GRU and RNN as loops over time, which torch.func.vmap takes; torch's own have no batching rule.

What is the same for all rows is left to torch's own, unless it drops some for each row.

Each takes the arguments of the operation of torch's that it stands in for, for one row. The formulas are those of the
documentation of torch.nn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from lightning_hp.fit.fused.dropout import dropped
from lightning_hp.fit.fused.trees import in_common

# From the input's share of the gates, the state, and the weight and bias for the state, to the next state, whose first tensor
# is the output.
State: TypeAlias = tuple[Tensor, ...]
Cell: TypeAlias = Callable[[Tensor, State, Tensor, Any], State]


def lstm(input: Tensor, states: Any, *options: Any) -> Any:
    """As ``torch.lstm``; NotImplemented for packed sequences and projections."""
    if isinstance(states, Tensor):
        return NotImplemented
    found = _run(_lstm_cell, input, tuple(states), *options)
    return found if found is NotImplemented else (found[0], *found[1])


def gru(input: Tensor, state: Tensor, *options: Any) -> Any:
    """As ``torch.gru``; NotImplemented for packed sequences."""
    return _single(_gru_cell, input, state, *options)


def rnn_tanh(input: Tensor, state: Tensor, *options: Any) -> Any:
    """As ``torch.rnn_tanh``; NotImplemented for packed sequences."""
    return _single(_tanh_cell, input, state, *options)


def rnn_relu(input: Tensor, state: Tensor, *options: Any) -> Any:
    """As ``torch.rnn_relu``; NotImplemented for packed sequences."""
    return _single(_relu_cell, input, state, *options)


def _single(cell: Cell, input: Tensor, state: Tensor, *options: Any) -> Any:
    if isinstance(options[0], Tensor):
        # Packed sequences come with their batch sizes before the state.
        return NotImplemented
    found = _run(cell, input, (state,), *options)
    return found if found is NotImplemented else (found[0], found[1][0])


def _run(
    cell: Cell,
    input: Tensor,
    states: State,
    weights: Sequence[Tensor],
    biases: bool,
    layers: int,
    dropout: Any,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    directions = 2 if bidirectional else 1
    each = 4 if biases else 2
    drops = layers > 1 and training and (isinstance(dropout, Tensor) or dropout > 0)
    if len(weights) != layers * directions * each or (in_common((input, states, weights)) and not drops):
        return NotImplemented
    last: list[State] = []
    # Time first.
    sequence = input.transpose(0, 1) if batch_first else input
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            own = weights[index * each : (index + 1) * each]
            start = tuple(state[index] for state in states)
            output, state = _direction(cell, sequence, start, own, backwards=direction == 1)
            outputs.append(output)
            last.append(state)
        sequence = torch.cat(outputs, dim=-1) if bidirectional else outputs[0]
        if layer < layers - 1:
            sequence = dropped(sequence, dropout, training)
    output = sequence.transpose(0, 1) if batch_first else sequence
    return output, tuple(torch.stack(each_state) for each_state in zip(*last, strict=True))


def _direction(cell: Cell, sequence: Tensor, state: State, weights: Sequence[Tensor], backwards: bool) -> tuple[Tensor, State]:
    of_input, of_state, *biases = weights
    # The input's part is one product for all times.
    steps: Sequence[Tensor] = functional.linear(sequence, of_input, biases[0] if biases else None).unbind(0)
    outputs = []
    for step in reversed(steps) if backwards else steps:
        state = cell(step, state, of_state, biases[1] if biases else None)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs), state


def _lstm_cell(gates: Tensor, state: State, weight: Tensor, bias: Any) -> State:
    hidden, cell = state
    enter, forget, new, leave = (gates + functional.linear(hidden, weight, bias)).chunk(4, dim=-1)
    cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * cell.tanh(), cell


def _gru_cell(gates: Tensor, state: State, weight: Tensor, bias: Any) -> State:
    (hidden,) = state
    reset, update, new = gates.chunk(3, dim=-1)
    own_reset, own_update, own_new = functional.linear(hidden, weight, bias).chunk(3, dim=-1)
    proposed = (new + (reset + own_reset).sigmoid() * own_new).tanh()
    # Not by torch.lerp, which takes no state in another precision than autocast has the gates in.
    return (proposed + (update + own_update).sigmoid() * (hidden - proposed),)


def _tanh_cell(gates: Tensor, state: State, weight: Tensor, bias: Any) -> State:
    return ((gates + functional.linear(state[0], weight, bias)).tanh(),)


def _relu_cell(gates: Tensor, state: State, weight: Tensor, bias: Any) -> State:
    return ((gates + functional.linear(state[0], weight, bias)).relu(),)
