"""What every registered detector promises, on a real photograph.

YuNet's weights are a file of the user's, so its promises are checked where $EMOPIPE_YUNET names that file; that it
refuses to run without it, or with other bytes, is checked everywhere (tests/unit/test_detection.py).
"""

import functools
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import skimage.data

from emopipe.errors import DeviceError, RecordError, WeightsError
from emopipe.faces.detection import DETECTORS, Detector, detector_digest, load_detector
from emopipe.faces.tracking import intersection_over_union
from emopipe.faces.yunet import WEIGHTS_VARIABLE

NAMES = [name for name in DETECTORS if name != "yunet" or os.environ.get(WEIGHTS_VARIABLE)]
PROCESSOR_ONLY = ("dlib_hog", "haar")
EYES = np.array([[204.0, 103.0], [243.0, 103.0]])  # of the astronaut, read off the photograph, to about 5 px
CHIN_TO_BROW_PX = (70, 150)  # what detectors call her face is between 85 and 120 px wide or high
MIN_IOU = 0.6  # boxes of the same face in a scaled, moved or flipped picture
BATCH_TOLERANCE_PX = 0.5  # an engine may pick another kernel for another batch size


@functools.cache
def loaded(name: str) -> Detector:
    return load_detector(name)


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name == "mtcnn")) for name in NAMES])
def detector(request: pytest.FixtureRequest) -> Detector:
    return loaded(request.param)


@pytest.fixture
def face() -> np.ndarray:
    return skimage.data.astronaut()


def best_overlap(detector: Detector, image: np.ndarray, expected: np.ndarray) -> float:
    (found,) = detector.detect(image[None])
    return max((intersection_over_union(box, expected) for box in found.boxes), default=0.0)


def test_finds_the_face_where_it_is(detector, face):
    (found,) = detector.detect(face[None])
    box = found.boxes[0]
    assert (box[:2] < EYES.min(axis=0)).all() and (box[2:] > EYES.max(axis=0)).all()
    assert all(CHIN_TO_BROW_PX[0] < side < CHIN_TO_BROW_PX[1] for side in box[2:] - box[:2])
    assert 0.5 <= found.scores[0] <= 1
    points = found.points[0]
    if np.isfinite(points).all():
        np.testing.assert_allclose(points[:2], EYES, atol=8)
        assert points[3, 0] < points[4, 0] and points[:2, 1].max() < points[2, 1] < points[3:, 1].min()
    else:
        assert np.isnan(points).all()


def test_a_changed_picture_changes_the_box_alike(detector, face):
    box = detector.detect(face[None])[0].boxes[0]
    flipped = np.array([face.shape[1] - box[2], box[1], face.shape[1] - box[0], box[3]])
    assert best_overlap(detector, face[:, ::-1], flipped) > MIN_IOU
    enlarged = cv2.resize(face, None, fx=1.5, fy=1.5)
    assert best_overlap(detector, enlarged, box * 1.5) > MIN_IOU
    wide = np.full((600, 900, 3), 90, np.uint8)
    wide[50:562, 300:812] = face
    assert best_overlap(detector, wide, box + [300, 50, 300, 50]) > MIN_IOU


def test_boxes_stay_inside_the_picture(detector, face):
    for left in (0, 150, 190, 215):
        part = face[60:, left:300]
        (found,) = detector.detect(part[None])
        assert found.boxes.shape == (len(found), 4) and found.boxes.dtype == np.float32
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [part.shape[1], part.shape[0]] * 2).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
        assert (np.diff(found.scores) <= 0).all()


def test_no_face_is_an_empty_record(detector):
    assert detector.detect(np.empty((0, 64, 64, 3), np.uint8)) == []
    for shape in ((1, 300, 400, 3), (2, 40, 30, 3), (1, 21, 500, 3), (1, 1, 1, 3)):
        found = detector.detect(np.full(shape, 128, np.uint8))
        assert [len(faces) for faces in found] == [0] * shape[0]
        assert found[0].boxes.shape == (0, 4) and found[0].points.shape == (0, 5, 2)


def test_colours_are_not_interchangeable(detector, face):
    right, swapped = detector.detect(np.stack([face, face[..., ::-1]]))
    assert right.boxes.shape != swapped.boxes.shape or not (
        np.array_equal(right.boxes, swapped.boxes) and np.array_equal(right.scores, swapped.scores)
    )


def test_the_same_twice(detector, face):
    frames = np.stack([face, face[:, ::-1]])
    for first, second in zip(detector.detect(frames), detector.detect(frames), strict=True):
        np.testing.assert_array_equal(first.boxes, second.boxes)
        np.testing.assert_array_equal(first.scores, second.scores)
        np.testing.assert_array_equal(first.points, second.points)


def test_a_batch_with_faceless_frames_equals_its_frames_alone(detector, face):
    blank = np.full_like(face, 128)
    frames = np.stack([blank, face, blank, face[:, ::-1], blank])
    together = detector.detect(frames)
    assert [len(faces) > 0 for faces in together] == [False, True, False, True, False]
    for frame, found in zip(frames, together, strict=True):
        (alone,) = detector.detect(frame[None])
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=BATCH_TOLERANCE_PX)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-3)


def test_anything_but_a_batch_of_rgb_pictures_is_refused(detector, face):
    for wrong in (face, face[None].astype(np.float32), face[None, ..., :1]):
        with pytest.raises(RecordError, match=r"expected \(B, H, W, 3\) uint8 RGB"):
            detector.detect(wrong)


def test_it_says_what_it_is(detector):
    assert isinstance(detector, Detector)
    assert detector.name in DETECTORS and detector.device == "cpu"
    assert detector.version_digest == detector_digest(detector.name)
    assert detector.version_digest.split()[1][0].isdigit()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "yunet"])
def test_weights_are_refused_by_detectors_that_carry_their_own(name, tmp_path):
    with pytest.raises(WeightsError, match="weights"):
        load_detector(name, weights=tmp_path / "other.onnx")


@pytest.mark.parametrize("name", PROCESSOR_ONLY)
def test_a_gpu_is_refused_by_detectors_that_cannot_use_one(name):
    with pytest.raises(DeviceError, match=f"'{name}' runs on the processor only"):
        load_detector(name, device="gpu")


def test_digests_need_no_engine():
    names = [name for name in DETECTORS if name != "yunet"]
    code = (
        "import sys; from emopipe.faces.detection import detector_digest\n"
        f"digests = [detector_digest(name) for name in {names!r}]\n"
        "assert len(set(digests)) == len(digests)\n"
        "loaded = {'cv2', 'dlib', 'onnxruntime', 'tensorflow', 'keras', 'retinaface', 'mtcnn'} & set(sys.modules)\n"
        "sys.exit(str(loaded) if loaded else 0)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
