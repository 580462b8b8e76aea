"""The probe policy, look by look: which branches it tries, in which order, what it keeps, and when it lets it be."""

from __future__ import annotations

import math

import pytest

from lightning_hp.babysit.actions import Adjust, Knobs, Move, Rollback, Snapshot, Stop
from lightning_hp.babysit.policies import Look, Probe
from lightning_hp.babysit.signals import Finding, Oscillation, Plateau, Slow, TrendPlateau
from lightning_hp.errors import ConfigError

CHECKS, STEPS = 30, 10
GROUPS = (Knobs(0.1, 0.9),)
UP, HALF_UP, DOWN, CALMER = (Adjust((Move(factor),)) for factor in (4.0, 2.0, 0.25, 0.5))
# Checks of a fit that learns after its first probe.
LEARNING = [0.9, 0.8, 0.7, 0.6]


class Fit:
    """Gives a policy one check after the other, a value each, and keeps what it wants done. lr does not matter to it."""

    def __init__(self, policy, checks=CHECKS, mode="min", left=20, knobs=GROUPS):
        self.policy, self.total, self.mode, self.left, self.knobs = policy, checks, mode, left, knobs
        self.checks = self.step = 0
        self.state, self.made = policy.begin(), []
        self.look(None)

    def look(self, value, *kinds):
        findings = tuple(Finding(kind, self.step, f"{kind} it is") for kind in kinds)
        end = None if self.total is None else self.total - self.checks
        look = Look(self.checks, self.step, value, findings, self.knobs, self.checks, end, self.left, self.mode)
        self.state, decision = self.policy.decide(self.state, look)
        actions = [] if decision is None else list(decision.actions)
        if any(isinstance(action, Adjust | Rollback) for action in actions):
            self.left -= 1
        self.made.append(actions)
        return actions

    def check(self, value, *kinds):
        self.checks += 1
        self.step += STEPS
        return self.look(value, *kinds)

    def all(self, *values):
        return [self.check(value) for value in values]


def settled(policy=None, **arguments):
    """A fit whose first probe is over, with no higher lr."""
    fit = Fit(policy or Probe(), **arguments)
    fit.all(1.0, 2.0, 3.0)
    assert fit.state["probe"] is None
    return fit


def learning(policy=None, **arguments):
    """A fit that has learned for some checks since."""
    fit = settled(policy, **arguments)
    fit.all(*LEARNING)
    return fit


def set_to(actions):
    """What lr is multiplied by."""
    return actions[-1].moves[0].lr_factor


def test_the_first_probe_tries_both_sides_from_before_the_first_step_and_goes_on_from_the_winners_end():
    fit = Fit(Probe())
    assert fit.made == [[Snapshot("start")]]
    assert fit.check(1.0) == [Snapshot("leader"), Rollback("start", keep_moves=False), UP]
    assert fit.check(2.0) == [Rollback("start", keep_moves=False), DOWN]
    assert fit.check(3.0)[:-1] == [Rollback("leader", keep_moves=False), Snapshot("good")]
    assert fit.state["lost"] == 2


def test_a_direction_that_wins_is_tried_further_at_once_until_it_loses():
    fit = Fit(Probe())
    made = fit.all(4.0, 3.0, 2.0, 5.0)
    assert [set_to(actions) for actions in made[:3]] == [4.0, 16.0, 64.0]
    assert made[3] == [Rollback("start", keep_moves=False), Adjust((Move(8.0),))]
    assert fit.state["lost"] == 4


@pytest.mark.parametrize(("lower", "higher", "steps"), [(2.5, 1.9, -0.125), (5.0, 2.0, 0.05)])
def test_after_the_first_probe_lr_is_set_a_quarter_step_below_the_lowest_point_of_a_parabola(lower, higher, steps):
    actions = Fit(Probe()).all(lower, 1.0, higher)[-1]
    assert actions[:-1] == [Rollback("leader", keep_moves=False), Snapshot("good")]
    assert set_to(actions) == pytest.approx(4.0**steps)


@pytest.mark.parametrize(("lower", "higher", "steps"), [(2.0, 2.0, 0.75), (1.001, 9.0, 0.5), (2.0, math.nan, 0.5)])
def test_where_that_is_clearly_below_the_winner_the_fit_starts_afresh(lower, higher, steps):
    fit = Fit(Probe())
    actions = fit.all(lower, 1.0, higher)[-1]
    assert actions[0] == Rollback("start", keep_moves=False)
    assert set_to(actions) == pytest.approx(4.0**steps)
    assert fit.state["lost"] == 3
    assert fit.check(1.2) == [Snapshot("good")]


