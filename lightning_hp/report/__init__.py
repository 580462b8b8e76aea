"""Pictures of a study."""

from __future__ import annotations

from lightning_hp.report.rounds import draw_rounds

__all__ = ["draw_rounds"]
