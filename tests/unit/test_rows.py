"""Whole clips of a real face: one row per frame, followed or detected, and never a face that is not there."""

import cv2
import numpy as np
import pytest
import skimage.data

from emopipe.config import FacesConfig
from emopipe.errors import ConfigError
from emopipe.faces.alignment import TEMPLATE, apply_transform
from emopipe.faces.detection import load_detector
from emopipe.faces.landmarks import eye_distance, five_points, load_landmarker
from emopipe.faces.rows import MAX_RESIDUAL_PX, face_rows
from emopipe.records import FACE_FIELDS, Detections, Frame
from emopipe.typing import Image

AGREEMENT = 0.06  # followed against detected landmarks, of the eye distance


class CountingDetector:
    """RetinaFace, and how many pictures it was asked about."""

    name, device, version_digest = "retinaface", "cpu", "counting"

    def __init__(self) -> None:
        self.engine = load_detector("retinaface")
        self.num_frames = 0

    def detect(self, frames: Image) -> list[Detections]:
        self.num_frames += len(frames)
        return self.engine.detect(frames)


@pytest.fixture(scope="module")
def landmarker():
    return load_landmarker()


@pytest.fixture
def detector() -> CountingDetector:
    return CountingDetector()


def scene(x: float = 200, y: float = 30, *, background: int = 110, mirrored: bool = False) -> Image:
    """A 640 x 360 frame with the astronaut's head (about 95 px wide) at (x, y)."""
    portrait = skimage.data.astronaut()[20:220, 130:320]
    portrait = portrait[:, ::-1] if mirrored else portrait
    frame = np.full((360, 640, 3), background, np.uint8)
    motion = np.array([[1, 0, x], [0, 1, y]], np.float64)
    return cv2.warpAffine(portrait, motion, (640, 360), frame, borderMode=cv2.BORDER_TRANSPARENT)


def wall(background: int = 110) -> Image:
    return np.full((360, 640, 3), background, np.uint8)


def rows_of(images, engine, landmarker, side="", chunk=16, **settings):
    frames = (Frame(i, i / 25 + 7, image) for i, image in enumerate(images))
    parts = list(face_rows(frames, FacesConfig(**settings), engine, landmarker, side, chunk=chunk))
    assert all(len(part) == chunk for part in parts[:-1])
    return {name: np.concatenate([part.arrays()[name] for part in parts]) for name in FACE_FIELDS}


def test_every_frame_has_one_row_and_absence_is_explicit(detector, landmarker):
    images = [scene()] * 3 + [wall()] * 2 + [None] + [scene()] * 20
    rows = rows_of(images, detector, landmarker)
    np.testing.assert_array_equal(rows["frame_index"], np.arange(26))
    np.testing.assert_allclose(rows["time_s"], np.arange(26) / 25 + 7)
    np.testing.assert_array_equal(
        rows["valid"], [image is not None and i not in (3, 4) for i, image in enumerate(images)]
    )
    absent = ~rows["valid"]
    for name in ("box", "score", "landmarks", "transform", "residual_px"):
        assert np.isnan(rows[name][absent]).all() and np.isfinite(rows[name][~absent]).all()
    assert (rows["crop"][absent] == 0).all() and (rows["track"][absent] == -1).all()
    assert (rows["track"][~absent] == 0).all()
    assert (rows["crop"][~absent].std(axis=(1, 2, 3)) > 20).all()


def test_a_row_is_consistent_in_itself(detector, landmarker):
    rows = rows_of([scene(), scene(150, 60)], detector, landmarker)
    for i in range(2):
        moved = apply_transform(rows["transform"][i], five_points(rows["landmarks"][i]))
        residual = np.sqrt(((moved - TEMPLATE) ** 2).sum(axis=1).mean())
        assert residual == pytest.approx(rows["residual_px"][i], abs=1e-3) and residual < MAX_RESIDUAL_PX
        centre = five_points(rows["landmarks"][i]).mean(axis=0)
        assert (centre > rows["box"][i, :2]).all() and (centre < rows["box"][i, 2:]).all()
    np.testing.assert_allclose(five_points(rows["landmarks"][1] - rows["landmarks"][0]).mean(axis=0), [-50, 30], atol=3)
    np.testing.assert_array_equal(rows["track"], [0, 1])  # more than half a face in one frame: a jump cut


