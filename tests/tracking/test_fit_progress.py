"""How far one fit is."""

from __future__ import annotations

import io

import pytest
from lightning.pytorch import Trainer
from rich.console import Console

from examples.digits import DigitsData, LitDigits
from lightning_hp.tracking.fit_progress import FitProgress

QUIET = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)


def fitted(console, model=None, **arguments):
    progress = FitProgress("val_acc", console)
    seen = []
    trainer = Trainer(accelerator="cpu", callbacks=[progress], **QUIET, **arguments)
    batch_end = progress.on_train_batch_end

    def look(*hook):
        batch_end(*hook)
        seen.append((progress._bars.tasks[0].completed, progress._bars.tasks[0].total))

    progress.on_train_batch_end = look
    trainer.fit(model or LitDigits(hidden=8), datamodule=DigitsData(batch_size=512))
    return seen, trainer.num_training_batches


def test_without_a_terminal_there_is_a_line_per_epoch():
    console = Console(file=io.StringIO(), width=80)
    fitted(console, max_epochs=2)
    one, two = console.file.getvalue().splitlines()
    assert one.startswith("epoch 1/2: val_acc 0.")
    assert two.startswith("epoch 2/2: val_acc 0.")


def test_the_bar_counts_the_batches_of_all_epochs():
    console = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={})
    seen, batches = fitted(console, max_epochs=3)
    assert seen == [(done + 1, 3 * batches) for done in range(3 * batches)]
    assert "epoch 3/3 val_acc 0." in console.file.getvalue()


@pytest.mark.parametrize(("arguments", "total"), [({"max_steps": 5}, 5), ({"max_epochs": -1, "max_steps": 5}, 5)])
def test_steps_limit_a_fit_too(arguments, total):
    seen, _ = fitted(Console(file=io.StringIO(), force_terminal=True, width=100, _environ={}), **arguments)
    assert seen[-1] == (total, total)


def test_a_fit_that_fails_leaves_the_terminal_as_it_was():
    class Failing(LitDigits):
        def on_train_epoch_end(self):
            raise RuntimeError("enough")

    console = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={})
    with pytest.raises(RuntimeError, match="enough"):
        fitted(console, Failing(hidden=8), max_epochs=1)
    # The cursor is back.
    assert console.file.getvalue().endswith("\x1b[?25h")
