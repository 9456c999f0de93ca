"""Cached features, or what a CNN says of cached crops, and their labels as one table of rows."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from emopipe.errors import ConfigError
from emopipe.faces.landmark_vector import landmark_vector
from emopipe.faces.normalisation import InputSpec
from emopipe.models.rows import Rows
from emopipe.stages.cached_features import CachedFeatures, Columns, Stretch, memory_limit, tap_fields
from emopipe.stages.features_step import BATCH_SIZE, Crops, FeatureRows, Network, cached_crops, compute, tap_sizes
from emopipe.stages.labelled import LabelledSplit
from emopipe.stages.motion import landmark_motion
from emopipe.stages.pipeline import Prefetch
from emopipe.stages.sound_rows import SoundColumns
from emopipe.stages.spec import Plan, PlannedClip
from emopipe.store.cache import Cache
from emopipe.typing import Array, Bools, Floats, Ints

_PIECES_AHEAD = 4


def feature_rows(
    split: LabelledSplit,
    cache: Cache,
    taps: Sequence[str] = (),
    targets: Sequence[str] = (),
    landmarks: Plan | None = None,
    sound: SoundColumns | None = None,
    motion: Plan | None = None,
) -> Rows:
    """The features of a split's clips, taps side by side, with the labels beside them.

    What does not fit into memory stays on disk and is read window by window; see `CachedFeatures`.

    Args:
        split: clips of the features cache, or of the audio cache, with their labels.
        cache: holds them.
        taps: which taps, in this order; empty for all, sorted.
        targets: which label columns, in this order; empty for all.
        landmarks: the plan, to put the 136 numbers of the landmarks behind the taps; they lie in the faces cache.
        sound: the sound of the same rows, to put it behind both.
        motion: the plan, to say how far faces move from frame to frame; their landmarks lie in the faces cache.

    Returns:
        Rows in the clips' order; float16 unless a shard holds a tap as float32. A label is valid where the row has
        one, whether or not it has a face or sound. A row with a face and without sound is valid.

    Raises:
        ConfigError: a tap or a target is not there; the message lists those that are. Or the faces are not cached.
        RecordError: a valid row holds a number that is not finite; names the clip and the frame.
    """
    fields, sizes, dtype = _layout(split, cache, taps)
    if sound is not None:
        dtype = max(dtype, sound.dtype, key=lambda kind: kind.itemsize)
    return _rows(split, cache, fields, sum(sizes.values()), dtype, targets, landmarks, sound=sound, motion=motion)


def crop_rows(
    split: LabelledSplit, cache: Cache, spec: InputSpec, targets: Sequence[str] = (), landmarks: Plan | None = None
) -> Rows:
    """The crops of a split's clips as a table whose columns are pixels, for a network trained end to end.

    Args:
        split: clips of the faces cache with their labels.
        cache: holds them.
        spec: what the network takes.
        targets, landmarks: as in `feature_rows`.

    Returns:
        Rows in the clips' order; features (R, S S C) float32, pixels in the order H, W, C.

    Raises:
        ConfigError: as `feature_rows`.
    """
    return _rows(split, cache, (), math.prod(spec.shape), np.dtype(np.float32), targets, landmarks, crops=spec)


def tap_columns(split: LabelledSplit, cache: Cache, taps: Sequence[str] = ()) -> dict[str, int]:
    """Tap -> numbers per frame, in the order of `feature_rows`.

    Raises:
        ConfigError: a tap is not there.
    """
    return _layout(split, cache, taps)[1]


def network_rows(
    split: LabelledSplit,
    cache: Cache,
    network: Network,
    taps: Sequence[str] = (),
    targets: Sequence[str] = (),
    landmarks: Plan | None = None,
) -> Rows:
    """What a network says of every crop of a split's clips, as the features of a table of rows.

    Args:
        split: clips of the faces cache with their labels.
        cache: holds them.
        network: crops -> tap -> vectors.
        taps: which of its taps, in this order; empty for all, sorted.
        targets, landmarks: as in `feature_rows`.

    Returns:
        Rows in the clips' order; features (R, D) float32, NaN where there is no face.

    Raises:
        FaceError: the network gives a number that is not finite.
        ShardError: a shard is damaged.
    """

    def pieces() -> Iterator[Crops]:
        for clip in split.clips:
            planned = PlannedClip(clip.clip, clip.entry.key, None)
            yield from cached_crops(planned, clip.record, clip.entry, cache)

    sizes = tap_sizes(network)
    ahead = Prefetch(pieces(), _PIECES_AHEAD, "crops")
    try:
        found = list(assembled(compute(ahead, network, sizes, BATCH_SIZE)))
    finally:
        ahead.close()
    columns = [np.concatenate([rows[f"taps/{tap}"] for rows in found]) for tap in taps or sorted(sizes)]
    if landmarks is not None:
        columns.append(_landmarks(split, landmarks, cache))
    features = np.concatenate(columns, axis=1, dtype=np.float32)
    return _table(split, features, np.concatenate([rows["valid"] for rows in found]), targets)


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
        return sum(shard.read(clip_id, name, 0, 1).shape[1] for name in tap_fields(shard, clip_id, taps))


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


def _rows(
    split: LabelledSplit,
    cache: Cache,
    fields: Sequence[str],
    num_columns: int,
    dtype: np.dtype,
    targets: Sequence[str],
    landmarks: Plan | None,
    *,
    crops: InputSpec | None = None,
    sound: SoundColumns | None = None,
    motion: Plan | None = None,
) -> Rows:
    starts = _starts(split)
    known = landmarks or motion
    vectors = None if known is None else _landmarks(split, known, cache)
    extra: Columns | None = vectors if landmarks is not None else sound
    if vectors is not None and landmarks is not None and sound is not None:
        extra = np.concatenate([vectors, sound[...]], axis=1)
    num_columns += 0 if extra is None else extra.shape[1]
    stretches = [
        Stretch(clip.record, clip.entry.clip_id, int(stop)) for clip, stop in zip(split.clips, starts[1:], strict=True)
    ]
    features: Any = CachedFeatures(cache, stretches, fields, num_columns, dtype, extra, crops)
    if features.nbytes <= memory_limit():
        table = np.empty(features.shape, features.dtype)
        for start, stop in pairwise(starts):
            table[start:stop] = features[start:stop]
        features = table
    valid = np.zeros(starts[-1], bool)
    for place, clip in enumerate(split.clips):
        with cache.open(clip.record) as shard:
            valid[starts[place] : starts[place + 1]] = shard.read(clip.entry.clip_id, "valid")
    moved = None if vectors is None or motion is None else landmark_motion(vectors, valid, starts)
    return _table(split, features, valid, targets, moved)


def _table(
    split: LabelledSplit, features: Floats, valid: Bools, targets: Sequence[str], motion: Floats | None = None
) -> Rows:
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
        motion=motion,
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


def _layout(split: LabelledSplit, cache: Cache, taps: Sequence[str]) -> tuple[list[str], dict[str, int], np.dtype]:
    """The taps' datasets, their sizes, and float32 as soon as one shard holds one of them so."""
    fields: list[str] = []
    sizes: dict[str, int] = {}
    dtype = np.dtype(np.float16)
    seen = set()
    for clip in split.clips:
        if clip.record.path in seen:
            continue
        seen.add(clip.record.path)
        with cache.open(clip.record) as shard:
            fields = tap_fields(shard, clip.entry.clip_id, taps)
            for field in fields:
                row = shard.read(clip.entry.clip_id, field, 0, 1)
                sizes[field.removeprefix("taps/")] = row.shape[1]
                dtype = max(dtype, row.dtype, key=lambda kind: kind.itemsize)
    return fields, sizes, dtype