def test_rows_do_not_depend_on_the_size_of_the_chunks(detector, landmarker):
    images = [scene(200 + 2 * i) for i in range(19)]
    whole = rows_of(images, detector, landmarker, chunk=64)
    for chunk in (1, 7):
        for name, array in rows_of(images, detector, landmarker, chunk=chunk).items():
            np.testing.assert_array_equal(array, whole[name])


def test_frames_between_are_followed_without_the_detector(detector, landmarker):
    images = [scene(150 + 3 * i, 40 + i) for i in range(31)]
    detected = rows_of(images, detector, landmarker)
    detector.num_frames = 0
    followed = rows_of(images, detector, landmarker, detect_every=5)
    assert detector.num_frames == 7
    assert followed["valid"].all() and (followed["track"] == 0).all()
    np.testing.assert_array_equal(np.isnan(followed["score"]), np.arange(31) % 5 != 0)
    distance = np.linalg.norm(followed["landmarks"] - detected["landmarks"], axis=2).mean(axis=1)
    assert (distance < AGREEMENT * eye_distance(detected["landmarks"])).all()
    np.testing.assert_allclose(followed["box"], detected["box"], atol=12)


def test_a_face_that_disappears_between_key_frames_is_gone(detector, landmarker):
    images = [scene()] * 13 + [wall()] * 9
    rows = rows_of(images, detector, landmarker, detect_every=10)
    np.testing.assert_array_equal(rows["valid"], np.arange(22) < 13)


def test_a_face_that_is_covered_between_key_frames_is_gone(detector, landmarker):
    covered = scene()
    covered[60:250, 230:400] = (90, 60, 40)
    rows = rows_of([scene()] * 3 + [covered] * 5, detector, landmarker, detect_every=8)
    np.testing.assert_array_equal(rows["valid"], np.arange(8) < 3)


def test_a_face_that_jumps_between_key_frames_is_found_by_detection(detector, landmarker):
    images = [scene(200)] * 3 + [scene(235)] * 5
    rows = rows_of(images, detector, landmarker, detect_every=8)
    assert rows["valid"].all() and (rows["track"] == 0).all()
    assert np.isfinite(rows["score"][3]) and np.isnan(rows["score"][4:]).all()
    shift = five_points(rows["landmarks"][3]).mean(axis=0) - five_points(rows["landmarks"][0]).mean(axis=0)
    np.testing.assert_allclose(shift, [35, 0], atol=3)


def test_a_cut_between_key_frames_starts_a_new_track(detector, landmarker):
    images = [scene(200)] * 4 + [scene(210, 35, background=240, mirrored=True)] * 4
    rows = rows_of(images, detector, landmarker, detect_every=8)
    np.testing.assert_array_equal(rows["track"], [0] * 4 + [1] * 4)
    np.testing.assert_array_equal(np.isfinite(rows["score"]), [True, False, False, False, True, False, False, False])


def test_the_named_side_is_aligned(detector, landmarker):
    two = scene(20)
    two[:, 330:] = scene(400, 60, mirrored=True)[:, 330:]
    for side, expected in (("left", (0, 320)), ("right", (320, 640))):
        rows = rows_of([two] * 2, detector, landmarker, side)
        centres = rows["box"][:, [0, 2]].mean(axis=1)
        assert rows["valid"].all() and (centres > expected[0]).all() and (centres < expected[1]).all()


