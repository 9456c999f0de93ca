"""A person made from a photograph: cut out, brought to rest, given another face shape and other colours."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from emopipe.datasets import phantom_canvas as canvas
from emopipe.datasets.phantom_canvas import EYE_DISTANCE_PX, Field
from emopipe.errors import LandmarkError
from emopipe.typing import Floats, Image

SMILE_FREE_CORNER_LIFT = -0.01  # eye distances by which the corners of a mouth at rest lie above its centre
WIDEST_MOUTH_AT_REST = 0.80  # eye distances


@dataclass(frozen=True)
class Head:
    """A person on the canvas, at rest, with the mouth closed.

    Attributes:
        colour: (352, 400, 3) float32 RGB, 0 to 255.
        matte: (352, 400) float32, 1 where the person is, soft at the rim.
        landmarks: (68, 2) float64, pixels of the canvas.
    """

    colour: Floats
    matte: Floats
    landmarks: Floats


def make_head(portrait: Image, landmarks: Floats, identity: np.random.Generator) -> Head:
    """One subject's head from a photograph.

    The same photograph with another generator is another subject: jaw, chin, nose, mouth and eyes are moved by smooth
    random fields, and skin, hair and clothes change colour.

    Args:
        portrait: (H, W, 3) uint8 RGB, one face seen from the front.
        landmarks: (68, 2) float, pixels of the portrait.
        identity: source of this subject's shape and colours.

    Returns:
        The head on the canvas.

    Raises:
        LandmarkError: the eyes coincide or a landmark is not finite.
    """
    given = np.asarray(landmarks, np.float64)
    colour, matte, points = _person(portrait.tobytes(), portrait.shape, given.tobytes(), given.shape)
    for make_field in (_close_mouth, _relax_mouth):
        field = make_field(points)
        colour, matte, points = canvas.move(colour, field), canvas.move(matte, field), canvas.follow(points, field)
    field = _other_shape(points, identity)
    colour, matte, points = canvas.move(colour, field), canvas.move(matte, field), canvas.follow(points, field)
    return Head(_recolour(colour, points, identity), np.clip(matte, 0, 1), points)


@functools.lru_cache(maxsize=4)
def _person(portrait: bytes, size: tuple[int, ...], landmarks: bytes, shape: tuple[int, ...]) -> tuple[Floats, ...]:
    """Colour, matte and landmarks on the canvas; remembered, as it takes most of the time of a short clip."""
    image, given = np.frombuffer(portrait, np.uint8).reshape(size), np.frombuffer(landmarks).reshape(shape)
    colour, points = _to_canvas(image, given)
    matte = _cut_out(colour, points)
    person = _bleed(colour, matte), matte, points
    for array in person:
        array.flags.writeable = False  # the next clip is given the same ones
    return person


def _to_canvas(portrait: Image, points: Floats) -> tuple[Floats, Floats]:
    left, right = points[canvas.LEFT_EYE].mean(axis=0), points[canvas.RIGHT_EYE].mean(axis=0)
    across = right - left
    distance = float(np.hypot(*across))
    if not np.isfinite(points).all() or distance < 1:
        raise LandmarkError(f"Expected 68 finite landmarks with two eyes. Received: eyes {distance:.1f} px apart.")
    # A similarity as one complex factor: turns the line of the eyes level and gives it its length.
    factor = EYE_DISTANCE_PX * complex(across[0], -across[1]) / distance**2
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    shift = np.array(canvas.EYES_CENTRE_PX) - turn @ ((left + right) / 2)
    matrix = np.column_stack([turn, shift])
    if abs(factor) < 0.5:  # a large photograph would alias
        portrait = np.asarray(cv2.GaussianBlur(portrait, (0, 0), 0.4 / abs(factor)), np.uint8)
    size = (canvas.CANVAS_WIDTH_PX, canvas.CANVAS_HEIGHT_PX)
    warped = cv2.warpAffine(portrait, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    colour = np.clip(warped.astype(np.float32), 0, 255)
    _soften_continuation(colour, float((turn @ [0, portrait.shape[0] - 1] + shift)[1]))
    return colour, points @ turn.T + shift


def _soften_continuation(colour: Floats, last_row: float) -> None:
    """Below its last row the photograph is continued as vertical streaks; blur them along x, in place."""
    first = int(np.clip(last_row - 3, 1, len(colour)))
    if first < len(colour):
        depth = np.linspace(0, 1, len(colour) - first, dtype=np.float32)[:, None, None]
        blurred = gaussian_filter1d(colour[first:], 9, axis=1, mode="nearest")
        colour[first:] = colour[first:] * (1 - depth) + blurred * depth


def _cut_out(colour: Floats, points: Floats) -> Floats:
    """A soft matte of head, hair, neck and shoulders by GrabCut, told by the landmarks where to look."""
    x, y = canvas.grid()
    eye = EYE_DISTANCE_PX
    chin_x, chin_y = points[canvas.CHIN]
    face_middle = points[27]
    half_width = 0.5 * (points[16, 0] - points[0, 0])
    ellipse = np.hypot((x - chin_x) / (half_width + 0.75 * eye), (y - face_middle[1] + 0.35 * eye) / (2.15 * eye))
    shoulders = y > chin_y + 0.25 * eye + np.maximum(0, np.abs(x - chin_x) - 0.9 * eye) * 0.33
    neck = (y > chin_y - 0.5 * eye) & (np.abs(x - chin_x) < 0.9 * eye)
    state = np.full(x.shape, cv2.GC_BGD, np.uint8)
    state[(ellipse < 1.25) | shoulders | neck] = cv2.GC_PR_BGD
    state[(ellipse < 0.92) | (shoulders & (np.abs(x - chin_x) < 2.6 * eye)) | neck] = cv2.GC_PR_FGD
    face = np.zeros_like(state)
    cv2.fillConvexPoly(face, cv2.convexHull(points.astype(np.int32)), 1)
    state[cv2.erode(face, np.ones((3, 3), np.uint8)) > 0] = cv2.GC_FGD
    state[(np.abs(x - chin_x) < 0.45 * eye) & (y > chin_y)] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # GrabCut starts from OpenCV's own k-means, whose state earlier calls would have moved
    models = np.zeros((1, 65)), np.zeros((1, 65))
    no_rectangle = (0, 0, 0, 0)  # the mask says where to look
    cv2.grabCut(colour.astype(np.uint8)[..., ::-1].copy(), state, no_rectangle, *models, 6, cv2.GC_INIT_WITH_MASK)
    person = ((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)).astype(np.uint8)
    person = cv2.morphologyEx(person, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    person = cv2.morphologyEx(person, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    # Collars are open and lie in shadow, so GrabCut tears them: below the chin small bays are filled.
    filled = cv2.morphologyEx(person, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (37, 37)))
    person = np.where(y > chin_y - 0.2 * eye, filled, person)
    _, parts = cv2.connectedComponents(person)
    person = (parts == parts[int(face_middle[1]), int(face_middle[0])]).astype(np.float32)
    # Drawn in by a pixel and a half, so that the photograph's own background does not shine round the hair.
    matte: Floats = np.clip(2.0 * cv2.GaussianBlur(person, (0, 0), 2.2) - 1.0, 0, 1)
    return (matte * canvas.smooth_step(np.minimum(x, canvas.CANVAS_WIDTH_PX - 1 - x) / 14)).astype(np.float32)


def _bleed(colour: Floats, matte: Floats) -> Floats:
    """The person's colours continued outward over the rim, in place of the photograph's background."""
    inside = (matte > 0.9).astype(np.float32)
    weight = cv2.GaussianBlur(inside, (0, 0), 4)[..., None]
    outward = cv2.GaussianBlur(colour * inside[..., None], (0, 0), 4) / np.maximum(weight, 1e-3)
    keep = np.maximum(
        cv2.GaussianBlur(inside, (0, 0), 1)[..., None] * inside[..., None], 1 - np.minimum(weight * 50, 1)
    )
    return np.asarray(colour * keep + outward * (1 - keep))


def _close_mouth(points: Floats) -> Field:
    """Bring the lips of an open mouth together; nothing to do where they touch."""
    x, y = canvas.grid()
    row = x[0]
    top = canvas.along_mouth(points[canvas.UPPER_INNER_LIP, 1], points[canvas.UPPER_INNER_LIP, 0], row)
    bottom = canvas.along_mouth(points[canvas.LOWER_INNER_LIP, 1], points[canvas.LOWER_INNER_LIP, 0], row)
    gap = np.where((row > points[60, 0]) & (row < points[64, 0]), np.maximum(bottom - top, 0), 0)
    middle = gaussian_filter1d((top + bottom) / 2, 2)
    half = gaussian_filter1d(gap, 2) / 2 + np.where(gap > 0, 0.5, 0)
    reach = 0.42 * EYE_DISTANCE_PX
    fade = 1 - canvas.smooth_step(np.abs(y - middle) / reach)
    shift = np.where(y < middle, half, -half) * fade
    return np.zeros_like(x), shift.astype(np.float32)


def _relax_mouth(points: Floats) -> Field:
    """Take a smile out of a portrait: corners back to the height of the mouth's centre, and inward."""
    left, right = points[canvas.LEFT_CORNER], points[canvas.RIGHT_CORNER]
    centre = points[[62, 66]].mean(axis=0)
    lift = (centre[1] - (left[1] + right[1]) / 2) / EYE_DISTANCE_PX
    excess = max(0.0, (right[0] - left[0]) / EYE_DISTANCE_PX - WIDEST_MOUTH_AT_REST) / 2
    down = float(np.clip(1.4 * (lift - SMILE_FREE_CORNER_LIFT), -0.05, 0.2))  # 1.4: the push fades along its own way
    return canvas.push(
        [
            (left, 0.26, 0.30, min(excess, 0.12), down),
            (right, 0.26, 0.30, -min(excess, 0.12), down),
        ]
    )