def test_a_start_afresh_that_learns_nothing_gives_way_to_the_winner():
    fit = Fit(Probe(), checks=15)
    fit.all(1.0, 0.7, 0.5, 0.9)
    assert fit.made[-1][0] == Rollback("start", keep_moves=False)
    assert fit.all(1.1, 1.2) == [[Snapshot("good")], []]
    back, kept, lowered = fit.check(0.98)
    assert (back, kept) == (Rollback("leader", keep_moves=False), Snapshot("good"))
    assert lowered.moves[0].lr_factor < 1
    assert fit.state["best"] == 0.5


def test_a_start_afresh_that_learns_goes_on_whatever_comes():
    fit = Fit(Probe(), checks=15)
    fit.all(1.0, 0.7, 0.5, 0.9, 0.8)
    assert fit.all(1.2, 1.2, 1.2) == [[], [], []]


def test_the_winner_goes_on_where_a_start_afresh_would_lose_too_much():
    fit = Fit(Probe(share=0.08))
    assert fit.all(2.0, 1.0, math.nan)[-1] == [Rollback("leader", keep_moves=False), Snapshot("good"), CALMER]


def test_a_winner_of_which_a_neighbour_was_not_tried_goes_on_as_it_is_and_without_going_back_if_it_ran_last():
    assert Fit(Probe(share=0.04)).all(4.0, 3.0)[1] == [Snapshot("good")]


def test_no_lr_below_the_least_is_set_after_the_first_probe():
    fit = Fit(Probe(min_lr=0.4, share=0.08))
    assert fit.all(2.0, 1.0, math.nan)[-1] == [Rollback("leader", keep_moves=False), Snapshot("good")]


def test_of_a_metric_that_shall_rise_the_highest_wins():
    fit = Fit(Probe(), mode="max")
    assert fit.all(0.5, 0.3, 0.7)[2] == [Snapshot("leader"), Rollback("start", keep_moves=False), Adjust((Move(0.0625),))]


def test_a_branch_that_diverges_is_lost_at_once_and_higher_ones_with_it():
    fit = Fit(Probe())
    assert fit.look(None, "divergence") == [Rollback("start", keep_moves=False), DOWN]
    assert fit.look(None, "divergence") == [Rollback("start", keep_moves=False), Adjust((Move(0.0625),))]
    assert fit.state["lost"] == 0
    assert fit.check(math.nan) == [Rollback("start", keep_moves=False), Adjust((Move(0.015625),))]


def test_an_always_diverging_fit_ends_when_its_interventions_are_spent():
    fit = Fit(Probe())
    for _ in range(30):
        fit.look(None, "divergence")
        if fit.made[-1] == [Stop(diverged=True)]:
            break
    assert fit.made[-1] == [Stop(diverged=True)]
    assert fit.left == 0


def test_a_lower_lr_that_diverges_takes_the_win_from_a_higher_one():
    fit = Fit(Probe())
    fit.all(4.1, 43.7)
    assert fit.look(None, "divergence") == [Rollback("start", keep_moves=False), Adjust((Move(0.0625),))]
    assert fit.check(2.7) == [Snapshot("leader"), Rollback("start", keep_moves=False), Adjust((Move(0.015625),))]
    assert fit.check(2.9) == [Rollback("start", keep_moves=False), Adjust((Move(0.03125),))]
    assert fit.state["lost"] == 4


def test_a_branch_that_is_stuck_is_lost_as_one_that_diverges():
    fit = Fit(Probe())
    assert fit.look(None, "stuck") == [Rollback("start", keep_moves=False), DOWN]


def test_where_a_lower_lr_ties_with_a_dead_network_one_more_is_tried():
    fit = Fit(Probe())
    assert fit.all(2.38, 3.1, 2.4)[2] == [Rollback("start", keep_moves=False), Adjust((Move(0.0625),))]
    assert fit.check(2.39)[-1] != Adjust((Move(0.015625),))
    assert fit.state["probe"] is None


