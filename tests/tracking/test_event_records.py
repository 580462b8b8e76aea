"""Records of event files are what TensorBoard itself writes."""

from __future__ import annotations

import io

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter

from lightning_hp.tracking.event_records import BLOCK, checksum, record


@pytest.mark.parametrize("length", [4, 5, 100, BLOCK - 1, BLOCK, BLOCK + 1, BLOCK + 3, BLOCK + 4, 3 * BLOCK + 7])
def test_checksums_are_tensorboards(length):
    data = bytes(7 * number % 251 for number in range(length))
    assert checksum(data) == masked_crc32c(data)


@pytest.mark.parametrize("length", [0, 100, 2 * BLOCK])
def test_a_record_is_the_one_that_tensorboard_writes(length):
    event = Event(wall_time=1.5, step=3, file_version="x" * length)
    file = io.BytesIO()
    RecordWriter(file).write(event.SerializeToString())
    assert record(event) == file.getvalue()