def _other_shape(points: Floats, identity: np.random.Generator) -> Field:
    """A random face shape, left and right alike but for a little."""
    draw = identity.normal
    jaw, cheek, chin, nose_width, nose_length = draw(0, [0.06, 0.05, 0.06, 0.025, 0.03])
    mouth_width, mouth_height, lips, eye_spacing, eye_size, brow = draw(0, [0.03, 0.02, 0.02, 0.03, 0.018, 0.025])
    forehead, tilt = draw(0, [0.08, 0.012])
    moves = [
        (points[5], 0.45, 0.45, -jaw, 0.0),
        (points[11], 0.45, 0.45, jaw, 0.0),
        (points[2], 0.45, 0.5, -cheek, 0.0),
        (points[14], 0.45, 0.5, cheek, 0.0),
        (points[canvas.CHIN], 0.8, 0.35, 0.0, chin),
        (points[31], 0.16, 0.2, -nose_width, 0.0),
        (points[35], 0.16, 0.2, nose_width, 0.0),
        (points[canvas.NOSE_BASE], 0.3, 0.3, 0.0, nose_length),
        (points[canvas.LEFT_CORNER], 0.2, 0.2, -mouth_width, tilt),
        (points[canvas.RIGHT_CORNER], 0.2, 0.2, mouth_width, -tilt),
        (points[66], 0.5, 0.3, 0.0, mouth_height),
        (points[57], 0.25, 0.14, 0.0, lips),
        (points[37:39].mean(axis=0), 0.22, 0.14, -eye_spacing, -eye_size + tilt),
        (points[43:45].mean(axis=0), 0.22, 0.14, eye_spacing, -eye_size - tilt),
        (points[40:42].mean(axis=0), 0.22, 0.14, -eye_spacing, eye_size + tilt),
        (points[46:48].mean(axis=0), 0.22, 0.14, eye_spacing, eye_size - tilt),
        (points[19], 0.4, 0.2, 0.0, brow + tilt),
        (points[24], 0.4, 0.2, 0.0, brow - tilt),
        (points[27] - [0, 1.2 * EYE_DISTANCE_PX], 1.2, 0.6, 0.0, forehead),
    ]
    return canvas.push(moves)


