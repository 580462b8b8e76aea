"""The space of a search: how each hyperparameter is laid out, which exist with others only, and where all lie in the cube."""

from __future__ import annotations

from lightning_hp.space.form import differing, form_of, whole_numbers
from lightning_hp.space.space import Declared, Hparams, Space, route, split

__all__ = ["Declared", "Hparams", "Space", "differing", "form_of", "route", "split", "whole_numbers"]
