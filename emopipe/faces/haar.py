"""OpenCV's Haar cascade for frontal faces, with the settings of the CK+ recipe.

Source: Viola and Jones, "Rapid object detection using a boosted cascade of simple features", CVPR 2001.
"""

import threading
from pathlib import Path

import numpy as np

from emopipe.errors import WeightsError
from emopipe.faces.detection import (
    DEFAULT_NUM_THREADS,
    DetectorSource,
    check_frames,
    detector_digest,
    make_detections,
    packaged_files,
    require_processor,
)
from emopipe.records import Detections
from emopipe.typing import Image

SCALE_FACTOR, MIN_NEIGHBOURS = 1.1, 4  # the CK+ experiment of Rangulov and Fahim 2020


class HaarDetector:
    """One frame at a time, upright frontal faces, square boxes; no points and no score (1 for every face)."""

    name = "haar"
    source = DetectorSource(
        ("opencv-python", "opencv-python-headless"), ("cv2/data/haarcascade_frontalface_default.xml",)
    )

    def __init__(self, *, device: str = "cpu", weights: Path | None = None, num_threads: int = DEFAULT_NUM_THREADS):
        if weights is not None:
            raise WeightsError(f"detector 'haar' has its weights in its package. Received: {weights}.")
        require_processor(self.name, device)
        (path,) = packaged_files(self.name)
        self.device = device
        self.version_digest = detector_digest(self.name)  # and says what to install when the package is missing
        import cv2

        self._engine = cv2.CascadeClassifier(str(path))
        if self._engine.empty():
            raise WeightsError(
                f"{path}: OpenCV cannot read this cascade.\nRun: pip install --force-reinstall opencv-python"
            )
        self._lock = threading.Lock()

    def detect(self, frames: Image) -> list[Detections]:
        check_frames(frames)
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: Image) -> Detections:
        import cv2

        grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
        with self._lock:
            found = self._engine.detectMultiScale(grey, SCALE_FACTOR, MIN_NEIGHBOURS)
        boxes = np.asarray(found, np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return make_detections(boxes, np.ones(len(boxes)), None, *frame.shape[:2])
