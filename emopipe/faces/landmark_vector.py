"""The landmarks as one vector per frame, in the coordinates of the crop."""

import numpy as np

from emopipe.errors import RecordError
from emopipe.records import CROP_SIZE_PX, NUM_LANDMARKS
from emopipe.typing import Floats

LANDMARK_VECTOR_SIZE = 2 * NUM_LANDMARKS


def landmark_vector(landmarks: Floats, transform: Floats) -> Floats:
    """The 68 landmarks carried into the aligned crop, scaled so that the crop spans [-1, 1].

    The OMG-Emotion paper joins 136 landmark numbers to its CNN features and does not say how they are normalised. Here
    they go where the picture goes: after the Procrustes alignment, neither the place nor the size nor the tilt of the
    face in the frame is left in them. A point outside the crop lies outside [-1, 1].

    Args:
        landmarks: (N, 68, 2) float, x and y in the frame; pixels.
        transform: (N, 2, 3) float, frame to crop, of the same rows; see `AlignedFace`.

    Returns:
        (N, 136) float32: x0, y0, x1, y1, ... Pixel centres have whole coordinates, so that the crop reaches from -0.5
        to 95.5 and a coordinate c becomes ``(c + 0.5) / 48 - 1``. A row with NaN in its transform is NaN throughout; a
        landmark with NaN is NaN in both its numbers.

    Raises:
        RecordError: the shapes are others.

    Examples:
        >>> corners = np.zeros((1, 68, 2))
        >>> corners[0, 1] = [95.5, 47.5]
        >>> landmark_vector(corners - 0.5 * (corners == 0), np.eye(2, 3)[np.newaxis])[0, :4]
        array([-1., -1.,  1.,  0.], dtype=float32)
    """
    num_rows = len(landmarks)
    if landmarks.shape != (num_rows, NUM_LANDMARKS, 2) or transform.shape != (num_rows, 2, 3):
        raise RecordError(
            f"landmark_vector: expected (N, {NUM_LANDMARKS}, 2) landmarks and (N, 2, 3) transforms. "
            f"Received: {landmarks.shape}, {transform.shape}."
        )
    exact = transform.astype(np.float64)  # large terms that nearly cancel
    points = landmarks.astype(np.float64) @ exact[:, :, :2].transpose(0, 2, 1) + exact[:, np.newaxis, :, 2]
    vector = (points + 0.5) / (CROP_SIZE_PX / 2) - 1
    return vector.reshape(num_rows, LANDMARK_VECTOR_SIZE).astype(np.float32)
