"""The policies on whole fits in numpy, from an lr 30 times too low to one 30 times too high."""

from __future__ import annotations

import statistics

import pytest
from simulated import Digits, Valley, babysit

from lightning_hp.babysit.policies import Probe, Reduce
from lightning_hp.babysit.signals import Plateau

SEEDS = range(3)
