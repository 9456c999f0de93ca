"""`emopipe predict`: a run's predictions for any video, from its own preprocessing on; no cache and no corpus."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emopipe.errors import ConfigError, EmptyMediaError, FaceError, MediaError
from emopipe.faces.landmark_vector import landmark_vector
from emopipe.files import write_whole
from emopipe.media.images import PICTURE_SUFFIXES
from emopipe.models.engines import load_keras
from emopipe.models.rows import Rows
from emopipe.models.weights import load_network
from emopipe.models.windows import HOW_NAMES, NONE
from emopipe.records import Clip, FaceRows, Side
from emopipe.stages.clip_values import clip_values, frame_values
from emopipe.stages.extract_report import Progress, Silent
from emopipe.stages.faces_step import count_notes, face_chunks, open_source
from emopipe.stages.feature_rows import assembled
from emopipe.stages.features_step import BATCH_SIZE, Crops, compute, tap_sizes
from emopipe.stages.fusion import Fusion, averaged_frames, is_fusion, open_fusion
from emopipe.stages.overlay import overlay_path, write_overlay
from emopipe.stages.pipeline import Prefetch, StepClock
from emopipe.stages.predictions import Fill, cells_of, columns_of, frame_predictions, window_predictions
from emopipe.stages.spec import PlannedClip
from emopipe.stages.trained import Trained, open_trained
from emopipe.store.layout import LARGEST_FLOAT16
from emopipe.typing import Bools, Floats, Ints

_PIECES_AHEAD = 16


@dataclass(frozen=True)
class Prediction:
    """What a run says of one video.

    Attributes:
        media: the video.
        columns: names of the K outputs: the targets, or the classes.
        frame_index: (T,) int64, 0-based.
        time_s: (T,) float64, the container's timestamps.
        valid: (T,) bool, whether the frame has a face.
        values: (T, K) float64, NaN where there is no prediction.
        how: (T,) uint8, codes of `HOW_NAMES`.
        box: (T, 4) and landmarks: (T, 68, 2), pixels, NaN without a face.
        notes: what the user is to be told.
        whole: (K,) what it says of the video as a whole, NaN without a face; None where frames were learned from.
    """

    media: Path
    columns: tuple[str, ...]
    frame_index: Ints
    time_s: Floats
    valid: Bools
    values: Floats
    how: Ints
    box: Floats
    landmarks: Floats
    notes: tuple[str, ...]
    whole: Floats | None = None

    def __len__(self) -> int:
        return len(self.frame_index)


@dataclass(frozen=True)
class Outcome:
    """What became of one video: its files and counts, or the error."""

    media: Path
    table: Path | None = None
    overlay: Path | None = None
    num_frames: int = 0
    num_valid: int = 0
    num_predicted: int = 0
    notes: tuple[str, ...] = ()
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "media": str(self.media),
            "table": None if self.table is None else str(self.table),
            "overlay": None if self.overlay is None else str(self.overlay),
            "frames": self.num_frames,
            "valid": self.num_valid,
            "predicted": self.num_predicted,
            "notes": list(self.notes),
            "error": self.error,
        }

    def to_text(self) -> str:
        """A few lines for people."""
        if self.error:
            return f"{self.media}: failed. {self.error}"
        made = f"{self.table}" + (f" and {self.overlay}" if self.overlay else "")
        counts = f"{self.num_frames} frames, {self.num_valid} with a face, {self.num_predicted} predicted"
        return "\n".join([f"{self.media}: {counts}: {made}", *(f"  note: {note}" for note in self.notes)])


class Predictor:
    """Predicts videos one after the other; detector, networks and head are loaded once.

    Args:
        run: a run of `train-cnn` or `train-rnn`.
        device: "auto", "cpu" or "gpu".

    Raises:
        RunError: no run, an unfinished one, or one of a newer version.
        WeightsError: a file that the run should carry is missing, or the detector is another than that of training.
        MissingDependencyError, DeviceError: an engine cannot be had.
    """

    def __init__(self, run: Path, *, device: Literal["auto", "cpu", "gpu"] = "auto"):
        self.trained = open_trained(run)
        self._engines = self.trained.face_engines(device)
        self._network = self.trained.feature_network(device)
        self._tap_sizes = tap_sizes(self._network)
        self._head = None
        if self.trained.window is not None:
            load_keras()
            self._head = load_network(self.trained.run.network)

    def predict(
        self, media: Path, *, side: Side = "", fill: Fill = "short", progress: Progress | None = None
    ) -> Prediction:
        """Predict every frame of a video, or of a picture.

        Args:
            media: a video or a picture; for a run trained on official crops, a folder of them.
            side: which of two people is meant, "" for the one who is seen most.
            fill: see `window_predictions`.
            progress: told of finished frames.

        Raises:
            MediaError: it cannot be decoded, or holds no frame.
        """
        trained, progress = self.trained, progress or Silent()
        clip = clip_of(media, trained, side)
        source = open_source(clip, trained.faces_config, None)
        faces: list[tuple[Floats, Floats, Floats]] = []
        chunks = face_chunks(clip, source, trained.faces_config, self._engines, StepClock())
        ahead = Prefetch(_pieces(clip, chunks, faces, progress), _PIECES_AHEAD, "faces")
        try:
            (rows,) = assembled(compute(ahead, self._network, self._tap_sizes, BATCH_SIZE))
        finally:
            ahead.close()
            chunks.close()
        if not len(rows["valid"]):
            raise EmptyMediaError(f"{media}: holds no frame.\nExpected at least one picture.", path=media)
        notes = list(count_notes(source, len(rows["valid"]), float(rows["time_s"][-1]), {}))
        if not rows["valid"].any():
            notes.append("no face in any frame: nothing is predicted.")
        box, landmarks, transform = (np.concatenate(parts) for parts in zip(*faces, strict=True))
        table = self._table(clip, rows, landmark_vector(landmarks, transform) if trained.landmarks else None)
        if self._head is None or trained.window is None:
            values, how = frame_predictions(table, fill)
        else:
            values, how = window_predictions(self._head, table, trained.window, fill)
        whole = None
        if trained.of_clips:
            frames = frame_values(table, values, how, trained.window, trained.outputs)
            if trained.postprocessing is not None and max(trained.postprocessing.smoothing.values()) > 1:
                notes.append("the run smooths over the clips of one video; a clip alone is not smoothed.")
            whole = clip_values(frames, "mean" if trained.classes else trained.reduce, trained.postprocessing)[0]
        return Prediction(
            media, trained.outputs, rows["frame_index"], rows["time_s"], rows["valid"], values, how, box, landmarks,
            tuple(notes), whole,
        )  # fmt: skip

    def _table(self, clip: Clip, rows: dict[str, Any], landmarks: Floats | None) -> Rows:
        names = [f"taps/{tap}" for tap in (self.trained.taps or sorted(self._tap_sizes))]
        columns = [rows[name] for name in names]
        features = np.concatenate(columns if landmarks is None else [*columns, landmarks], axis=1)
        if self.trained.reads == "features" and np.nanmax(np.abs(features), initial=0.0) <= LARGEST_FLOAT16:
            features = features.astype(np.float16)  # as the cache holds what the head was trained on
        count = len(features)
        return Rows(
            features=features,
            valid=rows["valid"],
            labels=np.empty((count, 0), np.float32),
            label_valid=np.zeros(count, bool),
            clip_starts=np.array([0, count]),
            frame_index=rows["frame_index"],
            clip_ids=(clip.clip_id,),
        )


class FusionPredictor:
    """Predicts with every member of a decision-level fusion, one after the other, and averages what they say.

    Args:
        fusion: the fusion.
        device: as of `Predictor`, and so are the errors.
    """

    def __init__(self, fusion: Fusion, *, device: Literal["auto", "cpu", "gpu"] = "auto"):
        self._members = [Predictor(member.run.folder, device=device) for member in fusion.members]
        self._weights = fusion.weights
        self.trained = self._members[0].trained

    def predict(
        self, media: Path, *, side: Side = "", fill: Fill = "short", progress: Progress | None = None
    ) -> Prediction:
        """As `Predictor.predict`; every member looks at the video itself."""
        found = [member.predict(media, side=side, fill=fill, progress=progress) for member in self._members]
        values, how = averaged_frames([each.values for each in found], [each.how for each in found], self._weights)
        wholes = [each.whole for each in found if each.whole is not None]
        whole = (np.stack(wholes) * self._weights).sum(axis=0) if wholes else None
        notes = tuple(dict.fromkeys(note for each in found for note in each.notes))
        return replace(found[0], values=values, how=how, whole=whole, notes=notes)


def load_predictor(run: Path, *, device: Literal["auto", "cpu", "gpu"] = "auto") -> Predictor | FusionPredictor:
    """What predicts with a run of any kind; errors as of `Predictor`."""
    if is_fusion(run):
        return FusionPredictor(open_fusion(run), device=device)
    return Predictor(run, device=device)


def predict_files(
    predictor: Predictor | FusionPredictor,
    media: Sequence[Path],
    out: Path,
    *,
    side: Side = "",
    fill: Fill = "short",
    overlay: bool = False,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Predict videos and write <stem>.csv for each, and <stem>_overlay.mp4 with the predictions drawn in if asked for.

    A run that learned labels of whole clips gives <stem>.csv one row, and the frames are in <stem>_frames.csv.

    A video that cannot be predicted becomes an outcome with an error and does not stop the others.

    Raises:
        ConfigError: two of them would be written under the same name, or an overlay over one of them.
        StorageError: a file cannot be written.
    """
    check_names(media, out, of_clips=predictor.trained.of_clips)
    progress = progress or Silent()
    progress.begin(len(media))
    for path in media:
        try:
            found = predictor.predict(path, side=side, fill=fill, progress=progress)
            table = out / f"{path.stem}.csv"
            frames = table if found.whole is None else out / f"{path.stem}_frames.csv"
            write_whole(frames, to_csv(found, predictor.trained.classes).encode())
            if found.whole is not None:
                write_whole(table, clip_csv(found, predictor.trained.classes).encode())
            drawn = write_overlay(found, out, predictor.trained.classes) if overlay else None
        except (MediaError, FaceError, ConfigError) as error:
            progress.clip(path.stem, False)
            yield Outcome(path, error=str(error))
            continue
        progress.clip(path.stem, True)
        predicted = int((found.how != NONE).sum())
        yield Outcome(path, table, drawn, len(found), int(found.valid.sum()), predicted, found.notes)