def _recolour(colour: Floats, points: Floats, identity: np.random.Generator) -> Floats:
    """Other skin, hair and clothes: a tone curve and a shift in CIE L*a*b*, with the hue turned away from the skin."""
    lab = cv2.cvtColor(np.clip(colour / 255, 0, 1).astype(np.float32), cv2.COLOR_RGB2LAB)
    face = np.zeros(lab.shape[:2], np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull(points.astype(np.int32)), 1)
    skin = np.median(lab[face > 0], axis=0)
    off_skin = np.hypot(lab[..., 1] - skin[1], lab[..., 2] - skin[2]) / 22
    # Lips and eyes differ from skin too; the face hull keeps its own hue.
    turned = canvas.smooth_step(off_skin - 0.4) * (1 - cv2.GaussianBlur(face.astype(np.float32), (0, 0), 8))
    angle = identity.uniform(-np.pi, np.pi)
    cos, sin = np.cos(angle * turned), np.sin(angle * turned)
    green_red, blue_yellow = lab[..., 1].copy(), lab[..., 2].copy()
    lab[..., 1] = cos * green_red - sin * blue_yellow + identity.normal(0.5, 1.5)
    lab[..., 2] = sin * green_red + cos * blue_yellow + identity.normal(0, 2.5)
    tone = float(np.exp(identity.uniform(-0.25, 0.55)))  # above 1 darkens: skin from light to brown
    lab[..., 0] = 100 * (np.clip(lab[..., 0], 0, 100) / 100) ** tone
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * np.float32(255)
