"""Advice: what is unwise in a search before it begins, and what its trials say afterwards."""

from lightning_hp.advice.findings import Findings, find
from lightning_hp.advice.importance import Importance
from lightning_hp.advice.lint import lint
from lightning_hp.advice.way import Way, worth_searching
from lightning_hp.advice.words import Advice, advice

__all__ = ["Advice", "Findings", "Importance", "Way", "advice", "find", "lint", "worth_searching"]
