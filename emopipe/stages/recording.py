"""What a run is shown when it predicts: the rows of one recording, made as the extraction made those of training."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emopipe.datasets.listing import sound_stem
from emopipe.errors import ConfigError, EmptyMediaError, MediaError, RunError
from emopipe.faces.landmark_vector import landmark_vector
from emopipe.media.images import PICTURE_SUFFIXES
from emopipe.models.rows import Rows
from emopipe.records import NUM_LANDMARKS, Clip, FaceRows, Side
from emopipe.stages.audio_step import AudioEngine, AudioRows
from emopipe.stages.faces_step import count_notes, face_chunks, open_source
from emopipe.stages.feature_rows import assembled
from emopipe.stages.features_step import BATCH_SIZE, Crops, compute, tap_sizes
from emopipe.stages.motion import landmark_motion
from emopipe.stages.pipeline import Prefetch, StepClock
from emopipe.stages.progress import Progress
from emopipe.stages.sound_rows import split_taps
from emopipe.stages.spec import PlannedClip
from emopipe.stages.trained import Trained
from emopipe.store.layout import LARGEST_FLOAT16
from emopipe.timeline import join_audio
from emopipe.typing import Bools, Floats, Ints

_PIECES_AHEAD = 16


@dataclass(frozen=True)
class Recording:
    """One recording, row by row: frames, or windows of sound for a run on sound alone.

    Attributes:
        clip: the recording.
        frame_index: (T,) int64, 0-based number of the row.
        time_s: (T,) float64, on the container's clock.
        valid: (T,) bool, whether there is a face, or sound.
        features: (T, D) float32, what the head takes or what the CNN says; anything where invalid.
        box: (T, 4) and landmarks: (T, 68, 2), pixels; NaN without a face.
        notes: what the user is to be told.
        motion: (T,) see `landmark_motion`; None where nobody asks for it.
    """

    clip: Clip
    frame_index: Ints
    time_s: Floats
    valid: Bools
    features: Floats
    box: Floats
    landmarks: Floats
    notes: tuple[str, ...]
    motion: Floats | None = None

    def table(self, *, as_cached: bool) -> Rows:
        """The recording as a table of rows without labels.

        Args:
            as_cached: round features to the type that a cache holds them in.
        """
        count, features = len(self.valid), self.features
        if as_cached and np.nanmax(np.abs(features), initial=0.0) <= LARGEST_FLOAT16:
            features = features.astype(np.float16)
        return Rows(
            features=features,
            valid=self.valid,
            labels=np.empty((count, 0), np.float32),
            label_valid=np.zeros(count, bool),
            clip_starts=np.array([0, count]),
            frame_index=self.frame_index,
            clip_ids=(self.clip.clip_id,),
            motion=self.motion,
        )


class Senses:
    """Look at recordings and listen to them, one after the other; what does so is loaded once.

    Args:
        trained: the run.
        device: "auto", "cpu" or "gpu".
        fps: frames per second of folders of crops, which have no times of their own; None for that of training.

    Raises:
        RunError: the run learned from ready-made features, which no recording has.
        WeightsError: a file that the run should carry is missing, or the detector is another than that of training.
        MissingDependencyError, DeviceError: an engine cannot be had.
    """

    def __init__(self, trained: Trained, device: str, fps: float | None = None):
        if trained.ready_made is not None:
            raise RunError(
                f"{trained.run.folder}: learned from {trained.ready_made}, which {trained.dataset} brings along.\nNo "
                "recording has such features. Predict a split of the corpus: emopipe evaluate RUN --split test"
            )
        self._trained, self._fps = trained, fps
        self._ears = None if trained.sound is None else trained.audio_engine(device)
        if trained.faces is not None:
            self._engines = trained.face_engines(device)
            self._network = trained.feature_network(device)
            self._tap_sizes = tap_sizes(self._network)

    def read(self, media: Path, side: Side, progress: Progress) -> Recording:
        """The rows of a recording.

        Args:
            media: as in `Predictor.predict`.
            side: which of two people is meant.
            progress: told of finished rows.

        Raises:
            MediaError: it cannot be decoded, holds no frame or no sound, or is no recording for such a run; a folder
                of crops whose rate nobody says.
            ConfigError: a rate is given for what has times of its own.
        """
        if self._fps is not None and not media.is_dir():
            raise ConfigError(f"--fps: is for folders of official crops. {media} has times of its own; leave it out.")
        if self._trained.faces is None and self._ears is not None:
            return self._heard(media, self._ears, progress)
        seen = self._seen(clip_of(media, self._trained, side), progress)
        return seen if self._ears is None else self._with_sound(seen, self._ears)

    def _seen(self, clip: Clip, progress: Progress) -> Recording:
        config = self._trained.faces_config
        config = config if self._fps is None else replace(config, fps=self._fps)
        source = open_source(clip, config, None)
        faces: list[tuple[Floats, Floats, Floats]] = []
        chunks = face_chunks(clip, source, config, self._engines, StepClock())
        ahead = Prefetch(_pieces(clip, chunks, faces, progress), _PIECES_AHEAD, "faces")
        try:
            (rows,) = assembled(compute(ahead, self._network, self._tap_sizes, BATCH_SIZE))
        finally:
            ahead.close()
            chunks.close()
        valid = rows["valid"]
        if not len(valid):
            raise EmptyMediaError(f"{clip.media}: holds no frame.\nExpected at least one picture.", path=clip.media)
        notes = list(count_notes(source, len(valid), float(rows["time_s"][-1]), {}))
        if not valid.any():
            where = f"the {clip.side} half of any frame" if clip.side else "any frame"
            cure = " Without --side the face that is seen most is taken." if clip.side else ""
            notes.append(f"no face in {where}: nothing is predicted.{cure}")
        box, landmarks, transform = (np.concatenate(parts) for parts in zip(*faces, strict=True))
        visual, _ = split_taps(self._trained.taps)
        columns = [rows[f"taps/{tap}"] for tap in visual or sorted(self._tap_sizes)]
        motion = None
        window = self._trained.window
        if self._trained.landmarks or (window is not None and window.wants_motion):
            vectors = landmark_vector(landmarks, transform)
            columns += [vectors] * self._trained.landmarks
            motion = landmark_motion(vectors, valid, np.array([0, len(valid)]))
        return Recording(
            clip, rows["frame_index"], rows["time_s"], valid, np.concatenate(columns, axis=1), box, landmarks,
            tuple(notes), motion,
        )  # fmt: skip

    def _heard(self, media: Path, ears: AudioEngine, progress: Progress) -> Recording:
        if not media.is_file():
            what = "a folder" if media.is_dir() else "nothing"
            raise MediaError(f"{media}: expected a sound file, or a video with sound. Received: {what}.", path=media)
        found = ears.rows(media)
        count = len(found.valid)
        progress.frames(count)
        silent = () if found.valid.any() else ("no window has enough sound: nothing is predicted.",)
        return Recording(
            Clip(media.stem, media, "sound"), found.frame_index, found.time_s, found.valid,
            np.concatenate([found.taps[tap] for tap in self._trained.taps or sorted(found.taps)], axis=1),
            np.full((count, 4), np.nan, np.float32), np.full((count, NUM_LANDMARKS, 2), np.nan, np.float32),
            (*found.notes, *silent),
        )  # fmt: skip

    def _with_sound(self, seen: Recording, ears: AudioEngine) -> Recording:
        """The recording with the columns of sound behind its own; zeros where there is none, as in training."""
        sizes, (_, taps) = ears.tap_sizes, split_taps(self._trained.taps)
        names = taps or tuple(sorted(sizes))
        columns = np.zeros((len(seen.valid), sum(sizes[name] for name in names)), np.float32)
        found, notes = _sound_of(seen.clip, ears)
        if found is not None:
            settings = (self._trained.sound or {})["spectrogram"]
            axis = found.time_s, found.valid
            row, is_heard = join_audio(seen.time_s, *axis, settings["window_s"], settings["hop_s"])
            heard = np.concatenate([found.taps[name] for name in names], axis=1)
            columns[is_heard] = heard[row[is_heard]]
        features = np.concatenate([seen.features, columns], axis=1)
        return replace(seen, features=features, notes=(*seen.notes, *notes))


def clip_of(media: Path, trained: Trained, side: Side) -> Clip:
    """The clip that a path names, for a run that looks at faces.

    Raises:
        MediaError: there is nothing there, it is a sound file, or a run trained on official crops is given a video.
    """
    wants_crops = trained.faces_config.alignment == "given"
    if not media.exists():
        raise MediaError(f"{media}: there is no such file. Expected a video.", path=media)
    if media.is_dir() != wants_crops:
        expected = "a folder of official crops, which this run was trained on" if wants_crops else "a video"
        raise MediaError(
            f"{media}: expected {expected}. Received a {'folder' if media.is_dir() else 'file'}."
            + ("\nFor videos train on faces that are aligned here: extract without --alignment given." * wants_crops),
            path=media,
        )
    if sound_stem(media.name) is not None:
        raise MediaError(
            f"{media}: is a sound file, and this run looks at faces. Expected a video.\n"
            "For sound train a run on sound alone: train-rnn --audio.",
            path=media,
        )
    if wants_crops:
        return Clip(media.name, media, "images", side)
    return Clip(media.stem, media, "picture" if media.suffix.lower() in PICTURE_SUFFIXES else "video", side)


def _sound_of(clip: Clip, ears: AudioEngine) -> tuple[AudioRows | None, tuple[str, ...]]:
    """The sound of a clip that has a picture, None where it has none, and what the user is to be told."""
    if clip.kind != "video":
        return None, ("pictures have no sound: the run only sees.",)
    try:
        found = ears.rows(clip.media)
    except EmptyMediaError as error:
        return None, (f"{error} The run only sees.",)
    return found, found.notes


def _pieces(
    clip: Clip, chunks: Prefetch[FaceRows], faces: list[tuple[Floats, Floats, Floats]], progress: Progress
) -> Iterator[Crops]:
    """Crops of a clip on their way to the network; boxes, landmarks and transforms stay in `faces`."""
    planned = PlannedClip(clip, None, None)
    for rows in chunks:
        axis = {"frame_index": rows.frame_index, "time_s": rows.time_s, "valid": rows.valid}
        progress.frames(len(rows))
        faces.append((rows.box, rows.landmarks, rows.transform))
        yield Crops(planned, axis, rows.crop)
    empty = {"frame_index": np.empty(0, np.int64), "time_s": np.empty(0), "valid": np.empty(0, bool)}
    yield Crops(planned, empty, np.empty((0, 96, 96, 3), np.uint8), is_last=True)
