"""Scores in the event files that TensorBoard shows, written without TensorFlow, which would claim the accelerator.

An event file is a row of TFRecords, each a serialised `Event` message (tensorflow/core/util/event.proto). Of it only
four fields are written: 1 wall_time, 2 step, 3 file_version, 5 summary with its (tag, simple_value) pairs.
"""

import os
import struct
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from emopipe.files import storage_error

_CASTAGNOLI = 0x82F63B78  # CRC-32C, reflected; TFRecords carry it masked
_MASK_DELTA = 0xA282EAD8
_WORD = 0xFFFFFFFF


class EventLog:
    """One event file of a folder; every process that goes on with a run adds a file of its own.

    Args:
        folder: of the logs.

    Raises (all methods):
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path):
        now = time.time()
        self.path = folder / f"events.out.tfevents.{now:.6f}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(folder, error) from error
        self._append(_double(1, now) + _bytes(3, b"brain.Event:2"))

    def write(self, step: int, scores: Mapping[str, float]) -> None:
        """Add the scores of one step."""
        values = b"".join(_bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in scores.items())
        self._append(_double(1, time.time()) + _varint(2 << 3) + _varint(step) + _bytes(5, values))

    def _append(self, event: bytes) -> None:
        length = struct.pack("<Q", len(event))
        record = length + struct.pack("<I", masked_crc32c(length)) + event + struct.pack("<I", masked_crc32c(event))
        try:
            with self.path.open("ab") as file:
                file.write(record)
        except OSError as error:
            raise storage_error(self.path, error) from error


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecords."""
    table, value = _crc_table(), _WORD
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    value ^= _WORD
    return (((value >> 15) | (value << 17)) + _MASK_DELTA) & _WORD


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _double(field: int, number: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", number)


def _float(field: int, number: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", number)
