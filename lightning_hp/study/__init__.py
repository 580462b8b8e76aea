"""The record of all trials of one search, on disk: ROOT/study.db, read by `Study`, written by `Recorder`."""

from lightning_hp.study.recorder import Recorder
from lightning_hp.study.study import Study

__all__ = ["Recorder", "Study"]
