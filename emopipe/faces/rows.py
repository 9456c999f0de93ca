"""Frames to frame rows: detection, tracking, landmarks and alignment in a row.

The two halves, `detect_frames` (in detection.py) and `align_frames`, are generators that can run in threads of their
own; `face_rows` is one after the other.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from emopipe.config import FacesConfig
from emopipe.errors import ConfigError, LandmarkError
from emopipe.faces.alignment import AlignedFace, align, apply_transform, fit_similarity
from emopipe.faces.detection import Detector, detect_frames, detect_images
from emopipe.faces.landmarks import Landmarker, eye_distance, five_points, predictor_square
from emopipe.faces.tracking import CutFinder, FaceTracker
from emopipe.records import Detections, FaceRows, Frame, Side
from emopipe.typing import Floats, Image

CHUNK_ROWS = 16  # rows per record; also the store's chunk
# A third of the template's eye distance: a head turned by about 65 degrees, beyond which a predictor trained on frontal
# faces has no eye corner to see. On GRID and an expressive Pexels clip (1,297 frames) the largest residual is 7.7.
MAX_RESIDUAL_PX = 12.0
# A followed face moves between two frames by at most half an eye distance and changes size by at most a fifth: dlib's
# predictor, which starts from the last place, finds no face that is further away.
MAX_FOLLOW_SHIFT = 0.5
MAX_FOLLOW_GROWTH = 1.2
# Crop against the crop of the last detection. On the same clips a face ten frames later correlates by 0.67 or more, the
# "face" that dlib draws on the background one face width to the side by 0.58 or less.
MIN_FOLLOW_CORRELATION = 0.65


@dataclasses.dataclass(frozen=True)
class _Face:
    """One aligned face; `key_crop` is the crop of the detection it goes back to."""

    box: Floats
    score: float
    landmarks: Floats
    aligned: AlignedFace
    key_crop: Image


def face_rows(
    frames: Iterable[Frame],
    config: FacesConfig,
    detector: Detector | None,
    landmarker: Landmarker | None,
    side: Side = "",
    *,
    chunk: int = CHUNK_ROWS,
) -> Iterator[FaceRows]:
    """Every frame of a clip as exactly one row, in order, `chunk` rows at a time.

    Args:
        frames: the clip's frames in order.
        config: detector settings and alignment; with alignment "given" a frame is valid when it has a picture.
        detector, landmarker: see `load_detector` and `load_landmarker`; None with alignment "given".
        side: the clip's person in a picture of two, "left", "right" or "".
        chunk: rows per record; the last record may be shorter.

    Raises:
        ConfigError: the alignment needs a detector and a landmarker and has none.
    """
    detected = detect_frames(frames, detector, config)
    yield from align_frames(detected, config, detector, landmarker, side, chunk=chunk)


def align_frames(
    detected: Iterable[tuple[Frame, Detections | None]],
    config: FacesConfig,
    detector: Detector | None,
    landmarker: Landmarker | None,
    side: Side = "",
    *,
    chunk: int = CHUNK_ROWS,
) -> Iterator[FaceRows]:
    """The second half of `face_rows`: takes what `detect_frames` yields.

    Frames whose detections are None are followed from the frame before; where that fails they are detected here.
    """
    one_by_one: Iterator[tuple[Frame, int, _Face | None]]
    if config.alignment == "given":
        one_by_one = _given_faces(detected, config)
    elif detector is None or landmarker is None:
        raise ConfigError(
            f"alignment '{config.alignment}': expected a detector and a landmarker. Received: none.\n"
            "Only alignment 'given' works without them."
        )
    else:
        one_by_one = _ClipFaces(config, detector, landmarker, side).faces(detected)
    waiting: list[tuple[Frame, int, _Face | None]] = []
    for entry in one_by_one:
        # The picture is not kept: a chunk of them would be held for nothing.
        waiting.append((dataclasses.replace(entry[0], image=None), *entry[1:]))
        if len(waiting) == chunk:
            yield _rows(waiting)
            waiting = []
    if waiting:
        yield _rows(waiting)


def _rows(entries: list[tuple[Frame, int, _Face | None]]) -> FaceRows:
    rows = FaceRows.empty(len(entries))
    for i, (frame, track, face) in enumerate(entries):
        rows.frame_index[i], rows.time_s[i] = frame.frame_index, frame.time_s
        if face is None:
            continue
        rows.valid[i], rows.track[i] = True, track
        rows.box[i], rows.score[i], rows.landmarks[i] = face.box, face.score, face.landmarks
        rows.transform[i], rows.residual_px[i], rows.crop[i] = face.aligned
    return rows


def _given_faces(
    detected: Iterable[tuple[Frame, Detections | None]], config: FacesConfig
) -> Iterator[tuple[Frame, int, _Face | None]]:
    for frame, _ in detected:
        if frame.image is None:
            yield frame, -1, None
            continue
        aligned = align(frame.image, None, None, "given", resize=config.resize)
        nothing = np.full((68, 2), np.nan)
        yield frame, 0, _Face(np.full(4, np.nan), float("nan"), nothing, aligned, aligned.crop)


class _ClipFaces:
    """The state of one clip: its track, its last face, its last look at the scene."""

    def __init__(self, config: FacesConfig, detector: Detector, landmarker: Landmarker, side: Side):
        self.config = config
        self.detector = detector
        self.landmarker = landmarker
        self.tracker = FaceTracker(side)
        self.cut_finder = CutFinder()

    def faces(self, detected: Iterable[tuple[Frame, Detections | None]]) -> Iterator[tuple[Frame, int, _Face | None]]:
        last: _Face | None = None
        for frame, detections in detected:
            if frame.image is None:
                self.tracker.miss()
                last = None
            else:
                if self.cut_finder.is_cut(frame.image):
                    self.tracker.cut()
                    last = None
                last = self._face(frame.image, detections, last)
            yield frame, self.tracker.track, last

    def _face(self, image: Image, detections: Detections | None, last: _Face | None) -> _Face | None:
        if detections is None:
            followed = self._followed(image, last) if last is not None else None
            if followed is not None:
                self.tracker.follow(followed.box)
                return followed
            (detections,) = detect_images([image], self.detector, self.config)
        chosen = self.tracker.choose(detections, image.shape[1])
        if chosen is None:
            return None
        return self._aligned(
            image, detections.boxes[chosen], detections.points[chosen], float(detections.scores[chosen])
        )

    def _aligned(self, image: Image, box: Floats, points: Floats, score: float) -> _Face | None:
        landmarks = self.landmarker.landmarks(image, predictor_square(box, points, self.detector.name))
        try:
            aligned = align(image, landmarks, box, self.config.alignment)
        except LandmarkError:
            return None  # landmarks on one spot or in a line: a speck that the detector took for a face
        if aligned.residual_px > MAX_RESIDUAL_PX:
            return None
        return _Face(box, score, landmarks, aligned, aligned.crop)

    def _followed(self, image: Image, last: _Face) -> _Face | None:
        """The last face in this frame, from its landmarks alone; None when it is not certain to be there."""
        before = five_points(last.landmarks)
        face = self._aligned(image, last.box, before, float("nan"))
        if face is None:
            return None
        after = five_points(face.landmarks)
        motion = fit_similarity(before, after)
        growth = float(np.sqrt(np.linalg.det(motion[:, :2])))
        shift = float(np.linalg.norm(after.mean(axis=0) - before.mean(axis=0)) / eye_distance(last.landmarks))
        if shift > MAX_FOLLOW_SHIFT or not 1 / MAX_FOLLOW_GROWTH <= growth <= MAX_FOLLOW_GROWTH:
            return None
        box = _moved_box(last.box, motion, growth)
        if self.config.alignment == "box":
            face = dataclasses.replace(face, aligned=align(image, None, box, "box"))
        # dlib's predictor draws a face on any background, so its landmarks prove nothing: the picture must agree.
        if _correlation(face.aligned.crop, last.key_crop) < MIN_FOLLOW_CORRELATION:
            return None
        return dataclasses.replace(face, box=box, key_crop=last.key_crop)


def _moved_box(box: Floats, motion: Floats, growth: float) -> Floats:
    centre = apply_transform(motion, (box[:2] + box[2:]) / 2)
    half = growth * (box[2:] - box[:2]) / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def _correlation(first: Image, second: Image) -> float:
    """Pearson correlation of two crops in grey; 0 when one has no contrast."""
    import cv2

    greys = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in (first, second)]
    return float(cv2.matchTemplate(greys[0], greys[1], cv2.TM_CCOEFF_NORMED)[0, 0])
