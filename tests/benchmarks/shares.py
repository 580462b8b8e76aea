"""How often importance is wrong about functions whose shares are known: Sobol's total effects, exactly.

    python tests/benchmarks/shares.py [--functions 16] [--samplers random grid coarse-to-fine] [--trials 12 24 64]

A function is a sum of orthonormal polynomials of one or two hyperparameters, with up to five that matter, up to 80% of it due
to pairs, and up to 20% noise; so the share of each hyperparameter is the sum of the squared weights of the terms that it is in.
Printed is how often "makes little difference" is said of hyperparameters with more than 5%, with more than 10%, and with less
than 1%, in 3, 6 and 12 dimensions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lightning_hp import Choice, CoarseToFine, Grid, Int, Linear, Random, Space, Trial
from lightning_hp.advice.findings import _groups
from lightning_hp.advice.importance import importance
from lightning_hp.samplers import InRounds, Sampler
from lightning_hp.samplers.evidence import evidence
from lightning_hp.samplers.threads import one_thread
from lightning_hp.space.scales import Scale
from lightning_hp.trial import RoundBegan

Array = NDArray[np.float64]
Objective = Callable[[Array], Array]

DIMENSIONS = (3, 6, 12)
MOST_THAT_MATTER, SHARES_OF_PAIRS, NOISES, REST = 5, (0.0, 0.2, 0.5, 0.8), (0.0, 0.05, 0.2), 0.008
# Coarse-to-fine's rounds, so that it has zoomed in with so few trials.
ROUNDS = {12: CoarseToFine(first=6, size=3)}


def drawn_space(dimensions: int, generator: np.random.Generator) -> Space:
    kinds: list[Scale] = [Linear(0.0, 1.0), Linear(0.0, 1.0), Int(1, 3), Choice("a", "b", "c")]
    return Space({f"x{index}": kinds[generator.integers(len(kinds))] for index in range(dimensions)})


def polynomial(scale: Scale, unit: Array, degree: int) -> Array:
    """Of mean 0 and variance 1 over the scale: Legendre's, or on three values what corresponds to it."""
    if isinstance(scale, Linear):
        return np.sqrt(3) * (2 * unit - 1) if degree == 1 else np.sqrt(5) * (6 * unit**2 - 6 * unit + 1)
    values = np.sqrt(1.5) * np.array([-1.0, 0.0, 1.0]) if degree == 1 else np.sqrt(0.5) * np.array([1.0, -2.0, 1.0])
    return values[np.minimum((3 * unit).astype(int), 2)]


def drawn_function(space: Space, generator: np.random.Generator) -> tuple[Objective, Array]:
    """A function of positions in the unit cube, and each hyperparameter's share in its variance."""
    scales, count = list(space.coordinates.values()), len(space)
    matter = generator.permutation(count)[: generator.integers(1, min(count, MOST_THAT_MATTER) + 1)]
    paired = float(generator.choice(SHARES_OF_PAIRS)) if len(matter) > 1 else 0.0

    def degree() -> int:
        return int(generator.integers(1, 3))

    terms = [
        (weight * part, ((index, order),))
        for index, weight in zip(matter, generator.dirichlet(np.ones(len(matter))) * (1 - paired), strict=True)
        for order, part in enumerate(generator.dirichlet(np.ones(2)), start=1)
    ]
    if paired:
        pairs = generator.permutation(list(combinations(matter, 2)))[: generator.integers(1, 4)]
        for (one, two), weight in zip(pairs, generator.dirichlet(np.ones(len(pairs))) * paired, strict=True):
            terms.append((weight, ((one, degree()), (two, degree()))))
    terms += [(REST * generator.random(), ((index, degree()),)) for index in range(count) if index not in matter]
    noise = float(generator.choice(NOISES))
    whole = sum(weight for weight, _ in terms) / (1 - noise)
    signs = generator.choice([-1.0, 1.0], len(terms))

    def objective(units: Array) -> Array:
        values = np.sqrt(noise) * generator.standard_normal(len(units))
        for sign, (weight, factors) in zip(signs, terms, strict=True):
            product = [polynomial(scales[index], units[:, index], order) for index, order in factors]
            values = values + sign * np.sqrt(weight / whole) * np.prod(product, axis=0)
        return values

    shares = [sum(weight / whole for weight, factors in terms if index in dict(factors)) for index in range(count)]
    return objective, np.array(shares)


def drawn_grid(space: Space, trials: int, generator: np.random.Generator) -> Grid:
    """At most so many combinations, where the space's choices leave room: more and more points for one after another."""
    points = dict.fromkeys(space, 1)
    for _ in range(4 * len(space)):
        more = {**points, (name := f"x{generator.integers(len(space))}"): min(points[f"x{int(name[1:])}"] + 1, 4)}
        points = more if Grid(points=more).size(space) <= trials else points
    return Grid(points=points)


def searched(
    sampler: Sampler, space: Space, count: int, seed: int, objective: Objective
) -> tuple[list[Trial], list[RoundBegan]]:
    """The trials of one search, a round at a time."""
    made: list[Trial] = []
    rounds = []
    while len(made) < count:
        first = len(made)
        last = min(sampler.round_of(first).stop, count) if isinstance(sampler, InRounds) else count
        proposed = sampler.propose(space, seed, range(first, last), made)
        if not proposed:
            break
        if first:
            rounds.append(RoundBegan(first, f"0-{first - 1}"))
        values = objective(space.to_unit(proposed)).tolist()
        made += [
            Trial(number, hparams, 0, "complete", value=value)
            for number, (hparams, value) in enumerate(zip(proposed, values, strict=True), start=first)
        ]
    return made, rounds


def verdicts(strategy: str, count: int, functions: int) -> Iterator[tuple[float, bool]]:
    """Of every hyperparameter its share, and whether little difference was said of it."""
    for seed in range(functions):
        for dimensions in DIMENSIONS:
            generator = np.random.default_rng([seed, dimensions, count])
            space = drawn_space(dimensions, generator)
            objective, shares = drawn_function(space, generator)
            samplers: dict[str, Sampler] = {
                "random": Random(),
                "grid": drawn_grid(space, count, generator),
                "coarse-to-fine": ROUNDS.get(count, CoarseToFine()),
            }
            made, rounds = searched(samplers[strategy], space, count, seed, objective)
            # As `find` does, without what takes it long.
            found = importance(space, evidence(space, made, "min"), _groups(made, rounds))
            for share, each in zip(shares, found.values(), strict=True):
                yield float(share), each.matters is False


def part(told: list[tuple[float, bool]], low: float, high: float) -> str:
    asked = [little for share, little in told if low <= share < high]
    return f"{sum(asked):4d} of {len(asked):4d} ({sum(asked) / max(len(asked), 1):5.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=16, help="of each number of dimensions")
    parser.add_argument("--samplers", nargs="+", default=["random", "grid", "coarse-to-fine"])
    parser.add_argument("--trials", type=int, nargs="+", default=[12, 24, 64])
    given = parser.parse_args()
    print(f"{'little difference is said of those with':24}      more than 5%      more than 10%       less than 1%")
    for strategy in given.samplers:
        for count in given.trials:
            with one_thread():
                told = list(verdicts(strategy, count, given.functions))
            parts = [part(told, 0.05, 2.0), part(told, 0.1, 2.0), part(told, 0.0, 0.01)]
            print(f"{strategy:16} {count:4d} trials   {'   '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
