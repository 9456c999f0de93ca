"""Features: crops of many clips in, full batches through the network, rows of the features shards out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from emopipe.errors import FaceError
from emopipe.records import CROP_SIZE_PX
from emopipe.stages.spec import PlannedClip
from emopipe.store.cache import Cache, ShardRecord
from emopipe.store.layout import ClipEntry
from emopipe.typing import Array, Bools, Floats, Image

BATCH_SIZE = 64  # beyond it two cores gain nothing; a GPU is fed by larger ones
GPU_BATCH_SIZE = 512
_READ_ROWS = 256

Network = Callable[[Image], Mapping[str, Floats]]


@dataclass
class Crops:
    """Consecutive rows of one clip on their way to the network.

    Attributes:
        planned: the clip.
        rows: `frame_index`, `time_s` and `valid` of these rows.
        crop: (N, 96, 96, 3) uint8 RGB of these rows, zeros where `valid` is False.
        is_last: whether this is the last piece of the clip.
        error: why the clip failed upstream; what was made of it must then be forgotten.
    """

    planned: PlannedClip
    rows: Mapping[str, Array]
    crop: Image
    is_last: bool = False
    error: Exception | None = None


@dataclass
class FeatureRows:
    """Consecutive finished rows of one clip: `frame_index`, `time_s`, `valid` and ``taps/<tap>``, NaN where invalid.

    `is_last` and `error` as in `Crops`; without `failed_upstream` the error is that the network gave a number that is
    not finite.
    """

    planned: PlannedClip
    rows: Mapping[str, Array]
    is_last: bool = False
    error: Exception | None = None
    failed_upstream: bool = False


@dataclass
class _Pending:
    piece: Crops
    features: dict[str, Array]
    error: Exception | None
    filled: int = 0  # valid rows that have their features


def tap_sizes(network: Network) -> dict[str, int]:
    """Tap -> numbers per frame, found by one forward pass, which also makes the network ready."""
    blank = np.zeros((1, CROP_SIZE_PX, CROP_SIZE_PX, 3), np.uint8)
    return {tap: values.shape[1] for tap, values in network(blank).items()}


def compute(
    pieces: Iterable[Crops], network: Network, sizes: Mapping[str, int], batch_size: int
) -> Iterator[FeatureRows]:
    """Send the valid crops of all clips through the network in full batches, and hand rows back in order.

    A batch does not stop at a clip's border; the last one is as small as it must be.

    Args:
        pieces: crops, clip after clip.
        network: crops -> tap -> (N, D) float32.
        sizes: see `tap_sizes`.
        batch_size: crops per forward pass.
    """
    waiting: deque[_Pending] = deque()
    buffer: list[tuple[_Pending, Bools, Image]] = []
    num_buffered = 0
    for piece in pieces:
        valid = piece.rows["valid"]
        blank = {tap: np.full((len(valid), size), np.nan, np.float32) for tap, size in sizes.items()}
        pending = _Pending(piece, blank, piece.error)
        waiting.append(pending)
        if valid.any():
            buffer.append((pending, valid, piece.crop[valid]))
            num_buffered += int(valid.sum())
        while num_buffered >= batch_size:
            buffer = _run(buffer, network, batch_size)
            num_buffered -= batch_size
        yield from _finished(waiting)
    if num_buffered:
        _run(buffer, network, num_buffered)
    yield from _finished(waiting)


def _run(
    buffer: list[tuple[_Pending, Bools, Image]], network: Network, size: int
) -> list[tuple[_Pending, Bools, Image]]:
    """One forward pass over the first `size` buffered crops; returns what is left."""
    batch = np.concatenate([crops for _, _, crops in buffer])
    taps = network(batch[:size])
    start = 0
    for pending, valid, crops in buffer:
        count = min(len(crops), size - start)
        if count <= 0:
            break
        where = np.flatnonzero(valid)[pending.filled : pending.filled + count]
        for tap, values in taps.items():
            _place(pending, tap, where, values[start : start + count])
        pending.filled += count
        start += count
    rest = []
    for pending, valid, crops in buffer:
        unseen = int(valid.sum()) - pending.filled
        if unseen:
            rest.append((pending, valid, crops[len(crops) - unseen :]))
    return rest


def _place(pending: _Pending, tap: str, where: Array, values: Floats) -> None:
    pending.features[tap][where] = values
    finite = np.isfinite(values).all(axis=1)
    if pending.error is None and not finite.all():
        frame_index = int(pending.piece.rows["frame_index"][where[np.argmin(finite)]])
        clip_id = pending.piece.planned.clip.clip_id
        pending.error = FaceError(
            f"clip '{clip_id}', frame {frame_index}: tap '{tap}' holds a number that is not finite.\n"
            "Expected finite features. Check the weights and the input range.",
            clip_id=clip_id,
            frame_index=frame_index,
        )


def _finished(waiting: deque[_Pending]) -> Iterator[FeatureRows]:
    while waiting and waiting[0].filled == int(waiting[0].piece.rows["valid"].sum()):
        pending = waiting.popleft()
        piece = pending.piece
        taps = {f"taps/{tap}": values for tap, values in pending.features.items()}
        yield FeatureRows(piece.planned, {**piece.rows, **taps}, piece.is_last, pending.error, piece.error is not None)


def cached_crops(planned: PlannedClip, record: ShardRecord, entry: ClipEntry, cache: Cache) -> Iterator[Crops]:
    """Crops of a clip whose faces are in the cache, read in whole chunks."""
    with cache.open(record) as reader:
        for start in range(0, entry.num_frames, _READ_ROWS):
            stop = min(start + _READ_ROWS, entry.num_frames)
            crop, valid = reader.crops(entry.clip_id, start, stop)
            rows = {name: reader.read(entry.clip_id, name, start, stop) for name in ("frame_index", "time_s")}
            yield Crops(planned, {**rows, "valid": valid}, crop, is_last=stop == entry.num_frames)
