"""A function that makes models: what one trial changes in the modules that it names, no other sees."""

from __future__ import annotations

import torch
from torch import nn

from lightning_hp.fit.sharing import own_factory
from tests.fit.fused.digits import Classifier, assert_alike, recipe_of, run, trials_of

torch.manual_seed(0)
TEACHER = nn.Sequential(nn.Linear(64, 10), nn.BatchNorm1d(10)).requires_grad_(False)


class Student(Classifier):
    """Learns from a teacher whose normalization goes on counting."""

    def training_step(self, batch, batch_idx):
        wanted = self.teacher(batch[0]).softmax(1)
        loss = nn.functional.cross_entropy(self.net(batch[0]), wanted)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        wanted = self.teacher(batch[0]).softmax(1)
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), wanted))


def taught_by_a_global(lr, momentum):
    student = Student(lr, momentum)
    student.teacher = TEACHER
    return student


def test_trials_are_the_same_alone_after_others_and_together(tmp_path):
    first, second = trials_of(recipe_of(taught_by_a_global, tmp_path), 2)
    alone = run(recipe_of(taught_by_a_global, tmp_path / "alone"), [[second]])
    after = run(recipe_of(taught_by_a_global, tmp_path / "after"), [[first], [second]])
    together = run(recipe_of(taught_by_a_global, tmp_path / "together"), [[first, second]])
    assert_alike(after[1], alone[1])
    assert_alike(together[1], alone[1])
    assert TEACHER[1].num_batches_tracked == 0


def test_modules_of_a_closure_and_of_an_inner_function_are_copied_once():
    here = nn.Linear(2, 2)

    def make(**hparams):
        def inner():
            return TEACHER

        return here, here, inner()

    one, same, teacher = own_factory(make)()
    assert one is same is not here
    assert torch.equal(one.weight, here.weight)
    # The inner function looks among the same names as the outer.
    assert teacher is not TEACHER
    assert make() == (here, here, TEACHER)


def test_a_function_without_modules_is_taken_as_it_is():
    def make():
        return later

    assert own_factory(make) is make
    later = 1
    assert own_factory(Classifier) is Classifier


COUNTED = 0


def test_a_function_that_sets_variables_of_its_script_sets_them_there():
    def make():
        global COUNTED
        COUNTED += 1
        return TEACHER

    own_factory(make)()
    assert COUNTED == 1
