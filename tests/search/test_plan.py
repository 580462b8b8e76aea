"""Which trials go together."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lightning_hp.search.plan import Plan
from lightning_hp.space import differing, form_of
from lightning_hp.trial import Rung, Trial

LAYERS, SIZES = st.integers(1, 3), st.sampled_from([16, 32])
HPARAMS = st.fixed_dictionaries({"lr": st.floats(0, 1), "layers": LAYERS, "heads": LAYERS, "data.batch_size": SIZES})


def trials(*hparams) -> list[Trial]:
    return [Trial(number, each, 0) for number, each in enumerate(hparams)]


def planned(*hparams, **arguments) -> Plan:
    plan = Plan(**arguments)
    for trial in trials(*hparams):
        plan.add(trial)
    return plan


def next_job(plan: Plan) -> list[int]:
    return [trial.number for trial in plan.next_job().trials]


def jobs(plan: Plan) -> list[list[int]]:
    found = []
    while (job := plan.next_job()) is not None:
        found.append([trial.number for trial in job.trials])
    return found


def grouped(plan: Plan, job, structure) -> list[Trial]:
    """Does what comes of a worker's making the models of a job: those of another structure than the first are given back."""
    for trial in job.trials:
        plan.learn(trial, structure(trial))
    staying = [trial for trial in job.trials if structure(trial) == structure(job.trials[0])]
    for trial in job.trials:
        if trial not in staying:
            plan.add(trial)
    return staying


def layers(trial: Trial) -> str:
    return str(trial.hparams["layers"])


@given(st.lists(HPARAMS, max_size=30), st.integers(1, 4), st.integers(1, 8))
def test_every_trial_is_in_one_job_with_others_like_it(hparams, places, most):
    plan = Plan(lambda: places, most)
    for trial in trials(*hparams):
        plan.add(trial)
    found = jobs(plan)
    assert sorted(number for job in found for number in job) == list(range(len(hparams)))
    for job in found:
        assert len(job) <= most
        assert len({form_of(hparams[number]) for number in job}) == 1
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
    plan = planned({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3, "kind": "deep"}, {"lr": 0.4, "kind": "deep"})
    first = plan.next_job()
    assert [trial.number for trial in first.trials] == [0, 1]
    plan.refuse(list(first.trials))
    assert jobs(plan) == [[2, 3], [0], [1]]


def test_whole_numbers_keep_trials_apart_only_as_far_as_their_models_turn_out_to_differ():
    plan = planned(*[{"lr": 0.1, "layers": 1 + number % 3, "warmup": number} for number in range(9)])
    job = plan.next_job()
    assert len(job.trials) == 9
    assert [trial.number for trial in grouped(plan, job, layers)] == [0, 3, 6]
    assert jobs(plan) == [[1, 4, 7], [2, 5, 8]]


def test_what_was_given_back_by_several_workers_comes_together():
    plan = planned(*[{"layers": 1 + number % 2} for number in range(8)], places=lambda: 2)
    first, second = plan.next_job(), plan.next_job()
    assert [len(first.trials), len(second.trials)] == [4, 4]
    grouped(plan, first, layers)
    grouped(plan, second, lambda trial: str(-trial.hparams["layers"]) if trial.number == 4 else layers(trial))
    # Two by the first, three by the second, divided among both.
    assert jobs(plan) == [[1, 3], [5, 7], [6]]


def test_what_a_model_with_the_same_whole_numbers_was_is_known():
    plan = planned({"layers": 1}, {"layers": 2}, {"layers": 2})
    grouped(plan, plan.next_job(), layers)
    for number, hparams in enumerate([{"lr": 0.1, "layers": 2}, {"lr": 0.2, "layers": 1}, {"lr": 0.3, "layers": 3}], 3):
        plan.add(Trial(number, hparams, 0))
    assert jobs(plan) == [[1, 2, 3], [4], [5]]


