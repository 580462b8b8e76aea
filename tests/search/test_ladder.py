"""Trials on their rungs, in searches that train nothing: any order, any interruption, the same table."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_hp import Asha, Halving, Linear, Progressive, Random, Space
from lightning_hp.search.ask import Ask
from lightning_hp.search.books import books_for
from lightning_hp.search.dispatch import SAME_FAILURES, Dispatch
from lightning_hp.search.plan import Plan
from lightning_hp.trial import Finished, Judged, Outcome, Paused

SPACE = Space({"x": Linear(0.0, 1.0)})
# A trial's values by epoch: how many there are tells when it ends by itself, and a None that it fails there.
CURVE = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.25, 0.5])), min_size=10, max_size=10)
CURVES = st.lists(
    st.one_of(CURVE, CURVE, CURVE.map(lambda curve: curve[:3]), CURVE.map(lambda curve: [*curve[:2], None])),
    min_size=1,
    max_size=14,
    # So many that fail alike before any other has ended stop a search.
).filter(lambda curves: sum(None in curve for curve in curves) < SAME_FAILURES)


class Rounds:
    """Proposes at random, in rounds of four that wait for each other."""

    propose = Random().propose

    def round_of(self, number):
        return range(number // 4 * 4, number // 4 * 4 + 4)


class Learning(Rounds):
    """Proposes by the values that it is shown."""

    def propose(self, space, seed, numbers, history, mode="min"):
        shown = sum(trial.value for trial in history if trial.value is not None)
        return [{"x": (shown + number / 7) % 1.0} for number in numbers]


class Search:
    """A search whose trials follow curves; it can be stopped and goes on from what has been written down."""

    def __init__(self, curves, pruner, sampler=None, together=1):
        self.curves, self.pruner, self.sampler, self.together = curves, pruner, sampler or Random(), together
        self.judged, self.finished, self.epochs = [], {}, dict.fromkeys(range(len(curves)), 0)
        self.trained, self.hparams = 0, {}

    def record(self, event):
        if isinstance(event, Judged):
            self.judged.append(event)
        elif isinstance(event, Finished):
            assert event.number not in self.finished
            self.finished[event.number] = event.outcome.applied_to(self.trials[event.number])

    def run(self, workers=1, pick=lambda jobs: 0, events=10**6):
        """Runs until the end, or until so many events have come."""
        self.trials = {}
        ask, total = Ask(SPACE, self.sampler, 0, "max"), len(self.curves)

        def round_of(number):
            round_ = ask.round_of(number)
            return range(round_.start, min(round_.stop, total))

        finished = list(self.finished.values())
        ladder = books_for(self.pruner, "max", lambda hparams: 10, round_of, total, self.judged, finished)
        plan = Plan(lambda: workers, self.together, ladder.until)
        begun = {number: hparams for number, hparams in self.hparams.items() if number not in self.finished}
        dispatch = Dispatch(ask, total, None, 0, lambda hparams: 10, finished, [self.record], plan, begun, ladder)
        jobs = []
        while True:
            while len(jobs) < workers and (job := dispatch.next_job()) is not None:
                self.trials |= {trial.number: trial for trial in job.trials}
                self.hparams |= {trial.number: trial.hparams for trial in job.trials}
                jobs.append(job)
            if not jobs:
                return
            job = jobs.pop(pick(jobs))
            for trial in job.trials:
                if events == 0:
                    return
                events -= 1
                dispatch.take(self.train(trial, job.until))

    def train(self, trial, until):
        curve = self.curves[trial.number]
        end = min(until.at if until is not None else 10, len(curve))
        assert self.epochs[trial.number] <= end
        self.trained += end - self.epochs[trial.number]
        self.epochs[trial.number] = end
        if curve[end - 1] is None:
            return Finished(trial.number, Outcome("failed", epochs=end, traceback="here"), 0.0)
        best = max(value for value in curve[:end] if value is not None)
        if until is not None and end == until.at and end < len(curve):
            return Paused(trial.number, Outcome("pruned", best, end), 0.0)
        return Finished(trial.number, Outcome("complete", best, end), 0.0)

    def table(self):
        return {number: (trial.state, trial.value, trial.epochs, trial.reason) for number, trial in self.finished.items()}


def run(*args, **options):
    search = Search(*args)
    search.run(**options)
    return search


ALL = Halving(first=2, factor=3, size="all")
NAMED = Halving(rungs=(2, 3, 7), factor=2, size="all")
EAGER = Progressive(rungs=(1, 2, 4, 7), factor=2)
PRUNERS = st.sampled_from(
    [Halving(), Halving(factor=2), Halving(size=4), Halving(first=2, factor=4), NAMED, ALL, Progressive(), EAGER]
)


@given(CURVES, PRUNERS, st.sampled_from([Random(), Rounds()]), st.integers(1, 5), st.integers(1, 6), st.data())
@settings(max_examples=60, deadline=None)
def test_pruned_searches_end_the_same_whatever_the_order_of_the_trials(curves, pruner, sampler, workers, together, data):
    expected = run(curves, pruner, sampler).table()
    assert expected.keys() == set(range(len(curves)))
    other = Search(curves, pruner, sampler, together)
    other.run(workers, lambda jobs: data.draw(st.integers(0, len(jobs) - 1)))
    assert other.table() == expected


@given(
    CURVES,
    st.sampled_from([Random(), Rounds()]),
    PRUNERS,
    st.lists(st.integers(0, 12), max_size=6),
    st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_pruned_searches_end_the_same_after_any_interruptions(curves, sampler, pruner, interruptions, workers):
    whole = run(curves, pruner, sampler)
    search = Search(curves, pruner, sampler)
    for events in interruptions:
        search.run(workers, events=events)
    search.run(workers)
    assert search.table() == whole.table()
    # And trains no epoch more.
    assert search.trained == whole.trained


@given(CURVES, st.lists(st.integers(0, 12), max_size=4), st.integers(1, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_rounds_learn_from_those_who_wait_for_the_end_whatever_the_order_and_after_any_interruptions(
    curves, interruptions, workers, data
):
    whole = run(curves, ALL, Learning())
    for number, hparams in whole.hparams.items():
        shown = sum(max(curve[:2]) for curve in curves[: number // 4 * 4])
        assert hparams["x"] == (shown + number / 7) % 1.0
    search = Search(curves, ALL, Learning())
    for events in interruptions:
        search.run(workers, events=events)
    search.run(workers, lambda jobs: data.draw(st.integers(0, len(jobs) - 1)))
    assert (search.table(), search.hparams) == (whole.table(), whole.hparams)
    assert search.trained == whole.trained


@given(CURVES, st.sampled_from([Progressive(), EAGER]), st.lists(st.integers(0, 12), max_size=4), st.integers(1, 4), st.data())
@settings(max_examples=100, deadline=None)
def test_rounds_of_progressive_halving_learn_the_same_whatever_the_order_and_after_any_interruptions(
    curves, pruner, interruptions, workers, data
):
    whole = run(curves, pruner, Learning())
    search = Search(curves, pruner, Learning())
    for events in interruptions:
        search.run(workers, events=events)
    search.run(workers, lambda jobs: data.draw(st.integers(0, len(jobs) - 1)))
    assert (search.table(), search.hparams) == (whole.table(), whole.hparams)
    assert search.trained == whole.trained
    if not any(None in curve for curve in curves):
        assert any(state == "complete" for state, *_ in whole.table().values())


def test_a_round_that_has_ended_in_whole_is_not_followed_while_earlier_trials_go_on():
    level, ending = [0.0] * 10, [1.0, 0.0, 0.0]
    curves = [level, *([[0.5, *level[1:]]] * 2), [0.5, 0.0, None], *([level] * 2), *([ending] * 2), *([level] * 5)]
    one, two = (Search(curves, Progressive(), Learning()) for _ in range(2))
    one.run()
    two.run(2, lambda jobs: len(jobs) - 1)
    assert (two.table(), two.hparams) == (one.table(), one.hparams)


@given(CURVES, st.lists(st.integers(0, 12), max_size=4), st.integers(1, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_asha_leaves_no_trial_over_and_one_complete(curves, interruptions, workers, data):
    search = Search(curves, Asha(1, 3))
    for events in interruptions:
        search.run(workers, events=events)
    search.run(workers, lambda jobs: data.draw(st.integers(0, len(jobs) - 1)))
    assert search.finished.keys() == set(range(len(curves)))
    if not any(None in curve for curve in curves):
        assert "complete" in {trial.state for trial in search.finished.values()}


def test_each_rung_is_left_by_one_in_so_many():
    search = run([[number / 100 + epoch / 1000 for epoch in range(10)] for number in range(27)], Halving(1, 3))
    epochs = [trial.epochs for trial in search.finished.values()]
    assert {each: epochs.count(each) for each in epochs} == {1: 18, 3: 6, 9: 2, 10: 1}
    assert search.finished[26].state == "complete"
    assert search.trained == 18 + 6 * 3 + 2 * 9 + 10
    assert [(judged.rung, len(judged.values), len(judged.going_on)) for judged in search.judged] == [
        (1, 27, 9),
        (3, 9, 3),
        (9, 3, 1),
    ]


def test_who_has_ended_before_a_rung_takes_a_place_if_it_is_good_and_a_failure_takes_none():
    long, short, failing = [0.5] * 10, [0.9, 0.9], [0.9, None]
    assert run([long, long, short], Halving(3, 3)).table()[0] == ("pruned", 0.5, 3, "not among the best at epoch 3")
    assert {state for state, *_ in run([long, long, failing], Halving(3, 3)).table().values()} == {
        "complete",
        "pruned",
        "failed",
    }


def test_a_study_that_grows_keeps_what_was_decided():
    curves = [[number / 100] * 10 for number in range(6)]
    search = run(curves, Halving(1, 3))
    before = search.table()
    search.curves += [[0.5] * 10, [0.0] * 10, [0.0] * 10]
    search.epochs |= dict.fromkeys(range(6, 9), 0)
    search.run()
    assert before.items() <= search.table().items()
    assert search.table()[6] == ("complete", 0.5, 10, None)
