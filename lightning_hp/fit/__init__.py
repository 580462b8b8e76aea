"""One job -> Trainer.fit. `Recipe` is what all trials share, `run_job` trains a job and reports its events."""

from lightning_hp.fit.recipe import Recipe
from lightning_hp.fit.run import load_model, run_job

__all__ = ["Recipe", "load_model", "run_job"]
