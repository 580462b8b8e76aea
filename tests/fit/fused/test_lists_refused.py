"""A module whose steps do more to its lists than add to them, or add what nobody can tell apart, says why it does not fuse."""

from __future__ import annotations

import re
from collections import OrderedDict, deque

import pytest
import torch

from tests.fit.fused.digits import recipe_of, refused
from tests.fit.fused.test_lists import Helper, InHelper, Keeping


class Anew(Keeping):
    def keep(self, logits, batch, batch_idx):
        self.outputs = [*self.outputs, logits.mean()]


class Popping(Keeping):
    def keep(self, logits, batch, batch_idx):
        super().keep(logits, batch, batch_idx)
        if len(self.outputs) > 1:
            self.outputs.pop(0)


class Inserting(Keeping):
    def keep(self, logits, batch, batch_idx):
        self.outputs.insert(0, logits.mean())


class Moving(Keeping):
    def keep(self, logits, batch, batch_idx):
        super().keep(logits, batch, batch_idx)
        self.outputs.append(self.outputs[0])


class Averaging(Keeping):
    """Reads what it has kept, which only each trial has."""

    def keep(self, logits, batch, batch_idx):
        super().keep(logits, batch, batch_idx)
        self.log("so far", torch.stack(self.outputs).mean())


class Reading(Keeping):
    def keep(self, logits, batch, batch_idx):
        if self.outputs:
            self.log("before", self.outputs[-1].mean())
        super().keep(logits, batch, batch_idx)


class Window(Keeping):
    def prepare(self):
        self.outputs = deque(maxlen=5)


class Latest(Keeping):
    def prepare(self):
        self.outputs = {}

    def keep(self, logits, batch, batch_idx):
        self.outputs[batch_idx] = logits.mean()


class Counted(Keeping):
    steps = 0

    def keep(self, logits, batch, batch_idx):
        super().keep(logits, batch, batch_idx)
        self.steps += 1


class CountingHelper(Helper):
    count = 0

    def add(self, value):
        super().add(value)
        self.count += 1


class CountedInHelper(InHelper):
    def prepare(self):
        self.helper = CountingHelper()


class OfClass(Keeping):
    outputs = []  # noqa: RUF012

    def prepare(self):
        pass


everyones: list = []


class OfAll(Keeping):
    def prepare(self):
        self.outputs = everyones


class Holder:
    def __init__(self, value):
        self.value = value


class Objects(Keeping):
    def keep(self, logits, batch, batch_idx):
        self.outputs.append(Holder(logits))


class Ordered(Keeping):
    def keep(self, logits, batch, batch_idx):
        self.outputs.append(OrderedDict(logits=logits))


class OwnNumber(Keeping):
    """Would be a tensor in a fused step."""

    def keep(self, logits, batch, batch_idx):
        self.outputs.append({"loss": logits.mean(), "rate": self.lr})


REFUSED = {
    "a new list": (Anew, "validation_step changes outputs of the module"),
    "popping": (Popping, "validation_step changes outputs of the module"),
    "inserting": (Inserting, "validation_step changes outputs of the module|the step moves what outputs holds"),
    "moving": (Moving, "the step moves what outputs holds"),
    "averaging": (Averaging, "validation_step cannot be vectorized: .*_Earlier"),
    "reading": (Reading, "the step reads what an earlier one has added to a list"),
    "a deque": (Window, "validation_step changes outputs of the module"),
    "a dict of tensors": (Latest, "validation_step changes outputs.0 of the module"),
    "a count": (Counted, "validation_step changes steps of the module"),
    "a count in a helper": (CountedInHelper, "validation_step changes helper.count of the module"),
    "a list of the class": (OfClass, "outputs is one list for all trials, an attribute of their class"),
    "a list of all": (OfAll, "outputs is one list for several trials"),
    "objects": (Objects, "the step adds to outputs a Holder, which may differ between the trials"),
    "ordered dicts": (Ordered, "the step adds to outputs a OrderedDict, which may differ between the trials"),
    "a number of each trial's": (OwnNumber, "what validation_step adds to outputs differs from what the ordinary step adds"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_list_of_outputs_is_given_back_with_the_reason(name, tmp_path):
    kind, reason = REFUSED[name]
    told = refused(recipe_of(kind, tmp_path)).reason
    assert re.search(reason, told), told
