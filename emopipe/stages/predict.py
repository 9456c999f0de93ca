"""`emopipe predict`: a run's predictions for any recording, from its own preprocessing on; no cache, no corpus."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emopipe.errors import ConfigError, FaceError, MediaError
from emopipe.files import write_whole
from emopipe.models.engines import load_keras
from emopipe.models.weights import load_network
from emopipe.models.windows import HOW_NAMES, NONE
from emopipe.records import Side
from emopipe.stages.clip_values import clip_values, frame_values
from emopipe.stages.fusion import Fusion, averaged_frames, is_fusion, open_fusion
from emopipe.stages.overlay import overlay_path, write_overlay
from emopipe.stages.predictions import Fill, Prediction, cells_of, columns_of, frame_predictions, window_predictions
from emopipe.stages.progress import Progress
from emopipe.stages.recording import Senses
from emopipe.stages.trained import open_trained
from emopipe.typing import Floats, Ints


@dataclass(frozen=True)
class RecordingOutcome:
    """What became of one recording: its files and counts, or the error."""

    media: Path
    table: Path | None = None
    overlay: Path | None = None
    num_frames: int = 0
    num_valid: int = 0
    num_predicted: int = 0
    notes: tuple[str, ...] = ()
    error: str = ""
    of_sound: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "media": str(self.media),
            "table": None if self.table is None else str(self.table),
            "overlay": None if self.overlay is None else str(self.overlay),
            ("windows" if self.of_sound else "frames"): self.num_frames,
            "valid": self.num_valid,
            "predicted": self.num_predicted,
            "notes": list(self.notes),
            "error": self.error,
        }

    def to_text(self) -> str:
        """A few lines for people."""
        if self.error:
            return f"failed: {self.error if str(self.media) in self.error else f'{self.media}: {self.error}'}"
        made = f"{self.table}" + (f" and {self.overlay}" if self.overlay else "")
        rows, what = ("windows", "sound") if self.of_sound else ("frames", "a face")
        counts = f"{self.num_frames} {rows}, {self.num_valid} with {what}, {self.num_predicted} predicted"
        return "\n".join([f"{self.media}: {counts}: {made}", *(f"  note: {note}" for note in self.notes)])


class Predictor:
    """Predicts recordings one after the other; detector, networks and head are loaded once.

    Args:
        run: a run of `train-cnn` or `train-rnn`.
        device: "auto", "cpu" or "gpu".
        fps: frames per second of folders of crops, which have no times of their own; None for that of training.

    Raises:
        RunError: no run, an unfinished one, one of a newer version, or one on ready-made features.
        WeightsError: a file that the run should carry is missing, or the detector is another than that of training.
        MissingDependencyError, DeviceError: an engine cannot be had.
    """

    def __init__(self, run: Path, *, device: Literal["auto", "cpu", "gpu"] = "auto", fps: float | None = None):
        self.trained = open_trained(run)
        self._senses = Senses(self.trained, device, fps)
        self._head = None
        if self.trained.window is not None:
            load_keras()
            self._head = load_network(self.trained.run.network)

    def predict(
        self, media: Path, *, side: Side = "", fill: Fill = "short", progress: Progress | None = None
    ) -> Prediction:
        """Predict every frame of a video, or of a picture; for a run on sound alone, every window of a recording.

        Args:
            media: a video or a picture; for a run trained on official crops, a folder of them; for a run on sound
                alone, a sound file or a video.
            side: which of two people is meant, "" for the one who is seen most.
            fill: see `window_predictions`.
            progress: told of finished frames.

        Returns:
            A row per frame, or per window of sound, and what is said of the recording as a whole.

        Raises:
            MediaError: it cannot be decoded, holds no frame or no sound, is no recording for such a run, or is a folder
                of crops whose rate nobody says.
            FaceError: the detector fails.
            ConfigError: the predictor was given a rate, and this has times of its own.
        """
        trained = self.trained
        found = self._senses.read(media, side, progress or Progress())
        table = found.table(as_cached=trained.reads != "faces")
        if self._head is None or trained.window is None:
            values, how = frame_predictions(table, fill)
        else:
            values, how = window_predictions(self._head, table, trained.window, fill)
        notes, whole = list(found.notes), None
        if trained.of_clips:
            frames = frame_values(table, values, how, trained.window, trained.outputs)
            if trained.postprocessing is not None and max(trained.postprocessing.smoothing.values()) > 1:
                notes.append("the run smooths over the clips of one video; a clip alone is not smoothed.")
            whole = clip_values(frames, "mean" if trained.classes else trained.reduce, trained.postprocessing)[0]
        return Prediction(
            media, trained.outputs, found.frame_index, found.time_s, found.valid, values, how, found.box,
            found.landmarks, tuple(notes), whole, of_sound=found.clip.kind == "sound",
        )  # fmt: skip


class FusionPredictor:
    """Predicts with every member of a decision-level fusion, one after the other, and averages what they say.

    Args:
        fusion: the fusion.
        device, fps: as of `Predictor`, and so are the errors.
    """

    def __init__(self, fusion: Fusion, *, device: Literal["auto", "cpu", "gpu"] = "auto", fps: float | None = None):
        self._members = [Predictor(member.run.folder, device=device, fps=fps) for member in fusion.members]
        self._weights = fusion.weights
        seeing = [member.trained for member in self._members if member.trained.reads != "audio"]
        self.trained = seeing[0] if seeing else self._members[0].trained

    def predict(
        self, media: Path, *, side: Side = "", fill: Fill = "short", progress: Progress | None = None
    ) -> Prediction:
        """As `Predictor.predict`; every member looks at the video itself."""
        found = [member.predict(media, side=side, fill=fill, progress=progress) for member in self._members]
        first = next((each for each in found if not each.of_sound), found[0])
        values, how = _averaged(found, first, self._weights)
        wholes = [each.whole for each in found if each.whole is not None]
        whole = (np.stack(wholes) * self._weights).sum(axis=0) if wholes else None
        notes = dict.fromkeys(note for each in found for note in each.notes)
        if any(each.of_sound != first.of_sound for each in found):
            notes["some members look and some listen: only the recording as a whole is predicted."] = None
        return replace(first, values=values, how=how, whole=whole, notes=tuple(notes))


def _averaged(found: Sequence[Prediction], first: Prediction, weights: Floats) -> tuple[Floats, Ints]:
    """What all members say of the rows of the first; nothing where rows of some are frames and of others windows."""
    if any(each.of_sound != first.of_sound or len(each) != len(first) for each in found):
        return np.full_like(first.values, np.nan), np.full_like(first.how, NONE)
    return averaged_frames([each.values for each in found], [each.how for each in found], weights)


def load_predictor(
    run: Path, *, device: Literal["auto", "cpu", "gpu"] = "auto", fps: float | None = None
) -> Predictor | FusionPredictor:
    """What predicts with a run of any kind.

    Args:
        run: a run of `train-cnn`, `train-rnn` or `fuse`.
        device, fps: as of `Predictor`.

    Returns:
        Detector, networks and head, loaded once. Its `predict` takes one recording and gives a `Prediction`.

    Raises:
        EmopipeError: as of `Predictor`.

    Examples:
        >>> from pathlib import Path
        >>> from emopipe import load_predictor
        >>> predictor = load_predictor(Path("runs/gru"))
        >>> found = predictor.predict(Path("corpus/batch2/video3_2.mp4"))
        >>> found.columns, found.time_s.shape, found.values.shape
        (('valence', 'arousal'), (50,), (50, 2))
        >>> bool(found.valid.any())
        True
    """
    if is_fusion(run):
        return FusionPredictor(open_fusion(run), device=device, fps=fps)
    return Predictor(run, device=device, fps=fps)


def predict_files(
    predictor: Predictor | FusionPredictor,
    media: Sequence[Path],
    out: Path,
    *,
    side: Side = "",
    fill: Fill = "short",
    overlay: bool = False,
    progress: Progress | None = None,
) -> Iterator[RecordingOutcome]:
    """Predict recordings and write <stem>.csv for each; if asked for, <stem>_overlay.mp4 with the predictions drawn in.

    A run that learned labels of whole clips gives <stem>.csv one row, and the frames are in <stem>_frames.csv.

    A recording that cannot be predicted becomes an outcome with an error and does not stop the others.

    Raises:
        ConfigError: two of them would be written under the same name, or an overlay over one of them; or an overlay is
            asked of a run on sound alone.
        StorageError: a file cannot be written.
    """
    check_names(media, out, of_clips=predictor.trained.of_clips)
    if overlay and predictor.trained.reads == "audio":
        raise ConfigError("--overlay: this run learned from sound alone. There is nothing to draw into a picture.")
    progress = progress or Progress()
    progress.begin(len(media))
    for path in media:
        try:
            found = predictor.predict(path, side=side, fill=fill, progress=progress)
            table = out / f"{path.stem}.csv"
            frames = table if found.whole is None else out / f"{path.stem}_frames.csv"
            write_whole(frames, to_csv(found, predictor.trained.classes).encode())
            if found.whole is not None:
                write_whole(table, clip_csv(found, predictor.trained.classes).encode())
            drawn = write_overlay(found, out, predictor.trained.classes, progress.drawn) if overlay else None
            notes = found.notes if drawn or not overlay else (*found.notes, "no overlay: it is no video.")
        except (MediaError, FaceError, ConfigError) as error:
            progress.clip(path.stem, False)
            yield RecordingOutcome(path, error=str(error))
            continue
        progress.clip(path.stem, True)
        predicted = int((found.how != NONE).sum())
        counts = len(found), int(found.valid.sum()), predicted
        yield RecordingOutcome(path, table, drawn, *counts, notes, of_sound=found.of_sound)


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
