"""Finding faces: one contract for all detectors, and the pass over a clip's frames that calls it in batches."""

import functools
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from emopipe.config import FacesConfig
from emopipe.errors import DeviceError, MissingDependencyError, RecordError
from emopipe.files import sha256_of_file
from emopipe.records import Detections, Frame
from emopipe.registry import Registry
from emopipe.typing import Array, Bools, Floats, Image

DEFAULT_NUM_THREADS = 2  # leaves the machine usable; the results do not depend on it
SCORE_FLOOR = 0.3  # detectors report nothing below it, whatever FacesConfig.min_score is: YuNet scores noise up to 0.2
MAX_PENDING_BYTES = 64 << 20  # frames held back for a batch: 16 at 720p, 10 at 1080p, 2 at 2160p


@dataclass(frozen=True)
class DetectorSource:
    """Where the code and the weights of a detector come from.

    Attributes:
        packages: of which one is installed; the first is the one that a message names.
        files: its weights, below the folder that packages lie in; none where they are compiled in.
        users_file: for weights of the user's: the file that is named, or None, -> the file, once its bytes are known.
    """

    packages: tuple[str, ...]
    files: tuple[str, ...] = ()
    users_file: Callable[[Path | None], Path] | None = None


@runtime_checkable
class Detector(Protocol):
    """What every detector does. Building one loads its engine; importing its module does not.

    Attributes:
        name: its name in `DETECTORS`.
        source: of its code and weights; an attribute of the class, for `detector_digest`.
        device: "cpu" or "gpu", where it really runs.
        version_digest: what makes its results: package, version and SHA-256 of the weights; see `detector_digest`.
    """

    name: str
    source: DetectorSource
    device: str
    version_digest: str

    def detect(self, frames: Image) -> list[Detections]:
        """Find all faces in a batch of frames of one size; safe to call from several threads.

        Args:
            frames: (B, H, W, 3) uint8 RGB.

        Returns:
            B records, boxes inside the picture, highest score first; empty ones where there is no face.
        """
        ...


DETECTORS = Registry(
    "detector",
    {
        "retinaface": "emopipe.faces.retinaface:RetinaFaceDetector",
        "mtcnn": "emopipe.faces.mtcnn:MtcnnDetector",
        "dlib_hog": "emopipe.faces.dlib_hog:DlibHogDetector",
        "haar": "emopipe.faces.haar:HaarDetector",
        "yunet": "emopipe.faces.yunet:YunetDetector",
    },
)


def load_detector(
    name: str, *, device: str = "cpu", weights: Path | None = None, num_threads: int = DEFAULT_NUM_THREADS
) -> Detector:
    """Build a detector: loads its engine and its weights.

    Args:
        name: a name in `DETECTORS`.
        device: "cpu" or "gpu".
        weights: the weights file of a detector that is not packaged with one (yunet).
        num_threads: threads of an onnxruntime session (retinaface); the other engines choose their own.

    Raises:
        UnknownNameError, MissingDependencyError: from the registry.
        DeviceError: "gpu" was asked for and the detector cannot run there.
        WeightsError: the weights are missing or not the expected bytes, or were given to a detector that takes none.
    """
    detector: Detector = DETECTORS.load(name)(device=device, weights=weights, num_threads=num_threads)
    return detector


def detector_digest(name: str, weights: Path | None = None) -> str:
    """What identifies a detector's results, without building it: "package version sha256:...".

    Examples:
        >>> detector_digest("mtcnn").startswith("mtcnn 1.")
        True
    """
    source: DetectorSource = DETECTORS.load(name).source
    if source.users_file is not None:
        return f"{_package_version(name)} sha256:{sha256_of_file(source.users_file(weights))}"
    return _packaged_digest(name)


def users_weights(name: str, weights: Path | None = None) -> Path | None:
    """The weights file of the user's that a detector works with; None for one that is packaged with its own.

    Args:
        name: a name in `DETECTORS`.
        weights: the file that was named; None for the one that the environment names.

    Raises:
        WeightsError: there is no such file, or its bytes are others.
    """
    source: DetectorSource = DETECTORS.load(name).source
    if source.users_file is None:
        return None
    return source.users_file(weights)


@functools.cache
def _packaged_digest(name: str) -> str:
    files = packaged_files(name)
    version = _package_version(name)
    if not files:
        return version
    digests = "".join(sha256_of_file(path) for path in files)
    return f"{version} sha256:{digests if len(files) == 1 else hashlib.sha256(digests.encode()).hexdigest()}"


