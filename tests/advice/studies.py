"""Made-up trials whose truth is known."""

from __future__ import annotations

import numpy as np

from lightning_hp import Choice, CoarseToFine, Int, Log, LogInt, Random, ReverseLog, Space, Trial
from lightning_hp.trial import RoundBegan

SPACE = Space(
    {
        "lr": Log(1e-4, 1.0),
        "momentum": ReverseLog(0.5, 0.999),
        "weight_decay": Log(1e-6, 1e-2),
        "hidden": Int(32, 128),
        "layers": Int(1, 3),
        "activation": Choice("relu", "tanh", "gelu"),
        "batch_size": LogInt(16, 128),
    }
)


def trials(objective, count=64, seed=0, mode="min", space=SPACE):
    """Random trials whose cost is ``objective(position in the unit cube by name, hparams, generator)``; inf for diverged."""
    generator = np.random.default_rng(seed)
    made = []
    for number, hparams in enumerate(Random().propose(space, seed, range(count), [])):
        unit = dict(zip(space, space.to_unit([hparams])[0], strict=True))
        cost = float(objective(unit, hparams, generator))
        if cost == np.inf:
            made.append(Trial(number, hparams, 0, "diverged"))
        else:
            made.append(Trial(number, hparams, 0, "complete", value=cost if mode == "min" else -cost))
    return made


def adaptive(objective, count=64, seed=0, space=SPACE):
    """The same, proposed by coarse-to-fine, and its rounds."""
    generator, sampler = np.random.default_rng(seed), CoarseToFine()
    made, rounds = [], []
    for number in range(count):
        first = sampler.round_of(number).start
        (hparams,) = sampler.propose(space, seed, [number], made[:first])
        unit = dict(zip(space, space.to_unit([hparams])[0], strict=True))
        made.append(Trial(number, hparams, 0, "complete", value=float(objective(unit, hparams, generator))))
        if number == first > 0:
            rounds.append(RoundBegan(first, f"0-{first - 1}"))
    return made, rounds


def noise(unit, hparams, generator):
    return generator.standard_normal()


def heavy(unit, hparams, generator):
    return min(np.exp(1.5 * generator.standard_normal()), 50.0)