def test_whose_own_model_was_another_than_that_of_its_like_stays_with_its_own():
    plan = planned({"width": 7.5}, {"width": 8.5}, {"width": 7.1}, {"width": 8.1})
    grouped(plan, plan.next_job(), lambda trial: str(int(trial.hparams["width"])))
    plan.add(Trial(4, {"width": 9.5}, 0))
    assert jobs(plan) == [[1, 3], [4]]


def test_where_whole_numbers_may_be_why_they_do_not_train_as_one_those_that_have_the_same_are_tried():
    plan = planned(*[{"lr": 0.1, "heads": 1 + number % 2} for number in range(4)], most=4)
    refused = plan.next_job()
    for number in range(4, 8):
        plan.add(Trial(number, {"lr": 0.1, "heads": 1 + number % 2}, 0))
    plan.refuse(refused.trials, ("heads",))
    # Also those that were waiting.
    assert next_job(plan) == [4, 6, 0, 2]
    second = plan.next_job()
    assert [trial.number for trial in second.trials] == [5, 7, 1, 3]
    plan.refuse(second.trials, ())
    plan.add(Trial(8, {"lr": 0.1, "heads": 1}, 0))
    plan.add(Trial(9, {"lr": 0.1, "heads": 1}, 0))
    assert jobs(plan) == [[5], [7], [1], [3], [8, 9]]


def test_what_is_refused_for_no_numbers_is_one_structure_and_no_other_try_is_made():
    plan = planned(*[{"layers": 1 + number % 2, "warmup": number} for number in range(8)])
    plan.refuse(grouped(plan, plan.next_job(), layers), None)
    assert jobs(plan) == [[1, 3, 5, 7], [0], [2], [4], [6]]


