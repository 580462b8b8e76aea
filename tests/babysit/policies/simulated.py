"""Whole fits in a fraction of a second, to try policies on: real training in numpy, and a loop that carries decisions out.

`Digits` is a multilayer perceptron on scikit-learn's digits, `Valley` a quadratic with noise and a wide range of curvatures;
both train by SGD with momentum. `babysit` plays the babysitter: it feeds signals, asks the policy, does what it says.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.datasets import load_digits

from lightning_hp.babysit.actions import Adjust, Knobs, Rollback, Snapshot, Stop
from lightning_hp.babysit.policies import Look, Policy
from lightning_hp.babysit.signals import Signal

# The losses come to the signals so many at a time, as they do from a device.
TRANSFER = 5
GRADIENT_EVERY = 5


class Momentum:
    """SGD with momentum over a list of arrays."""

    def __init__(self, weights, lr, momentum):
        self.weights, self.lr, self.momentum = weights, lr, momentum
        self.velocities = [np.zeros_like(weight) for weight in weights]

    def step(self, gradients):
        for index, gradient in enumerate(gradients):
            self.velocities[index] = self.momentum * self.velocities[index] + gradient
            self.weights[index] = self.weights[index] - self.lr * self.velocities[index]
        return math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))

    def kept(self):
        return list(self.weights), list(self.velocities), self.lr, self.momentum

    def restore(self, kept):
        self.weights, self.velocities = list(kept[0]), list(kept[1])
        self.lr, self.momentum = kept[2:]


class Digits:
    """A multilayer perceptron on 1,437 images of digits, 360 to validate; cross-entropy."""

    batches = 23
    right_lr = 0.1

    def __init__(self, lr, momentum=0.9, seed=0, hidden=32):
        self.rng = np.random.default_rng(seed)
        images, labels = load_digits(return_X_y=True)
        order = self.rng.permutation(len(labels))
        self.images, self.labels = images[order] / 16, labels[order]
        widths = [64, hidden, hidden, 10]
        weights = []
        for before, after in itertools.pairwise(widths):
            weights += [self.rng.normal(0, math.sqrt(2 / before), (before, after)), np.zeros(after)]
        self.optimizer = Momentum(weights, lr, momentum)
        self.order = np.arange(0)

    def step(self):
        if len(self.order) < 62:
            self.order = self.rng.permutation(1437)
        batch, self.order = self.order[:62], self.order[62:]
        loss, gradients = self._backward(self.images[batch], self.labels[batch])
        return loss, self.optimizer.step(gradients)

    def value(self):
        return self._loss(self._forward(self.images[1437:])[-1], self.labels[1437:])[0]

    def _forward(self, x):
        w1, b1, w2, b2, w3, b3 = self.optimizer.weights
        h1 = np.maximum(x @ w1 + b1, 0)
        h2 = np.maximum(h1 @ w2 + b2, 0)
        return x, h1, h2, h2 @ w3 + b3

    def _loss(self, logits, labels):
        shifted = logits - logits.max(1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        return float(-logs[np.arange(len(labels)), labels].mean()), logs

    def _backward(self, x, labels):
        x, h1, h2, logits = self._forward(x)
        loss, logs = self._loss(logits, labels)
        _, _, w2, _, w3, _ = self.optimizer.weights
        d3 = (np.exp(logs) - np.eye(10)[labels]) / len(labels)
        d2 = (d3 @ w3.T) * (h2 > 0)
        d1 = (d2 @ w2.T) * (h1 > 0)
        return loss, [x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)]


class Valley:
    """A quadratic of 30 directions with curvatures from 0.01 to 1 and noisy gradients."""

    batches = 20
    right_lr = 0.1

    def __init__(self, lr, momentum=0.9, seed=0, noise=0.3):
        self.rng = np.random.default_rng(seed)
        self.curvatures = np.logspace(-2, 0, 30)
        self.noise = noise
        self.optimizer = Momentum([self.rng.normal(0, 3, 30)], lr, momentum)

    def step(self):
        (weights,) = self.optimizer.weights
        gradient = self.curvatures * weights + self.rng.normal(0, self.noise, 30) * np.sqrt(self.curvatures)
        loss = self.value() * (1 + 0.2 * float(self.rng.normal()))
        return loss, self.optimizer.step([gradient])

    def value(self):
        (weights,) = self.optimizer.weights
        return float((self.curvatures * weights**2).sum()) / 2


@dataclass
class Course:
    """How a babysat fit went: the metric per check, lr and momentum at each, every decision, and whether it diverged."""

    values: list[float] = field(default_factory=list)
    knobs: list[Knobs] = field(default_factory=list)
    decisions: list[tuple[int, str, tuple]] = field(default_factory=list)
    findings: list[tuple[str, int]] = field(default_factory=list)
    interventions: int = 0
    diverged: bool = False
    state: dict = field(default_factory=dict)


def babysit(fit, policy: Policy, signals: Sequence[Signal], checks=30, max_interventions=20, mode="min", known_end=True):
    """Trains for so many checks (one an epoch) with the babysitter at hand."""
    return _Babysat(fit, policy, signals, checks, max_interventions, mode, known_end).run()


class _Babysat:
    def __init__(self, fit, policy, signals, checks, max_interventions, mode, known_end):
        self.fit, self.policy, self.signals, self.mode = fit, policy, signals, mode
        self.checks, self.left, self.known_end = checks, max_interventions, known_end
        self.states = [signal.begin() for signal in signals]
        self.state, self.course, self.snapshots = policy.begin(), Course(), {}
        self.steps, self.waiting, self.stopped = 0, [], False

    def run(self):
        with np.errstate(all="ignore"):
            self._look(None, [])
            while len(self.course.values) < self.checks and not self.stopped:
                self._epoch()
        self.course.state = self.state
        return self.course

    def _epoch(self):
        for _ in range(self.fit.batches):
            loss, norm = self.fit.step()
            self.waiting.append(("loss", self.steps, loss))
            if self.steps % GRADIENT_EVERY == 0:
                self.waiting.append(("gradient_norm", self.steps, norm))
            self.steps += 1
            if self.steps % TRANSFER == 0:
                findings = self._feed()
                if findings:
                    self._look(None, findings)
        value = self.fit.value()
        self.course.values.append(value)
        self.course.knobs.append(self._knobs())
        self.waiting.append(("monitor", self.steps, value))
        self._look(value, self._feed())

    def _feed(self):
        findings = []
        for source, step, value in self.waiting:
            for index, signal in enumerate(self.signals):
                if signal.source == source:
                    self.states[index], finding = signal.observe(self.states[index], step, value)
                    findings += [finding] if finding else []
        self.waiting = []
        self.course.findings += [(finding.kind, finding.step) for finding in findings]
        return findings

    def _look(self, value, findings):
        checks = len(self.course.values)
        left = self.checks - checks if self.known_end else None
        epoch = self.steps // self.fit.batches
        look = Look(epoch, self.steps, value, tuple(findings), (self._knobs(),), checks, left, self.left, self.mode)
        self.state, decision = self.policy.decide(self.state, look)
        if decision is not None:
            self._carry_out(decision)

    def _carry_out(self, decision):
        actions = [action for action in decision.actions if self.left or isinstance(action, Stop | Snapshot)]
        self.course.decisions.append((len(self.course.values), decision.reason, tuple(actions)))
        for action in actions:
            self._do(action)
        if any(not isinstance(action, Stop | Snapshot) for action in actions):
            self.left -= 1
            self.course.interventions += 1
            self.waiting = []
            self.states = [signal.intervened(state) for signal, state in zip(self.signals, self.states, strict=True)]

    def _do(self, action):
        optimizer = self.fit.optimizer
        if isinstance(action, Snapshot):
            self.snapshots[action.name] = optimizer.kept()
        elif isinstance(action, Rollback):
            lr, momentum = optimizer.lr, optimizer.momentum
            optimizer.restore(self.snapshots[action.name])
            if action.keep_moves:
                optimizer.lr, optimizer.momentum = lr, momentum
        elif isinstance(action, Adjust):
            (move,) = action.moves
            optimizer.lr *= move.lr_factor
            optimizer.momentum = 1 - (1 - optimizer.momentum) * move.momentum_factor
        elif isinstance(action, Stop):
            self.stopped, self.course.diverged = True, action.diverged

    def _knobs(self):
        return Knobs(self.fit.optimizer.lr, self.fit.optimizer.momentum)
