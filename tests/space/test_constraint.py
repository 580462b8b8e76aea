"""A constraint: what breaks it is never proposed, and that nothing meets it is told before a search begins."""

from __future__ import annotations

import pytest

from examples.digits import LitDigits
from lightning_hp import Choice, ConfigError, Grid, Int, Log, Space, Study
from lightning_hp.search.ask import Ask

SPACE = {"lr": Log(1e-4, 1.0), "layers": Int(1, 4)}


def shallow(hparams):
    return hparams["layers"] <= 2


def never(hparams):
    return False


def broken(hparams):
    return hparams["momentum"] > 0.9


def forgetful(hparams):
    hparams["lr"] <= 0.1  # noqa: B015


def test_draws_of_a_space_meet_its_constraint():
    drawn = Space(SPACE, shallow).sample(200, seed=1)
    assert {each["layers"] for each in drawn} == {1, 2}
    assert drawn == Space(SPACE, shallow).sample(200, seed=1)


def test_a_constraint_cannot_change_what_it_judges():
    def greedy(hparams):
        hparams.pop("lr")
        hparams["units"].append(1)
        return True

    space = Space({**SPACE, "units": Int(1, 9).per("layers")}, greedy)
    assert [each.keys() for each in space.sample(3)] == [space.keys()] * 3
    assert all(len(each["units"]) == each["layers"] for each in space.sample(3))


@pytest.mark.parametrize("strategy", ["random", "quasi", "coarse-to-fine", "grid"])
@pytest.mark.parametrize(
    ("constraint", "told"),
    [
        (never, "constraint never holds for none of "),
        (
            broken,
            "constraint broken raised KeyError: 'momentum', given {",
        ),
        (forgetful, "constraint forgetful needs to return True or False, got None for {"),
        ("shallow", "constraint needs a function of hyperparameters that returns True or False, got 'shallow'"),
    ],
)
def test_a_constraint_that_nothing_meets_is_told_before_a_search_begins(search, tmp_path, strategy, constraint, told):
    space = {"lr": Log(1e-4, 1.0), "activation": Choice("relu", "tanh")}
    with pytest.raises(ConfigError) as error:
        search(space=space, constraint=constraint, strategy=strategy)
    assert told in str(error.value)
    assert not (tmp_path / "study").exists()


def slow_for_tanh(hparams):
    return hparams["activation"] == "relu" or hparams["lr"] > 0.1


def test_a_search_tries_nothing_that_breaks_its_constraint_and_is_known_by_it(search, tmp_path):
    asked = {"constraint": slow_for_tanh, "strategy": "random", "trials": 4, "trainer": {"max_epochs": 1, "accelerator": "cpu"}}
    study = search(**asked).run()
    assert all(slow_for_tanh(trial.hparams) for trial in study.trials)
    assert Study(study.root).asked["constraint"] == "slow_for_tanh"
    with pytest.raises(ConfigError, match="constraint was 'slow_for_tanh', is None"):
        search(**{**asked, "constraint": None}).run()
    assert search(**asked).run().trials[3].hparams == study.trials[3].hparams


def test_what_is_enqueued_and_breaks_the_constraint_is_refused(search):
    point = {"lr": 0.02, "momentum": 0.9, "activation": "tanh", "data.batch_size": 64}
    with pytest.raises(ConfigError) as error:
        search(enqueue=[point], constraint=slow_for_tanh)
    assert str(error.value) == f"enqueue[0] breaks the constraint slow_for_tanh: {point}"


def test_what_an_enqueued_point_leaves_out_is_drawn_so_that_it_meets_the_constraint(search):
    loop = search(enqueue=[{"activation": "tanh"}] * 4, constraint=slow_for_tanh)
    assert all(each["activation"] == "tanh" and each["lr"] > 0.1 for each in loop.terms.queue)


def test_what_is_enqueued_draws_what_it_depends_on(search):
    space = {
        "lr": Log(1e-2, 1.0),
        "activation": Choice("relu", "tanh", "gelu", "silu"),
        "momentum": Log(0.1, 0.9).when(activation="gelu"),
    }
    loop = search(space=space, enqueue=[{"momentum": 0.5}, {"activation": "tanh"}])
    assert [each["activation"] for each in loop.terms.queue] == ["gelu", "tanh"]
    assert loop.terms.queue[1].keys() == {"lr", "activation"}
    with pytest.raises(ConfigError, match=r"enqueue\[0\]: hparams\['momentum'\]: it exists only where activation is 'gelu'"):
        search(space=space, enqueue=[{"momentum": 0.5, "activation": "relu"}])


def test_trials_of_an_earlier_study_that_break_the_constraint_are_not_seen(search, tmp_path):
    search(root_dir=tmp_path / "earlier", trials=4, trainer={"max_epochs": 1, "accelerator": "cpu"}).run()
    earlier = Study(tmp_path / "earlier").trials
    assert {slow_for_tanh(trial.hparams) for trial in earlier} == {True, False}
    seen = search(warm_start=tmp_path / "earlier", constraint=slow_for_tanh).terms.earlier
    assert len(seen) == sum(slow_for_tanh(trial.hparams) for trial in earlier)


def test_a_sampler_of_the_users_own_that_breaks_the_constraint_is_told():
    class Mine:
        def propose(self, space, seed, numbers, history, mode="min"):
            return [{"lr": 0.1, "layers": 4} for _ in numbers]

    with pytest.raises(ConfigError, match="Mine proposed what breaks the constraint"):
        Ask(Space(SPACE, shallow), Mine(), 0).propose(0)


def test_a_grid_counts_what_meets_the_constraint():
    assert Grid({"lr": 3, "layers": 4}).size(Space(SPACE, shallow)) == 6


@pytest.mark.slow
def test_workers_do_without_the_constraint(search):
    class NotToBeSent:
        def __call__(self, hparams):
            return True

        def __reduce__(self):
            raise TypeError("not to be sent")

    trials = search(LitDigits, constraint=NotToBeSent(), executor="processes", workers=1, trials=1).run().trials
    assert [trial.state for trial in trials] == ["complete"]