def test_a_structure_that_is_refused_for_no_numbers_stays_so_where_others_need_the_same_ones():
    plan = planned(*[{"layers": 1 + number % 2, "heads": 1 + number // 4} for number in range(8)])
    plan.refuse(grouped(plan, plan.next_job(), layers), None)
    others = plan.next_job()
    assert [trial.number for trial in others.trials] == [1, 3, 5, 7]
    plan.refuse(others.trials, ("heads",))
    assert jobs(plan) == [[0], [2], [4], [6], [1, 3], [5, 7]]


def test_of_whom_nothing_is_known_nobody_is_tried_where_all_like_them_were_refused():
    plan = planned(*[{"warmup": number} for number in range(3)])
    plan.refuse(grouped(plan, plan.next_job(), lambda trial: "the only one"), None)
    for number in range(3, 6):
        plan.add(Trial(number, {"warmup": number}, 0))
    assert jobs(plan) == [[0], [1], [2], [3], [4], [5]]


def test_at_each_rung_it_is_tried_anew():
    rungs = dict.fromkeys(range(2), Rung(1))
    plan = planned({"warmup": 1}, {"warmup": 2}, until=lambda trial: rungs[trial.number])
    staying = grouped(plan, plan.next_job(), lambda trial: "the only one")
    plan.refuse(staying, None)
    assert jobs(plan) == [[0], [1]]
    rungs = dict.fromkeys(range(2), Rung(2))
    for trial in staying:
        plan.add(trial)
    assert jobs(plan) == [[0, 1]]


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
    for trial in trials(*[{"lr": 0.1, "kind": "abc"[number % 3]} for number in range(9)]):
        plan.add(trial)
    assert jobs(plan) == [[0, 3], [1, 4], [2, 5], [6], [7], [8]]


def test_a_trial_that_was_lost_comes_after_those_that_waited_before_and_does_not_join_its_like_again():
    plan = Plan(most=2)
    for trial in trials({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}, {"lr": 0.4, "kind": "deep"}):
        plan.add(trial)
    (first, second) = plan.next_job().trials
    plan.separate(second)
    plan.separate(first)
    assert jobs(plan) == [[2], [3], [1], [0]]


class Fates(RuleBasedStateMachine):
    """All that can become of jobs, in any order."""

    @initialize(places=st.integers(1, 3), most=st.integers(1, 6))
    def begin(self, places, most):
        self.rungs = Counter()
        self.plan = Plan(lambda: places, most, lambda trial: Rung(1 + self.rungs[trial.number]))
        self.count = 0
        self.waiting: set[int] = set()
        self.jobs: list[list[Trial]] = []

    @rule(hparams=st.lists(HPARAMS, min_size=1, max_size=6))
    def add(self, hparams):
        for each in hparams:
            self._take_back(self.plan.add, [Trial(self.count, each, 0)])
            self.count += 1

    @rule()
    def take(self):
        job = self.plan.next_job()
        assert (job is None) == (not self.waiting)
        if job is not None:
            numbers = [trial.number for trial in job.trials]
            assert len(set(numbers)) == len(numbers) > 0
            assert self.waiting.issuperset(numbers)
            assert {Rung(1 + self.rungs[number]) for number in numbers} == {job.until}
            self.waiting.difference_update(numbers)
            self.jobs.append(list(job.trials))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def group(self, data):
        job = data.draw(st.sampled_from(self.jobs))
        structures = [data.draw(st.sampled_from("ABC")) for _ in job]
        for trial, structure in zip(job, structures, strict=True):
            self.plan.learn(trial, structure)
        left = [trial for trial, structure in zip(job, structures, strict=True) if structure != structures[0]]
        for trial in left:
            job.remove(trial)
        self._take_back(self.plan.add, left)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), by_numbers=st.booleans())
    def refuse(self, data, by_numbers):
        job = self._over(data)
        names = differing([trial.hparams for trial in job]) if by_numbers else None
        self.waiting.update(trial.number for trial in job)
        self.plan.refuse(job, names)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def end(self, data):
        for trial in self._over(data):
            fate = data.draw(st.sampled_from(["finished", "again", "separate", "goes on"]))
            if fate == "goes on":
                self.rungs[trial.number] += 1
            if fate != "finished":
                back = {"again": self.plan.again, "separate": self.plan.separate, "goes on": self.plan.add}[fate]
                self._take_back(back, [trial])

    def _over(self, data):
        return self.jobs.pop(data.draw(st.integers(0, len(self.jobs) - 1)))

    def _take_back(self, take, several):
        for trial in several:
            self.waiting.add(trial.number)
            take(trial)

    @invariant()
    def all_that_wait_are_there(self):
        assert len(self.plan) == len(self.waiting)

    def teardown(self):
        left = jobs(self.plan)
        assert sorted(number for job in left for number in job) == sorted(self.waiting)


test_no_trial_is_lost_or_there_twice_whatever_becomes_of_jobs = Fates.TestCase
test_no_trial_is_lost_or_there_twice_whatever_becomes_of_jobs.settings = settings(max_examples=60, deadline=None)


@given(
    st.lists(HPARAMS, max_size=40),
    st.integers(1, 3),
    st.integers(1, 8),
    st.sampled_from([("layers",), ("lr",), ("layers", "lr"), ()]),
    st.sampled_from(["never", "where heads differ", "always"]),
    st.booleans(),
)
def test_whatever_workers_find_every_trial_trains_and_few_tries_are_in_vain(hparams, places, most, decides, fails, by_numbers):
    plan = planned(*hparams, places=lambda: places, most=most)
    trained, in_vain = [], 0

    def structure(trial):
        return str([round(trial.hparams[name]) for name in decides])

    while (job := plan.next_job()) is not None:
        staying = grouped(plan, job, structure) if len(job.trials) > 1 else job.trials
        heads = len({trial.hparams["heads"] for trial in staying})
        if len(staying) > 1 and (fails == "always" or (fails == "where heads differ" and heads > 1)):
            in_vain += 1
            plan.refuse(staying, differing([trial.hparams for trial in staying]) if by_numbers else None)
        else:
            trained += [trial.number for trial in staying]
    assert sorted(trained) == list(range(len(hparams)))
    # Of each batch size, first one by each place, then one for each way in which numbers or structures may be the same.
    assert in_vain <= 2 * (1 + 3 * 3 * 2)
