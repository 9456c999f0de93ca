"""Which face is the clip's person, and where a scene ends."""

import cv2
import numpy as np
import pytest
import skimage.data

from emopipe.faces.tracking import MAX_MISSED, CutFinder, FaceTracker, intersection_over_union
from emopipe.records import Detections

WIDTH = 1000


def faces(*squares: tuple[float, float, float]) -> Detections:
    """Detections from (centre x, centre y, side)."""
    boxes = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s in squares], np.float32).reshape(-1, 4)
    return Detections(boxes, np.ones(len(boxes), np.float32), np.full((len(boxes), 5, 2), np.nan, np.float32))


NOBODY = faces()


def choices(tracker: FaceTracker, *frames: Detections) -> list[tuple[int | None, int]]:
    return [(tracker.choose(found, WIDTH), tracker.track) for found in frames]


def test_a_track_begins_with_the_largest_face():
    assert choices(FaceTracker(), faces((200, 100, 50), (700, 100, 90), (500, 300, 60))) == [(1, 0)]


def test_two_faces_that_swap_sizes_do_not_swap_places():
    frames = [faces((300, 100, 100 - 4 * i), (700, 100, 60 + 4 * i)) for i in range(16)]
    assert choices(FaceTracker(), *frames) == [(0, 0)] * 16


def test_the_order_in_which_faces_are_listed_does_not_matter():
    frames = [faces((300, 100, 100)), faces((301, 100, 100))]
    frames += [faces((450, 100, 110), (303, 100, 100)), faces((304, 100, 100), (450, 100, 110))]
    assert choices(FaceTracker(), *frames) == [(0, 0), (0, 0), (1, 0), (0, 0)]


def test_another_person_is_never_taken_instead_until_the_track_is_over():
    tracker = FaceTracker()
    start = choices(tracker, faces((300, 100, 100), (700, 100, 80)))
    alone = choices(tracker, *[faces((700, 100, 80))] * (MAX_MISSED + 2))
    assert start == [(0, 0)]
    assert alone == [(None, 0)] * MAX_MISSED + [(None, 0), (0, 1)]


def test_a_face_that_comes_back_in_time_continues_its_track():
    tracker = FaceTracker()
    choices(tracker, faces((300, 100, 100)))
    assert choices(tracker, *[NOBODY] * MAX_MISSED) == [(None, 0)] * MAX_MISSED
    assert choices(tracker, faces((360, 100, 100))) == [(0, 0)]
    assert choices(tracker, *[NOBODY] * (MAX_MISSED + 1), faces((360, 100, 100)))[-1] == (0, 1)


def test_a_jump_across_the_picture_or_a_leap_in_size_is_another_face():
    bystander = (900, 400, 60)
    for other in ((500, 100, 100), (300, 100, 300)):
        tracker = FaceTracker()
        found = choices(tracker, faces((300, 100, 100), bystander), faces(other, bystander), faces(other))
        assert found == [(0, 0), (None, 0), (None, 0)]


def test_a_lone_face_that_jumps_begins_a_new_track_at_once():
    tracker = FaceTracker()
    assert choices(tracker, faces((300, 100, 100)), faces((600, 100, 100))) == [(0, 0), (0, 1)]
    assert choices(tracker, NOBODY, faces((300, 100, 200))) == [(None, 1), (0, 2)]
    sided = FaceTracker("left")
    assert choices(sided, faces((300, 100, 100)), faces((600, 100, 100))) == [(0, 0), (None, 0)]


def test_a_cut_starts_a_new_track_at_the_same_place():
    tracker = FaceTracker()
    choices(tracker, faces((300, 100, 100), (700, 100, 80)))
    tracker.cut()
    assert choices(tracker, faces((300, 100, 80), (700, 100, 100))) == [(1, 1)]


@pytest.mark.parametrize(("side", "named"), [("left", 0), ("right", 1)])
def test_of_two_faces_the_named_side_is_taken_whatever_the_sizes(side, named):
    sizes = [100, 60]
    for pair in (sizes, sizes[::-1]):
        found = faces((300, 100, pair[0]), (700, 100, pair[1]))
        assert choices(FaceTracker(side), found) == [(named, 0)]


