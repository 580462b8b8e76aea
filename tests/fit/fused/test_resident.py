"""Copies of data sets on a device: as long as they are the same, and there is room."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_hp.fit.fused import resident
from lightning_hp.fit.fused.resident import Resident


def resident_with(free=2**40):
    return Resident(torch.device("cpu"), free=lambda device: free)


def data(size=10):
    return TensorDataset(torch.arange(float(size)), torch.arange(size))


def test_a_data_set_is_copied_once():
    kept, dataset = resident_with(), data()
    copies = kept.of(dataset)
    assert all(map(torch.equal, copies, dataset.tensors))
    assert {each.data_ptr() for each in copies}.isdisjoint(each.data_ptr() for each in dataset.tensors)
    assert kept.of(dataset) is copies


def in_place(dataset):
    dataset.tensors[1][3] = 7


def of_what_it_is_a_view(dataset):
    dataset.tensors[0].view(2, 5).mul_(2)


def exchanged(dataset):
    dataset.tensors = (dataset.tensors[0].clone(), dataset.tensors[1])


def fewer(dataset):
    dataset.tensors = dataset.tensors[:1]


@pytest.mark.parametrize("edit", [in_place, of_what_it_is_a_view, exchanged, fewer])
def test_one_that_is_edited_is_not_taken_from_its_copy_again(edit):
    kept, dataset, other = resident_with(), data(), data()
    assert kept.of(dataset) is not None
    assert kept.of(other) is not None
    edit(dataset)
    assert kept.of(dataset) is None
    assert kept.of(dataset) is None
    assert kept.of(other) is not None


def test_it_takes_a_quarter_of_the_free_memory_at_most():
    size = 10 * 4 + 10 * 8
    assert resident_with(free=4 * size).of(data()) is not None
    assert resident_with(free=4 * size - 1).of(data()) is None


def test_all_copies_together_are_bounded(monkeypatch):
    size = 10 * 4 + 10 * 8
    monkeypatch.setattr(resident, "LARGEST", 2 * size)
    kept = resident_with()
    first, second, third = data(), data(), data()
    assert kept.of(first) is not None
    assert kept.of(second) is not None
    assert kept.of(third) is None
    in_place(first)
    assert kept.of(first) is None
    assert kept.of(data()) is not None


def test_a_copy_goes_with_its_data_set():
    kept, dataset = resident_with(), data()
    copy = weakref.ref(kept.of(dataset)[0])
    del dataset
    gc.collect()
    assert copy() is None


def test_an_expanded_tensor_counts_as_its_copy_does():
    expanded = TensorDataset(torch.zeros(1).expand(1000))
    assert resident_with(free=4 * 4000 - 1).of(expanded) is None
    assert resident_with(free=4 * 4000).of(expanded) is not None


def test_tensors_without_versions_are_not_copied():
    with torch.inference_mode():
        dataset = data()
    assert resident_with().of(dataset) is None
