"""The picture: phantom people before a background, lit, moved, filmed with noise."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from emopipe.datasets import phantom_canvas as canvas
from emopipe.datasets.phantom_affect import Performance
from emopipe.datasets.phantom_canvas import EYE_DISTANCE_PX
from emopipe.datasets.phantom_face import ACTIONS, Face
from emopipe.typing import Bools, Floats, Image

FACE_SHARE = 0.165  # eye distance over picture height: 40 px of 240
VISIBLE_SHARE = 0.6  # of the area between brows and chin that must be seen for a frame to count as having a face


@dataclass(frozen=True)
class Actor:
    """One person in a picture.

    Attributes:
        face: what moves.
        landmarks: (68, 2) at rest, canvas pixels.
        performance: what the person does.
        place: where the person stands, as a share of the picture's width.
        span: share of the width that is the person's own; two people have 0.5 each.
        exit_side: -1 leaves to the left of the picture, 1 to the right.
    """

    face: Face
    landmarks: Floats
    performance: Performance
    place: float = 0.5
    span: float = 1.0
    exit_side: int = 1


@dataclass(frozen=True)
class _Pose:
    """Canvas to picture: the head about the neck, then the body."""

    turn: Floats  # (2, 2) of the head
    pivot: Floats
    head_shift: Floats
    size: float
    shift: Floats

    def place(self, points: Floats) -> Floats:
        """Points of the head, canvas pixels, in the picture."""
        on_body = (points - self.pivot) @ self.turn.T + self.pivot + self.head_shift
        return on_body * self.size + self.shift


class Scene:
    """A place to be filmed in.

    Args:
        width, height: of the picture, px.
        generator: source of background, light and sensor noise.
    """

    def __init__(self, width: int, height: int, generator: np.random.Generator):
        self.width, self.height = width, height
        self._background = _background(width, height, generator)
        self._balance = np.exp(generator.normal(0, 0.035, 3)).astype(np.float32)
        self._card = _muted(generator).astype(np.float32) * 0.7
        noise = generator.normal(0, generator.uniform(2.0, 4.5), (height + 48, width + 48, 3)).astype(np.float32)
        self._noise = cv2.GaussianBlur(noise, (0, 0), 0.6) * np.float32(1.6)
        self._generator = generator
        rows, columns = np.mgrid[:height, :width]
        self._x, self._y = columns.astype(np.float32), rows.astype(np.float32)
        self._across, self._down = 2 * self._x / width - 1, 2 * self._y / height - 1

    def film(self, actors: Sequence[Actor]) -> Iterator[Image]:
        """The frames, each (H, W, 3) uint8 RGB; all actors' performances are equally long."""
        for index in range(len(actors[0].performance.time_s)):
            picture = self._background.copy()
            for actor in actors:
                self._add(picture, actor, index)
            performance = actors[0].performance
            gain, across, down = performance.light[index].astype(np.float32)
            balance = self._balance * performance.balance[index].astype(np.float32)
            light = 1 + gain + across * self._across + down * self._down
            picture *= cv2.merge([light * part for part in balance])  # broadcasting over 3 is 5 times slower
            y, x = self._generator.integers(0, 48, 2)
            picture += self._noise[y : y + self.height, x : x + self.width]
            yield np.clip(picture + 0.5, 0, 255).astype(np.uint8)

    def _add(self, picture: Floats, actor: Actor, index: int) -> None:
        """One person, and whatever passes before that person, in place."""
        motion = {name: float(values[index]) for name, values in actor.performance.motion.items()}
        if motion["leave"] < 1 and motion["cover"] < 1:
            person = actor.face.show({name: float(actor.performance.actions[name][index]) for name in ACTIONS})
            person = self._posed(person, pose_of(actor, index, self.width, self.height), actor)
            alpha = cv2.merge([person[..., 3]] * 3)
            picture += alpha * (cv2.cvtColor(person, cv2.COLOR_RGBA2RGB) - picture)
        if motion["cover"] > 0:
            first, last = self._covered(actor, motion["cover"])
            picture[:, first:last] = self._card * (0.85 + 0.1 * self._down[:, first:last, None])

    def _covered(self, actor: Actor, cover: float) -> tuple[int, int]:
        left, right = (actor.place - actor.span / 2) * self.width, (actor.place + actor.span / 2) * self.width
        return int(left), int(left + np.ceil(cover * (right - left)))

    def _posed(self, person: Floats, pose: _Pose, actor: Actor) -> Floats:
        x = (self._x - np.float32(pose.shift[0])) / np.float32(pose.size)
        y = (self._y - np.float32(pose.shift[1])) / np.float32(pose.size)
        # The head turns about the neck; below the chin the turn fades out, so that the shoulders stay where they are.
        chin = np.float32(actor.landmarks[canvas.CHIN, 1] + 0.15 * EYE_DISTANCE_PX)
        weight = canvas.smooth_step((chin + 1.1 * EYE_DISTANCE_PX - y[:, :1]) / (1.1 * EYE_DISTANCE_PX))
        back = np.linalg.inv(pose.turn)
        change = (back - np.eye(2)).astype(np.float32)
        start = (pose.pivot - back @ (pose.pivot + pose.head_shift)).astype(np.float32)
        map_x = x + weight * (change[0, 0] * x + change[0, 1] * y + start[0])
        map_y = y + weight * (change[1, 0] * x + change[1, 1] * y + start[1])
        np.minimum(map_y, canvas.CANVAS_HEIGHT_PX - 1.5, out=map_y)  # clothes go on below the picture
        moved = cv2.remap(person, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        return np.asarray(moved, person.dtype)


def pose_of(actor: Actor, index: int, width: int, height: int) -> _Pose:
    """Where head and body of an actor are in frame `index` of a picture of this size."""
    motion = {name: float(values[index]) for name, values in actor.performance.motion.items()}
    angle, head_size = motion["head_turn"], motion["head_size"]
    turn = head_size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn * [motion["head_width"], motion["head_height"]]
    pivot = actor.landmarks[canvas.CHIN] + [0, 0.25 * EYE_DISTANCE_PX]
    crowding = np.sqrt(actor.span)  # two people sit a little farther from the camera
    eye_px = FACE_SHARE * min(height, 0.9 * width) * crowding * motion["body_size"]
    size = eye_px / EYE_DISTANCE_PX
    sway = actor.span * motion["body_x"] * eye_px
    # Out means out: from the place to the rim, and half a canvas beyond it.
    way = actor.exit_side * (
        width * (0.5 + actor.exit_side * (0.5 - actor.place)) + 0.5 * canvas.CANVAS_WIDTH_PX * size
    )
    eye_level = (0.65 - 0.2 * actor.span) * height  # smaller people sit lower, so that their clothes reach the rim
    eyes = np.array([actor.place * width + sway + motion["leave"] * way, eye_level + motion["body_y"] * eye_px])
    head_shift = np.array([motion["head_x"], motion["head_y"]]) * EYE_DISTANCE_PX
    return _Pose(turn, pivot, head_shift, size, eyes - size * np.array(canvas.EYES_CENTRE_PX))


def five_points(actor: Actor, index: int, width: int, height: int) -> Floats:
    """(5, 2) true places of eye centres, nose tip and mouth corners, the face at rest; pixels of the picture."""
    marks = actor.landmarks
    rest = np.stack(
        [
            marks[canvas.LEFT_EYE].mean(axis=0),
            marks[canvas.RIGHT_EYE].mean(axis=0),
            marks[canvas.NOSE_TIP],
            marks[canvas.LEFT_CORNER],
            marks[canvas.RIGHT_CORNER],
        ]
    )
    return pose_of(actor, index, width, height).place(rest)


def visible_frames(actor: Actor, width: int, height: int) -> Bools:
    """(T,) whether the face can be seen: in the picture and not covered, by `VISIBLE_SHARE` of its area."""
    visible = np.zeros(len(actor.performance.time_s), bool)
    for index in range(len(visible)):
        points = pose_of(actor, index, width, height).place(actor.landmarks)
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        left = (actor.place - actor.span / 2) * width
        cover = float(actor.performance.motion["cover"][index])
        first = max(x0, 0.0, left + cover * actor.span * width if cover > 0 else 0.0)
        seen = max(min(x1, width) - first, 0) * max(min(y1, height) - max(y0, 0), 0)
        visible[index] = seen >= VISIBLE_SHARE * (x1 - x0) * (y1 - y0)
    return visible


def _background(width: int, height: int, generator: np.random.Generator) -> Floats:
    """An out-of-focus room: a gradient, soft blots, a few blurred upright or level things."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = columns / width, rows / height
    base = _muted(generator)
    slope = generator.uniform(-40, 40, (2, 1)) + generator.uniform(-10, 10, (2, 3))
    picture = base + (x - 0.5)[..., None] * slope[0] + (y - 0.5)[..., None] * slope[1]
    for _ in range(int(generator.integers(3, 8))):
        colour, low = _muted(generator), generator.uniform(0, 0.9, 2)
        extent = generator.uniform(0.05, 0.35, 2)
        inside = (x > low[0]) & (x < low[0] + extent[0]) & (y > low[1] - 0.3) & (y < low[1] + 2 * extent[1])
        picture[inside] = 0.35 * picture[inside] + 0.65 * colour
    coarse = (generator.normal(0, 11, (6, 8, 1)) + generator.normal(0, 4, (6, 8, 3))).astype(np.float32)
    picture = picture + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    blurred = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), height / float(generator.uniform(40, 90)))
    return np.asarray(np.clip(blurred, 8, 247))


def _muted(generator: np.random.Generator) -> Floats:
    """A colour of walls and furniture: any lightness, little saturation."""
    return np.clip(generator.uniform(40, 215) + generator.normal(0, 22, 3), 5, 250)
