"""The records that travel between the rooms: a clip, its labels, a frame, what a detector found, and frame rows.

Records check their shapes when they are made, so that code that receives one need not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from emopipe.errors import RecordError
from emopipe.typing import Array, Bools, Floats, Image, Ints

Side = Literal["", "left", "right"]
Split = Literal["train", "dev", "test"]
CROP_SIZE_PX = 96  # both CNN papers work on 96 x 96 faces
NUM_LANDMARKS = 68  # the iBUG 68-point mark-up
VA_TARGETS = ("valence", "arousal")  # annotated from -1 to 1, in the order of most files


@dataclass(frozen=True)
class Clip:
    """One row of a manifest: a stretch of media with one person in question. Nothing is decoded yet.

    Attributes:
        clip_id: unique within the corpus, forward slashes, no leading slash ("122-60-1920x1080-4_left").
        media: the video file, the folder of official images when `kind` is "images", or the file of one picture.
        kind: "video", "images", "picture": a clip of one frame, number 0 at 0 s; "sound": a file without a picture; or
            "features": a file of ready-made features.
        side: which of two people the clip is about, "" when there is one.
        split: "train", "dev" or "test"; None when the corpus has no split.
        subject: who is seen; folds and splits are disjoint in it.
        annotations: task -> annotation file ("va", "expr", "au", "labels"); empty when there are none.
        source_video: for images, the video they were cut from, which has the frame rate; None when absent.
    """

    clip_id: str
    media: Path
    kind: Literal["video", "images", "picture", "sound", "features"] = "video"
    side: Side = ""
    split: Split | None = None
    subject: str = ""
    annotations: Mapping[str, Path] = field(default_factory=dict)
    source_video: Path | None = None


@dataclass(frozen=True)
class Labels:
    """What the annotators gave for one clip and one task.

    Attributes:
        targets: names of the columns ("valence", "arousal"), valence before arousal.
        values: (N, K) float64, NaN where there is no valid label.
        valid: (N,) bool, True where every column of the row is a valid label.
        frame_index: (N,) int64, 0-based frame that each row belongs to; None when rows are placed by time or
            when the clip has one label as a whole (then N = 1).
        time_s: (N,) float64, seconds in the media; None when rows are placed by frame.
        classes: names of the classes when the one column holds class numbers, else ().
    """

    targets: tuple[str, ...]
    values: Floats
    valid: Bools
    frame_index: Ints | None = None
    time_s: Floats | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = len(self.values)
        _expect("Labels.values", self.values, (rows, len(self.targets)))
        _expect("Labels.valid", self.valid, (rows,))
        for name in ("frame_index", "time_s"):
            if (array := getattr(self, name)) is not None:
                _expect(f"Labels.{name}", array, (rows,))


@dataclass(frozen=True)
class ReadyMadeRows:
    """Features of one clip as its corpus brings them, on their own axis.

    Attributes:
        time_s: (T,) float64, seconds from the beginning of the clip; the number of the step where the file has no time.
        values: (T, D) float32, NaN where the file has no number.
    """

    time_s: Floats
    values: Floats

    def __post_init__(self) -> None:
        _expect("ReadyMadeRows.time_s", self.time_s, (len(self.values),))


@dataclass(frozen=True)
class VideoInfo:
    """What a container declares about its picture.

    Attributes:
        width, height: pixels of the upright picture, after its rotation has been applied.
        rotation: degrees the stored picture is turned counter-clockwise to stand upright: 0, 90, 180 or 270.
        frame_rate: average frames per second; None when the container does not say.
        num_frames: declared number of frames, None when the container does not say. Never trusted, only reported.
        duration_s: declared duration; None when the container does not say.
        codec: name of the codec ("h264").
        has_audio: whether there is a sound track.
        num_video_streams: how many; the first one that is not a cover picture is read.
    """

    path: Path
    width: int
    height: int
    rotation: int
    frame_rate: Fraction | None
    num_frames: int | None
    duration_s: float | None
    codec: str
    has_audio: bool
    num_video_streams: int


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        frame_index: 0-based place in decoding order.
        time_s: the container's own timestamp in seconds.
        image: (H, W, 3) uint8 RGB, upright; None when an official image sequence has no picture here.
    """

    frame_index: int
    time_s: float
    image: Image | None


