"""From landmarks to the 96 x 96 crop: Procrustes fits, the frontal template, and the warp."""

from typing import NamedTuple

import numpy as np

from emopipe.config import Alignment
from emopipe.errors import ConfigError, LandmarkError
from emopipe.faces.landmarks import five_points
from emopipe.records import CROP_SIZE_PX
from emopipe.typing import Floats, Image, Ints

RESIZE_FILTERS = {
    "area": "INTER_AREA",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "nearest": "INTER_NEAREST",
}

# The frontal face, in eye distances from the point between the eyes: the generalised Procrustes mean of dlib's five
# points on the 102 neutral frontal faces of the Face Research Lab London Set (DeBruine and Jones 2017, CC BY 4.0) and
# their mirror images, turned until the eyes are level. Each face lies within 0.037 eye distances of it (rms, mean).
FRONTAL_SHAPE = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.4704], [-0.4017, 1.0743], [0.4017, 1.0743]])
# On those faces the brows reach 0.49 eye distances up (5 % reach further) and the chin 1.93 down. At 38 % of the side
# the crop ends 0.63 above the eyes, 2.01 below them and 1.31 to each side: raised brows and an open mouth stay inside.
EYE_DISTANCE_PX = 36.5
EYE_CENTRE_PX = np.array([(CROP_SIZE_PX - 1) / 2, 22.5])
TEMPLATE = EYE_CENTRE_PX + EYE_DISTANCE_PX * FRONTAL_SHAPE
TEMPLATE.setflags(write=False)

_COLLINEAR = 1e-6  # smaller over larger variance of five points that lie on a line, up to rounding


class AlignedFace(NamedTuple):
    """What `align` makes of one face.

    Attributes:
        transform: (2, 3) float64, frame to crop: `crop ~= frame @ transform[:, :2].T + transform[:, 2]`, where
            pixel centres have whole coordinates.
        residual_px: root mean square distance of the moved five points from the template, crop pixels; NaN where
            nothing was fitted ("box", "given").
        crop: (96, 96, 3) uint8 RGB; black where the picture ends.
    """

    transform: Floats
    residual_px: float
    crop: Image


