"""Jobs on the machines of a Ray cluster. Ray starts the processes there, places them, and carries what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_hp.bounds import is_any_number
from lightning_hp.description import named
from lightning_hp.errors import ConfigError
from lightning_hp.executors.ray.labels import check_selector

__all__ = ["RayCluster"]


@dataclass(frozen=True)
class RayCluster:
    """Where and how trials run on a Ray cluster: ``SearchLoop(executor=RayCluster(...))``. ``"ray"`` is all defaults.

    Needs ``pip install 'lightning-hp[ray]'``, on every machine of the cluster. The search itself, and with it the study's
    folder, stays in the process that runs it, which has to be on one of these machines.

    Args:
        address: of the cluster, as `ray.init` takes it: ``"auto"`` for the one that this machine belongs to, ``"host:port"``
            of its head. None takes the one in the environment variable ``RAY_ADDRESS``, or that this machine belongs to, or
            starts one on this machine. Where Ray is initialised already, that is used.
        num_cpus: cores that a job takes, and threads that torch may use; None for one for each device of a trial.
        num_gpus: GPUs that a job takes, fractions allowed; None for the devices of a trial, or of one device the part that
            ``jobs_per_device`` leaves it, where the Trainer's accelerator is a GPU, or is not said and the cluster has GPUs.
            With 0 a job sees none.
        resources: others that it takes, by name, such as ``{"accelerator_type:H100": 0.001}`` for machines of one kind.
        label_selector: labels that a machine needs, such as ``{"ray.io/market-type": "!spot"}``; see "Use labels to control
            scheduling" in Ray's documentation. Needs Ray 2.49.
        scheduling_strategy: how Ray places jobs: ``"DEFAULT"``, or ``"SPREAD"`` over as many machines as possible.
        runtime_env: what Ray shall bring to the machines, such as ``{"working_dir": ".", "pip": ["timm"]}``; see
            "Environment Dependencies" in Ray's documentation.
        shared: whether all machines see the study's folder under its path, so that trials write there themselves. Otherwise
            what they write comes through Ray, or by ``storage``, and nothing more is taken from a machine that was given up.
            None tries it out on each machine. Into a shared folder a machine that hung, or was cut off from the cluster alone,
            may still write until it hears that it was given up, while its trial goes on elsewhere: where that is to be feared,
            take False.
        storage: a URL that fsspec knows, such as ``"s3://bucket/path"``, which all machines reach with rights of their own.
            Where the study's folder is not seen, trials' files go there instead of through Ray, and come to the study's folder
            when the trial has ended or paused; then they are removed there. Those of a search that was killed its next run
            takes up.

    Raises:
        ConfigError: an argument is wrong.

    >>> RayCluster(num_gpus=0.5).num_gpus
    0.5
    """

    address: str | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    label_selector: Mapping[str, str] = field(default_factory=dict)
    scheduling_strategy: str = "DEFAULT"
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    shared: bool | None = None
    storage: str | None = None

    def __post_init__(self) -> None:
        if self.address is not None and (not isinstance(self.address, str) or not self.address):
            raise ConfigError(f"RayCluster: address needs 'auto', 'host:port' or None, got {self.address!r}")
        for name, amount in (("num_cpus", self.num_cpus), ("num_gpus", self.num_gpus)):
            if amount is not None:
                _check_amount(name, amount)
        for name, value in (("resources", self.resources), ("runtime_env", self.runtime_env)):
            if not isinstance(value, Mapping):
                raise ConfigError(f"RayCluster: {name} needs a dict, got {value!r}")
        for name, amount in self.resources.items():
            _check_resource(name)
            _check_amount(f"resources[{name!r}]", amount)
        check_selector(self.label_selector)
        if self.scheduling_strategy not in ("DEFAULT", "SPREAD"):
            raise ConfigError(f"RayCluster: scheduling_strategy needs 'DEFAULT' or 'SPREAD', got {self.scheduling_strategy!r}")
        if self.shared not in (None, True, False):
            raise ConfigError(f"RayCluster: shared needs True, False or None, got {self.shared!r}")
        if self.storage is not None:
            from lightning_hp.executors.ray.storage import check_url

            check_url(self.storage)
            if self.shared is True:
                raise ConfigError("RayCluster: storage is for machines that do not see the study's folder, and shared is True")

    def describe(self) -> str | dict[str, Any]:
        """As a config has it, but for environment variables, which may be secrets."""
        runtime_env = {key: value for key, value in self.runtime_env.items() if key != "env_vars"}
        return named("ray", replace(self, runtime_env=runtime_env), RayCluster())


# The least amount that Ray tells from none.
_LEAST = 0.0001
# What Ray takes by another way, and by which.
_NO_RESOURCES = {
    "CPU": "num_cpus says it",
    "GPU": "num_gpus says it",
    "memory": "the search's memory_limit says it",
    "object_store_memory": "a job takes none",
}


def _check_resource(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigError(f"RayCluster: resources needs names that are text, got {name!r}")
    if name in _NO_RESOURCES:
        raise ConfigError(f"RayCluster: resources cannot have {name!r}: {_NO_RESOURCES[name]}")


def _check_amount(name: str, amount: Any) -> None:
    if not is_any_number(amount) or not 0 <= amount < float("inf"):
        raise ConfigError(f"RayCluster: {name} needs a number of at least 0, got {amount!r}")
    if 0 < amount < _LEAST:
        raise ConfigError(f"RayCluster: {name} needs {_LEAST} or more where it is not 0, as Ray has it, got {amount!r}")
    if amount > 1 and amount != int(amount):
        raise ConfigError(f"RayCluster: {name} needs a whole number where it is above 1, as Ray has it, got {amount!r}")
