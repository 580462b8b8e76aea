"""Whether a search of very many trials stays small: the parent's memory, open files and threads while it runs.

    python tests/benchmarks/many.py [--trials 10000] [--executor processes]

The trials are one-step fits, so that what is seen is the search's own. Printed at each tenth: trials done, milliseconds a trial
since the last line, resident memory, open files and threads of the search's process.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_hp import Log, SearchLoop
from lightning_hp.study import Recorder
from lightning_hp.trial import Event, Finished


class OneStep(LightningModule):
    """As little as a trial can be."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.net = nn.Linear(4, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.net(batch[0]).square().mean()
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def loader() -> tuple[DataLoader[tuple[Tensor, ...]], None]:
    return DataLoader(TensorDataset(torch.ones(4, 4)), batch_size=4), None


class Watching:
    """Prints how the search's process stands at each tenth of the trials."""

    def __init__(self, trials: int) -> None:
        self.trials, self.done, self.last = trials, 0, time.monotonic()

    def record(self, event: Event) -> None:
        if not isinstance(event, Finished):
            return
        self.done += 1
        if self.done % max(1, self.trials // 10) == 0:
            now = time.monotonic()
            memory = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208
            each = 1e3 * (now - self.last) / max(1, self.trials // 10)
            print(
                f"{self.done:6d} trials, {each:.1f} ms a trial, {memory:.0f} MiB, {files} open files, {threads} threads",
                flush=True,
            )
            self.last = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--executor", default="processes")
    options = parser.parse_args()
    watching = Watching(options.trials)
    record = Recorder.record

    def recorded(self: Recorder, event: Event) -> None:
        record(self, event)
        watching.record(event)

    Recorder.record = recorded  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        SearchLoop(
            OneStep,
            space={"lr": Log(1e-4, 1e-1)},
            data=loader,
            monitor="loss",
            trials=options.trials,
            trainer={"max_epochs": 1, "accelerator": "cpu"},
            executor=options.executor,
            root_dir=folder,
            progress=False,
        ).run()


if __name__ == "__main__":
    main()
