"""The canvas on which every phantom head stands, and the smooth displacement fields that move it.

A field is a backward one: the pixel at `p` of the moved picture shows the pixel at `p - field(p)` of the picture at
rest, which is what `cv2.remap` wants. Lengths are given in eye distances, so that they hold for every face.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from emopipe.typing import Floats

EYE_DISTANCE_PX = 48.0  # a little above the 35 to 42 px that a face has in a 320 x 240 picture
CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX = 400, 352
EYES_CENTRE_PX = (200.0, 140.0)
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # iBUG 68-point mark-up; left of the picture first
UPPER_INNER_LIP, LOWER_INNER_LIP = (60, 61, 62, 63, 64), (60, 67, 66, 65, 64)
CHIN, NOSE_BASE, NOSE_TIP, LEFT_CORNER, RIGHT_CORNER = 8, 33, 30, 48, 54

Field = tuple[Floats, Floats]  # displacement in x and in y, canvas pixels, each (352, 400) float32


def grid() -> Field:
    """The x and the y coordinate of every canvas pixel, each (352, 400) float32."""
    rows, columns = np.mgrid[:CANVAS_HEIGHT_PX, :CANVAS_WIDTH_PX]
    return columns.astype(np.float32), rows.astype(np.float32)


def smooth_step(value: Floats) -> Floats:
    """0 below 0, 1 above 1, and 3 v^2 - 2 v^3 between."""
    clipped = np.clip(value, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def bump(centre: Floats, radius_x: float, radius_y: float) -> Floats:
    """A Gaussian hill of height 1; `centre` in canvas pixels, radii (one sigma) in eye distances. Float32."""
    x, y = grid()
    across = (x - centre[0]) / (radius_x * EYE_DISTANCE_PX)
    down = (y - centre[1]) / (radius_y * EYE_DISTANCE_PX)
    hill: Floats = np.exp(-0.5 * (across * across + down * down))
    return hill.astype(np.float32)


def push(moves: Sequence[tuple[Floats, float, float, float, float]]) -> Field:
    """The sum of Gaussian pushes: centre (px), radius x and y, shift x and y (eye distances)."""
    field_x = np.zeros((CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX), np.float32)
    field_y = np.zeros_like(field_x)
    for centre, radius_x, radius_y, shift_x, shift_y in moves:
        hill = bump(centre, radius_x, radius_y) * np.float32(EYE_DISTANCE_PX)
        field_x += np.float32(shift_x) * hill
        field_y += np.float32(shift_y) * hill
    return field_x, field_y


def follow(points: Floats, field: Field) -> Floats:
    """Where points of the picture at rest are found in the moved picture.

    Args:
        points: (K, 2) float, canvas pixels of the picture at rest.
        field: the backward field that moved it.

    Returns:
        (K, 2) float64 with `moved - field(moved) ~= points`, by fixed-point iteration.
    """
    start = np.asarray(points, np.float64)
    moved = start.copy()
    for _ in range(6):  # the fields contract by 0.6 or better: six rounds leave less than 0.1 px of a 0.3 eye shift
        at = moved.astype(np.float32).reshape(1, -1, 2)
        shifts = [cv2.remap(part, at[..., 0], at[..., 1], cv2.INTER_LINEAR)[0] for part in field]
        moved = start + np.stack(shifts, axis=1)
    return moved


def move(picture: Floats, field: Field) -> Floats:
    """A canvas picture, (352, 400) or (352, 400, 3) float32, moved by a field; edges are continued outward."""
    x, y = grid()
    moved = cv2.remap(picture, x - field[0], y - field[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, picture.dtype)


def along_mouth(values: Floats, at: Floats, x: Floats) -> Floats:
    """Linear interpolation over the width of the mouth; `at` is made increasing first, as moved lips may not be."""
    return np.interp(x, np.maximum.accumulate(at), values)
