"""YuNet of OpenCV's model zoo (MIT), run by OpenCV from a weights file of the user's.

Source: Wu et al., "YuNet: a tiny millisecond-level face detector", Machine Intelligence Research 20, 2023.
"""

import os
import threading
from pathlib import Path

import numpy as np

from emopipe.errors import WeightsError
from emopipe.faces.detection import (
    DEFAULT_NUM_THREADS,
    SCORE_FLOOR,
    DetectorSource,
    check_frames,
    detector_digest,
    make_detections,
    require_processor,
)
from emopipe.files import sha256_of_file
from emopipe.records import Detections
from emopipe.typing import Image

WEIGHTS_VARIABLE = "EMOPIPE_YUNET"
KNOWN_WEIGHTS = {
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": "face_detection_yunet_2023mar.onnx",
}
NMS_IOU = 0.3  # OpenCV's default for this network
MAX_CANDIDATES = 5000  # OpenCV's default


def checked_weights(weights: Path | None) -> Path:
    """The weights file, once its bytes are known to be YuNet's.

    Args:
        weights: the file; None takes the one that the environment variable EMOPIPE_YUNET names.

    Raises:
        WeightsError: there is no such file, or its SHA-256 is not a known one.
    """
    (digest, name), *_ = KNOWN_WEIGHTS.items()
    named = weights or os.environ.get(WEIGHTS_VARIABLE)
    path = Path(named) if named else None
    if path is None or not path.is_file():
        raise WeightsError(
            f"detector 'yunet' needs the file {name} of OpenCV's model zoo (opencv_zoo). "
            f"Received: {'no file' if path is None else f'{path}, which is no file'}.\n"
            f"Download it and pass --detector-weights FILE, or name it in ${WEIGHTS_VARIABLE}."
        )
    received = sha256_of_file(path)
    if received not in KNOWN_WEIGHTS:
        raise WeightsError(
            f"{path}: expected the bytes of {name}, sha256 {digest}.\nReceived: sha256 {received}.\n"
            "Download the file again (a Git LFS pointer of 131 bytes is not the file)."
        )
    return path


class YunetDetector:
    """One frame at a time, faces of about 10 px and more, five points per face."""

    name = "yunet"
    source = DetectorSource(("opencv-python", "opencv-python-headless"), users_file=checked_weights)

    def __init__(self, *, device: str = "cpu", weights: Path | None = None, num_threads: int = DEFAULT_NUM_THREADS):
        require_processor(self.name, device)
        path = checked_weights(weights)
        import cv2

        self.device = device
        self.version_digest = detector_digest(self.name, path)
        self._engine = cv2.FaceDetectorYN.create(str(path), "", (320, 320), SCORE_FLOOR, NMS_IOU, MAX_CANDIDATES)
        self._lock = threading.Lock()

    def detect(self, frames: Image) -> list[Detections]:
        check_frames(frames)
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: Image) -> Detections:
        height, width = frame.shape[:2]
        with self._lock:
            self._engine.setInputSize((width, height))
            _, rows = self._engine.detect(np.ascontiguousarray(frame[..., ::-1]))
        rows = np.empty((0, 15), np.float32) if rows is None else rows
        rows = rows[np.isfinite(rows).all(axis=1)]  # pictures below its coarsest stride, 32 px, give infinities
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return make_detections(boxes, rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2), height, width)
