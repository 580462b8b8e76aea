"""The space in the words of TensorBoard's HParams plugin: a domain per hyperparameter, and values that fit it.

The table hides a trial whose value is not of its domain's type, so both come from here.
"""

from __future__ import annotations

import time
from typing import Any

from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
from torch.utils.tensorboard.writer import SummaryWriter

from lightning_hp.description import label
from lightning_hp.space import Hparams, Space
from lightning_hp.space.scales import Choice, Int, Linear, Log, LogInt, ReverseLog


def experiment(space: Space, objective: str, monitor: str) -> Any:
    """The HParams experiment of a study, as a summary to write once.

    Args:
        space: gives each hyperparameter its domain.
        objective: the tag of the metric.
        monitor: the name under which it is shown.
    """
    scales = space.coordinates.items()
    hparams = [summary_v2.HParam(name, _domain(scale), description=repr(scale)) for name, scale in scales]
    return summary_v2.hparams_config_pb(hparams, [summary_v2.Metric(objective, display_name=monitor)])


def session(space: Space, hparams: Hparams, name: str) -> Any:
    """One trial's row of the HParams table, as a summary to write once into its run.

    Each value of a list has a column, and what does not exist in the trial is left empty.
    """
    values = {name: _shown(space.coordinates[name], value) for name, value in space.flat(hparams).items()}
    return summary_v2.hparams_pb(values, trial_id=name)


def session_end(success: bool) -> Any:
    """The end of a trial's session, with its status, as a summary to write once into its run."""
    status = api_pb2.STATUS_SUCCESS if success else api_pb2.STATUS_FAILURE
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    message = summary_pb2.Summary()
    message.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return message


def add_summary(writer: SummaryWriter, message: Any, step: int | None = None) -> None:
    """Writes a summary as it is; SummaryWriter's own methods make only those of the kinds that it knows."""
    writer._get_file_writer().add_summary(message, step)  # type: ignore[no-untyped-call]


def _domain(scale: Any) -> Any:
    if isinstance(scale, (Int, LogInt)):
        return summary_v2.IntInterval(scale.low, scale.high)
    if isinstance(scale, (Linear, Log, ReverseLog)):
        return summary_v2.RealInterval(scale.low, scale.high)
    return summary_v2.Discrete([_shown(scale, value) for value in scale.values])


def _shown(scale: Any, value: Any) -> Any:
    if isinstance(scale, Choice) and not _plain_domain(scale):
        return str(label(value))
    return value


def _plain_domain(choice: Choice) -> bool:
    kinds = {type(value) for value in choice.values}
    return len(kinds) == 1 and kinds <= {bool, int, float, str}
