"""Whether a search looks for the worst: a metric whose name says that it shall rise, minimised, or the other way round."""

from __future__ import annotations

import re

from lightning_hp.trial import Mode

_RISES = frozenset({"acc", "accuracy", "f1", "auc", "auroc", "precision", "recall", "iou", "miou", "dice", "map", "bleu", "r2"})
_FALLS = frozenset({"loss", "error", "err", "mse", "rmse", "mae", "perplexity", "ppl", "nll", "wer", "cer"})


def doubt(monitor: str, mode: Mode) -> list[str]:
    """What speaks against a mode, in one line, or nothing.

    >>> doubt("val_acc", "min")
    ["monitor='val_acc' looks like a metric that shall rise, but mode='min' seeks its lowest: take mode='max'"]
    >>> doubt("val/loss", "min"), doubt("loss_of_acc", "max")
    ([], [])
    """
    words = set(re.split(r"[^a-z0-9]+", monitor.lower()))
    rises, falls = not words.isdisjoint(_RISES), not words.isdisjoint(_FALLS)
    if rises and not falls and mode == "min":
        return [f"monitor={monitor!r} looks like a metric that shall rise, but mode='min' seeks its lowest: take mode='max'"]
    if falls and not rises and mode == "max":
        return [f"monitor={monitor!r} looks like a metric that shall fall, but mode='max' seeks its highest: take mode='min'"]
    return []
