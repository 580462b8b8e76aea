"""Which trials go together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.search.plan import Plan, structure
from lightning_hp.trial import Trial

LAYERS, SIZES = st.integers(1, 2), st.sampled_from([16, 32])
HPARAMS = st.fixed_dictionaries({"lr": st.floats(0, 1), "layers": LAYERS, "data.batch_size": SIZES})


def trials(*hparams) -> list[Trial]:
    return [Trial(number, each, 0) for number, each in enumerate(hparams)]


def jobs(plan: Plan) -> list[list[int]]:
    found = []
    while (job := plan.next_job()) is not None:
        found.append([trial.number for trial in job.trials])
    return found


@given(st.lists(HPARAMS, max_size=30), st.integers(1, 4), st.integers(1, 8))
def test_every_trial_is_in_one_job_with_others_like_it(hparams, places, most):
    plan = Plan(lambda: places, most)
    for trial in trials(*hparams):
        plan.add(trial)
    found = jobs(plan)
    assert sorted(number for job in found for number in job) == list(range(len(hparams)))
    for job in found:
        assert len(job) <= most
        assert len({structure(hparams[number]) for number in job}) == 1
    assert len(plan) == 0


def test_trials_are_divided_among_the_places():
    plan = Plan(places=lambda: 2)
    for trial in trials(*[{"lr": 0.1}] * 10):
        plan.add(trial)
    assert jobs(plan) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_places_that_come_later_count():
    places = [1]
    plan = Plan(places=lambda: places[-1], most=4)
    assert plan.lookahead == 4
    places.append(2)
    assert plan.lookahead == 8
    for trial in trials(*[{"lr": 0.1}] * 4):
        plan.add(trial)
    assert jobs(plan) == [[0, 1], [2, 3]]


def test_models_that_cannot_train_as_one_do_not_try_again():
    plan = Plan()
    for trial in trials({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3, "layers": 2}, {"lr": 0.4, "layers": 2}):
        plan.add(trial)
    first = plan.next_job()
    assert [trial.number for trial in first.trials] == [0, 1]
    plan.refuse(list(first.trials))
    assert jobs(plan) == [[2, 3], [0], [1]]


def test_a_trial_that_was_lost_trains_alone():
    plan = Plan()
    for trial in trials({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}):
        plan.add(trial)
    (lost, *_) = plan.next_job().trials
    plan.separate(lost)
    plan.add(Trial(3, {"lr": 0.4}, 0))
    plan.add(Trial(4, {"lr": 0.4}, 0))
    assert jobs(plan) == [[0], [3, 4]]


def test_a_job_that_was_lost_is_tried_again_as_it_was_and_then_its_trials_may_train_with_others():
    plan = Plan(places=lambda: 2)
    for trial in trials(*[{"lr": 0.1}] * 6):
        plan.add(trial)
    first, second = plan.next_job(), plan.next_job()
    assert [trial.number for trial in second.trials] == [3, 4, 5]
    # The first of them had finished before.
    for trial in first.trials[1:]:
        plan.again(trial)
    plan.add(Trial(6, {"lr": 0.1}, 0))
    lost = plan.next_job()
    assert [trial.number for trial in lost.trials] == [1, 2]
    for trial in (*lost.trials, *second.trials):
        plan.add(trial)
    assert jobs(plan) == [[6, 1, 2], [3, 4, 5]]


def test_of_trials_of_one_job_that_are_lost_again_those_by_themselves_stay_so():
    plan = Plan()
    for trial in trials(*[{"lr": 0.1}] * 3):
        plan.add(trial)
    zero, one, two = plan.next_job().trials
    plan.separate(zero)
    plan.again(one)
    plan.again(two)
    assert jobs(plan) == [[0], [1, 2]]
    plan.again(zero)
    assert jobs(plan) == [[0]]


def test_a_lost_job_that_turns_out_not_to_train_as_one_does_not_try_again():
    plan = Plan()
    for trial in trials(*[{"lr": 0.1}] * 3):
        plan.add(trial)
    for trial in plan.next_job().trials:
        plan.again(trial)
    plan.refuse(list(plan.next_job().trials))
    assert jobs(plan) == [[0], [1], [2]]


def test_those_that_go_into_a_job_need_not_have_come_one_after_the_other():
    plan = Plan(most=2)
    for trial in trials(*[{"lr": 0.1, "layers": 1 + number % 3} for number in range(9)]):
        plan.add(trial)
    assert jobs(plan) == [[0, 3], [1, 4], [2, 5], [6], [7], [8]]


def test_a_trial_that_was_lost_comes_after_those_that_waited_before_and_does_not_join_its_like_again():
    plan = Plan(most=2)
    for trial in trials({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}, {"lr": 0.4, "layers": 2}):
        plan.add(trial)
    (first, second) = plan.next_job().trials
    plan.separate(second)
    plan.separate(first)
    assert jobs(plan) == [[2], [3], [1], [0]]