@dataclass(frozen=True)
class Detections:
    """All faces found in one frame, in pixels of the frame that was given.

    Attributes:
        boxes: (F, 4) float32 x0, y0, x1, y1.
        scores: (F,) float32 in [0, 1]; 1 where the detector has no score.
        points: (F, 5, 2) float32 x, y of the eye at the picture's left, the eye at its right, the nose tip, the mouth
            corner at the picture's left and the one at its right; NaN where the detector finds none.
    """

    boxes: Floats
    scores: Floats
    points: Floats

    def __post_init__(self) -> None:
        count = len(self.boxes)
        _expect("Detections.boxes", self.boxes, (count, 4))
        _expect("Detections.scores", self.scores, (count,))
        _expect("Detections.points", self.points, (count, 5, 2))

    def __len__(self) -> int:
        return len(self.boxes)


# name -> (shape of one row, dtype, value where there is no face). The order is the order on disk.
FACE_FIELDS: Mapping[str, tuple[tuple[int, ...], str, float]] = {
    "frame_index": ((), "int64", -1),
    "time_s": ((), "float64", np.nan),
    "valid": ((), "bool", 0),
    "box": ((4,), "float32", np.nan),
    "score": ((), "float32", np.nan),
    "track": ((), "int32", -1),
    "landmarks": ((NUM_LANDMARKS, 2), "float32", np.nan),
    "transform": ((2, 3), "float32", np.nan),
    "residual_px": ((), "float32", np.nan),
    "crop": ((CROP_SIZE_PX, CROP_SIZE_PX, 3), "uint8", 0),
}


@dataclass(frozen=True)
class FaceRows:
    """N consecutive frame rows, one per decoded frame, as parallel arrays.

    Attributes:
        frame_index: (N,) int64, 0-based.
        time_s: (N,) float64, the container's timestamp in seconds.
        valid: (N,) bool, whether a face was found and aligned. Where False, floats are NaN and the crop is zeros.
        box: (N, 4) float32 x0, y0, x1, y1 in pixels of the upright frame.
        score: (N,) float32, the detector's score; NaN where the face was followed and not detected.
        track: (N,) int32, number of the track: a new one after a cut or after the face was lost; -1 where invalid.
        landmarks: (N, 68, 2) float32 pixels of the upright frame, x right, y down.
        transform: (N, 2, 3) float32, frame to crop, as `cv2.warpAffine` takes it.
        residual_px: (N,) float32, root mean square distance of the aligned five points from the template, crop pixels.
        crop: (N, 96, 96, 3) uint8 RGB.
    """

    frame_index: Ints
    time_s: Floats
    valid: Bools
    box: Floats
    score: Floats
    track: Ints
    landmarks: Floats
    transform: Floats
    residual_px: Floats
    crop: Image

    def __post_init__(self) -> None:
        rows = len(self.frame_index)
        for name, (shape, dtype, _) in FACE_FIELDS.items():
            array = getattr(self, name)
            _expect(f"FaceRows.{name}", array, (rows, *shape))
            if array.dtype != np.dtype(dtype):
                raise RecordError(f"FaceRows.{name}: expected dtype {dtype}. Received: {array.dtype}.")

    def __len__(self) -> int:
        return len(self.frame_index)

    @classmethod
    def empty(cls, num_rows: int) -> "FaceRows":
        """`num_rows` rows without a face, to be filled in."""
        return cls(
            **{name: np.full((num_rows, *shape), absent, dtype) for name, (shape, dtype, absent) in FACE_FIELDS.items()}
        )

    def arrays(self) -> dict[str, Array]:
        """Field name -> array, in the order of the fields."""
        return {name: getattr(self, name) for name in FACE_FIELDS}


def _expect(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise RecordError(f"{name}: expected shape {shape}. Received: {array.shape}.")
