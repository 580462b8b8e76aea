"""What is tried next: the queue, rounds that wait for earlier ones, and what is noted of them."""

from __future__ import annotations

import math
from collections import UserList

import numpy as np
import pytest

from lightning_hp import Choice, CoarseToFine, ConfigError, Grid, Int, Log, Random, ReverseLog, Space, Study, Trial
from lightning_hp.search.ask import Ask
from lightning_hp.search.earlier import earlier_roots, queue_of
from lightning_hp.trial import RoundBegan

SPACE = Space({"lr": Log(1e-4, 1.0)})
SMALL = CoarseToFine(first=4, size=2)


def finished(number, hparams):
    return Trial(number, hparams, seed=0, state="complete", value=abs(math.log10(hparams["lr"]) + 1.3))


def asked(ask, numbers, order=None):
    """Proposes trials, and has them finish in that order or in theirs."""
    proposed = []
    for number in numbers:
        proposed.append(ask.propose(number))
        ask.begin(Trial(number, proposed[-1], seed=0))
    for index in order if order is not None else range(len(numbers)):
        ask.finish(finished(numbers[index], proposed[index]))
    return proposed


def test_a_round_waits_for_the_rounds_before():
    ask = Ask(SPACE, SMALL, 0)
    first = [ask.propose(number) for number in range(4)]
    for number in range(4):
        ask.begin(Trial(number, first[number], seed=0))
    assert ask.propose(4) is None
    for number in (3, 0, 2):
        ask.finish(finished(number, first[number]))
    assert ask.propose(4) is None
    ask.finish(finished(1, first[1]))
    assert ask.propose(4) is not None


def test_the_order_in_which_trials_finish_changes_nothing():
    one, other = Ask(SPACE, SMALL, 0), Ask(SPACE, SMALL, 0)
    assert asked(one, range(4)) == asked(other, range(4), order=[2, 0, 3, 1])
    assert one.propose(4) == other.propose(4)
    fifth = one.propose(4)
    one.begin(Trial(4, fifth, seed=0))
    one.finish(finished(4, fifth))
    # What a round has made of itself is not seen by its other trials.
    assert one.propose(5) == other.propose(5)


def test_each_round_is_told_with_what_it_has_seen():
    told = []
    ask = Ask(SPACE, SMALL, 0, tell=told.append)
    for numbers in (range(4), range(4, 6), range(6, 8)):
        asked(ask, numbers)
    assert [(each.first, each.seen) for each in told] == [(0, ""), (4, "0-3"), (6, "0-5")]
    assert told[1].notes["region"]["lr"].keys() == {"low", "high", "unit", "reason"}


def test_a_sampler_of_ones_own_is_asked_one_by_one_and_what_it_saw_is_told():
    class Mine:
        def propose(self, space, seed, numbers, history, mode="min"):
            return [{"lr": 10.0 ** -len(history)} for _ in numbers]

    told = []
    ask = Ask(SPACE, Mine(), 0, tell=told.append)
    assert asked(ask, range(3)) == [{"lr": 1.0}] * 3
    assert ask.propose(3) == {"lr": 0.001}
    assert told[-1] == RoundBegan(3, "0-2", {})


def test_a_round_is_asked_for_together_and_looks_through_what_has_finished_once():
    class Counting:
        asked = 0

        def propose(self, space, seed, numbers, history, mode="min"):
            self.asked += 1
            return SMALL.propose(space, seed, numbers, history, mode)

        def round_of(self, number):
            return SMALL.round_of(number)

    counting, plain = Ask(SPACE, Counting(), 0), Ask(SPACE, SMALL, 0)
    for numbers in (range(4), range(4, 6), range(6, 8)):
        assert asked(counting, numbers) == asked(plain, numbers)
    assert counting.sampler.asked == 4 + 1 + 1


def test_a_round_that_never_ends_is_asked_for_in_parts_and_may_run_out():
    class Endless:
        def propose(self, space, seed, numbers, history, mode="min"):
            assert len(numbers) < 1000
            return [{"lr": 1.0 / (1 + number)} for number in numbers if number < 100]

        def round_of(self, number):
            return range(1) if number == 0 else range(1, 10**9)

    ask = Ask(SPACE, Endless(), 0)
    proposed = asked(ask, range(1)) + asked(ask, range(1, 100))
    assert proposed == [{"lr": 1.0 / (1 + number)} for number in range(100)]
    assert ask.propose(100) is None


def test_the_queue_comes_first_and_takes_no_trial_from_a_grid():
    ask = Ask(SPACE, Grid(3), 0, queue=[{"lr": 0.3}, {"lr": 0.2}])
    assert [ask.propose(number) for number in range(6)] == [{"lr": lr} for lr in (0.3, 0.2, 1e-4, 1e-2, 1.0)] + [None]


def test_what_the_queue_has_made_is_seen_by_the_later_rounds():
    best = {"lr": 0.0501}
    ask = Ask(SPACE, SMALL, 0, queue=[best])
    assert asked(ask, range(5))[0] == best
    assert abs(math.log10(ask.propose(5)["lr"]) + 1.3) < 0.5


def test_enqueued_hyperparameters_are_tried_first_and_filled_up(search):
    loop = search(enqueue=[{"lr": 0.5}, {"activation": "tanh", "momentum": 0.8}], strategy="random")
    drawn = Random().propose(loop.space, 0, range(3), [])
    trials = loop.run().trials
    assert trials[0].hparams == {**drawn[0], "lr": 0.5}
    assert trials[1].hparams == {**drawn[1], "activation": "tanh", "momentum": 0.8}
    assert trials[2].hparams == drawn[0]


