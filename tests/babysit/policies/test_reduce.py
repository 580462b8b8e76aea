"""The policy: lr by a factor, momentum by its distance to 1; on real optimizers, bounds are reached, held and not crossed."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lightning_hp.babysit import knobs
from lightning_hp.babysit.actions import Adjust, Knobs, Move, Rollback, Snapshot, Stop
from lightning_hp.babysit.policies import Look, Reduce
from lightning_hp.babysit.signals import Finding, NotFinite, Plateau, Spike, Stuck
from lightning_hp.errors import ConfigError

POLICIES = st.builds(
    Reduce,
    factor=st.floats(0.01, 0.95),
    min_lr=st.just(0.0) | st.floats(1e-8, 1.0),
    momentum_factor=st.floats(0.01, 0.95) | st.just(1.0),
    max_momentum=st.floats(0, 0.99999),
)
LRS = st.floats(1e-8, 10)
MOMENTA = st.just(0.0) | st.floats(1e-3, 0.99999)
# What rounding may add: bounds are products and quotients of the values.
ULPS = 1e-12


def optimizer_with(lr, momentum):
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=lr, momentum=momentum)


def course(policy, optimizer, interventions=40):
    """Where the knobs stand before and after each intervention that the policy asks for."""
    seen = [knobs.read(optimizer)[0]]
    for _ in range(interventions):
        adjust = policy.lowered(knobs.read(optimizer))
        if adjust is None:
            break
        knobs.apply(optimizer, [], list(adjust.moves))
        seen.append(knobs.read(optimizer)[0])
    return seen


@given(policy=POLICIES, lr=LRS, momentum=MOMENTA)
def test_no_number_of_moves_crosses_a_bound(policy, lr, momentum):
    for at in course(policy, optimizer_with(lr, momentum)):
        assert at.lr >= min(lr, policy.min_lr) * (1 - ULPS)
        assert at.lr <= lr
        assert at.momentum <= max(momentum, policy.max_momentum) + ULPS
        assert at.momentum >= momentum - ULPS


@given(policy=POLICIES, lr=LRS, momentum=MOMENTA)
@example(policy=Reduce(0.9, 0.11635930713837558, 1.0, 0.99), lr=0.95, momentum=0.0)
@example(policy=Reduce(0.5, 0.02, 0.5, 0.962141540530391), lr=0.34, momentum=0.770281517667784)
def test_each_move_moves_something(policy, lr, momentum):
    seen = course(policy, optimizer_with(lr, momentum))
    for before, after in itertools.pairwise(seen):
        lowered = after.lr < before.lr * (1 - ULPS)
        raised = 1 - after.momentum < (1 - before.momentum) * (1 - ULPS)
        assert lowered or raised


@given(lr=st.floats(1e-4, 1.0), min_lr=st.floats(1e-4, 1.0))
@example(lr=0.4, min_lr=0.1)
def test_a_tensor_lr_comes_to_rest_at_its_bound(lr, min_lr):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(lr))
    policy = Reduce(factor=0.5, min_lr=min_lr, momentum_factor=1.0, max_momentum=0.99)
    needed = max(0, math.ceil(math.log2(lr / min_lr) + 1e-6))
    assert len(course(policy, optimizer)) - 1 <= needed
    assert knobs.read(optimizer)[0].lr >= min(lr, min_lr) * (1 - 1e-6)


def test_an_lr_near_its_bound_ends_on_the_bound():
    seen = course(Reduce(0.5, 0.03, 1.0, 0.99), optimizer_with(0.1, 0.9))
    assert [at.lr for at in seen] == pytest.approx([0.1, 0.05, 0.03])


def test_momentum_takes_equal_steps_on_the_reverse_log_scale_up_to_its_bound():
    seen = course(Reduce(0.5, 0.1, 0.5, 0.98), optimizer_with(0.1, 0.9))
    assert [at.momentum for at in seen] == pytest.approx([0.9, 0.95, 0.975, 0.98])
    assert {at.lr for at in seen} == {0.1}


@pytest.mark.parametrize(
    ("lr", "momentum", "move"),
    [
        (0.05, 0.9, Move(1.0, 0.5)),
        (0.1, 0.9, Move(1.0, 0.5)),
        (0.2, 0.99, Move(0.5, 1.0)),
        (0.2, 0.999, Move(0.5, 1.0)),
        (0.05, 0.999, Move(1.0, 1.0)),
        (0.2, 0.0, Move(0.5, 1.0)),
        (0.2, None, Move(0.5, 1.0)),
        (0.2, 1e-3, Move(0.5, 0.5)),
        (0.0, 0.9, Move()),
        (math.inf, 0.9, Move()),
        (math.nan, 0.9, Move()),
        (1e300, 0.9, Move(0.5, 0.5)),
        (5e-324, 0.9, Move(1.0, 0.5)),
    ],
)
def test_a_knob_at_or_past_its_bound_stays_and_the_other_moves(lr, momentum, move):
    policy = Reduce(factor=0.5, min_lr=0.1, momentum_factor=0.5, max_momentum=0.99)
    assert policy.lowered([Knobs(lr, momentum)]) == (None if move.nothing else Adjust((move,)))


def test_every_group_gets_its_own_move():
    groups = [Knobs(1.0, 0.9), Knobs(0.1, None), Knobs(0.0, 0.9)]
    assert Reduce(0.5, 0.1, 0.5, 0.99).lowered(groups) == Adjust((Move(0.5, 0.5), Move(), Move()))


def test_no_groups_are_no_moves():
    assert Reduce(0.5, 0.1, 0.5, 0.99).lowered([]) is None


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "momentum"),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), "momentum"),
        (lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9), "momentum"),
        (lambda p: torch.optim.Adam(p, lr=0.1), "betas"),
        (lambda p: torch.optim.AdamW(p, lr=0.1), "betas"),
        (lambda p: torch.optim.NAdam(p, lr=0.1), "betas"),
        (lambda p: torch.optim.RAdam(p, lr=0.1), "betas"),
        (lambda p: torch.optim.Adamax(p, lr=0.1), "betas"),
        (lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1), betas=(torch.tensor(0.9), torch.tensor(0.99))), "betas"),
        (lambda p: torch.optim.Adagrad(p, lr=0.1), None),
        (lambda p: torch.optim.Adadelta(p, lr=0.1), None),
    ],
)
def test_every_optimizer_trains_on_after_three_moves(make, where):
    torch.manual_seed(0)
    weights = torch.nn.Parameter(torch.randn(8))
    optimizer = make([weights])
    policy = Reduce(factor=0.5, min_lr=0.0, momentum_factor=0.5, max_momentum=0.99)
    for intervention in range(4):
        if intervention:
            knobs.apply(optimizer, [], list(policy.lowered(knobs.read(optimizer)).moves))
        for _ in range(20):
            before = float(weights.detach().square().sum())
            optimizer.zero_grad()
            weights.square().sum().backward()
            optimizer.step()
        assert float(weights.detach().square().sum()) != before
    (at,) = knobs.read(optimizer)
    assert at.lr == pytest.approx(0.1 / 8)
    assert at.momentum == (None if where is None else pytest.approx(0.9875))
    assert torch.isfinite(weights).all()


GROUPS = (Knobs(1.0, 0.9), Knobs(0.1, 0.9))
LOWER = Adjust((Move(0.5), Move(0.5)))


def look(step, value=None, *kinds, left=20, mode="min", found_at=None):
    findings = tuple(Finding(kind, step if found_at is None else found_at, f"{kind} it is") for kind in kinds)
    return Look(0, step, value, findings, GROUPS, 0, 10, left, mode)


def decisions(policy, *looks):
    """The actions at each look, after the one before the first step; no decision is no actions."""
    state, made = policy.begin(), []
    for now in (look(0), *looks):
        state, decision = policy.decide(state, now)
        made.append([] if decision is None else list(decision.actions))
    assert made[0] == [Snapshot("start")]
    return made[1:]


POLICY = Reduce(factor=0.5, momentum_factor=0.5)


def test_each_new_best_check_is_kept_and_no_other():
    looks = [look(step, value) for step, value in enumerate([2.0, 3.0, math.nan, 1.0, 1.0, -math.inf])]
    assert decisions(POLICY, *looks) == [[Snapshot("good")], [], [], [Snapshot("good")], [], []]
    rising = [look(step, value, mode="max") for step, value in enumerate([2.0, 3.0, math.nan, 1.0])]
    assert decisions(POLICY, *rising) == [[Snapshot("good")], [Snapshot("good")], [], []]


@pytest.mark.parametrize("kind", ["divergence", "spike", "drift"])
def test_a_divergence_goes_back_to_the_best_check_with_a_lower_lr_and_the_same_momentum(kind):
    assert decisions(POLICY, look(5, None, kind)) == [[Rollback("start"), LOWER]]
    assert decisions(POLICY, look(5, 2.0), look(9, 3.0), look(12, None, kind))[-1] == [Rollback("good"), LOWER]
    assert decisions(POLICY, look(5, 2.0), look(9, 1.0, kind))[-1] == [Rollback("good"), LOWER]


def test_a_repeated_divergence_goes_on_from_the_same_snapshot_with_the_moves_since_made_again():
    made = decisions(POLICY, look(5, 2.0), *(look(step, None, "divergence") for step in (8, 11, 14)))
    assert made[1:] == [[Rollback("good", keep_moves=True), LOWER]] * 3


def test_a_fit_that_is_stuck_since_its_first_steps_goes_back_to_before_them():
    made = decisions(POLICY, look(5, 2.3), look(9, None, "stuck"), look(12, 2.4))
    assert made == [[Snapshot("good")], [Rollback("start"), Adjust((Move(0.25), Move(0.25)))], [Snapshot("good")]]


def test_what_was_found_before_the_last_intervention_is_old_news():
    made = decisions(
        POLICY, look(9, None, "divergence"), look(12, None, "divergence", found_at=8), look(13, None, "divergence")
    )
    assert made == [[Rollback("start"), LOWER], [], [Rollback("start"), LOWER]]


def test_a_plateau_lowers_lr_and_raises_momentum_an_oscillation_only_lowers_lr():
    assert decisions(POLICY, look(5, None, "plateau")) == [[Adjust((Move(0.5, 0.5), Move(0.5, 0.5)))]]
    assert decisions(POLICY, look(5, None, "oscillation")) == [[LOWER]]
    assert decisions(POLICY, look(5, None, "slow")) == [[]]


def test_with_no_intervention_left_a_fit_beyond_help_ends_and_another_goes_on():
    for kind, actions in {
        "divergence": [Stop(diverged=True)],
        "stuck": [Stop(diverged=True)],
        "spike": [],
        "plateau": [],
    }.items():
        assert decisions(POLICY, look(5, None, kind, left=0)) == [actions]


def test_an_always_diverging_fit_ends_when_its_interventions_are_spent():
    looks = [look(step, None, "divergence", left=left) for step, left in enumerate(range(3, -1, -1))]
    assert decisions(POLICY, *looks) == [[Rollback("start"), LOWER]] * 3 + [[Stop(diverged=True)]]


def test_it_wants_the_users_patience_and_every_sign_of_divergence():
    plateau = Plateau("max", 3)
    signals = POLICY.signals(plateau)
    assert signals[0] is plateau
    assert {type(signal) for signal in signals} >= {NotFinite, Spike, Stuck}


@pytest.mark.parametrize("wrong", [{"factor": 1.0}, {"factor": 0}, {"min_lr": -1}, {"momentum_factor": 0}, {"max_momentum": 1}])
def test_a_setting_out_of_its_range_is_an_error_that_names_it(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"Reduce needs {name} to be"):
        Reduce(**wrong)
