"""What the machine has to run on, divided into places for one job each."""

from __future__ import annotations

import os

import torch

from lightning_hp.errors import ConfigError
from lightning_hp.executors.place import Place


def places(accelerator: str, workers: int | None, jobs_per_device: int, devices: int) -> list[Place]:
    """The places of this machine.

    Args:
        accelerator: the Trainer's; a GPU is used where there is one unless this says ``"cpu"``.
        workers: how many places; by default one per GPU (times ``jobs_per_device``), or per core where there is no GPU.
        jobs_per_device: how many jobs share a GPU.
        devices: how many devices one trial trains on.

    Raises:
        ConfigError: a trial wants more GPUs than there are.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = _gpus() if accelerator in ("auto", "gpu", "cuda") else []
    if not gpus:
        # Apple's GPU is one device, which torch does not divide.
        count = workers or (1 if _uses_apple_gpu(accelerator) else max(1, cores // devices))
        return [Place((), max(1, cores // (count * devices)), devices)] * count
    if devices > len(gpus):
        raise ConfigError(f"trainer['devices'] asks for {devices} devices a trial, and this machine has {len(gpus)}")
    groups = [tuple(gpus[first : first + devices]) for first in range(0, len(gpus) - devices + 1, devices)]
    count = workers or len(groups) * jobs_per_device
    threads = max(1, cores // (count * devices))
    return [Place(groups[index % len(groups)], threads, devices) for index in range(count)]


def _uses_apple_gpu(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available()


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    # Counted without starting CUDA where torch can.
    count = torch.cuda.device_count()
    if visible:
        return [name.strip() for name in visible.split(",")][:count]
    return [str(index) for index in range(count)]
