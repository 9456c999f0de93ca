"""Facial actions on a head: smooth displacement fields made once per subject, a mouth that opens, lids that close.

The picture of one moment costs one weighted sum of fields and one `cv2.remap` over the face.
"""

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from emopipe.datasets import phantom_canvas as canvas
from emopipe.datasets.phantom_canvas import EYE_DISTANCE_PX, Field
from emopipe.datasets.phantom_portrait import Head
from emopipe.typing import Floats

# Names and signs: an activation of 1 is strong, 0 is rest; FACS action units in brackets (Ekman & Friesen 1978).
ACTIONS: Final = (
    "smile",  # corners up and out (12)
    "corner_down",  # (15)
    "cheek_raise",  # cheeks and lower lids up (6)
    "brow_raise",  # (1 + 2)
    "brow_lower",  # down and together (4)
    "upper_lip_raise",  # (10)
    "lip_stretch",  # corners outward (20); negative: pursed (18)
    "jaw_drop",  # (26)
    "lid_open",  # wide above 0 (5), drooping below
    "blink",  # 1 is closed (45)
    "gaze",  # the eyes to the picture's right; not an expression
    "yaw",  # the head turned: the nose moves against the outline; not an expression
    "pitch",
)
_JAW_SHIFT = 0.30  # eye distances of a full jaw drop
_UPPER_LIP_SHIFT = 0.07
_LID_SHIFT = 0.065
_GAZE_SHIFT = 0.055


