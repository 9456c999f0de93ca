"""The cached clips of a split together with their labels."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from emopipe.datasets.adapter import Adapter
from emopipe.errors import ConfigError, ManifestError
from emopipe.records import Clip, Labels
from emopipe.stages.frame_times import FrameTimes
from emopipe.stages.spec import Plan
from emopipe.store.cache import Cache, ShardRecord
from emopipe.store.layout import ClipEntry
from emopipe.timeline import COUNT_TOLERANCE, join_labels, labels_behind
from emopipe.typing import Bools, Floats, Ints

Kind = Literal["faces", "features", "audio"]
_EXTRACT = {"faces": "faces", "features": "features", "audio": "audio --audio-backbone NAME"}  # what --only takes
_USABLE = {"faces": "frame with a face", "features": "frame with a face", "audio": "window of sound"}
_USABLE_READY_MADE = "row of features without a gap"


@dataclass(frozen=True)
class LabelledClip:
    """A cached clip and the labels of its T rows.

    Attributes:
        record, entry: where the clip lies in the cache.
        clip: the clip, in the split of the task.
        values: (T, K) float64, NaN where there is no label.
        valid: (T,) bool, whether the row has a face, or sound, and a label.
        frame_index: (T,) int64, 0-based frame, or window of sound, of each row.
        time_s: (T,) float64, on the container's clock; of a window of sound, its middle.
        has_one_label: whether it was given to the clip as a whole.
    """

    record: ShardRecord
    entry: ClipEntry
    clip: Clip
    values: Floats
    valid: Bools
    frame_index: Ints
    time_s: Floats
    has_one_label: bool = False


@dataclass(frozen=True)
class LabelledSplit:
    """The clips of a split that can be learned from or scored on.

    Attributes:
        dataset, split, task: what was asked for.
        targets: names of the K columns of every clip's values.
        classes: names of the classes when the one column holds class numbers, else ().
        clips: sorted by clip id; at least one row of them is valid.
        notes: plain sentences about what is left out.
        of_clips: whether annotators gave each clip one label as a whole, which stands in all of its rows.
    """

    dataset: str
    split: str
    task: str
    targets: tuple[str, ...]
    classes: tuple[str, ...]
    clips: tuple[LabelledClip, ...]
    notes: tuple[str, ...]
    of_clips: bool = False

    def digest(self) -> str:
        """SHA-256 of the rows and their labels, so that a run is not taken for one on others."""
        digest = hashlib.sha256()
        for clip in self.clips:
            digest.update(f"{clip.entry.clip_id}\0{clip.entry.sha256}\n".encode("utf-8", "surrogateescape"))
            digest.update(clip.valid.tobytes())
            digest.update(np.ascontiguousarray(clip.values[clip.valid]).tobytes())
        return digest.hexdigest()


def labelled_clips(plan: Plan, cache: Cache, kind: Kind, split: str, task: str | None = None) -> LabelledSplit:
    """Join the cached clips of one split with their labels, by frame number or time.

    Clips without media, and those that are not cached or not annotated, are left out and counted in the notes. Windows
    of sound meet labels of frames by the times of the frames, which the faces cache knows.

    Args:
        plan: the corpus and the keys of its clips.
        cache: holds the clips.
        kind: which cache the rows come from; faces and features have the same rows, sound has its own.
        split: "train", "dev", "test", "none" for clips without a split, or "all".
        task: see `Adapter.tasks`; None for the first.

    Raises:
        ManifestError: the split is empty or has no labels, or a label that counts as valid is not a finite number.
        ConfigError: nothing of it is cached, there is no such task, or nothing says when the frames are that sound is
            labelled by.
    """
    adapter, dataset = plan.adapter, plan.manifest.dataset
    task = task or adapter.tasks[0]
    if task not in adapter.tasks:
        raise ConfigError(f"{adapter.name}: no task '{task}'. Expected one of {', '.join(adapter.tasks)}.")
    clips = _clips_of(plan, split, task)
    annotated = [clip for clip in clips if task in clip.annotations]
    if not annotated:
        raise ManifestError(
            f"{plan.manifest.root}: none of the {len(clips)} clips of split '{split}' has labels for '{task}'.\n"
            "Expected at least one. Look with: emopipe datasets check", path=plan.manifest.root,
        )  # fmt: skip
    places = _places(plan, cache, kind, split, annotated)
    notes = [*_notes(split, task, kind, len(clips), len(annotated), len(places)), *_without_media(plan, split, task)]
    times = FrameTimes(cache) if kind == "audio" else None
    joined, targets, classes, far = _joined(adapter, cache, task, places, times)
    notes += [f"split '{split}': {note}" for note in far]
    if len(joined) < len(places):
        notes.append(
            f"{len(places) - len(joined)} of {len(places)} clips of split '{split}' are left out: their labels are of "
            "frames, and without cached faces nothing says when those are."
        )
    if not any(clip.valid.any() for clip in joined):
        usable = _USABLE[kind] if plan.ready_made is None else _USABLE_READY_MADE
        raise ManifestError(
            f"{plan.manifest.root}: split '{split}' has no {usable} and a label for '{task}'.\n"
            "Look with: emopipe datasets check", path=plan.manifest.root,
        )  # fmt: skip
    ordered = tuple(sorted(joined, key=lambda labelled: labelled.clip.clip_id))
    of_clips = all(clip.has_one_label for clip in ordered)
    return LabelledSplit(dataset, split, task, targets, classes, ordered, tuple(notes), of_clips)


def has_labels(plan: Plan, split: str, task: str) -> bool:
    """Whether any clip of a split is annotated; those of official test splits are not."""
    return any(task in clip.annotations for clip in _clips_of(plan, split, task))


def unlabelled_clips(
    plan: Plan, cache: Cache, kind: Kind, split: str, task: str, targets: tuple[str, ...]
) -> LabelledSplit:
    """The cached clips of a split without annotations, with NaN for every label; as `labelled_clips`."""
    clips = _clips_of(plan, split, task)
    places = _places(plan, cache, kind, split, list(clips))
    found = []
    for clip, record, entry, (frame_index, time_s, _) in _rows(cache, places):
        values = np.full((len(frame_index), len(targets)), np.nan)
        found.append(LabelledClip(record, entry, clip, values, np.zeros(len(frame_index), bool), frame_index, time_s))
    ordered = tuple(sorted(found, key=lambda labelled: labelled.clip.clip_id))
    notes = (f"split '{split}' has no '{task}' labels: its predictions are written, nothing is scored.",)
    missing = (*_notes(split, task, kind, len(clips), len(clips), len(places)), *_without_media(plan, split, task))
    return LabelledSplit(plan.manifest.dataset, split, task, targets, (), ordered, (*notes, *missing))


def _clips_of(plan: Plan, split: str, task: str) -> tuple[Clip, ...]:
    return plan.manifest.for_task(task).select(() if split == "all" else (split,)).clips


def _places(
    plan: Plan, cache: Cache, kind: Kind, split: str, clips: list[Clip]
) -> list[tuple[Clip, ShardRecord, ClipEntry]]:
    """Where the clips lie in the cache, shard by shard; those that are not cached are left out.

    Raises:
        ConfigError: none of them is.
    """
    header = {"faces": plan.faces_header, "features": plan.features, "audio": plan.audio}[kind]
    cached = {} if header is None else cache.find(kind, header.fingerprint)
    keys = {planned.clip.clip_id: str(planned.key(kind)) for planned in plan.clips}
    places = [(clip, *cached[keys[clip.clip_id]]) for clip in clips if keys[clip.clip_id] in cached]
    if not places:
        dataset = plan.manifest.dataset
        how = f"--only {_EXTRACT[kind]}" if plan.ready_made is None else f"--ready-made {plan.ready_made}"
        raise ConfigError(
            f"{cache.folder}: holds no {kind} of the {len(clips)} clips of split '{split}' of {dataset}.\n"
            f"Run: emopipe extract --dataset {dataset} {how} --cache {cache.folder}"
        )
    return sorted(places, key=lambda place: str(place[1].path))


def _notes(split: str, task: str, kind: str, num_clips: int, num_annotated: int, num_present: int) -> tuple[str, ...]:
    notes = []
    if num_annotated < num_clips:
        notes.append(f"{num_clips - num_annotated} of {num_clips} clips of split '{split}' have no '{task}' labels.")
    if num_present < num_annotated:
        notes.append(
            f"{num_annotated - num_present} of {num_annotated} clips of split '{split}' have no cached {kind}."
        )
    return tuple(notes)


def _without_media(plan: Plan, split: str, task: str) -> tuple[str, ...]:
    """A sentence about the clips of a split that the corpus lists and whose media are not there."""
    manifest = plan.manifest.for_task(task)
    listed, absent = (
        [clip for clip in clips if split in ("all", clip.split or "none")]
        for clips in ((*manifest.clips, *manifest.missing), manifest.missing)
    )
    if not absent:
        return ()
    first, what = absent[0].clip_id, plan.ready_made or "media"
    return (f"{len(absent)} of {len(listed)} clips of split '{split}' have no {what} (the first: '{first}').",)


def _joined(
    adapter: Adapter,
    cache: Cache,
    task: str,
    places: list[tuple[Clip, ShardRecord, ClipEntry]],
    times: FrameTimes | None,
) -> tuple[list[LabelledClip], tuple[str, ...], tuple[str, ...], list[str]]:
    """The clips with their labels, what the columns are, which must be the same for all of them, and notes.

    `times` are given for rows that are no frames; clips whose labels then cannot be placed are left out.
    """
    columns: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
    joined, far = [], []
    for clip, record, entry, (frame_index, time_s, is_there) in _rows(cache, places):
        labels = adapter.read_labels(clip, task)
        columns.setdefault((labels.targets, labels.classes), clip.clip_id)
        placed = labels if times is None else times.placed(labels, clip)
        if placed is not None:
            joined.append(_join(clip, record, entry, placed, frame_index, time_s, is_there))
            if (behind := labels_behind(placed, frame_index, time_s)) > COUNT_TOLERANCE:
                far.append(f"'{clip.clip_id}', {behind} of {len(placed.values)}")
    if not joined:
        raise ConfigError(
            f"{adapter.name}: task '{task}' is labelled by frame, and without cached faces nothing says when frames "
            f"are.\nRun: emopipe extract --dataset {adapter.name} --only faces --cache {cache.folder}"
        )
    if len(columns) > 1:
        (one, other), *_ = zip(columns.items(), list(columns.items())[1:], strict=False)
        raise ManifestError(
            f"clip '{other[1]}': expected the labels that clip '{one[1]}' has: {', '.join(one[0][1] or one[0][0])}. "
            f"Received: {', '.join(other[0][1] or other[0][0])}."
        )
    targets, classes = next(iter(columns))
    note = f"{len(far)} of {len(joined)} clips have labels behind their end, which are left out (the first: {{}})."
    return joined, targets, classes, [note.format(far[0])] if far else []


def _rows(
    cache: Cache, places: list[tuple[Clip, ShardRecord, ClipEntry]]
) -> Iterator[tuple[Clip, ShardRecord, ClipEntry, tuple[Ints, Floats, Bools]]]:
    """The axes of all clips, opening each shard once; `places` are sorted by shard."""
    position = 0
    while position < len(places):
        record = places[position][1]
        with cache.open(record) as reader:
            while position < len(places) and places[position][1] is record:
                clip, _, entry = places[position]
                axes = tuple(reader.read(entry.clip_id, name) for name in ("frame_index", "time_s", "valid"))
                yield clip, record, entry, axes  # type: ignore[misc]  # three of them
                position += 1


def _join(
    clip: Clip,
    record: ShardRecord,
    entry: ClipEntry,
    labels: Labels,
    frame_index: Ints,
    time_s: Floats,
    is_there: Bools,
) -> LabelledClip:
    values, is_labelled = join_labels(labels, frame_index, time_s)
    is_wrong = is_labelled & ~np.isfinite(values).all(axis=1)
    if is_wrong.any():
        raise ManifestError(
            f"clip '{clip.clip_id}', frame {frame_index[np.argmax(is_wrong)]}: its label is not a finite number.\n"
            "Expected numbers, or a row marked as having no label."
        )
    one_label = labels.frame_index is None and labels.time_s is None
    valid = is_labelled & is_there.astype(bool)
    return LabelledClip(record, entry, clip, values, valid, frame_index, time_s, one_label)
