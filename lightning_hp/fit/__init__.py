"""One job -> Trainer.fit. `Recipe` is what all trials share, `run_job` trains a job and reports its events, `Training` does so
wherever an executor runs it."""

from lightning_hp.fit.recipe import Recipe
from lightning_hp.fit.run import Training, load_model, run_job

__all__ = ["Recipe", "Training", "load_model", "run_job"]
