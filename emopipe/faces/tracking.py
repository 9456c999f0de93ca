"""Which of the faces in a frame is the clip's person, and where one scene ends and the next begins.

The rule, in this order:

1. A scene cut, or a face missing for more than `MAX_MISSED` frames, ends the track.
2. While a track lives, its face is the one that continues it: nearest in overlap, size and place to where it was
   seen last. A frame without such a face has no face; another person is never taken instead. The exception is a face
   that was alone and is alone, but elsewhere: a jump cut, which begins a new track at once.
3. A new track begins with the largest face. In a clip about the person at the left or the right it begins with the
   leftmost or rightmost of the contenders, which are the faces at least a quarter as large (by area) as the largest. If
   there is only one contender, it must stand in the named half of the picture.
4. A sided track that began on a single face is provisional: when a second contender appears, the side decides
   again. After that only continuity counts, so two people may change places.
"""

from typing import NamedTuple

import numpy as np

from emopipe.records import Detections, Side
from emopipe.typing import Array, Floats, Image

MAX_MISSED = 12  # frames: half a second at 25 Hz, a turn of the head or a hand before the face
MIN_IOU = 0.3  # overlap with the last box that continues a track
MAX_SHIFT = 0.5  # or its centre has moved by at most this part of its side ...
MAX_GROWTH = 1.5  # ... and its side has grown or shrunk by at most this factor
CONTENDER_AREA = 0.25  # a face half as wide as the largest is still a partner; smaller ones are bystanders

THUMBNAIL_PX = (32, 18)
HISTOGRAM_BINS = 8  # per colour
# Consecutive frames of GRID and an expressive Pexels clip correlate by at least 0.94 and differ in at most 2 % of their
# colours, a second apart by 0.54 and 9 %. Unrelated pictures correlate by at most 0.2 and differ in at least 26 %.
MAX_CUT_CORRELATION = 0.7
MIN_CUT_HISTOGRAM = 0.2  # part of the picture whose colour has changed


class FaceTracker:
    """Follows the clip's person through its frames by the rule of this module.

    Attributes:
        track: number of the current track, 0 for the first; -1 before there was one.

    Args:
        side: "left", "right" or "" for clips about one person.
    """

    def __init__(self, side: Side = ""):
        self.side = side
        self.track = -1
        self._box: Floats | None = None  # where the face was seen last; None while no track lives
        self._missed = 0
        self._provisional = False
        self._alone = False

    def cut(self) -> None:
        """End the track: the next face begins a new one."""
        self._box = None

    def miss(self) -> None:
        """Tell that a frame has no face of the person."""
        self._missed += 1
        if self._missed > MAX_MISSED:
            self._box = None

    def follow(self, box: Floats) -> None:
        """Tell where the face is in a frame in which it was followed rather than chosen."""
        self._box, self._missed = box, 0

    def choose(self, faces: Detections, width: int) -> int | None:
        """The index of the person's face, or None when it is not among `faces`.

        Args:
            faces: what was detected in the frame.
            width: of the frame, pixels.
        """
        contenders = _contenders(faces)
        chosen = None
        if self._box is not None:
            chosen = _continuation(faces, self._box, self._missed)
            jumped = chosen is None and self._alone and len(contenders) == 1
            undecided = self.side and self._provisional and len(contenders) > 1
            if jumped or (undecided and chosen != self._outermost(faces, contenders)):
                self.cut()
        if self._box is None and contenders:
            chosen = self._first(faces, contenders, width)
            if chosen is not None:
                self.track += 1
                self._provisional = True
        if chosen is None:
            self.miss()
            return None
        self._alone = len(contenders) == 1
        self._provisional = self._provisional and self._alone
        self.follow(faces.boxes[chosen])
        return chosen

    def _first(self, faces: Detections, contenders: list[int], width: int) -> int | None:
        if not self.side:
            return contenders[0]
        if len(contenders) > 1:
            return self._outermost(faces, contenders)
        centre = float(faces.boxes[contenders[0], [0, 2]].mean())
        return contenders[0] if (centre < width / 2) == (self.side == "left") else None

    def _outermost(self, faces: Detections, contenders: list[int]) -> int:
        pick = min if self.side == "left" else max
        return pick(contenders, key=lambda f: float(faces.boxes[f, [0, 2]].mean()))


