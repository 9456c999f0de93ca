"""Cached features and their labels as one table of rows, which windows are cut from."""

from collections.abc import Sequence

import numpy as np

from emopipe.errors import ConfigError
from emopipe.models.rows import Rows
from emopipe.stages.labelled import LabelledSplit
from emopipe.store.cache import Cache
from emopipe.store.reader import ShardReader
from emopipe.typing import Floats, Ints


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
    columns = _columns(split, targets)
    starts = np.concatenate([[0], np.cumsum([len(clip.frame_index) for clip in split.clips])]).astype(np.int64)
    valid = np.zeros(starts[-1], bool)
    features: Floats | None = None
    for place, clip in enumerate(split.clips):
        with cache.open(clip.record) as shard:
            names = _tap_names(shard, clip.entry.clip_id, taps)
            parts = [shard.read(clip.entry.clip_id, name) for name in names]
            where = slice(starts[place], starts[place + 1])
            valid[where] = shard.read(clip.entry.clip_id, "valid")
        features = _place(features, np.concatenate(parts, axis=1), where, int(starts[-1]))
    labels = np.concatenate([clip.values[:, columns] for clip in split.clips]).astype(np.float32)
    rows = Rows(
        features=np.empty((0, 0), np.float16) if features is None else features,
        valid=valid,
        labels=labels,
        label_valid=np.asarray(np.isfinite(labels).all(axis=1)),
        clip_starts=starts,
        frame_index=np.concatenate([clip.frame_index for clip in split.clips]),
        clip_ids=tuple(clip.clip.clip_id for clip in split.clips),
    )
    rows.check()
    return rows


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
