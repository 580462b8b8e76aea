"""The report of a study, and its pictures."""

from __future__ import annotations

from lightning_hp.report.interventions import interventions
from lightning_hp.report.machines import machines
from lightning_hp.report.page import write_report
from lightning_hp.report.rendered import pngs, write_rounds
from lightning_hp.report.searched import Searched

__all__ = ["Searched", "interventions", "machines", "pngs", "write_report", "write_rounds"]
