"""Cached features, or what a CNN says of cached crops, and their labels as one table of rows."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from emopipe.errors import ConfigError
from emopipe.models.rows import Rows
from emopipe.stages.features_step import BATCH_SIZE, Crops, FeatureRows, Network, cached_crops, compute, tap_sizes
from emopipe.stages.labelled import LabelledSplit
from emopipe.stages.pipeline import Prefetch
from emopipe.stages.spec import PlannedClip
from emopipe.store.cache import Cache
from emopipe.store.reader import ShardReader
from emopipe.typing import Array, Bools, Floats, Ints

_PIECES_AHEAD = 4


def feature_rows(split: LabelledSplit, cache: Cache, taps: Sequence[str] = (), targets: Sequence[str] = ()) -> Rows:
    """Load the features of a split's clips, taps side by side, and put the labels beside them.

    Args:
        split: clips of the features cache with their labels.
        cache: holds them.
        taps: which taps, in this order; empty for all, sorted.
        targets: which label columns, in this order; empty for all.

    Returns:
        Rows in the clips' order; float16 unless a shard holds a tap as float32. A label is valid where the frame has
        one, whether or not it has a face.

    Raises:
        ConfigError: a tap or a target is not there; the message lists those that are.
        RecordError: a valid row holds a number that is not finite; names the clip and the frame.
    """
    starts = _starts(split)
    valid = np.zeros(starts[-1], bool)
    features: Floats | None = None
    for place, clip in enumerate(split.clips):
        with cache.open(clip.record) as shard:
            names = _tap_names(shard, clip.entry.clip_id, taps)
            parts = [shard.read(clip.entry.clip_id, name) for name in names]
            where = slice(starts[place], starts[place + 1])
            valid[where] = shard.read(clip.entry.clip_id, "valid")
        features = _place(features, np.concatenate(parts, axis=1), where, int(starts[-1]))
    return _table(split, np.empty((0, 0), np.float16) if features is None else features, valid, targets)


def output_rows(split: LabelledSplit, cache: Cache, network: Network, targets: Sequence[str] = ()) -> Rows:
    """What a CNN says of every crop of a split's clips, as the features of a table of rows.

    Args:
        split: clips of the faces cache with their labels.
        cache: holds them.
        network: crops -> its outputs as the only tap.
        targets: as in `feature_rows`.

    Returns:
        Rows in the clips' order; features (R, K) float32, NaN where there is no face.

    Raises:
        FaceError: the network gives a number that is not finite.
        ShardError: a shard is damaged.
    """

    def pieces() -> Iterator[Crops]:
        for clip in split.clips:
            planned = PlannedClip(clip.clip, clip.entry.key, None)
            yield from cached_crops(planned, clip.record, clip.entry, cache)

    ahead = Prefetch(pieces(), _PIECES_AHEAD, "crops")
    try:
        found = list(assembled(compute(ahead, network, tap_sizes(network), BATCH_SIZE)))
    finally:
        ahead.close()
    ((tap, _),) = [item for item in found[0].items() if item[0].startswith("taps/")]
    outputs = np.concatenate([rows[tap] for rows in found])
    return _table(split, outputs, np.concatenate([rows["valid"] for rows in found]), targets)


def num_features(cache: Cache, fingerprint: str, taps: Sequence[str] = ()) -> int:
    """Numbers per frame of cached features, all of the named taps together; of all taps when none is named.

    Raises:
        ConfigError: nothing is cached under that fingerprint, or a tap is not there.
    """
    records = cache.records("features", fingerprint)
    if not records:
        raise ConfigError(f"{cache.folder}: holds no features {fingerprint[:10]}.")
    clip_id = records[0].entries[0].clip_id
    with cache.open(records[0]) as shard:
        return sum(shard.read(clip_id, name, 0, 1).shape[1] for name in _tap_names(shard, clip_id, taps))


def assembled(pieces: Iterable[FeatureRows]) -> Iterator[dict[str, Array]]:
    """The rows of each clip in one piece: `frame_index`, `time_s`, `valid` and ``taps/<tap>``.

    Raises:
        Exception: the one that a clip failed with.
    """
    parts: list[FeatureRows] = []
    for piece in pieces:
        if piece.error is not None:
            raise piece.error
        parts.append(piece)
        if piece.is_last:
            yield {name: np.concatenate([part.rows[name] for part in parts]) for name in parts[0].rows}
            parts = []


def _table(split: LabelledSplit, features: Floats, valid: Bools, targets: Sequence[str]) -> Rows:
    columns = _columns(split, targets)
    labels = np.concatenate([clip.values[:, columns] for clip in split.clips]).astype(np.float32)
    rows = Rows(
        features=features,
        valid=valid,
        labels=labels,
        label_valid=np.asarray(np.isfinite(labels).all(axis=1)),
        clip_starts=_starts(split),
        frame_index=np.concatenate([clip.frame_index for clip in split.clips]),
        clip_ids=tuple(clip.clip.clip_id for clip in split.clips),
    )
    rows.check()
    return rows


def _starts(split: LabelledSplit) -> Ints:
    return np.concatenate([[0], np.cumsum([len(clip.frame_index) for clip in split.clips])]).astype(np.int64)


def _columns(split: LabelledSplit, targets: Sequence[str]) -> Ints:
    for target in targets:
        if target not in split.targets:
            known = ", ".join(split.targets)
            raise ConfigError(f"task '{split.task}': has no target '{target}'. Expected some of {known}.")
    return np.array([split.targets.index(target) for target in targets or split.targets])


def _tap_names(shard: ShardReader, clip_id: str, taps: Sequence[str]) -> list[str]:
    known = [name.removeprefix("taps/") for name in shard.fields(clip_id) if name.startswith("taps/")]
    for tap in taps:
        if tap not in known:
            raise ConfigError(f"{shard.path}: has no tap '{tap}'. Expected some of {', '.join(known)}.")
    return [f"taps/{tap}" for tap in taps or known]


def _place(features: Floats | None, part: Floats, where: slice, num_rows: int) -> Floats:
    """Put a clip's features into the table; a table of float16 becomes float32 when a clip's are."""
    if features is None:
        features = np.empty((num_rows, part.shape[1]), part.dtype)
    elif part.dtype.itemsize > features.dtype.itemsize:
        features = features.astype(part.dtype)
    features[where] = part
    return features