class Face:
    """The moving part of one subject's head.

    Args:
        head: the head at rest.
        identity: source of the colour of mouth and teeth.
    """

    def __init__(self, head: Head, identity: np.random.Generator):
        self._rest = np.dstack([head.colour, head.matte])
        points = head.landmarks
        eye = EYE_DISTANCE_PX
        x0, x1 = int(points[:17, 0].min() - 0.9 * eye), int(points[:17, 0].max() + 0.9 * eye)
        y0, y1 = int(points[17:27, 1].min() - 1.3 * eye), int(points[canvas.CHIN, 1] + 1.0 * eye)
        self._window = np.s_[
            max(y0, 0) : min(y1, canvas.CANVAS_HEIGHT_PX), max(x0, 0) : min(x1, canvas.CANVAS_WIDTH_PX)
        ]
        self._grid = tuple(np.ascontiguousarray(part[self._window]) for part in canvas.grid())
        fields = smooth_fields(points)
        self._smooth_names = tuple(fields)
        rim = _rim(self._grid[0].shape)
        window_fields = [np.stack([part[self._window] * rim for part in field]) for field in fields.values()]
        self._smooth = np.stack(window_fields).reshape(len(fields), -1)  # (K, 2 * h * w)
        self._mouth = _Mouth(points, self._grid, identity)
        self._eyes = [_Eye(points[part], self._grid) for part in (canvas.LEFT_EYE, canvas.RIGHT_EYE)]

    def show(self, activation: Mapping[str, float]) -> Floats:
        """The head's colours with these actions.

        Args:
            activation: name of an action -> how strong; all of `ACTIONS`.

        Returns:
            (352, 400, 4) float32 RGB, 0 to 255, and the matte, 0 to 1.
        """
        weights = np.array([activation[name] for name in self._smooth_names], np.float32)
        # Not `@`: BLAS adds in another order with another number of threads, and the pixels must not depend on that.
        shift_x, shift_y = np.einsum("k,kn->n", weights, self._smooth).reshape(2, *self._grid[0].shape)
        opening = self._mouth.open(shift_x, shift_y, activation["jaw_drop"], activation["upper_lip_raise"])
        map_x, map_y = self._grid[0] - shift_x, self._grid[1] - shift_y
        for eye in self._eyes:
            eye.set_lids(map_x, map_y, activation["lid_open"], activation["blink"], activation["gaze"])
        shown = self._rest.copy()
        moved = cv2.remap(self._rest, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        face = np.asarray(moved, self._rest.dtype)
        self._mouth.paint(face[..., :3], opening)
        shown[self._window] = face
        return shown


def smooth_fields(points: Floats) -> dict[str, Field]:
    """Displacement fields of the actions that tear nothing, at activation 1.

    Args:
        points: (68, 2) landmarks of the head at rest, canvas pixels.
    """
    left, right = points[canvas.LEFT_CORNER], points[canvas.RIGHT_CORNER]
    eyes = points[canvas.LEFT_EYE].mean(axis=0), points[canvas.RIGHT_EYE].mean(axis=0)
    cheeks = [
        (corner + eye) / 2 + [side * 0.12 * EYE_DISTANCE_PX, 6]
        for corner, eye, side in ((left, eyes[0], -1), (right, eyes[1], 1))
    ]
    below = [eye + [0, 0.26 * EYE_DISTANCE_PX] for eye in eyes]
    nose = (points[canvas.NOSE_TIP] + points[28]) / 2
    return {
        "smile": canvas.push([(left, 0.32, 0.28, -0.11, -0.16), (right, 0.32, 0.28, 0.11, -0.16),
                              (points[57], 0.25, 0.2, 0.0, 0.03)]),
        "corner_down": canvas.push([(left, 0.24, 0.24, -0.01, 0.14), (right, 0.24, 0.24, 0.01, 0.14),
                                    (points[57], 0.2, 0.18, 0.0, -0.035)]),
        "cheek_raise": canvas.push([(cheeks[0], 0.26, 0.2, -0.02, -0.07), (cheeks[1], 0.26, 0.2, 0.02, -0.07),
                                    (below[0], 0.22, 0.1, 0.0, -0.035), (below[1], 0.22, 0.1, 0.0, -0.035)]),
        "brow_raise": _brows(points, shift_x=0.0, shift_y=-0.145),
        "brow_lower": _brows(points, shift_x=0.05, shift_y=0.11),
        "lip_stretch": canvas.push([(left, 0.22, 0.2, -0.10, 0.01), (right, 0.22, 0.2, 0.10, 0.01)]),
        "yaw": canvas.push([(nose, 0.55, 0.75, 0.20, 0.0), (points[canvas.NOSE_TIP], 0.22, 0.22, 0.07, 0.0)]),
        "pitch": canvas.push([(nose, 0.8, 0.75, 0.0, 0.16), (points[canvas.NOSE_TIP], 0.25, 0.22, 0.0, 0.05)]),
    }  # fmt: skip


def _brows(points: Floats, shift_x: float, shift_y: float) -> Field:
    """Both brows moved: wholly at the brow, not at all at the lid below it, fading into the forehead above."""
    x, y = canvas.grid()
    field_x, field_y = np.zeros_like(x), np.zeros_like(x)
    for brow, lid, inward in ((points[17:22], points[37:39], 1.0), (points[22:27], points[43:45], -1.0)):
        height = np.interp(x[0], brow[:, 0], brow[:, 1])
        lid_height = lid[:, 1].mean() - 0.08 * EYE_DISTANCE_PX  # lashes stay with the eye
        # Stated where the raised brow will be: stated where it was, the field would fold the skin above the eye.
        raised = min(shift_y, 0.0) * EYE_DISTANCE_PX
        low = np.minimum(height + raised + 0.07 * EYE_DISTANCE_PX, lid_height - 2)
        under = canvas.smooth_step((lid_height - y) / (lid_height - low))
        above = canvas.smooth_step((y - height + 0.95 * EYE_DISTANCE_PX) / (0.8 * EYE_DISTANCE_PX))
        half = (brow[4, 0] - brow[0, 0]) / 2
        across = canvas.smooth_step(1.75 - np.abs(x - brow[:, 0].mean()) / half)
        weight = (under * above * across * EYE_DISTANCE_PX).astype(np.float32)
        field_x += inward * shift_x * weight
        field_y += shift_y * weight
    return field_x, field_y


def _rim(shape: tuple[int, ...]) -> Floats:
    """1 inside, 0 on the border of the window: the face joins the rest of the head without a seam."""
    down = np.minimum(np.arange(shape[0]), np.arange(shape[0])[::-1])[:, None]
    across = np.minimum(np.arange(shape[1]), np.arange(shape[1])[::-1])[None]
    return canvas.smooth_step(np.minimum(down, across) / 16).astype(np.float32)


class _Mouth:
    """The one place where the skin parts: above the line of the lips one field, below it another, dark between."""

    def __init__(self, points: Floats, grid: tuple[Floats, ...], identity: np.random.Generator):
        self._x, self._y = grid
        self._origin = np.array([self._x[0, 0], self._y[0, 0]], np.float64)
        line = (points[list(canvas.UPPER_INNER_LIP)] + points[list(canvas.LOWER_INNER_LIP)]) / 2
        # The corners of the mark-up's inner lips lie inside the mouth; the outer ones are where the skin parts.
        line[0], line[-1] = points[canvas.LEFT_CORNER], points[canvas.RIGHT_CORNER]
        # A parabola through the marks: their own zigzag of a pixel would show as a zigzag of teeth.
        across = np.linspace(line[0, 0], line[-1, 0], 9)
        line = np.column_stack([across, np.polyval(np.polyfit(line[:, 0], line[:, 1], 2), across)])
        self._line = line
        eye, middle = EYE_DISTANCE_PX, line[:, 1].mean()
        self._chin_ramp = canvas.smooth_step((self._y - middle - 0.14 * eye) / (0.5 * eye))
        chin_y, chin_x = points[canvas.CHIN, 1], points[canvas.CHIN, 0]
        across = canvas.smooth_step(1.35 - np.abs(self._x - chin_x) / (0.95 * eye))
        under_chin = canvas.smooth_step((chin_y + 0.75 * eye - self._y) / (0.6 * eye))
        self._chin_field = (self._chin_ramp * across * under_chin).astype(np.float32)
        self._lip_fade = (1 - self._chin_ramp).astype(np.float32)
        nose_y = points[canvas.NOSE_BASE, 1]
        self._upper_fade = canvas.smooth_step((self._y - nose_y) / (middle - nose_y)).astype(np.float32)
        self._cavity = np.array([58, 18, 18], np.float32) * np.float32(identity.uniform(0.6, 1.1))
        self._teeth = np.array([222, 212, 196], np.float32) * np.float32(identity.uniform(0.75, 0.95))
        self._tongue = np.array([150, 74, 74], np.float32) * np.float32(identity.uniform(0.7, 1.0))

    def open(self, shift_x: Floats, shift_y: Floats, jaw: float, lip: float) -> tuple[Floats, Floats, Floats]:
        """Add jaw and upper lip to the smooth shift, in place. Returns upper edge, lower edge and width per column."""
        jaw_px = max(jaw, 0.0) * _JAW_SHIFT * EYE_DISTANCE_PX
        lip_px = max(lip, 0.0) * _UPPER_LIP_SHIFT * EYE_DISTANCE_PX
        line = self._follow_line(shift_x, shift_y)
        row = self._x[0]
        height = canvas.along_mouth(line[:, 1], line[:, 0], row)
        u = (2 * row - line[0, 0] - line[-1, 0]) / (line[-1, 0] - line[0, 0])
        profile = np.clip(1 - u * u, 0, None).astype(np.float32) ** np.float32(0.8)
        below = self._y > height[None].astype(np.float32)
        shift_y += below * (jaw_px * (self._lip_fade * profile + self._chin_field))
        # Lips that touch part only once the lift is more than the lips' own give.
        shift_y -= ~below * (lip_px * (self._upper_fade * profile))
        return height - lip_px * profile, height + jaw_px * profile, u

    def _follow_line(self, shift_x: Floats, shift_y: Floats) -> Floats:
        moved = self._line.copy()
        for _ in range(5):
            at = (moved - self._origin).astype(np.float32)[None]
            moved = self._line + np.stack(
                [cv2.remap(part, at[..., 0], at[..., 1], cv2.INTER_LINEAR)[0] for part in (shift_x, shift_y)], axis=1
            )
        return moved

    def paint(self, face: Floats, opening: tuple[Floats, Floats, Floats]) -> None:
        """Fill the space between the lips, in place: cavity, upper teeth, tongue."""
        upper, lower, u = opening
        gap = float((lower - upper).max())
        if gap < 0.8:
            return
        columns = np.flatnonzero(np.abs(u) < 1)
        span = slice(columns[0], columns[-1] + 1)
        first = int(max(upper[span].min() - self._origin[1] - 2, 0))
        last = int(min(lower[span].max() - self._origin[1] + 3, len(face)))
        y = self._y[first:last, span]
        top, bottom, u = (part[span].astype(np.float32)[None] for part in (upper, lower, u))
        inside = np.clip(y - top + 0.2, 0, 1) * np.clip(bottom - y + 0.2, 0, 1)
        depth = (y - top) / np.maximum(bottom - top, 1e-3)
        edge = canvas.smooth_step(1.15 - np.abs(u))  # the corners lie in the shadow of the cheeks
        teeth_px = min(0.11 * EYE_DISTANCE_PX, 0.55 * gap)
        teeth = np.clip(top + teeth_px * (1 - 0.5 * u * u) - y + 0.5, 0, 1) * canvas.smooth_step((0.82 - np.abs(u)) * 5)
        teeth = teeth * canvas.smooth_step((y - top + 1.2) / 2)  # the lip's shadow
        tongue = canvas.smooth_step((depth - 0.6) / 0.35) * canvas.smooth_step((0.75 - np.abs(u)) * 4)
        tongue = tongue * float(canvas.smooth_step(np.array(gap / EYE_DISTANCE_PX - 0.08) * 8))
        colour = self._cavity * (0.5 + 0.5 * edge[..., None])
        colour = colour + 0.75 * tongue[..., None] * (self._tongue - colour)
        colour = colour + 0.9 * teeth[..., None] * (self._teeth * (0.6 + 0.4 * edge[..., None]) - colour)
        patch = face[first:last, span]
        patch += inside[..., None] * (colour - patch)


class _Eye:
    """One eye: the upper lid slides over the ball, opens wider, and the iris moves."""

    def __init__(self, outline: Floats, grid: tuple[Floats, ...]):
        x, y = grid
        eye = EYE_DISTANCE_PX
        self._x, self._y = outline[:, 0], outline[:, 1]
        rows = np.flatnonzero((y[:, 0] > self._y.min() - 0.45 * eye) & (y[:, 0] < self._y.max() + 0.2 * eye))
        columns = np.flatnonzero((x[0] > self._x.min() - 0.1 * eye) & (x[0] < self._x.max() + 0.1 * eye))
        self._patch = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

    def set_lids(self, map_x: Floats, map_y: Floats, lid_open: float, blink: float, gaze: float) -> None:
        """Change the map where this eye is, in place."""
        x, y = map_x[self._patch], map_y[self._patch]
        upper = np.interp(x, self._x[:4], self._y[:4])
        lower = np.interp(x, self._x[[0, 5, 4, 3]], self._y[[0, 5, 4, 3]]) + 0.6
        height = np.maximum(lower - upper, 0)
        open_height = float(height.max())
        wide_px = lid_open * _LID_SHIFT * EYE_DISTANCE_PX
        closed = np.clip(blink + max(-wide_px, 0.0) / open_height, 0, 1)
        widened = max(wide_px, 0.0) * (1 - min(blink, 1.0))
        share = height / open_height  # 0 at the corners, where the lids meet
        lid = upper + closed * height * 0.96 - widened * share
        crease = upper - 0.24 * EYE_DISTANCE_PX
        skin = crease + (y - crease) * (upper - crease) / (lid - crease)
        # Wider than the photograph the ball is stretched upward; narrower, the lid covers it.
        ball = lower - (lower - y) * np.minimum(height / np.maximum(lower - lid, 1e-3), 1.0)
        in_skin, in_ball = (y > crease) & (y < lid), (y >= lid) & (y < lower)
        centre = self._x.mean()
        u = 2 * (x - centre) / (self._x[3] - self._x[0])
        give = np.clip(1 - u * u, 0, None) * np.clip((lower - y) / np.maximum(height, 1), 0, 1) ** 0.5
        map_x[self._patch] = np.where(in_ball, x - gaze * _GAZE_SHIFT * EYE_DISTANCE_PX * give, x)
        map_y[self._patch] = np.where(in_skin, skin, np.where(in_ball, ball, y))
