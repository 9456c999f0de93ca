"""The landmarks as numbers that are joined to features: where the crop is, scaled to [-1, 1]."""

import numpy as np
import pytest

from emopipe.errors import RecordError
from emopipe.faces.alignment import TEMPLATE, align, apply_transform
from emopipe.faces.landmark_vector import LANDMARK_VECTOR_SIZE, landmark_vector
from emopipe.faces.landmarks import five_points

FLOAT32 = 1e-6  # of numbers near 1


@pytest.fixture
def landmarks():
    return np.random.default_rng(0).uniform(100, 300, (3, 68, 2)).astype(np.float32)


def test_each_row_is_moved_by_its_own_transform(landmarks):
    generator = np.random.default_rng(1)
    transforms = generator.normal(size=(3, 2, 3)).astype(np.float32)
    vectors = landmark_vector(landmarks, transforms)
    assert vectors.shape == (3, LANDMARK_VECTOR_SIZE) == (3, 136)
    assert vectors.dtype == np.float32
    for vector, points, transform in zip(vectors, landmarks, transforms, strict=True):
        moved = apply_transform(transform.astype(np.float64), points.astype(np.float64))
        expected = (moved + 0.5) / 48 - 1
        np.testing.assert_allclose(vector[0::2], expected[:, 0], rtol=FLOAT32)
        np.testing.assert_allclose(vector[1::2], expected[:, 1], rtol=FLOAT32)


def test_the_borders_of_the_crop_are_one():
    points = np.full((1, 68, 2), -0.5)
    points[0, 1], points[0, 2] = [95.5, 95.5], [47.5, 0.0]
    vector = landmark_vector(points, np.eye(2, 3)[np.newaxis])[0]
    np.testing.assert_allclose(vector[:6], [-1, -1, 1, 1, 0, -1 + 1 / 96], atol=FLOAT32)


def test_a_face_gives_the_same_numbers_wherever_it_is(landmarks):
    """Shifted, turned and scaled in the frame, an aligned face has the same vector; its eyes are the template's."""
    face = landmarks[0].astype(np.float64)
    face[36:42] += [-60, 0]  # the eyes apart from each other, so that the five points are no line
    face[42:48] += [60, 0]
    angle = np.radians(20)
    turn = 0.6 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    other = face @ turn.T + [40, 70]
    frame, box = np.zeros((400, 400, 3), np.uint8), np.array([0.0, 0.0, 400.0, 400.0])
    faces = np.stack([face, other])
    transforms = np.stack([align(frame, each, box, "procrustes5").transform for each in faces])
    one, moved = landmark_vector(faces, transforms)
    np.testing.assert_allclose(moved, one, atol=1e-5)
    fitted = apply_transform(transforms[0], five_points(face))
    assert np.abs(fitted.mean(axis=0) - TEMPLATE.mean(axis=0)).max() < 1e-6


def test_rows_without_a_face_stay_nan(landmarks):
    transforms = np.tile(np.eye(2, 3), (3, 1, 1))
    landmarks[1], transforms[1] = np.nan, np.nan
    landmarks[2, 5, 0] = np.nan
    vectors = landmark_vector(landmarks, transforms)
    assert np.isfinite(vectors[0]).all()
    assert np.isnan(vectors[1]).all()
    assert np.flatnonzero(np.isnan(vectors[2])).tolist() == [10, 11]
    assert landmark_vector(landmarks[:0], transforms[:0]).shape == (0, 136)


@pytest.mark.parametrize(("points", "transforms"), [((3, 68, 2), (2, 2, 3)), ((3, 5, 2), (3, 2, 3)), ((68, 2), (2, 3))])
def test_other_shapes_are_refused(points, transforms):
    with pytest.raises(RecordError, match="expected .* landmarks"):
        landmark_vector(np.zeros(points), np.zeros(transforms))
