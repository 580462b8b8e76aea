"""The policies on whole fits in numpy, from an lr 30 times too low to one 30 times too high."""

from __future__ import annotations

SEEDS = range(3)