def test_where_a_higher_lr_makes_no_difference_a_still_higher_one_is_tried():
    fit = Fit(Probe())
    assert [set_to(actions) for actions in fit.all(2.303, 2.31, 2.32, 5.0)] == [4.0, 16.0, 64.0, 0.25]


@pytest.mark.parametrize(
    ("probed", "since"), [([1.0, 2.0, 3.0], [1.1, 0.97, 1.2]), ([4.8, 62.7, 8.6], [3.09, 3.04, 3.04, 3.05])]
)
def test_a_winner_that_stops_learning_at_once_is_compared_with_a_lower_lr_from_before_the_first_step(probed, since):
    fit = Fit(Probe())
    fit.all(*probed, *since)
    assert fit.made[-1] == [Snapshot("leader"), Rollback("start", keep_moves=False), Adjust((Move(0.0625),))]
    # It would have been learning.
    assert fit.check(0.5) == [Snapshot("leader"), Rollback("start", keep_moves=False), Adjust((Move(0.015625),))]
    assert fit.check(0.8) == [Rollback("start", keep_moves=False), Adjust((Move(0.03125),))]
    assert fit.state["lost"] == fit.checks


def test_a_winner_that_has_stopped_learning_goes_on_if_a_lower_lr_does_no_better_and_only_once():
    fit = settled()
    fit.all(1.1, 1.1, 1.1)
    assert fit.check(1.2) == [Rollback("leader", keep_moves=False)]
    assert fit.state["lost"] == 3
    assert all(not any(isinstance(action, Rollback) for action in fit.check(1.1)) for _ in range(6))


def test_a_winner_that_learns_is_not_compared_any_more_and_neither_is_one_under_a_schedule():
    assert learning().state["lost"] == 2
    scheduled = settled()
    scheduled.check(1.1)
    scheduled.knobs = (Knobs(0.05, 0.9),)
    assert scheduled.all(1.1, 1.1, 1.1) == [[], [], []]


def test_in_mid_fit_a_lower_lr_that_wins_is_not_tried_further():
    fit = learning()
    fit.check(0.6, "plateau")
    fit.check(0.6)
    fit.check(0.3)
    assert fit.state["probe"] is None


@pytest.mark.parametrize(("kind", "first"), [("slow", HALF_UP), ("oscillation", DOWN), ("plateau", DOWN)])
def test_a_finding_starts_a_probe_in_the_direction_that_it_suggests(kind, first):
    fit = learning()
    assert fit.check(0.5, kind) == [Snapshot("good"), Snapshot("base")]
    assert fit.check(0.5) == [Snapshot("leader"), Rollback("base", keep_moves=False), first]


@pytest.mark.parametrize(("raised", "wins"), [(0.49, True), (0.51, False)])
def test_of_slow_progress_a_higher_lr_wins_by_any_gain_at_all(raised, wins):
    fit = learning()
    fit.check(0.5, "slow")
    fit.check(0.4)
    actions = fit.check(raised)
    assert (Rollback("leader", keep_moves=False) not in actions) == wins
    assert fit.state["probe"] is None


def test_a_higher_lr_that_gains_more_than_no_change_is_tried_further():
    fit = learning()
    fit.check(0.5, "slow")
    fit.check(0.4)
    assert set_to(fit.check(0.3)) == 8.0


def test_on_a_plateau_a_higher_lr_has_to_do_better_than_no_change():
    fit = learning()
    fit.check(0.6, "plateau")
    assert fit.all(0.5, 0.9, 0.55)[-1][0] == Rollback("leader", keep_moves=False)


def test_where_lr_is_too_high_branches_start_from_the_best_check_so_far():
    fit = learning()
    assert fit.check(1.5, "oscillation") == []
    assert fit.check(1.6) == [Snapshot("leader"), Rollback("good", keep_moves=False), DOWN]


def test_a_probe_without_a_winner_makes_the_next_one_wait_twice_as_long():
    fit = settled(checks=300)
    waits, value = [], 1.0
    for _ in range(3):
        before = fit.checks
        while fit.state["probe"] is None:
            value *= 0.9
            fit.check(value, "slow")
        waits.append(fit.checks - before)
        while fit.state["probe"] is not None:
            fit.check(value if fit.state["probe"]["running"] == [0, 0] else 2.0)
    assert waits == [4, 8, 16]


