"""Batches that are taken at once are those of the loader itself."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)
from torch.utils.data._utils.collate import default_collate_fn_map

from lightning_hp.fit.fused.batches import taken_at_once
from lightning_hp.fit.fused.resident import Resident
from lightning_hp.fit.rng import rng_states, set_rng_states

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool, torch.complex64]
SHAPES = [(), (1,), (3,), (2, 3), (0,), (2, 3, 4, 5)]


def same(ours, theirs):
    """Whether batches are the same, to the last bit and stride."""
    assert type(ours) is type(theirs) is list
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (type(a), a.dtype, a.shape, a.stride(), a.device) == (type(b), b.dtype, b.shape, b.stride(), b.device)
        assert torch.equal(torch.view_as_real(a) if a.is_complex() else a, torch.view_as_real(b) if b.is_complex() else b)


def epochs(loader, count=3, seed=0):
    """The batches of some epochs, and the states of all generators after each."""
    seen = []
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    for _ in range(count):
        batches = list(loader)
        generators = [each.get_state() for each in (loader.generator, getattr(loader.sampler, "generator", None)) if each]
        seen.append((batches, generators, rng_states()))
    return seen


def assert_same_epochs(ours, theirs):
    for (batches, generators, states), (others, their_generators, their_states) in zip(ours, theirs, strict=True):
        assert len(batches) == len(others)
        for batch, other in zip(batches, others, strict=True):
            same(batch, other)
        assert all(map(torch.equal, generators, their_generators))
        assert torch.equal(states["torch"], their_states["torch"])
        assert states["python"] == their_states["python"]
        assert np.array_equal(states["numpy"][1], their_states["numpy"][1])
        assert states["numpy"][2:] == their_states["numpy"][2:]


class Permuted(Sampler):
    """Draws from numpy, and gives its numbers."""

    def __init__(self, size):
        self.size = size

    def __iter__(self):
        return iter(np.random.permutation(self.size))

    def __len__(self):
        return self.size


class Tensors(Permuted):
    def __iter__(self):
        return iter(torch.randperm(self.size))


class FromTheEnd(Permuted):
    def __iter__(self):
        return iter(range(-1, -1 - self.size, -1))


@st.composite
def datasets(draw):
    size = draw(st.integers(1, 30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    tensors = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.sampled_from(SHAPES))
        values = torch.randint(0, 100, (size, *shape), generator=generator).to(draw(st.sampled_from(DTYPES)))
        layout = draw(st.sampled_from(["as it is", "transposed", "a view", "expanded"]))
        if layout == "transposed":
            values = values.transpose(0, -1).contiguous().transpose(0, -1)
        elif layout == "a view":
            values = torch.cat([values, values])[:size]
        elif layout == "expanded":
            values = values[:1].expand(size, *shape)
        tensors.append(values)
    data = TensorDataset(*tensors)
    for _ in range(draw(st.integers(0, 2))):
        chosen = draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=30))
        kind = draw(st.sampled_from([list, np.array, torch.tensor, tuple]))
        data = Subset(data, kind(chosen))
    return data


SAMPLERS = {
    "none": lambda size, generator: None,
    "weights": lambda size, generator: WeightedRandomSampler(torch.arange(1.0, size + 1), size + 3, generator=generator),
    "replacement": lambda size, generator: RandomSampler(range(size), replacement=True, generator=generator),
    "numpy": lambda size, generator: Permuted(size),
    "tensors": lambda size, generator: Tensors(size),
    "from the end": lambda size, generator: FromTheEnd(size),
}


@st.composite
def loaders(draw):
    """A function that makes a loader, each time the same."""
    data = draw(datasets())
    size, batch = len(data), draw(st.integers(1, 40))
    drop, shuffle, own = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    kind, batches = draw(st.sampled_from(sorted(SAMPLERS))), draw(st.booleans())

    def make():
        generator = torch.Generator().manual_seed(7) if own else None
        sampler = SAMPLERS[kind](size, generator)
        if batches:
            sampler = BatchSampler(sampler or RandomSampler(data, generator=generator), batch, drop)
            return DataLoader(data, batch_sampler=sampler, generator=generator)
        ordering = {"sampler": sampler} if sampler is not None else {"shuffle": shuffle}
        return DataLoader(data, batch_size=batch, drop_last=drop, generator=generator, **ordering)

    return make


@settings(deadline=None, max_examples=300)
@given(loaders(), st.booleans())
def test_batches_and_random_numbers_are_those_of_the_loader_itself(make, from_copies):
    resident = Resident(torch.device("cpu"), free=lambda device: 2**40) if from_copies else None
    if resident is not None:
        resident.wanted = True
    ours = taken_at_once(make(), resident)
    states = rng_states()
    try:
        assert_same_epochs(epochs(ours), epochs(make()))
    finally:
        set_rng_states(states)


def test_no_sample_is_asked_for_by_itself(monkeypatch):
    data = TensorDataset(torch.arange(20.0).view(10, 2), torch.arange(10))
    train, val = random_split(data, [7, 3])
    made = [taken_at_once(DataLoader(part, batch_size=4, shuffle=True)) for part in (data, train, val)]
    monkeypatch.setattr(TensorDataset, "__getitem__", None)
    assert [sum(len(batch[1]) for batch in loader) for loader in made] == [10, 7, 3]


def test_the_loader_looks_like_the_one_that_it_is_made_of():
    data = TensorDataset(torch.arange(10))
    loader = DataLoader(data, batch_size=4, shuffle=True)
    before = dict(vars(loader))
    made = taken_at_once(loader)
    list(made)
    assert made is not loader
    assert vars(loader) == before
    assert type(loader) is DataLoader
    assert isinstance(made, DataLoader)
    assert made.dataset is data
    assert made.sampler is loader.sampler
    assert made.collate_fn is default_collate
    assert len(made) == len(loader) == 3


class Doubled(TensorDataset):
    def __getitem__(self, index):
        return tuple(2 * each for each in super().__getitem__(index))


class Other(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return (torch.tensor(index),)


class OwnLoader(DataLoader):
    pass


class OwnTensor(torch.Tensor):
    pass


DATA = TensorDataset(torch.arange(4))
LEFT = {
    "a loader of its own class": lambda: OwnLoader(DATA, batch_size=2),
    "a data set of its own class": lambda: DataLoader(Doubled(torch.arange(4)), batch_size=2),
    "a subset of such": lambda: DataLoader(Subset(Doubled(torch.arange(4)), [1, 2]), batch_size=2),
    "no tensors": lambda: DataLoader(Other(), batch_size=2),
    "samples in a row": lambda: DataLoader(DATA, batch_size=2, collate_fn=lambda samples: samples),
    "no batches": lambda: DataLoader(DATA, batch_size=None),
    "workers": lambda: DataLoader(DATA, batch_size=2, num_workers=1),
    "gradients": lambda: DataLoader(TensorDataset(torch.rand(4, requires_grad=True)), batch_size=2),
    "tensors of its own class": lambda: DataLoader(TensorDataset(torch.rand(4).as_subclass(OwnTensor)), batch_size=2),
    "sparse tensors": lambda: DataLoader(TensorDataset(torch.eye(4).to_sparse()), batch_size=2),
    "no loader": lambda: [torch.arange(4)],
}


@pytest.mark.parametrize("name", LEFT)
def test_all_else_is_left_as_it_is(name):
    loader = LEFT[name]()
    assert taken_at_once(loader) is loader


def test_a_way_to_collate_that_is_registered_holds(monkeypatch):
    monkeypatch.setitem(default_collate_fn_map, torch.Tensor, lambda batch, *, collate_fn_map: "mine")
    assert list(taken_at_once(DataLoader(DATA, batch_size=2))) == [["mine"], ["mine"]]


def test_an_index_out_of_bounds_raises_as_ever():
    loader = taken_at_once(DataLoader(DATA, batch_size=2, sampler=[1, 7]))
    with pytest.raises(IndexError, match="7"):
        list(loader)


def test_edits_between_batches_are_seen():
    array = np.arange(4)
    data = TensorDataset(torch.from_numpy(array))
    iterator = iter(taken_at_once(DataLoader(data, batch_size=1)))
    assert next(iterator)[0].item() == 0
    array += 10
    assert next(iterator)[0].item() == 11
    data.tensors[0].add_(10)
    assert next(iterator)[0].item() == 22
    data.tensors = (torch.full((4,), 5),)
    assert next(iterator)[0].item() == 5


def test_a_data_set_exchanged_for_another_is_seen():
    subset = Subset(DATA, [0, 1])
    loader = taken_at_once(DataLoader(subset, batch_size=2))
    same(next(iter(loader)), [torch.tensor([0, 1])])
    subset.dataset = Doubled(torch.arange(4))
    same(next(iter(loader)), [torch.tensor([0, 2])])
    subset.dataset, subset.indices = DATA, [3, 2]
    same(next(iter(loader)), [torch.tensor([3, 2])])


def test_what_is_done_to_a_batch_is_not_done_to_the_data():
    loader = taken_at_once(DataLoader(TensorDataset(torch.zeros(4)), batch_size=4))
    next(iter(loader))[0].add_(1)
    same(next(iter(loader)), [torch.zeros(4)])


def test_copies_of_a_loader_draw_as_copies_do():
    loader = DataLoader(DATA, batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(1))
    ours, theirs = copy.deepcopy(taken_at_once(loader)), copy.deepcopy(loader)
    assert_same_epochs(epochs(ours), epochs(theirs))