@pytest.mark.parametrize(
    ("enqueue", "told"),
    [
        ([{"lrr": 0.1}], "enqueue[0]['lrr'] is not in the space (did you mean 'lr'?)"),
        (
            [{"lr": "0.1"}],
            "enqueue[0]: hparams['lr']: '0.1' is not a number, which is text: write it without quotes, 1e-4 as "
            "1.0e-4 where a YAML reader needs the point",
        ),
        ([{"lr": True}], "enqueue[0]: hparams['lr']: True is not a number"),
        ([{"lr": [0.1]}], "enqueue[0]: hparams['lr']: [0.1] is not a number"),
        (
            [{"activation": np.array(["relu"])}],
            "enqueue[0]: hparams['activation']: array(['relu'], dtype='<U4') is not one of the values ['relu', 'tanh']",
        ),
        (
            [{"activation": np.array(["relu", "tanh"])}],
            "enqueue[0]: hparams['activation']: array(['relu', 'tanh'], dtype='<U4') is not one of the values ['relu', 'tanh']",
        ),
        ([{"model.lr": 0.1}], "enqueue[0]['model.lr'] is not in the space (did you mean 'lr'?)"),
        ([{}, {"lr": 5.0}], "enqueue[1]: hparams['lr']: 5.0 is outside [0.01, 1.0]"),
        ({"lr": 0.1}, "enqueue needs a list of hyperparameters, such as [{'lr': 0.1}], got {'lr': 0.1}"),
        ([0.1], "enqueue[0] needs hyperparameters by name, such as {'lr': 0.1}, got 0.1"),
    ],
)
def test_what_cannot_be_enqueued_is_told(search, enqueue, told):
    with pytest.raises(ConfigError) as error:
        search(enqueue=enqueue)
    assert str(error.value) == told


def test_what_is_enqueued_has_the_types_that_the_scales_give():
    space = Space({"layers": Int(1, 3), "units": Int(8, 32).per("layers"), "kind": Choice("a", 1), "lr": Log(0.1, 1)})
    [point] = queue_of(space, 0, UserList([{"layers": 2.0, "units": (8, 16.0), "kind": np.int64(1), "lr": np.float32(0.5)}]))
    assert repr(point) == "{'layers': 2, 'units': [8, 16], 'kind': 1, 'lr': 0.5}"
    assert queue_of(space, 0, [{"layers": 2, "units": np.array([8, 16])}])[0]["units"] == [8, 16]


@pytest.mark.parametrize("folder", [None, 3, "", "s3://bucket/study", {"runs/old"}])
def test_what_is_no_folder_is_no_warm_start(folder):
    with pytest.raises(ConfigError, match="warm_start needs"):
        earlier_roots(folder)


def test_earlier_studies_may_be_any_paths_in_any_kind_of_list(tmp_path):
    assert earlier_roots(UserList([str(tmp_path), tmp_path])) == [tmp_path, tmp_path]


def test_an_earlier_study_is_a_warm_start(search, tmp_path):
    search(root_dir=tmp_path / "earlier", trials=4).run()
    sampler = CoarseToFine(first=2, size=2)
    cold, warm = (
        search(root_dir=tmp_path / name, strategy=sampler, trials=2, warm_start=start)
        for name, start in (("cold", ()), ("warm", tmp_path / "earlier"))
    )
    # All its values are accuracies of different trials, so there is something to go by from the first round on.
    assert [each.hparams for each in cold.run().trials] != [each.hparams for each in warm.run().trials]
    assert [(began.first, began.seen) for began in Study(tmp_path / "warm").rounds] == [(0, "-4--1")]
    assert Study(tmp_path / "warm").asked["warm_start"] == [str(tmp_path / "earlier"), "4 trials"]


def test_an_earlier_study_that_does_not_fit_is_refused(search, tmp_path):
    earlier = tmp_path / "earlier"
    search(root_dir=earlier, trials=1).run()
    with pytest.raises(ConfigError, match="has the objective val_acc \\(max\\), this search has val_loss \\(min\\)"):
        search(warm_start=earlier, monitor="val_loss", mode="min")
    with pytest.raises(ConfigError, match="has no finished trial in this space"):
        search(warm_start=earlier, space={"lr": Log(1e-9, 1e-8)})
    with pytest.raises(ConfigError, match="holds no study"):
        search(warm_start=tmp_path / "nothing")
    with pytest.raises(ConfigError, match="warm_start needs the name of a folder, got 3"):
        search(warm_start=3)


def test_trials_of_an_earlier_study_in_another_space_count_where_they_lie_in_this_one(search, tmp_path):
    earlier = tmp_path / "earlier"
    search(root_dir=earlier, trials=3, enqueue=[{"lr": 0.02}, {"lr": 0.5}, {"lr": 0.6}]).run()
    narrower = {"lr": Log(0.1, 1.0), "momentum": ReverseLog(0.5, 0.95), "activation": Choice("tanh", "relu", "gelu")}
    assert [each.hparams["lr"] for each in search(warm_start=[earlier], space=narrower).terms.earlier] == [0.5, 0.6]


@pytest.mark.slow
def test_a_search_in_rounds_gives_the_same_table_with_two_workers(search, tmp_path):
    sampler = CoarseToFine(first=4, size=2)
    alone = search(strategy=sampler, trials=8, root_dir=tmp_path / "alone").run()
    beside = search(strategy=sampler, trials=8, root_dir=tmp_path / "beside", executor="processes", workers=2).run()
    assert [(each.hparams, each.value) for each in alone.trials] == [(each.hparams, each.value) for each in beside.trials]
    assert [began.first for began in alone.rounds] == [0, 4, 6]
    assert alone.rounds == beside.rounds
