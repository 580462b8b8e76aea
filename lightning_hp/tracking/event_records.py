"""Large events, such as pictures, as they stand in event files: TensorBoard takes a step of Python a byte for a checksum."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import CRC_TABLE, masked_crc32c

# Bytes that are taken at once.
BLOCK = 512


def record(event: Event) -> bytes:
    """An event's length and itself, each with its checksum."""
    data: bytes = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", checksum(data))


def checksum(data: bytes) -> int:
    """The masked CRC-32C of at least four bytes."""
    values = np.frombuffer(data, np.uint8).copy()
    # That it begins with all bits set is the same as the first four bytes being inverted.
    values[:4] ^= 0xFF
    shares, starts = _shares()
    crc = np.zeros(1, "<u4")
    # The first block has what is left over of the others.
    for start in range(len(values) % BLOCK - BLOCK, len(values), BLOCK):
        block = values[max(start, 0) : start + BLOCK]
        if start > 0:
            block[:4] ^= crc.view(np.uint8)
        crc[0] = np.bitwise_xor.reduce(shares[starts[BLOCK - len(block) :] + block])
    value = int(crc[0]) ^ 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _shares() -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """What each byte gives among zeros, by its place in a block, and where each place begins: a CRC is the sum of these."""
    shares = np.empty((BLOCK, 256), np.uint32)
    shares[-1] = CRC_TABLE
    for place in range(BLOCK - 2, -1, -1):
        shares[place] = shares[-1][shares[place + 1] & 0xFF] ^ (shares[place + 1] >> 8)
    return shares.ravel(), np.arange(BLOCK) * 256