def check_names(media: Sequence[Path], out: Path, *, of_clips: bool = False) -> None:
    """Refuse media that would be written under the same name, or over one another.

    Args:
        media, out: as of `predict_files`.
        of_clips: whether each becomes two tables, <stem>.csv and <stem>_frames.csv.

    Raises:
        ConfigError: two have the same stem, or one is where an overlay or a table of another goes.
    """
    given = {path.resolve() for path in media}
    for path in media:
        if overlay_path(path, out).resolve() in given:
            raise ConfigError(f"{path}: its overlay would replace {overlay_path(path, out)}. Give another --out.")
    named: dict[str, Path] = {}
    for path in media:
        other = named.setdefault(path.stem, path)
        if other is not path:
            raise ConfigError(f"{other} and {path} would both become {path.stem}.csv. Predict them into two folders.")
    for stem, path in named.items():
        if of_clips and (frames := named.get(f"{stem}_frames")):
            raise ConfigError(
                f"{path} and {frames} would both become {frames.stem}.csv. Predict them into two folders."
            )


def to_csv(found: Prediction, classes: tuple[str, ...]) -> str:
    """frame,time_s,valid,<one column per target>,how; classes add a column each and `label`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frame", "time_s", "valid", *columns_of(found.columns, classes), "how"])
    for row in range(len(found)):
        cells = cells_of(found.values[row], classes)
        how = HOW_NAMES[found.how[row]]
        writer.writerow([found.frame_index[row], f"{found.time_s[row]:.6f}", int(found.valid[row]), *cells, how])
    return text.getvalue()


def clip_csv(found: Prediction, classes: tuple[str, ...]) -> str:
    """clip,frames,valid,<one column per target>: one row about the video as a whole; `valid` counts its faces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "frames", "valid", *columns_of(found.columns, classes)])
    whole = np.full(len(found.columns), np.nan) if found.whole is None else found.whole
    writer.writerow([found.media.stem, len(found), int(found.valid.sum()), *cells_of(whole, classes)])
    return text.getvalue()


def clip_of(media: Path, trained: Trained, side: Side) -> Clip:
    """The clip that a path names.

    Raises:
        MediaError: there is nothing there, or a run trained on official crops is given a video.
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
    if wants_crops:
        return Clip(media.name, media, "images", side)
    return Clip(media.stem, media, "picture" if media.suffix.lower() in PICTURE_SUFFIXES else "video", side)


def _pieces(
    clip: Clip, chunks: Prefetch[FaceRows], faces: list[tuple[Floats, Floats, Floats]], progress: Progress
) -> Iterator[Crops]:
    """Crops of a clip on their way to the network; boxes, landmarks and transforms stay in `faces`."""
    planned = PlannedClip(clip, "", None)
    for rows in chunks:
        axis = {"frame_index": rows.frame_index, "time_s": rows.time_s, "valid": rows.valid}
        progress.frames(len(rows))
        faces.append((rows.box, rows.landmarks, rows.transform))
        yield Crops(planned, axis, rows.crop)
    empty = {"frame_index": np.empty(0, np.int64), "time_s": np.empty(0), "valid": np.empty(0, bool)}
    yield Crops(planned, empty, np.empty((0, 96, 96, 3), np.uint8), is_last=True)
