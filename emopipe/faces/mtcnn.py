"""MTCNN of the package `mtcnn` (MIT), run by TensorFlow.

Source: Zhang et al., "Joint face detection and alignment using multitask cascaded convolutional networks", IEEE Signal
Processing Letters 23(10), 2016.
"""

import threading
from pathlib import Path

import numpy as np

from emopipe.errors import DeviceError, MissingDependencyError, WeightsError
from emopipe.faces.detection import DEFAULT_NUM_THREADS, DetectorSource, check_frames, detector_digest, make_detections
from emopipe.records import Detections
from emopipe.typing import Floats, Image

MIN_FACE_PX = 20  # the package's default; with a larger one version 1.0.0 finds nothing
MIN_PICTURE_PX = 24  # below it the package's image pyramid has no level


class MtcnnDetector:
    """Batched MTCNN, five points per face; scores below 0.8 are dropped by its last network."""

    name = "mtcnn"
    source = DetectorSource(
        ("mtcnn",), tuple(f"mtcnn/assets/weights/{stage}.lz4" for stage in ("pnet", "rnet", "onet"))
    )

    def __init__(self, *, device: str = "cpu", weights: Path | None = None, num_threads: int = DEFAULT_NUM_THREADS):
        if weights is not None:
            raise WeightsError(f"detector 'mtcnn' has its weights in its package. Received: {weights}.")
        try:
            import tensorflow
            from mtcnn import MTCNN
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"detector 'mtcnn' needs the package '{error.name}', which is not installed.\n"
                "Run: pip install mtcnn tensorflow"
            ) from error
        if device == "gpu" and not tensorflow.config.list_physical_devices("GPU"):
            raise DeviceError(
                "detector 'mtcnn' on device 'gpu': TensorFlow sees no GPU.\n"
                "Run: pip install 'tensorflow[and-cuda]', or use --device cpu."
            )
        self.device = device
        self.version_digest = detector_digest(self.name)
        self._scope = f"{device.upper()}:0"
        self._tensorflow = tensorflow
        self._engine = MTCNN(device=self._scope)
        self._lock = threading.Lock()

    def detect(self, frames: Image) -> list[Detections]:
        check_frames(frames)
        height, width = frames.shape[1:3]
        rows: Floats = np.empty((0, 16))
        if len(frames) and min(height, width) >= MIN_PICTURE_PX:
            rows = self._cascade(frames)
        found = []
        for b in range(len(frames)):
            mine = rows[rows[:, 0] == b]
            points = np.stack([mine[:, 6:11], mine[:, 11:16]], axis=2)
            found.append(make_detections(mine[:, 1:5], mine[:, 5], points, height, width))
        return found

    def _cascade(self, frames: Image) -> Floats:
        # The stages one by one: the package's own loop takes any invalid argument for a picture without faces.
        normalised = (frames.astype(np.float32) - 127.5) / 128
        shapes = np.array([frame.shape for frame in frames])
        rows = None
        with self._lock, self._tensorflow.device(self._scope):
            for stage in self._engine.stages:
                rows = stage(
                    bboxes_batch=rows, images_normalized=normalised, images_oshapes=shapes, min_face_size=MIN_FACE_PX
                )
                if not len(rows):
                    return np.empty((0, 16))
        return np.asarray(rows)
