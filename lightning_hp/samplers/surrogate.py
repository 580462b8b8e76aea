"""A Gaussian process over the unit cube: what finished trials say of the objective elsewhere.

Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006. The kernel is Matern's with nu = 5/2 and a length of its
own for each coordinate, as in Snoek et al., Practical Bayesian Optimization of Machine Learning Algorithms, 2012.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Bounds of the kernel's lengths, in units of the cube's side, and of the share of the variance that is noise.
LENGTHS = (0.05, 8.0)
NOISE = (1e-6, 0.5)
# Differences to the best that are smaller count as they are, larger ones by their logarithm. The first is the plain scale.
FINE = (100.0, 1.0, 0.1, 0.01)
# Standard deviations above which an improvement is so far that its expectation has its limit's form.
FAR = 1e3
# Keeps a covariance matrix positive definite against rounding, in units of its largest variance.
JITTER = 1e-8


@dataclass(frozen=True)
class Posterior:
    """What is believed of the objective at some points, in units of its standard deviation over the trials.

    Attributes:
        mean: one per point.
        covariance: of all with all.
        noise: variance of a single measurement about the truth.
    """

    mean: Array
    covariance: Array
    noise: float

    def draws(self, count: int, generator: np.random.Generator) -> Array:
        """Functions that it may be, of shape (points, count)."""
        largest = max(float(self.covariance.diagonal().max()), 1e-12)
        root = np.linalg.cholesky(self.covariance + JITTER * largest * np.eye(len(self.mean)))
        drawn: Array = self.mean[:, None] + root @ generator.standard_normal((len(self.mean), count))
        return drawn

    def once_measured(self, point: int) -> Posterior:
        """The same after a measurement there that comes out as expected."""
        column = self.covariance[:, point]
        less = np.outer(column, column) / (column[point] + self.noise)
        return Posterior(self.mean, self.covariance - less, self.noise)


class Surrogate:
    """A Gaussian process fitted to measurements, on the scale of values on which they are most likely.

    The best of a search often lie close together, and far from the rest, as losses do: then the logarithm of their distance to
    the best one is what varies evenly (Snelson et al., Warped Gaussian Processes, 2004).

    Args:
        points: of shape (n, features).
        values: n, of which small ones are good: 0 for the best, and about 1 for one in the middle; not all the same.
    """

    def __init__(self, points: Array, values: Array) -> None:
        fitted = [_fitted(points, values, fine) for fine in FINE]
        self._process = max(fitted, key=lambda each: each[0])[1]

    def posterior(self, points: Array) -> Posterior:
        """What is believed of the objective at points, of shape (m, features)."""
        from scipy.linalg import solve_triangular

        process = self._process
        smooth = process.kernel_.k1
        cross = smooth(points, process.X_train_)
        gain = solve_triangular(process.L_, cross.T, lower=True)
        return Posterior(cross @ process.alpha_, smooth(points) - gain.T @ gain, process.kernel_.k2.noise_level)


def _fitted(points: Array, values: Array, fine: float) -> tuple[float, Any]:
    """How likely the values are on one scale, as a logarithm, and the process fitted to them there."""
    # Here, since they take seconds to import and other samplers do without.
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    warped = np.log1p(values / fine)
    deviation = warped.std()
    smooth = ConstantKernel(1.0, (0.05, 20.0)) * Matern(np.full(points.shape[1], 0.5), LENGTHS, nu=2.5)
    process: Any = GaussianProcessRegressor(smooth + WhiteKernel(0.01, NOISE), alpha=JITTER, random_state=0)
    with warnings.catch_warnings():
        # That a length has come to its bound: then its coordinate does not matter.
        warnings.simplefilter("ignore")
        process.fit(points, (warped - warped.mean()) / deviation)
    # Of the values themselves, whose scale is stretched by this much at each.
    stretched = float(np.log((fine + values) * deviation).sum())
    return process.log_marginal_likelihood_value_ - stretched, process


def log_expected_improvement(posterior: Posterior, best: float) -> Array:
    """The logarithm of how much below ``best`` a measurement is expected to be, one per point.

    Jones et al., Efficient Global Optimization of Expensive Black-Box Functions, 1998; the logarithm after Ament et al.,
    Unexpected Improvements to Expected Improvement for Bayesian Optimization, 2023, since far from the best points the
    expectation itself is zero to a float.
    """
    from scipy.special import erfcx, ndtr

    deviation = np.sqrt(np.clip(posterior.covariance.diagonal(), 1e-14, None))
    z = (best - posterior.mean) / deviation
    log_density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    # density(z) + z * probability(z), of which the two terms are close to each other far below 0: there by their ratio.
    above = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * above**2) / math.sqrt(2 * math.pi) + above * ndtr(above))
    below = np.clip(z, -FAR, -1.0)
    by_ratio = np.log(1 + below * math.sqrt(math.pi / 2) * erfcx(-below / math.sqrt(2)))
    # Where even that cancels, it is 1 / z**2.
    tail = np.where(z < -FAR, -2 * np.log(np.maximum(-z, 1.0)), by_ratio)
    expected: Array = np.log(deviation) + np.where(z > -1, direct, log_density + tail)
    return expected
