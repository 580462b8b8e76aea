"""A datamodule that is given as an instance: every trial begins with it as it was given, wherever it runs."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from examples.digits import DigitsData
from lightning_hp import Log
from lightning_hp.fit.sharing import own_copy


class Drifting(DigitsData):
    """Gives other data each time that it is set up."""

    def __init__(self, **attributes):
        super().__init__(batch_size=128)
        self.setups, self.rng, self.drawn = 0, np.random.default_rng(0), {"sizes": []}
        self.transform = lambda x: x
        vars(self).update(attributes)

    def setup(self, stage):
        super().setup(stage)
        self.setups += 1
        self.drawn["sizes"].append(100 * self.setups)

    def train_dataloader(self):
        return DataLoader(Subset(self.train, self.rng.permutation(900)[: sum(self.drawn["sizes"])].tolist()), batch_size=50)


def results(study):
    return [(trial.number, trial.state, trial.value, trial.metrics) for trial in study.trials]


def test_all_trials_begin_with_the_instance_as_it_was_given(search, tmp_path):
    def run(name, **changes):
        changes = {"space": {"lr": Log(1e-2, 1.0)}, "root_dir": tmp_path / name, **changes}
        return results(search(**changes).run())

    given = Drifting()
    inline = run("inline", data=given)
    assert inline == run("made", data=Drifting)
    assert inline == run("processes", data=Drifting(), executor="processes", workers=2)
    assert (given.setups, given.drawn, given.rng.random()) == (0, {"sizes": []}, np.random.default_rng(0).random())


@pytest.mark.parametrize("large", [np.zeros(9), torch.zeros(9), bytes(9)], ids=lambda large: type(large).__name__)
def test_what_is_large_is_not_copied(large):
    own = own_copy(Drifting(parts=[{"large": large}]))
    assert own.parts[0]["large"] is large


def test_what_is_the_same_stays_the_same():
    rng = np.random.default_rng(0)
    own = own_copy(Drifting(one=rng, two=[rng]))
    assert own.one is own.two[0] is not rng


def test_an_instance_that_no_process_could_be_sent_is_used_all_the_same(search):
    given = Drifting(lock=threading.Lock())
    study = search(space={"lr": Log(1e-2, 1.0)}, data=given, trials=1).run()
    assert study.trials[0].state == "complete"
    assert given.setups == 0