def test_bystanders_do_not_count_as_the_person_at_the_side():
    crowd = faces((50, 50, 20), (300, 100, 100), (700, 100, 90), (950, 50, 30))
    assert choices(FaceTracker("left"), crowd) == [(1, 0)]
    assert choices(FaceTracker("right"), crowd) == [(2, 0)]


def test_a_single_face_must_stand_in_the_named_half():
    left_face = faces((300, 100, 100))
    assert choices(FaceTracker("left"), left_face) == [(0, 0)]
    assert choices(FaceTracker("right"), left_face, left_face) == [(None, -1), (None, -1)]


def test_the_side_decides_again_when_the_second_person_appears():
    # The right-hand person leans into the left half before the left-hand person is seen.
    tracker = FaceTracker("left")
    assert choices(tracker, faces((480, 100, 100))) == [(0, 0)]
    assert choices(tracker, faces((490, 100, 100), (200, 100, 90))) == [(1, 1)]
    assert choices(tracker, faces((490, 100, 100), (205, 100, 90))) == [(1, 1)]


def test_after_that_the_two_may_change_places():
    tracker = FaceTracker("left")
    frames = [faces((300 + 20 * i, 100, 100), (700 - 20 * i, 300, 100)) for i in range(21)]
    assert choices(tracker, *frames) == [(0, 0)] * 21


def test_overlap_of_boxes():
    box = np.array([0.0, 0, 10, 10])
    assert intersection_over_union(box, box) == 1
    assert intersection_over_union(box, box + 10) == 0
    assert intersection_over_union(box, np.array([5.0, 0, 15, 10])) == pytest.approx(1 / 3)


def cuts(images: list[np.ndarray]) -> list[int]:
    finder = CutFinder()
    return [i for i, image in enumerate(images) if finder.is_cut(image)]


def moving_head(num_frames: int, step_px: int) -> list[np.ndarray]:
    """A portrait that slides over a plain wall and grows, as a head does that moves before the camera."""
    portrait = skimage.data.astronaut()[20:220, 130:330]
    frames = []
    for i in range(num_frames):
        frame = np.full((360, 640, 3), (120, 130, 125), np.uint8)
        side = 200 + 4 * i
        x = 20 + step_px * i
        frame[40 : 40 + side, x : x + side] = cv2.resize(portrait, (side, side))[:, : max(0, 640 - x)]
        frames.append(frame)
    return frames


def test_a_new_scene_is_a_cut():
    first, second = skimage.data.astronaut(), cv2.resize(skimage.data.coffee(), (512, 512))
    third = cv2.resize(skimage.data.chelsea(), (512, 512))
    assert cuts([first, first, second, second, second, third, first]) == [2, 5, 6]


def test_a_black_picture_is_a_cut_and_black_on_black_is_none():
    face, black = skimage.data.astronaut(), np.zeros((512, 512, 3), np.uint8)
    assert cuts([face, black, black, face]) == [1, 3]


def test_a_moving_head_is_no_cut():
    for step_px in (2, 10, 20):
        assert cuts(moving_head(12, step_px)) == []


def test_a_lamp_a_flash_and_noise_are_no_cuts():
    rng = np.random.default_rng(0)
    face = skimage.data.astronaut().astype(float)
    noisy = [np.clip(face + rng.normal(0, 12, face.shape), 0, 255).astype(np.uint8) for _ in range(5)]
    assert cuts(noisy) == []
    assert cuts([np.clip(face * gain, 0, 255).astype(np.uint8) for gain in (1, 0.4, 1.6, 1)]) == []


def test_pictures_of_any_size_are_compared():
    face = skimage.data.astronaut()
    small = [cv2.resize(face, (5, 3)), cv2.resize(face, (1, 1)), cv2.resize(face, (3840, 2160)), face[:, :200]]
    assert cuts([small[0], small[0]]) == [] and cuts([small[1], small[1]]) == [] and cuts([small[2], face]) == []
    assert cuts([small[3], small[3]]) == []