def test_a_winner_of_the_first_probe_that_gets_worse_goes_one_step_back_however_far_it_was_raised():
    fit = Fit(Probe())
    fit.all(4.0, 3.0, 1.9, 2.0, 2.0, 1.5, 1.0, 2.0)
    assert fit.check(3.0) == [Rollback("good", keep_moves=False), DOWN]


def test_an_lr_that_was_raised_and_gets_worse_goes_back_to_before_it_did():
    fit = learning()
    fit.check(0.6, "slow")
    fit.all(0.55, 0.5, 0.6)
    assert fit.state["trial"] is not None
    assert fit.check(0.4) == [Snapshot("good")]
    assert fit.check(0.9) == []
    assert fit.check(0.8) == [Rollback("good", keep_moves=False), CALMER]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 1 / 3])
@pytest.mark.parametrize("checks", [1, 2, 3, 5, 12, 30, 100])
def test_what_is_lost_keeps_within_its_share_and_every_probe_ends_before_the_last_part(share, checks):
    policy = Probe(share=share)
    fit = Fit(policy, checks=checks, left=1000)
    for check in range(checks):
        fit.check(1.0 + check % 3, "plateau", "slow")
        lost = fit.state["lost"] + (fit.state["probe"]["lost"] if fit.state["probe"] else 0)
        assert lost <= share * checks
        if checks - fit.checks < round(policy.anneal * checks):
            assert fit.state["probe"] is None
    assert fit.state["probe"] is None


def test_no_probe_starts_without_interventions_for_it_and_for_the_end():
    fit = Fit(Probe(), left=6)
    assert fit.all(1.0, 2.0) == [[Snapshot("good")], []]
    assert fit.check(2.0, "plateau") == []


def test_towards_the_end_lr_is_lowered_in_four_steps():
    fit = settled(Probe(final=0.0625))
    made = [fit.check(value) for value in [*LEARNING, *[0.6] * 23]]
    lowered = [3 + check for check, actions in enumerate(made, 1) if Adjust((Move(0.5),)) in actions]
    assert lowered == [21, 24, 26, 28]


def test_a_fit_with_a_schedule_or_without_a_known_end_is_not_annealed():
    scheduled = learning()
    scheduled.knobs = (Knobs(0.05, 0.9),)
    assert all(not any(isinstance(action, Adjust) for action in scheduled.check(0.6)) for _ in range(22))
    endless = learning(checks=None)
    assert all(not any(isinstance(action, Adjust) for action in endless.check(0.6)) for _ in range(60))


def test_a_warm_up_is_not_hurried():
    fit = Fit(Probe())
    fit.knobs = (Knobs(0.2, 0.9),)
    assert fit.check(1.0)[-1] == DOWN


def test_momentum_comes_after_lr_where_it_is_asked_for_and_there_is_one():
    fit = learning(Probe(momentum_factor=0.5))
    fit.check(0.5, "plateau")
    made = fit.all(0.5, 2.0, 2.0, 2.0)
    momenta = [Adjust((Move(1.0, factor),)) for factor in (0.5, pytest.approx(2.0))]
    assert [actions[-1] for actions in made] == [DOWN, HALF_UP, *momenta]
    without = learning(Probe(momentum_factor=0.5), knobs=(Knobs(0.1, 0.0),))
    without.check(0.5, "plateau")
    assert len(without.all(0.5, 2.0, 2.0)[2]) == 1


def test_a_divergence_outside_of_a_probe_goes_back_and_lowers():
    fit = settled()
    fit.all(0.9, 0.8)
    assert fit.look(None, "divergence") == [Rollback("good"), DOWN]
    assert fit.look(None, "stuck") == [Rollback("start"), DOWN]


def test_it_wants_the_signals_of_every_kind_for_the_metrics_mode():
    kinds = {type(signal) for signal in Probe().signals(Plateau("max"))}
    assert kinds >= {Plateau, TrendPlateau, Slow, Oscillation}
    assert {signal.mode for signal in Probe().signals(Plateau("max")) if hasattr(signal, "mode")} == {"max"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": 1.0},
        {"length": 0},
        {"share": 1.1},
        {"anneal": -0.1},
        {"final": 0},
        {"steps": 0},
        {"wait": 0},
        {"min_lr": -1},
        {"momentum_factor": 2},
        {"max_momentum": 1},
    ],
)
def test_a_setting_out_of_its_range_is_an_error_that_names_it(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"Probe needs {name} to be"):
        Probe(**wrong)
