"""The record of all trials of one search, on disk: ROOT/study.db, read by `Study`, written by `Recorder`."""

from lightning_hp.study.study import Recorder, Study

__all__ = ["Recorder", "Study"]