def test_landmarks_that_look_like_no_face_are_dropped(detector):
    class TurnedLandmarker:
        name, version_digest = "turned", "turned 1"

        def landmarks(self, image: Image, square: np.ndarray) -> np.ndarray:
            folded = np.zeros((68, 2), np.float32)
            folded[36:48] = square[2:]  # both eyes on one spot, in the lower corner
            folded[[30, 48, 54]] = square[:2], square[[0, 3]], square[[2, 1]]
            return folded

    rows = rows_of([scene()], detector, TurnedLandmarker())
    assert not rows["valid"].any() and np.isnan(rows["residual_px"]).all()
    assert MAX_RESIDUAL_PX < 0.15 * 96


def test_box_alignment_keeps_the_rotation_of_the_face(detector, landmarker):
    tilted = cv2.warpAffine(scene(), cv2.getRotationMatrix2D((300, 140), 25, 1), (640, 360))
    rows = rows_of([tilted], detector, landmarker, alignment="box")
    assert rows["valid"].all() and np.isnan(rows["residual_px"]).all() and np.isfinite(rows["landmarks"]).all()
    assert rows["transform"][0, 0, 1] == 0 and rows["transform"][0, 1, 0] == 0
    eyes = five_points(rows["landmarks"][0])[:2]
    assert abs(eyes[1, 1] - eyes[0, 1]) > 8
    upright = rows_of([tilted], detector, landmarker)
    moved = apply_transform(upright["transform"][0], five_points(upright["landmarks"][0]))
    assert abs(moved[1, 1] - moved[0, 1]) < 3


def test_box_alignment_is_followed_too(detector, landmarker):
    rows = rows_of([scene(200 + 2 * i) for i in range(6)], detector, landmarker, alignment="box", detect_every=6)
    assert rows["valid"].all() and np.isnan(rows["score"][1:]).all()
    np.testing.assert_allclose(np.diff(rows["box"][:, 0]), 2, atol=1.5)
    assert np.abs(rows["crop"][5].astype(int) - rows["crop"][0]).mean() < 8


def test_given_crops_are_only_resized():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (112, 112, 3)).astype(np.uint8) if i % 4 else None for i in range(18)]
    rows = rows_of(images, None, None, detector="none", alignment="given", resize="bicubic")
    np.testing.assert_array_equal(rows["valid"], [image is not None for image in images])
    for image, crop in zip(images, rows["crop"], strict=True):
        expected = 0 if image is None else cv2.resize(image, (96, 96), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(crop, np.broadcast_to(expected, (96, 96, 3)))
    assert np.isnan(rows["box"]).all() and np.isnan(rows["landmarks"]).all() and np.isnan(rows["score"]).all()
    np.testing.assert_array_equal(rows["track"], np.where(rows["valid"], 0, -1))


def test_an_error_of_the_engine_is_never_no_face(landmarker):
    class BrokenDetector(CountingDetector):
        def detect(self, frames: Image) -> list[Detections]:
            raise ImportError("libcudnn.so.9: cannot open shared object file")

    with pytest.raises(ImportError, match="libcudnn"):
        rows_of([scene()], BrokenDetector(), landmarker)

    class BrokenLandmarker:
        name, version_digest = "broken", "broken 1"

        def landmarks(self, image: Image, square: np.ndarray) -> np.ndarray:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        rows_of([scene()], CountingDetector(), BrokenLandmarker())


def test_an_alignment_that_needs_a_detector_says_so():
    with pytest.raises(ConfigError, match="alignment 'procrustes5': expected a detector and a landmarker"):
        rows_of([scene()], None, None)


def test_frames_are_read_as_rows_are_taken(detector, landmarker):
    taken = 0

    def frames():
        nonlocal taken
        for i in range(200):
            taken += 1
            yield Frame(i, i / 25, scene())

    rows = face_rows(frames(), FacesConfig(), detector, landmarker)
    assert taken == 0
    next(rows)
    assert taken <= 32
    next(rows)
    assert taken <= 48


def test_a_clip_without_frames_has_no_rows(detector, landmarker):
    assert list(face_rows([], FacesConfig(), detector, landmarker)) == []