def packaged_files(name: str) -> list[Path]:
    """The weights files of a packaged detector, found without importing the package.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    distribution = _distribution(name)
    return [Path(str(distribution.locate_file(file))) for file in DETECTORS.load(name).source.files]


def _distribution(name: str) -> importlib.metadata.Distribution:
    packages = DETECTORS.load(name).source.packages
    for package in packages:
        try:
            return importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise MissingDependencyError(
        f"detector '{name}' needs the package '{packages[0]}', which is not installed.\nRun: pip install {packages[0]}"
    )


def _package_version(name: str) -> str:
    # "dlib 20.0.1" for dlib and dlib-bin 20.0.1.post1, "opencv 4.14.0" with and without a window system: the same code.
    package = DETECTORS.load(name).source.packages[0].removesuffix("-bin").removesuffix("-python")
    return f"{package} {'.'.join(_distribution(name).version.split('.')[:3])}"


def require_processor(name: str, device: str) -> None:
    """Refuse a device that an engine cannot use.

    Raises:
        DeviceError: it is not "cpu".
    """
    if device != "cpu":
        raise DeviceError(
            f"detector '{name}' runs on the processor only. Received: device '{device}'.\n"
            "Use --detector retinaface or mtcnn there, or --device cpu."
        )


def make_detections(boxes: Array, scores: Array, points: Array | None, height: int, width: int) -> Detections:
    """Detections from an engine's raw numbers: clipped to the picture, slivers dropped, highest score first.

    Equal scores are ordered by size and place, so that an engine that collects faces in parallel stays deterministic.

    Args:
        boxes: (F, 4) x0, y0, x1, y1 in pixels.
        scores: (F,) in [0, 1].
        points: (F, 5, 2) or None.
        height: of the picture, pixels.
        width: of the picture, pixels.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = np.clip(np.asarray(scores, np.float32).reshape(-1), 0, 1)
    points = np.full((len(boxes), 5, 2), np.nan) if points is None else np.asarray(points)
    clipped = np.clip(boxes, 0, np.array([width, height, width, height], np.float32))
    sides = clipped[:, 2:] - clipped[:, :2]
    kept = np.flatnonzero((sides > 1).all(axis=1) & np.isfinite(boxes).all(axis=1))
    order = sorted(kept.tolist(), key=lambda f: (-scores[f], -sides[f].prod(), *clipped[f]))
    return Detections(clipped[order], scores[order], points[order].astype(np.float32).reshape(-1, 5, 2))


def check_frames(frames: Image) -> None:
    """Refuse anything but a batch of RGB pictures.

    Raises:
        RecordError: not (B, H, W, 3) uint8.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise RecordError(f"frames: expected (B, H, W, 3) uint8 RGB. Received: {frames.shape} {frames.dtype}.")


def detect_frames(
    frames: Iterable[Frame], detector: Detector | None, config: FacesConfig, *, batch_size: int = 16
) -> Iterator[tuple[Frame, Detections | None]]:
    """Pair the frames of one clip with their faces, in order, holding at most a batch of them.

    Frames are shrunk to `config.working_size_px` (never enlarged) and detected in batches of equal shape. Batches begin
    at the clip's first frame and their size depends on the frames alone, so a clip is always cut the same way.

    Args:
        frames: the clip's frames in order.
        detector: see `load_detector`; not used, and None will do, with alignment "given".
        config: detector settings; with `detect_every` = k only frames whose index is a multiple of k are detected.
        batch_size: frames per call of the detector.

    Yields:
        The frame and its faces in pixels of the full frame; None where the frame is left to be followed from its
        neighbour. A frame without a picture has no faces.
    """
    if config.alignment == "given" or detector is None:
        yield from ((frame, None) for frame in frames)
        return
    pending: list[Frame] = []
    num_to_detect = pending_bytes = 0
    for frame in frames:
        pending.append(frame)
        if frame.image is not None:
            num_to_detect += _is_key(frame, config)
            pending_bytes += frame.image.nbytes
        # With detect_every > 1 a full batch would hold back batch_size * k frames: two batches of frames are enough.
        if num_to_detect >= batch_size or len(pending) >= 2 * batch_size or pending_bytes >= MAX_PENDING_BYTES:
            yield from _detect_pending(pending, detector, config)
            pending = []
            num_to_detect = pending_bytes = 0
    yield from _detect_pending(pending, detector, config)


def _is_key(frame: Frame, config: FacesConfig) -> bool:
    return frame.frame_index % config.detect_every == 0


def _detect_pending(
    pending: list[Frame], detector: Detector, config: FacesConfig
) -> Iterator[tuple[Frame, Detections | None]]:
    images = [frame.image for frame in pending if frame.image is not None and _is_key(frame, config)]
    found = iter(detect_images(images, detector, config))
    for frame in pending:
        if frame.image is None:
            yield frame, no_faces()
        else:
            yield frame, next(found) if _is_key(frame, config) else None


def no_faces() -> Detections:
    """The record of a picture without a face."""
    return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))


def detect_images(images: list[Image], detector: Detector, config: FacesConfig) -> list[Detections]:
    """Faces of full-size pictures: at working size, then once more at retry size where nothing was found.

    Args:
        images: (H, W, 3) uint8 RGB each.

    Returns:
        One record per picture, pixels of that picture, scores of at least `config.min_score`.
    """
    found = _detect_at(images, detector, config.working_size_px, config.min_score)
    if config.retry_size_px > config.working_size_px:
        missed = [
            i for i, faces in enumerate(found) if not len(faces) and max(images[i].shape) > config.working_size_px
        ]
        again = _detect_at([images[i] for i in missed], detector, config.retry_size_px, config.min_score)
        for i, faces in zip(missed, again, strict=True):
            found[i] = faces
    return found


def _detect_at(images: list[Image], detector: Detector, size_px: int, min_score: float) -> list[Detections]:
    shrunk = [shrink(image, size_px) for image in images]
    found: list[Detections] = []
    start = 0
    while start < len(shrunk):
        stop = start + 1
        while stop < len(shrunk) and shrunk[stop].shape == shrunk[start].shape:
            stop += 1
        found += detector.detect(np.stack(shrunk[start:stop]))
        start = stop
    return [_rescale(faces, image, small, min_score) for faces, image, small in zip(found, images, shrunk, strict=True)]


def shrink(image: Image, size_px: int) -> Image:
    """The picture with its long side at most `size_px`; smaller pictures are returned as they are."""
    import cv2

    height, width = image.shape[:2]
    scale = size_px / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _rescale(faces: Detections, image: Image, small: Image, min_score: float) -> Detections:
    keep: Bools = faces.scores >= min_score
    scale: Floats = np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]], np.float32)
    return Detections(faces.boxes[keep] * np.tile(scale, 2), faces.scores[keep], faces.points[keep] * scale)
