"""Policies: from findings to actions. Pure rules: a state and a look in, a state and a decision out."""

from lightning_hp.babysit.policies.policy import Decision, Look, Policy, State
from lightning_hp.babysit.policies.probe import Probe
from lightning_hp.babysit.policies.reduce import Reduce
from lightning_hp.errors import ConfigError

__all__ = ["POLICIES", "Decision", "Look", "Policy", "Probe", "Reduce", "State", "named"]

POLICIES = ("reduce", "probe")


def named(name: str, factor: float, min_lr: float, momentum_factor: float, max_momentum: float) -> Policy:
    """The policy of a name, with the babysitter's settings.

    Args:
        name: ``"reduce"`` or ``"probe"``.
        factor: what `Reduce` multiplies lr by.
        min_lr: lr is never lowered below.
        momentum_factor: what a step of momentum multiplies 1 - momentum by; 1 leaves momentum alone.
        max_momentum: momentum is never raised above.

    Raises:
        ConfigError: there is no policy of that name, or a setting is out of its range.

    >>> named("reduce", 0.2, 0.0, 0.5, 0.99)
    Reduce(factor=0.2, min_lr=0.0, momentum_factor=0.5, max_momentum=0.99)
    """
    if name == "reduce":
        return Reduce(factor=factor, min_lr=min_lr, momentum_factor=momentum_factor, max_momentum=max_momentum)
    if name == "probe":
        return Probe(min_lr=min_lr, momentum_factor=momentum_factor, max_momentum=max_momentum)
    raise ConfigError(f"there is no policy {name!r}: choose one of {', '.join(POLICIES)}, or give a Policy")
