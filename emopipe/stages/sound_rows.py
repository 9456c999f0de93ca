"""Sound beside the picture: the audio features of every clip as columns of the table of its frames, joined by time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Literal

import numpy as np

from emopipe.errors import ConfigError
from emopipe.models.multimodal import AUDIO_PREFIX
from emopipe.stages.cached_features import tap_fields
from emopipe.stages.labelled import LabelledSplit
from emopipe.stages.spec import Plan
from emopipe.store.cache import Cache
from emopipe.timeline import join_audio
from emopipe.typing import Floats, Ints


@dataclass(frozen=True)
class SoundColumns:
    """The columns of sound of a table of R frames; indexed like an array by a slice or by row numbers.

    Each of the A windows of sound is held once, whatever the number of frames that it covers.

    Attributes:
        values: (A, D) the windows of all clips.
        row: (R,) int64, the window of each frame; -1 for none, which is zeros.
        columns: "audio:<tap>" -> numbers per row, in their order.
        notes: what the user is to be told.
    """

    values: Floats
    row: Ints
    columns: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(R, D)"""
        return len(self.row), self.values.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Of the numbers."""
        return self.values.dtype

    def __getitem__(self, key: slice | EllipsisType | Ints) -> Floats:
        windows = self.row[key]
        if not len(self.values):
            return np.zeros((*windows.shape, self.shape[1]), self.dtype)
        found: Floats = self.values[windows]
        found[windows < 0] = 0
        return found


def table_kind(cache: Cache, dataset: str | None, wanted: str, *, prefers_sound: bool) -> Literal["features", "audio"]:
    """Which cache the table of a head is read from: features of faces, or of sound.

    Args:
        cache, dataset, wanted: as in `cached_plan`; `wanted` is the beginning of a fingerprint of either kind.
        prefers_sound: whether the head is for sound, where both kinds are there.
    """

    def is_there(kind: str) -> bool:
        return any(
            dataset in (None, str(record.request.get("dataset"))) and record.header.fingerprint.startswith(wanted)
            for record in cache.records(kind)
        )

    return "audio" if is_there("audio") and (prefers_sound or not is_there("features")) else "features"


def joined_plan(plan: Plan, sound: Plan) -> Plan:
    """A plan of features that knows the sound of its clips too.

    Args:
        plan: of features.
        sound: of audio, of the same corpus.
    """
    keys = {planned.clip.clip_id: planned.audio_key for planned in sound.clips}
    clips = tuple(replace(planned, audio_key=keys.get(planned.clip.clip_id)) for planned in plan.clips)
    return replace(plan, clips=clips, audio=sound.audio)


def split_taps(taps: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Taps of the picture, and those of the sound without their prefix.

    Examples:
        >>> split_taps(["fc2", "audio:log-mel"])
        (('fc2',), ('log-mel',))
    """
    return (
        tuple(tap for tap in taps if not tap.startswith(AUDIO_PREFIX)),
        tuple(tap.removeprefix(AUDIO_PREFIX) for tap in taps if tap.startswith(AUDIO_PREFIX)),
    )


def sound_columns(split: LabelledSplit, plan: Plan, cache: Cache, taps: Sequence[str] = ()) -> SoundColumns:
    """The sound of every frame of a split's clips; see `join_audio`.

    Args:
        split: clips of the features cache.
        plan: of these clips and their sound, see `joined_plan`.
        cache: holds both.
        taps: which taps of the sound, in this order; empty for all, sorted.

    Raises:
        ConfigError: no sound is cached, or a tap is not there.
    """
    if plan.audio is None:
        raise ConfigError("sound_columns: expected a plan that knows the sound of its clips.")
    cached = cache.find("audio", plan.audio.fingerprint)
    keys = {planned.clip.clip_id: str(planned.audio_key) for planned in plan.clips}
    spectrogram = plan.audio.config["spectrogram"]
    rows, parts, silent = [], [], []
    columns = _columns(plan.audio.fingerprint, cache, taps)
    start = num_without = 0
    for clip in split.clips:
        clip_id = clip.clip.clip_id
        if keys.get(clip_id) not in cached:
            rows.append(np.full(len(clip.frame_index), -1))
            silent.append(clip_id)
            continue
        with cache.open(clip.record) as shard:
            frames_s = shard.read(clip.entry.clip_id, "time_s")
        record, entry = cached[keys[clip_id]]
        with cache.open(record) as shard:
            fields = tap_fields(shard, entry.clip_id, taps)
            time_s, valid = (shard.read(entry.clip_id, name) for name in ("time_s", "valid"))
            parts.append(np.concatenate([shard.read(entry.clip_id, field) for field in fields], axis=1))
        row, is_heard = join_audio(frames_s, time_s, valid, spectrogram["window_s"], spectrogram["hop_s"])
        rows.append(np.where(is_heard, row + start, -1))
        start, num_without = start + len(valid), num_without + int((~is_heard).sum())
    values = np.concatenate(parts) if parts else np.zeros((0, sum(columns.values())), np.float16)
    return SoundColumns(values, np.concatenate(rows), columns, _notes(split, silent, num_without))


def _columns(fingerprint: str, cache: Cache, taps: Sequence[str]) -> dict[str, int]:
    records = cache.records("audio", fingerprint)
    if not records:
        raise ConfigError(f"{cache.folder}: holds no audio {fingerprint[:10]}.")
    clip_id = records[0].entries[0].clip_id
    with cache.open(records[0]) as shard:
        fields = tap_fields(shard, clip_id, taps)
        return {
            AUDIO_PREFIX + field.removeprefix("taps/"): int(shard.read(clip_id, field, 0, 1).shape[1])
            for field in fields
        }


def _notes(split: LabelledSplit, silent: list[str], num_without: int) -> tuple[str, ...]:
    notes = []
    if silent:
        notes.append(
            f"{len(silent)} of {len(split.clips)} clips of split '{split.split}' have no cached sound, and zeros in "
            f"its place (the first: '{silent[0]}')."
        )
    if num_without:
        notes.append(
            f"{num_without} frames of split '{split.split}' lie where the sound of their clip has nothing, and have "
            "zeros in its place."
        )
    return tuple(notes)