def _landmarks(split: LabelledSplit, plan: Plan, cache: Cache) -> Floats:
    """(R, 136) landmarks of all rows, NaN where there is no face.

    Raises:
        ConfigError: the faces of a clip are not cached, or no landmarks were kept in them.
    """
    cached = cache.find("faces", plan.faces.fingerprint)
    keys = {planned.clip.clip_id: str(planned.faces_key) for planned in plan.clips}
    parts = []
    for clip in split.clips:
        clip_id = clip.clip.clip_id
        if keys[clip_id] not in cached:
            raise ConfigError(
                f"{cache.folder}: lacks the faces of clip '{clip_id}', which hold its landmarks.\n"
                f"Run: emopipe extract --dataset {split.dataset} --only faces --cache {cache.folder}"
            )
        record, entry = cached[keys[clip_id]]
        with cache.open(record) as shard:
            points, transform, valid = (shard.read(entry.clip_id, name) for name in ("landmarks", "transform", "valid"))
        parts.append(landmark_vector(points, transform))
        if len(valid) != len(clip.frame_index) or not np.isfinite(parts[-1][valid]).all():
            raise ConfigError(
                f"clip '{clip_id}': its faces have no landmarks. Expected 68 points in every valid row; official crops "
                "have none.\nTrain without --landmarks and --sampling motion, or extract with an alignment of faces."
            )
    return np.concatenate(parts)
