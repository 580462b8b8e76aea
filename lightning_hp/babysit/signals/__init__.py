"""Signals: what the series of a fit say about its training. Pure rules: a state and a value in, a state and a finding out."""

from lightning_hp.babysit.signals.drift import GradientDrift
from lightning_hp.babysit.signals.not_finite import NotFinite
from lightning_hp.babysit.signals.oscillation import Oscillation
from lightning_hp.babysit.signals.plateau import Plateau
from lightning_hp.babysit.signals.signal import Finding, Kind, Quick, Signal, Source, State
from lightning_hp.babysit.signals.slow import Slow
from lightning_hp.babysit.signals.spike import Spike
from lightning_hp.babysit.signals.stuck import Stuck
from lightning_hp.babysit.signals.trend import TrendPlateau

__all__ = [
    "Finding",
    "GradientDrift",
    "Kind",
    "NotFinite",
    "Oscillation",
    "Plateau",
    "Quick",
    "Signal",
    "Slow",
    "Source",
    "Spike",
    "State",
    "Stuck",
    "TrendPlateau",
]
