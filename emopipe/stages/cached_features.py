"""The features of a split as a matrix that stays on disk: for taps too wide for memory.

Flat pool2 alone is 147 kB per frame, 74 GB for the frames of OMG-Emotion. Training reads the windows of a batch. Crops
are read the same way for networks that are trained end to end: their pixels are the columns.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Protocol

import numpy as np

from emopipe.errors import ConfigError
from emopipe.faces.normalisation import InputSpec, normalise
from emopipe.store.cache import Cache, ShardRecord
from emopipe.store.reader import ShardReader
from emopipe.typing import Array, Floats, Ints

_OPEN_SHARDS = 8
_SHARE_OF_MEMORY = 0.4  # the rest is for the network, its gradients and everybody else


@dataclass(frozen=True)
class Stretch:
    """The rows of one clip: where they lie, and the row of the matrix behind the last one."""

    record: ShardRecord
    clip_id: str
    stop: int


class Columns(Protocol):
    """Columns beside the taps: an array, or what is indexed like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(R, E)"""

    def __getitem__(self, key: Ints) -> Floats: ...


def memory_limit() -> int:
    """Bytes that a feature matrix may take in memory."""
    return int(_SHARE_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


class CachedFeatures:
    """(R, D) features read when they are asked for; indexed like an array by a slice or by row numbers.

    Args:
        cache: holds them.
        stretches: the clips, in the order of their rows.
        fields: names of the taps' datasets, side by side.
        crops: what the network that sees crops takes; the normalised pixels are the columns instead of any field's.
        num_columns: numbers per row, `extra` included.
        dtype: of what is handed out.
        extra: (R, E) columns behind those of the taps, cast to `dtype`; None for none.
    """

    ndim = 2

    def __init__(
        self,
        cache: Cache,
        stretches: Sequence[Stretch],
        fields: Sequence[str],
        num_columns: int,
        dtype: np.dtype,
        extra: Columns | None = None,
        crops: InputSpec | None = None,
    ):
        self.dtype = np.dtype(dtype)
        self.shape = (stretches[-1].stop, num_columns)
        self._cache, self._stretches, self._fields = cache, stretches, list(fields)
        self._extra, self._crops = extra, crops
        self._stops = np.array([stretch.stop for stretch in stretches])
        self._open: dict[str, ShardReader] = {}

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes that the matrix would take in memory."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __getitem__(self, key: slice | EllipsisType | Ints) -> Floats:
        """Rows of the matrix; for row numbers of any shape, an array of that shape and the columns behind it.

        A negative number is no row: zeros.

        Raises:
            CorruptShardError: what is asked for cannot be read.
        """
        if not isinstance(key, np.ndarray):
            key = np.arange(len(self))[key]
        windows = key.reshape(math.prod(key.shape[:-1]), key.shape[-1])
        found = np.zeros((*windows.shape, self.shape[1]), self.dtype)
        for number, rows in enumerate(windows):
            clips = np.searchsorted(self._stops, rows, side="right")
            for clip in np.unique(clips[rows >= 0]):
                where = (rows >= 0) & (clips == clip)
                self._read(int(clip), rows[where], found[number], np.flatnonzero(where))
        return found.reshape(*key.shape, self.shape[1])

    def _read(self, clip: int, rows: Ints, out: Floats, places: Ints) -> None:
        stretch = self._stretches[clip]
        start = int(self._stops[clip - 1]) if clip else 0
        low, high = int(rows.min()), int(rows.max()) + 1
        reader = self._reader(stretch.record)
        column = 0
        for part in self._parts(reader, stretch.clip_id, low - start, high - start):
            out[places, column : column + part.shape[1]] = part[rows - low]
            column += part.shape[1]
        if self._extra is not None:
            out[places, column:] = self._extra[rows]

    def _parts(self, reader: ShardReader, clip_id: str, start: int, stop: int) -> Iterator[Array]:
        for field in self._fields:
            yield reader.read(clip_id, field, start, stop)
        if self._crops is not None:
            crops, _ = reader.crops(clip_id, start, stop)
            yield normalise(crops, self._crops).reshape(len(crops), -1)

    def _reader(self, record: ShardRecord) -> ShardReader:
        name = str(record.path)
        if name not in self._open:
            if len(self._open) >= _OPEN_SHARDS:
                self._open.pop(next(iter(self._open))).close()
            self._open[name] = self._cache.open(record)
        return self._open[name]


def tap_fields(shard: ShardReader, clip_id: str, taps: Sequence[str]) -> list[str]:
    """Names of the taps' datasets, in this order; of all taps, sorted, when none is named.

    Raises:
        ConfigError: a tap is not there.
    """
    known = [name.removeprefix("taps/") for name in shard.fields(clip_id) if name.startswith("taps/")]
    for tap in taps:
        if tap not in known:
            raise ConfigError(f"{shard.path}: has no tap '{tap}'. Expected some of {', '.join(known)}.")
    return [f"taps/{tap}" for tap in taps or known]