def fit_similarity(source: Floats, target: Floats) -> Floats:
    """Least-squares similarity transform taking one landmark set onto another.

    Finds the rotation, uniform scale and translation that minimise the summed squared distance from the moved
    `source` to `target`. Reflection is never used: a mirrored face is another face, not a badly aligned one. In the
    plane the solution needs no singular value decomposition: with both sets centred and read as complex numbers, it
    is the regression coefficient of `target` on `source`.

    Args:
        source: (K, 2) float, landmarks in the frame; pixels, x right, y down.
        target: (K, 2) float, the same landmarks on the template; pixels.

    Returns:
        (2, 3) float64 matrix M for `cv2.warpAffine`, with `target ~= source @ M[:, :2].T + M[:, 2]`.

    Raises:
        LandmarkError: the shapes differ, K < 2, a value is not finite, or all points of either set coincide (the scale
            would be undefined, or zero).

    Source:
        Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI 13(4),
        1991, eqs. 40-43.

    Examples:
        >>> square = np.array([[0., 0.], [1., 0.], [1., 1.], [0., 1.]])
        >>> fit_similarity(square, 2 * square + [10, 20]).round(6) + 0.0
        array([[ 2.,  0., 10.],
               [ 0.,  2., 20.]])
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise LandmarkError(
            f"fit_similarity: expected two sets of the same K >= 2 points, (K, 2). Received: {source.shape}, "
            f"{target.shape}."
        )
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    moved = source - source_mean
    spread = float((moved**2).sum())
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise LandmarkError("fit_similarity: expected finite coordinates. Received: NaN or infinity among them.")
    aim = target - target_mean
    along = float((moved * aim).sum()) / spread if spread else 0.0
    across = float((moved[:, 0] * aim[:, 1] - moved[:, 1] * aim[:, 0]).sum()) / spread if spread else 0.0
    size = np.abs(source).max() + np.abs(target).max()
    if np.sqrt(spread) <= 1e-12 * size or np.hypot(along, across) <= 1e-12:
        raise LandmarkError("fit_similarity: all points coincide, so no scale is defined. Expected distinct landmarks.")
    linear = np.array([[along, -across], [across, along]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def apply_transform(transform: Floats, points: Floats) -> Floats:
    """Points (..., 2) moved by a (2, 3) transform."""
    return np.asarray(points @ transform[:, :2].T + transform[:, 2])


def generalised_procrustes(shapes: Floats, *, num_rounds: int = 100, tolerance: float = 1e-10) -> Floats:
    """The mean shape of many, once position, size and rotation are taken out of each.

    Every shape is fitted to the current mean by rotation after being centred and scaled to unit size; the mean is
    recomputed until it stands still. The result is turned as the first shape is.

    Args:
        shapes: (N, K, 2) float, the same K landmarks of N faces.
        num_rounds: at most so many rounds; five are usual.
        tolerance: largest movement of a coordinate at which the mean stands still.

    Returns:
        (K, 2) float64, centred on 0, sum of squares 1.

    Raises:
        LandmarkError: as `fit_similarity`, for any of the shapes.

    Source:
        Gower, "Generalized Procrustes analysis", Psychometrika 40, 1975.
    """
    centred = np.asarray(shapes, np.float64) - np.mean(shapes, axis=1, keepdims=True)
    sizes = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True))
    if not (sizes > 0).all():
        raise LandmarkError("generalised_procrustes: all points of a shape coincide. Expected distinct landmarks.")
    unit = centred / sizes
    mean: Floats = unit[0]
    for _ in range(num_rounds):
        turned = []
        for shape in unit:
            linear = fit_similarity(shape, mean)[:, :2]
            turned.append(shape @ linear.T / np.sqrt(np.linalg.det(linear)))
        renewed: Floats = np.mean(turned, axis=0)
        renewed /= np.sqrt((renewed**2).sum())
        linear = fit_similarity(renewed, unit[0])[:, :2]
        renewed = renewed @ linear.T / np.sqrt(np.linalg.det(linear))
        if np.abs(renewed - mean).max() < tolerance:
            return renewed
        mean = renewed
    return mean


def align(
    image: Image, landmarks: Floats | None, box: Floats | None, mode: Alignment, *, resize: str = "area"
) -> AlignedFace:
    """Cut the 96 x 96 crop out of a frame.

    "procrustes5" moves the five points onto `TEMPLATE` and samples bilinearly; a face more than twice as large as the
    crop is first averaged down by a whole number, because bilinear sampling would skip pixels. "box" takes the square
    around the centre of the detector's box, as wide as its longer side, unrotated (the CK+ recipe: Haar's box without a
    margin). "given" resizes the whole picture. Where the face leaves the picture the crop is black: a repeated or
    mirrored border would be skin that nobody filmed.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2), pixels of the frame; used by "procrustes5".
        box: (4,) x0, y0, x1, y1, pixels of the frame; used by "box".
        mode: see `emopipe.config.FacesConfig.alignment`.
        resize: filter of "given": "area", "bilinear", "bicubic" or "nearest".

    Raises:
        LandmarkError: the landmarks are missing, not finite, coincide or lie on a line ("procrustes5").
        ConfigError: an unknown mode or filter, or no box ("box").
    """
    if mode == "procrustes5":
        return _align_points(image, landmarks)
    if mode == "box" and box is not None:
        return _align_box(image, box)
    if mode == "given":
        return _align_given(image, resize)
    raise ConfigError(f"align: expected procrustes5, box (with a box) or given. Received: {mode!r}, box {box}.")


def _align_points(image: Image, landmarks: Floats | None) -> AlignedFace:
    received = () if landmarks is None else np.shape(landmarks)
    if landmarks is None or received != (68, 2):
        raise LandmarkError(f"align: expected landmarks (68, 2). Received: {received}.")
    points = five_points(np.asarray(landmarks, np.float64))
    transform = fit_similarity(points, TEMPLATE)
    smaller, larger = np.linalg.eigvalsh(np.cov(points.T))
    if smaller <= _COLLINEAR * larger:
        raise LandmarkError("align: the five points lie on a line. Expected eyes above the mouth.")
    residual = float(np.sqrt(((apply_transform(transform, points) - TEMPLATE) ** 2).sum(axis=1).mean()))
    return AlignedFace(transform, residual, warp(image, transform))


def warp(image: Image, transform: Floats) -> Image:
    """The crop under a similarity transform: bilinear, black outside, without aliasing.

    Args:
        image: (H, W, 3) uint8 RGB.
        transform: (2, 3), frame to crop.
    """
    import cv2

    linear, shift = transform[:, :2], transform[:, 2]
    reduction = int(1 / np.sqrt(abs(np.linalg.det(linear))))
    if reduction >= 2:
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (CROP_SIZE_PX - 1) - shift
        corners = corners @ np.linalg.inv(linear).T
        start = np.floor(corners.min(axis=0)).astype(int) - reduction
        cells = np.ceil((corners.max(axis=0) + reduction - start) / reduction).astype(int) + 1
        region = _cut(image, start, start + cells * reduction)
        image = np.asarray(cv2.resize(region, tuple(cells.tolist()), interpolation=cv2.INTER_AREA))
        # The centre of reduced pixel u lies at start + reduction * (u + 0.5) - 0.5 of the frame.
        shift = shift + linear @ (start + 0.5 * reduction - 0.5)
        linear = linear * reduction
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    return np.asarray(cv2.warpAffine(image, np.column_stack([linear, shift]), size, flags=cv2.INTER_LINEAR))


def _align_box(image: Image, box: Floats) -> AlignedFace:
    import cv2

    side = max(1, int(round(float(max(box[2] - box[0], box[3] - box[1])))))
    start = np.array([round(float(box[0] + box[2] - side) / 2), round(float(box[1] + box[3] - side) / 2)])
    region = _cut(image, start, start + side)
    interpolation = cv2.INTER_AREA if side > CROP_SIZE_PX else cv2.INTER_LINEAR
    crop = np.asarray(cv2.resize(region, (CROP_SIZE_PX, CROP_SIZE_PX), interpolation=interpolation), np.uint8)
    transform = _scaling(CROP_SIZE_PX / side, CROP_SIZE_PX / side)
    transform[:, 2] -= transform[:, :2] @ start
    return AlignedFace(transform, float("nan"), crop)


def _align_given(image: Image, resize: str) -> AlignedFace:
    import cv2

    if resize not in RESIZE_FILTERS:
        raise ConfigError(f"align: expected a filter of {', '.join(RESIZE_FILTERS)}. Received: {resize!r}.")
    interpolation = getattr(cv2, RESIZE_FILTERS[resize])
    crop = np.asarray(cv2.resize(image, (CROP_SIZE_PX, CROP_SIZE_PX), interpolation=interpolation), np.uint8)
    return AlignedFace(_scaling(CROP_SIZE_PX / image.shape[1], CROP_SIZE_PX / image.shape[0]), float("nan"), crop)


def _scaling(scale_x: float, scale_y: float) -> Floats:
    """How cv2.resize moves pixel centres: the picture's corners stay its corners."""
    return np.array([[scale_x, 0, scale_x / 2 - 0.5], [0, scale_y, scale_y / 2 - 0.5]])


def _cut(image: Image, start: Ints, stop: Ints) -> Image:
    """The region [start, stop) (x, y) of a picture, black where it lies outside."""
    height, width = image.shape[:2]
    x0, y0 = np.clip(start, 0, [width, height]).tolist()
    x1, y1 = np.clip(stop, 0, [width, height]).tolist()
    if (x1 - x0, y1 - y0) == tuple((stop - start).tolist()):
        return image[y0:y1, x0:x1]
    region = np.zeros((int(stop[1] - start[1]), int(stop[0] - start[0]), 3), np.uint8)
    region[y0 - start[1] : y1 - start[1], x0 - start[0] : x1 - start[0]] = image[y0:y1, x0:x1]
    return region
