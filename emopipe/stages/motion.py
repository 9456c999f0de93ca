"""How far a face moves from frame to frame, by which frames of a clip can be chosen."""

import numpy as np

from emopipe.records import CROP_SIZE_PX, NUM_LANDMARKS
from emopipe.typing import Bools, Floats, Ints


def landmark_motion(vectors: Floats, valid: Bools, clip_starts: Ints) -> Floats:
    """Mean distance that the aligned landmarks move from the last frame with a face to each.

    Alignment has taken the movement of the head as a whole out of them: what is left is the expression.

    Args:
        vectors: (R, 136), see `landmark_vector`.
        valid: (R,) bool, whether there is a face.
        clip_starts: (C + 1,) as in `Rows`.

    Returns:
        (R,) float32 pixels of the crop; NaN without a face and at the first one of a clip.

    Examples:
        >>> vectors = np.repeat([[0.0], [np.nan], [0.5]], 136, axis=1)
        >>> landmark_motion(vectors, np.array([True, False, True]), np.array([0, 3])).round(3)
        array([   nan,    nan, 33.941], dtype=float32)
    """
    motion = np.full(len(vectors), np.nan, np.float32)
    rows = np.flatnonzero(valid)
    points = vectors[rows].reshape(len(rows), NUM_LANDMARKS, 2) * (CROP_SIZE_PX / 2)
    moved = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)
    clip = np.searchsorted(clip_starts, rows, side="right")
    is_same_clip = clip[1:] == clip[:-1]
    motion[rows[1:][is_same_clip]] = moved[is_same_clip]
    return motion
