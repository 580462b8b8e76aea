"""What holds for every policy, whatever it sees: no error, plain state that can be taken up again, moves for all groups."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp.babysit.actions import Adjust, Knobs, Rollback, Snapshot
from lightning_hp.babysit.policies import POLICIES, Look, Probe, Reduce, named
from lightning_hp.babysit.signals import Finding, Kind
from lightning_hp.errors import ConfigError

POLICY = pytest.mark.parametrize(
    "policy", [Reduce(), Reduce(0.5, min_lr=0.01), Probe(), Probe(momentum_factor=0.5, min_lr=0.01, length=2)], ids=repr
)
GROUPS = (Knobs(0.1, 0.9), Knobs(0.001, None), Knobs(0.0, 0.0))
# Per look: what it finds, the metric's value at a check, and the steps since the look before.
LOOKS = st.lists(
    st.tuples(st.lists(st.sampled_from(get_args(Kind)), max_size=2), st.none() | st.floats(), st.integers(0, 10)), max_size=40
)


def decisions(policy, looks, checks=30, mode="min", through_json=True):
    """The actions at each look; the state goes through JSON between two."""
    state = policy.begin()
    step, seen, left, made = 0, 0, 12, []
    for kinds, value, steps in [([], None, 0), *looks]:
        step, seen = step + steps, seen + (value is not None and steps > 0)
        findings = tuple(Finding(kind, step, kind) for kind in kinds)
        value = value if steps else None
        look = Look(seen, step, value, findings, GROUPS, seen, checks and max(checks - seen, 0), left, mode)
        state, decision = policy.decide(json.loads(json.dumps(state)) if through_json else state, look)
        actions = [] if decision is None else list(decision.actions)
        left -= any(isinstance(action, Adjust | Rollback) for action in actions)
        left = max(left, 0)
        made.append(actions)
        assert decision is None or (actions and decision.reason)
    return made


@POLICY
@given(looks=LOOKS, checks=st.none() | st.integers(1, 40), mode=st.sampled_from(["min", "max"]))
def test_whatever_it_sees_it_goes_back_only_to_what_it_has_kept_and_moves_every_group(policy, looks, checks, mode):
    kept = set()
    for actions in decisions(policy, looks, checks=checks, mode=mode):
        for action in actions:
            if isinstance(action, Snapshot):
                kept.add(action.name)
            if isinstance(action, Rollback):
                assert action.name in kept
            if isinstance(action, Adjust):
                assert len(action.moves) == len(GROUPS)
                assert action.moves[2].nothing


@POLICY
@given(looks=LOOKS)
def test_a_state_that_went_through_json_decides_alike(policy, looks):
    assert decisions(policy, looks) == decisions(policy, looks, through_json=False)


@POLICY
@given(looks=LOOKS)
def test_deciding_leaves_the_old_state_as_it_was(policy, looks):
    state = policy.begin()
    for index, (kinds, value, _) in enumerate([([], None, 0), *looks]):
        findings = tuple(Finding(kind, index, kind) for kind in kinds)
        before = json.dumps(state)
        after, _ = policy.decide(state, Look(index, index, value if index else None, findings, GROUPS, index, 30, 9))
        assert json.dumps(state) == before
        state = after


def test_policies_have_names():
    assert [type(named(name, 0.2, 0.0, 0.5, 0.99)) for name in POLICIES] == [Reduce, Probe]
    with pytest.raises(ConfigError, match="there is no policy 'guess': choose one of reduce, probe"):
        named("guess", 0.2, 0.0, 0.5, 0.99)
