"""What is done with each claimed clip: its faces are made or read, its sound is heard, its features are shelved."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from emopipe.errors import EmptyMediaError, FaceError, ShardError, StorageError
from emopipe.records import FaceRows
from emopipe.stages.audio_step import AudioEngine, Windows, check_windows, end_of, sound_info
from emopipe.stages.clip_queue import Job
from emopipe.stages.faces_step import FaceEngines, FrameSource, count_labels, count_notes, face_chunks, open_source
from emopipe.stages.features_step import Crops, FeatureRows, cached_crops
from emopipe.stages.pipeline import Prefetch
from emopipe.stages.shelf import Shelf
from emopipe.stages.spec import PlannedClip
from emopipe.store.layout import ClipEntry

Claimed = Iterator[tuple[PlannedClip, frozenset[str]]]


@dataclass
class _Opened:
    """A claimed clip; its steps are working already when its faces are wanted."""

    planned: PlannedClip
    wanted: frozenset[str]
    num_labels: dict[str, int]
    source: FrameSource | None = None
    chunks: Prefetch[FaceRows] | None = None
    error: Exception | None = None

    def close(self) -> None:
        if self.chunks is not None:
            self.chunks.close()


class FacesMaker:
    """Turns claimed clips into face rows on a shelf, and into crops for the network.

    Args:
        job: the extraction.
        shelf: takes the face rows.
        engines: detector and landmarker.
    """

    def __init__(self, job: Job, shelf: Shelf, engines: FaceEngines):
        self._job, self._shelf, self._engines = job, shelf, engines

    def pieces(self, claimed: Claimed) -> Iterator[Crops]:
        """Make or read the faces of every clip; yields the crops of those whose features are wanted, in order."""
        for opened in self._opened(claimed):
            wants_features = "features" in opened.wanted
            pieces = self._make(opened) if "faces" in opened.wanted else self._read(opened.planned)
            for piece in pieces:
                if wants_features:
                    yield piece
            if not wants_features:
                clip_id = opened.planned.clip.clip_id
                self._job.progress.clip(clip_id, not self._job.queue.has_failed(opened.planned, "faces"))

    def _opened(self, claimed: Claimed) -> Iterator[_Opened]:
        """Open each clip one ahead, so that the next one is being decoded while this one drains."""
        ahead: _Opened | None = None
        current: _Opened | None = None
        try:
            for planned, wanted in claimed:
                current, ahead = ahead, self._open(planned, wanted)
                if current is not None:
                    yield current
            current, ahead = ahead, None
            if current is not None:
                yield current
        finally:
            for opened in (current, ahead):
                if opened is not None:
                    opened.close()

    def _open(self, planned: PlannedClip, wanted: frozenset[str]) -> _Opened:
        opened = _Opened(planned, wanted, {})
        if "faces" not in wanted:
            return opened
        config = self._job.plan.faces_config
        try:
            opened.num_labels = count_labels(self._job.plan.adapter, planned.clip)
            opened.source = open_source(planned.clip, config, max(opened.num_labels.values(), default=None))
            opened.chunks = face_chunks(planned.clip, opened.source, config, self._engines, self._job.clock)
        except Exception as error:  # noqa: BLE001  one bad clip never stops the rest: it becomes a ledger row
            opened.error = error
        return opened

    def _make(self, opened: _Opened) -> Iterator[Crops]:
        planned, clip = opened.planned, opened.planned.clip
        num_frames = num_valid = 0
        last_time_s = 0.0
        try:
            if opened.error is not None:
                raise opened.error
            for rows in opened.chunks or ():
                self._shelf.append(clip.clip_id, rows.arrays())
                num_frames += len(rows)
                num_valid += int(rows.valid.sum())
                last_time_s = float(rows.time_s[-1])
                self._job.progress.frames(len(rows))
                axis = {"frame_index": rows.frame_index, "time_s": rows.time_s, "valid": rows.valid}
                yield Crops(planned, axis, rows.crop)
            self._shelf.finish(_entry(opened, num_frames, num_valid, last_time_s))
            self._job.report.frames += num_frames
            self._job.report.valid += num_valid
            yield end_of(planned)
        except (StorageError, ShardError):
            raise  # the cache is at fault and not the clip
        except Exception as error:  # noqa: BLE001  one bad clip never stops the rest: it becomes a ledger row
            self._shelf.discard(clip.clip_id)
            self._job.queue.fail(planned, "faces", error, "open" if opened.chunks is None else "faces")
            yield end_of(planned, error)
        finally:
            opened.close()

    def _read(self, planned: PlannedClip) -> Iterator[Crops]:
        record, entry = self._job.queue.committed[str(planned.faces_key)]
        try:
            for piece in self._job.clock.source("read", cached_crops(planned, record, entry, self._job.cache)):
                yield piece
                self._job.progress.frames(len(piece.crop))
        except ShardError as error:
            self._job.queue.note(planned, "features", error, "read")  # repairing the cache cures it
            yield end_of(planned, error)
            return
        self._job.report.frames += entry.num_frames
        self._job.report.valid += entry.num_valid


class FeaturesMaker:
    """Puts finished feature rows on a shelf, clip by clip.

    Args:
        job: the extraction.
        shelf: takes the rows.
        kind: of the rows.
    """

    def __init__(self, job: Job, shelf: Shelf, kind: Literal["features", "audio"] = "features"):
        self._job, self._shelf, self._kind = job, shelf, kind
        self._counts: dict[str, tuple[int, int]] = {}

    def shelve(self, rows: FeatureRows, notes: tuple[str, ...] = (), info: Mapping[str, Any] | None = None) -> None:
        """Take the next rows of a clip; the last ones make it complete.

        Args:
            rows: the rows.
            notes, info: what the clip's entry is to say.
        """
        planned, clip = rows.planned, rows.planned.clip
        if self._job.queue.has_failed(planned, self._kind):
            return
        if rows.error is not None:
            self._give_up(rows)
            return
        valid = rows.rows["valid"]
        if len(valid):
            self._shelf.append(clip.clip_id, rows.rows)
        num_frames, num_valid = self._counts.get(clip.clip_id, (0, 0))
        num_frames, num_valid = num_frames + len(valid), num_valid + int(valid.sum())
        self._counts[clip.clip_id] = num_frames, num_valid
        if rows.is_last:
            del self._counts[clip.clip_id]
            key = str(planned.key(self._kind))
            entry = ClipEntry(key, clip.clip_id, clip.side, num_frames, num_valid, notes=notes, info=info or {})
            self._shelf.finish(entry)
            if self._kind == "audio":
                self._job.report.windows += num_frames
                self._job.report.valid_windows += num_valid
            self._job.progress.clip(clip.clip_id, True)

    def _give_up(self, rows: FeatureRows) -> None:
        planned, clip_id = rows.planned, rows.planned.clip.clip_id
        self._shelf.discard(clip_id)
        self._counts.pop(clip_id, None)
        if rows.failed_upstream and self._kind == "features":
            self._job.queue.give_up(planned, "features")  # the ledger has the failure of its faces
        elif rows.error is not None:
            self._job.queue.fail(planned, self._kind, rows.error, self._kind)
        self._job.progress.clip(clip_id, False)


class AudioMaker:
    """Turns claimed clips into rows of audio features on a shelf.

    Args:
        job: the extraction.
        shelf: takes the rows.
        engine: what makes them.
    """

    def __init__(self, job: Job, shelf: Shelf, engine: AudioEngine):
        self._job, self._engine = job, engine
        self._features = FeaturesMaker(job, shelf, "audio")
        self._opened: dict[str, Windows] = {}

    def make(self, claimed: Claimed) -> None:
        """Make the audio features of every clip."""
        for rows in self._engine.compute(self._open(claimed), self._job.clock):
            clip_id = rows.planned.clip.clip_id
            if not rows.is_last:
                self._features.shelve(rows)
            elif (windows := self._opened.pop(clip_id, None)) is None:
                self._features.shelve(rows)  # it could not be opened
            else:
                self._features.shelve(rows, windows.sound.notes, sound_info(windows.sound))

    def _open(self, claimed: Claimed) -> Iterator[tuple[PlannedClip, Windows | Exception]]:
        for planned, _ in claimed:
            start = time.perf_counter()
            opened: Windows | Exception
            try:
                opened = self._engine.open(planned.clip.media)
                check_windows(planned.clip.media, opened)
                self._opened[planned.clip.clip_id] = opened
            except Exception as error:  # noqa: BLE001  one bad clip never stops the rest: it becomes a ledger row
                opened = error
            self._job.clock.add("sound", time.perf_counter() - start)
            yield planned, opened


def _entry(opened: _Opened, num_frames: int, num_valid: int, last_time_s: float) -> ClipEntry:
    """The finished faces of a clip.

    Raises:
        EmptyMediaError: there was no frame.
        FaceError: there was no face in any of them.
    """
    planned, clip, source = opened.planned, opened.planned.clip, opened.source
    if num_frames == 0 or source is None:
        raise EmptyMediaError(f"{clip.media}: holds no frame.\nExpected at least one picture.", path=clip.media)
    if num_valid == 0:
        raise FaceError(
            f"clip '{clip.clip_id}': no face in any of its {num_frames} frames.\n"
            "Look at the video; if there is a face, try another --detector or a larger --working-size.",
            clip_id=clip.clip_id,
        )
    info = {
        "num_declared": source.num_declared,
        "num_labels": opened.num_labels,
        "frame_rate": source.frame_rate,
        "width_px": source.size[0],
        "height_px": source.size[1],
    }
    notes = count_notes(source, num_frames, last_time_s, opened.num_labels)
    key = str(planned.faces_key)
    return ClipEntry(key, clip.clip_id, clip.side, num_frames, num_valid, notes=notes, info=info)
