"""dlib's landmarks on a real photograph, and the square that they are asked for in."""

import numpy as np
import pytest
import skimage.data

from emopipe.errors import MissingDependencyError, UnknownNameError, WeightsError
from emopipe.faces import landmarks as module
from emopipe.faces.detection import load_detector
from emopipe.faces.landmarks import (
    PREDICTOR_SHA256,
    SIDE_PER_SPREAD,
    eye_distance,
    five_points,
    landmarker_digest,
    load_landmarker,
    predictor_square,
)
from emopipe.files import sha256_of_file

EYES = np.array([[204.0, 103.0], [243.0, 103.0]])  # of the astronaut, read off the photograph, to about 5 px
AGREEMENT = 0.05  # of the eye distance; on video the median is 0.012


@pytest.fixture(scope="module")
def landmarker():
    return load_landmarker("dlib68")


@pytest.fixture
def face() -> np.ndarray:
    return skimage.data.astronaut()


def test_landmarks_lie_on_the_face(landmarker, face):
    points = np.concatenate([EYES, [[224, 128], [209, 147], [241, 147]]])
    found = landmarker.landmarks(face, predictor_square(np.zeros(4), points, "retinaface"))
    assert found.shape == (68, 2) and found.dtype == np.float32
    np.testing.assert_allclose(five_points(found)[:2], EYES, atol=6)
    assert found[8, 1] == found[:, 1].max()  # the chin is the lowest
    assert found[0, 0] < found[36, 0] < found[27, 0] < found[45, 0] < found[16, 0]


def test_landmarks_agree_whatever_the_detector(landmarker, face):
    found = {}
    for name in ("retinaface", "dlib_hog", "haar"):
        faces = load_detector(name).detect(face[None])[0]
        square = predictor_square(faces.boxes[0], faces.points[0], name)
        found[name] = landmarker.landmarks(face, square)
    for name in ("dlib_hog", "haar"):
        distance = np.linalg.norm(found[name] - found["retinaface"], axis=1).mean()
        assert distance < AGREEMENT * eye_distance(found["retinaface"])


def test_the_picture_is_read_as_rgb_and_left_alone(landmarker, face):
    before = face.copy()
    landmarker.landmarks(face, np.array([179.0, 83.0, 267.0, 171.0]))
    np.testing.assert_array_equal(face, before)


def test_the_square_comes_from_the_points_where_there_are_any():
    box = np.array([10.0, 20.0, 30.0, 60.0], np.float32)
    points = np.array([[-1.0, -1], [1, -1], [0, 0], [-1, 1], [1, 1]], np.float32) * 10 + 100
    square = predictor_square(box, points, "retinaface")
    half = SIDE_PER_SPREAD * np.sqrt(4 * 200 / 5) / 2
    np.testing.assert_allclose(square, [100 - half, 100 - half, 100 + half, 100 + half])
    for nothing in (None, np.full((5, 2), np.nan)):
        np.testing.assert_allclose(predictor_square(box, nothing, "dlib_hog"), [0, 20, 40, 60])
        x0, y0, x1, y1 = predictor_square(box, nothing, "haar")
        assert (x1 - x0, y1 - y0) == (pytest.approx(35.2), pytest.approx(35.2))
        assert ((x0 + x1) / 2, (y0 + y1) / 2) == (pytest.approx(20), pytest.approx(40 + 0.089 * 40))


def test_five_points_are_eye_centres_nose_tip_and_mouth_corners():
    landmarks = np.stack([np.arange(68.0), 100 + np.arange(68.0)], axis=1)
    expected = [[38.5, 138.5], [44.5, 144.5], [30, 130], [48, 148], [54, 154]]
    np.testing.assert_array_equal(five_points(landmarks), expected)
    np.testing.assert_array_equal(five_points(np.stack([landmarks] * 3)), [expected] * 3)
    assert eye_distance(landmarks) == pytest.approx(6 * np.sqrt(2))
    assert eye_distance(np.stack([landmarks] * 3)).shape == (3,)


def test_the_digest_is_that_of_the_file_that_is_read(landmarker):
    assert sha256_of_file(module.predictor_path()) == PREDICTOR_SHA256
    assert landmarker.version_digest == landmarker_digest("dlib68") and PREDICTOR_SHA256 in landmarker.version_digest


def test_another_file_is_refused(monkeypatch, tmp_path):
    other = tmp_path / "shape_predictor_68_face_landmarks.dat"
    other.write_bytes(b"another predictor")
    monkeypatch.setattr(module, "predictor_path", lambda: other)
    with pytest.raises(WeightsError, match="expected sha256 fbdc2cb8(.|\n)*Received: [0-9a-f]{64}"):
        load_landmarker()


def test_a_missing_package_or_file_says_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "PREDICTOR_FILE", "face_recognition_models/models/none.dat")
    with pytest.raises(WeightsError, match="no such file(.|\n)*pip install"):
        module.predictor_path()
    monkeypatch.setattr(module, "PREDICTOR_PACKAGE", "no-such-package-anywhere")
    with pytest.raises(MissingDependencyError, match="pip install no-such-package-anywhere"):
        module.predictor_path()


def test_an_unknown_landmarker_is_refused():
    for call in (load_landmarker, landmarker_digest):
        with pytest.raises(UnknownNameError, match="Known: dlib68"):
            call("dlib_68")
