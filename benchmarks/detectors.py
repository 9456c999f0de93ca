"""RetinaFace, the default, against other detectors on the same recordings, in one run: do they find the same faces?

    python benchmarks/detectors.py VIDEO... [--frames 75]      (YuNet's weights: $EMOPIPE_YUNET)

Every detector sees the same decoded frames, shrunk as `emopipe extract` shrinks them; the best-scored face of a frame
is compared. Frames/s are of detection alone, in turns.
"""

import argparse
import itertools
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import save, take_turns

from emopipe.config import FacesConfig
from emopipe.faces.detection import Detector, detect_frames, load_detector
from emopipe.faces.landmarks import eye_distance, load_landmarker, predictor_square
from emopipe.faces.yunet import WEIGHTS_VARIABLE
from emopipe.media.video import read_frames
from emopipe.provenance import num_cores
from emopipe.records import Detections, Frame
from emopipe.typing import Array, Floats

OURS, OTHERS = "retinaface", ("mtcnn", "yunet")
ROUNDS = 2
CONFIG = FacesConfig()
NO_FACE = np.full((7, 2), np.nan)


def main() -> None:
    """Detect with all of them and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=75, help="of each video, from its first on")
    arguments = parser.parse_args()
    clips = {path.name: list(itertools.islice(read_frames(path), arguments.frames)) for path in arguments.videos}
    names = [OURS, *(name for name in OTHERS if name != "yunet" or os.environ.get(WEIGHTS_VARIABLE))]
    detectors = {name: load_detector(name) for name in names}
    found: dict[str, dict[str, Array]] = {name: {} for name in names}

    def frames_per_s(name: str) -> float:
        begun = time.perf_counter()
        for clip, frames in clips.items():
            found[name][clip] = np.stack([best(faces) for faces in detected(detectors[name], frames)])
        return sum(map(len, clips.values())) / (time.perf_counter() - begun)

    for name in names:  # the first batch compiles
        next(iter(detected(detectors[name], next(iter(clips.values()))[:16])))
    speeds = take_turns({name: lambda name=name: frames_per_s(name) for name in names}, ROUNDS)
    save(
        "detectors",
        {
            "videos": {clip: list(frames[0].image.shape) for clip, frames in clips.items()},
            "frames": sum(map(len, clips.values())),
            "working_size_px": CONFIG.working_size_px,
            "cores": num_cores(),
            "frames_per_s": speeds,
            "with_a_face": {name: int(np.isfinite(whole(found[name])[:, 0, 0]).sum()) for name in names},
            "against": {name: agreement(clips, found, name) for name in names[1:]},
        },
    )


def detected(detector: Detector, frames: list[Frame]) -> list[Detections]:
    """The faces of every frame."""
    return [faces for _, faces in detect_frames(frames, detector, CONFIG) if faces is not None]


def best(faces: Detections) -> Floats:
    """(7, 2): two corners of the box and the five points of the best-scored face; NaN where there is none."""
    if not len(faces.scores):
        return NO_FACE
    return np.concatenate([faces.boxes[0].reshape(2, 2), faces.points[0]])


def whole(found: dict[str, Array]) -> Array:
    """All clips behind one another."""
    return np.concatenate(list(found.values()))


def agreement(clips: dict[str, list[Frame]], found: dict[str, dict[str, Array]], name: str) -> dict[str, Any]:
    """Boxes, five points and the 68 landmarks that follow from them, on frames where both see a face."""
    one, two = whole(found[OURS]), whole(found[name])
    both = np.isfinite(one[:, 0, 0]) & np.isfinite(two[:, 0, 0])
    eyes = np.linalg.norm(one[both, 2] - one[both, 3], axis=1)
    points = np.linalg.norm(one[both, 2:] - two[both, 2:], axis=2).mean(axis=1) / eyes
    overlap = box_iou(one[both, :2].reshape(-1, 4), two[both, :2].reshape(-1, 4))
    marks = landmark_differences(clips, found, name)
    return {
        "both": int(both.sum()),
        "median_box_iou": round(float(np.median(overlap)), 3),
        "lowest_box_iou": round(float(overlap.min()), 3),
        "median_five_point_difference_of_eye_distance": round(float(np.median(points)), 4),
        "median_landmark_difference_of_eye_distance": round(float(np.median(marks)), 4),
        "95_percent_landmark_difference_of_eye_distance": round(float(np.quantile(marks, 0.95)), 4),
    }


def box_iou(one: Floats, other: Floats) -> Floats:
    """(N,) intersection over union of (N, 4) boxes."""
    shared = np.clip(np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2]), 0, None).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    return shared / (areas[0] + areas[1] - shared)


def landmark_differences(clips: dict[str, list[Frame]], found: dict[str, dict[str, Array]], name: str) -> Floats:
    """(N,) mean distance of the 68 landmarks as a share of the eye distance."""
    landmarker, differences = load_landmarker(), []

    def marks(frame: Frame, face: Floats, detector: str) -> Floats:
        return landmarker.landmarks(frame.image, predictor_square(face[:2].reshape(4), face[2:], detector))

    for clip, frames in clips.items():
        for frame, one, two in zip(frames, found[OURS][clip], found[name][clip], strict=True):
            if np.isfinite(one[0, 0]) and np.isfinite(two[0, 0]):
                ours, theirs = marks(frame, one, OURS), marks(frame, two, name)
                differences.append(np.linalg.norm(ours - theirs, axis=1).mean() / eye_distance(ours))
    return np.array(differences)


if __name__ == "__main__":
    main()
