"""A move is kept by schedules that are not torch's, wherever these take what they set from."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

from lightning_hp import Babysitter
from lightning_hp.babysit import foreign
from lightning_hp.babysit.actions import Move

STEPS, MOVES = 12, {3: Move(0.5, 0.5), 7: Move(0.2, 1.0)}


class Falling(schedulers.LRScheduler):
    """Computes lr from attributes of its own."""

    def __init__(self, optimizer, highest=0.4):
        self.highest = highest
        super().__init__(optimizer)

    def get_lr(self):
        return [self.highest * (1 - self.last_epoch / 20) for _ in self.optimizer.param_groups]


class Shrinking(schedulers.LRScheduler):
    """Computes it from what it is."""

    def get_lr(self):
        return [group["lr"] * (0.9 if self.last_epoch else 1.0) for group in self.optimizer.param_groups]


class Plain:
    """No LRScheduler at all, as timm's are: a step is made of others, is given its number, and sets momentum as well."""

    def __init__(self, optimizer):
        self.optimizer, self.count = optimizer, 0

    def step(self):
        self.count += 1
        self.step_update(self.count)

    def step_update(self, count):
        for group in self.optimizer.param_groups:
            group["lr"], group["momentum"] = 0.3 / count, 1 - 0.5 / count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def in_sequence(optimizer):
    return schedulers.SequentialLR(optimizer, [Falling(optimizer, 0.2), schedulers.StepLR(optimizer, 2, 0.5)], [6])


KINDS = {"own": Falling, "recursive": Shrinking, "plain": Plain, "inside one of torch's": in_sequence}


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.8)


def course(kind, moves, stored_at=None):
    """lr and momentum at each step."""
    found, own = [], optimizer()
    schedule = kind(own)
    for at in range(STEPS):
        if at == stored_at:
            states, own = (own.state_dict(), schedule.state_dict()), optimizer()
            schedule = kind(own)
            own.load_state_dict(states[0])
            schedule.load_state_dict(states[1])
            foreign.resume(own, [schedule])
        if at in moves:
            assert foreign.among([schedule])
            foreign.apply(own, [schedule], [moves[at]])
        found.append((own.param_groups[0]["lr"], own.param_groups[0]["momentum"]))
        own.step()
        schedule.step()
    return found


@pytest.mark.parametrize("stored_at", [None, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_is_the_schedules_own_value_times_the_moves(kind, stored_at):
    alone, moved = course(KINDS[kind], {}), course(KINDS[kind], MOVES, stored_at)
    factors = [0.1 if at >= 7 else 0.5 if at >= 3 else 1.0 for at in range(STEPS)]
    assert [lr for lr, _ in moved] == pytest.approx([lr * factor for (lr, _), factor in zip(alone, factors, strict=True)])
    distances = [(1 - momentum) * (0.5 if at >= 3 else 1.0) for at, (_, momentum) in enumerate(alone)]
    assert [1 - momentum for _, momentum in moved] == pytest.approx(distances)


def test_an_lr_that_is_a_tensor_stays_in_its_place():
    lr = torch.tensor(0.1)
    own = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=lr)
    schedule = Shrinking(own)
    foreign.apply(own, [schedule], [Move(0.5)])
    schedule.step()
    assert own.param_groups[0]["lr"] is lr
    assert float(lr) == pytest.approx(0.1 * 0.5 * 0.9)


def test_none_of_torchs_is_foreign():
    own = optimizer()
    assert not foreign.among([schedulers.StepLR(own, 2), schedulers.ReduceLROnPlateau(own)])


def test_a_babysat_fit_keeps_what_was_lowered(fit, scripted):
    class Scheduled(scripted):
        def configure_optimizers(self):
            made = super().configure_optimizers()
            return {"optimizer": made, "lr_scheduler": Plain(made)}

        def lr_scheduler_step(self, scheduler, metric):
            scheduler.step()

    trainer = fit(Scheduled(), Babysitter("score", patience=0, factor=0.5), epochs=4)
    moves = trainer.callbacks[0].interventions
    assert moves > 0
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.3 / 4 * 0.5**moves)