def _contenders(faces: Detections) -> list[int]:
    """Indices of the faces that can be a clip's person, largest first."""
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    areas = (sides[:, 0] * sides[:, 1]).tolist()
    order = sorted(range(len(areas)), key=lambda f: -areas[f])
    return [f for f in order if areas[f] >= CONTENDER_AREA * areas[order[0]]]


def _continuation(faces: Detections, box: Floats, missed: int) -> int | None:
    """The face that continues a track last seen at `box`, best overlap first, then the nearest."""
    best, best_rank = None, (0.0, -np.inf)
    side = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
    reach = MAX_SHIFT * (1 + missed / MAX_MISSED)  # it moved on while it was not seen; a whole side at most
    for f, candidate in enumerate(faces.boxes):
        overlap = intersection_over_union(box, candidate)
        growth = float(np.sqrt((candidate[2] - candidate[0]) * (candidate[3] - candidate[1]))) / side
        shift = float(np.hypot(*((candidate[:2] + candidate[2:] - box[:2] - box[2:]) / 2))) / side
        continues = overlap >= MIN_IOU or (shift <= reach and 1 / MAX_GROWTH <= growth <= MAX_GROWTH)
        if continues and (overlap, -shift) > best_rank:
            best, best_rank = f, (overlap, -shift)
    return best


def intersection_over_union(first: Floats, second: Floats) -> float:
    """Overlap of two boxes x0, y0, x1, y1: 1 when they are the same, 0 when they do not touch.

    Examples:
        >>> intersection_over_union(np.array([0., 0., 2., 2.]), np.array([1., 0., 3., 2.])).__round__(3)
        0.333
    """
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return float(width * height / (sum(areas) - width * height))


class _Look(NamedTuple):
    thumbnail: Array
    histogram: Floats


class CutFinder:
    """Tells where one scene ends and the next begins, from consecutive frames.

    Two frames belong to different scenes when their small grey pictures do not correlate and, at the same time, their
    colours are differently distributed. Either alone is not enough: a head that turns before the camera changes the
    picture and keeps its colours; a lamp that is switched on changes the colours and keeps the picture.
    """

    def __init__(self) -> None:
        self._last: _Look | None = None

    def is_cut(self, image: Image) -> bool:
        """Whether a new scene begins with this frame; False for a clip's first frame.

        Args:
            image: (H, W, 3) uint8 RGB, the frame after the one of the call before.
        """
        look = _look(image)
        last, self._last = self._last, look
        if last is None:
            return False
        changed = float(np.abs(look.histogram - last.histogram).sum()) / 2
        return changed > MIN_CUT_HISTOGRAM and _correlation(look.thumbnail, last.thumbnail) < MAX_CUT_CORRELATION


def _look(image: Image) -> _Look:
    import cv2

    # Every n-th pixel is enough for a thumbnail, and a hundred times cheaper than averaging a 2160p frame.
    step = max(1, min(image.shape[0] // (4 * THUMBNAIL_PX[1]), image.shape[1] // (4 * THUMBNAIL_PX[0])))
    sampled = np.ascontiguousarray(image[::step, ::step])
    grey = cv2.cvtColor(sampled, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, THUMBNAIL_PX, interpolation=cv2.INTER_AREA).astype(np.float32)
    counts = [cv2.calcHist([sampled], [channel], None, [HISTOGRAM_BINS], [0, 256]) for channel in range(3)]
    histogram = np.concatenate(counts).ravel() / (3 * grey.size)
    return _Look(thumbnail, np.asarray(histogram, np.float64))


def _correlation(first: Array, second: Array) -> float:
    """Pearson correlation of two pictures; of a picture without contrast 0, unless both have none: then 1."""
    first, second = first - first.mean(), second - second.mean()
    sizes = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if sizes < 1e-6:
        return 1.0 if float((first**2).sum() + (second**2).sum()) < 1e-6 else 0.0
    return float((first * second).sum()) / sizes
