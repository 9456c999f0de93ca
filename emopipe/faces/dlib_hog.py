"""dlib's frontal face detector: HOG features and a linear classifier per view.

Source: King, "Max-margin object detection", arXiv 1502.00046; Dalal and Triggs, CVPR 2005.
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
    require_processor,
)
from emopipe.records import Detections
from emopipe.typing import Image


class DlibHogDetector:
    """One frame at a time, near-frontal faces of 80 px or more in the picture it is given; no points.

    dlib's score is a distance from the separating plane, which has no upper end; it is squashed by the logistic
    function, so that dlib's own threshold 0 becomes 0.5 and nothing below that is reported.
    """

    name = "dlib_hog"
    source = DetectorSource(("dlib-bin", "dlib"))  # the HOG filters are compiled in

    def __init__(self, *, device: str = "cpu", weights: Path | None = None, num_threads: int = DEFAULT_NUM_THREADS):
        if weights is not None:
            raise WeightsError(f"detector 'dlib_hog' has its weights compiled in. Received: {weights}.")
        require_processor(self.name, device)
        self.device = device
        self.version_digest = detector_digest(self.name)  # and says what to install when the package is missing
        import dlib

        self._engine = dlib.get_frontal_face_detector()
        self._lock = threading.Lock()  # the engine keeps its feature pyramid between calls

    def detect(self, frames: Image) -> list[Detections]:
        check_frames(frames)
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: Image) -> Detections:
        with self._lock:
            rectangles, margins, _ = self._engine.run(np.ascontiguousarray(frame), 0, 0.0)
        # dlib's right and bottom are the last pixel inside; ours are one past it.
        boxes = np.array([[r.left(), r.top(), r.right() + 1, r.bottom() + 1] for r in rectangles], np.float32)
        scores = 1 / (1 + np.exp(-np.array(margins, np.float64)))
        return make_detections(boxes, scores, None, *frame.shape[:2])
