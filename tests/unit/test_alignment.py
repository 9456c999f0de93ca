"""Similarity fits, the frontal template, and the three ways to cut a crop."""

import cv2
import numpy as np
import pytest
from skimage.transform import estimate_transform

from emopipe.errors import ConfigError, LandmarkError
from emopipe.faces.alignment import (
    EYE_DISTANCE_PX,
    RESIZE_FILTERS,
    TEMPLATE,
    align,
    apply_transform,
    fit_similarity,
    generalised_procrustes,
    warp,
)
from emopipe.faces.landmarks import five_points

EXACT = 1e-6  # rounding of float64 at coordinates of thousands of pixels


def similarity(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, shift])


def landmarks_with(points: np.ndarray) -> np.ndarray:
    """68 landmarks whose five points are these."""
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48] = points[0], points[1]
    landmarks[[30, 48, 54]] = points[2:]
    return landmarks


def smooth_picture(height: int, width: int, detail_px: float = 6) -> np.ndarray:
    noise = np.random.default_rng(3).uniform(0, 255, (height, width, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), detail_px)
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.mark.parametrize("degrees", [-170.0, -31.0, 0.0, 90.0])
@pytest.mark.parametrize("scale", [0.01, 1.0, 37.0])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (3000.0, -1200.0)])
def test_a_known_motion_is_recovered(degrees, scale, shift):
    truth = similarity(degrees, scale, shift)
    fitted = fit_similarity(TEMPLATE, apply_transform(truth, TEMPLATE))
    np.testing.assert_allclose(fitted, truth, atol=EXACT)


def test_noisy_points_are_fitted_as_another_program_fits_them():
    rng = np.random.default_rng(0)
    for _ in range(20):
        source = rng.uniform(0, 500, (5, 2))
        target = apply_transform(similarity(20, 0.2, (5, 9)), source) + rng.normal(0, 2, (5, 2))
        reference = estimate_transform("similarity", source, target).params[:2]
        np.testing.assert_allclose(fit_similarity(source, target), reference, atol=EXACT)


def test_a_mirrored_face_is_not_reflected():
    mirrored = TEMPLATE * [-1, 1]
    transform = fit_similarity(mirrored, TEMPLATE)
    assert np.linalg.det(transform[:, :2]) > 0
    assert np.abs(apply_transform(transform, mirrored) - TEMPLATE).max() > 10


def test_two_points_are_enough():
    transform = fit_similarity(np.array([[0.0, 0], [0, 1]]), np.array([[1.0, 1], [3, 1]]))
    np.testing.assert_allclose(transform, [[0, 2, 1], [-2, 0, 1]], atol=1e-12)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (np.zeros((5, 2)), TEMPLATE[:4], "same K >= 2 points"),
        (TEMPLATE[:1], TEMPLATE[:1], "same K >= 2 points"),
        (TEMPLATE.T, TEMPLATE.T, "same K >= 2 points"),
        (np.full((5, 2), 7.25), TEMPLATE, "coincide"),
        (np.full((5, 2), 1e5) + 1e-9, TEMPLATE, "coincide"),
        (TEMPLATE, np.full((5, 2), 7.25), "coincide"),
        (TEMPLATE * [np.nan, 1], TEMPLATE, "finite"),
        (TEMPLATE, TEMPLATE * [1, np.inf], "finite"),
    ],
)
def test_points_without_a_fit_are_refused(source, target, message):
    with pytest.raises(LandmarkError, match=message):
        fit_similarity(source, target)


def test_generalised_procrustes_finds_the_shape_behind_many_views():
    rng = np.random.default_rng(1)
    shapes = [
        apply_transform(similarity(rng.uniform(-40, 40), rng.uniform(0.3, 9), rng.uniform(-99, 99, 2)), TEMPLATE)
        for _ in range(12)
    ]
    mean = generalised_procrustes(np.array(shapes))
    assert np.abs(mean.mean(axis=0)).max() < 1e-9 and (mean**2).sum() == pytest.approx(1)
    fitted = fit_similarity(mean, TEMPLATE)
    np.testing.assert_allclose(apply_transform(fitted, mean), TEMPLATE, atol=EXACT)


def test_generalised_procrustes_averages_what_differs():
    wide, narrow = TEMPLATE * [1.2, 1], TEMPLATE * [0.8, 1]
    mean = generalised_procrustes(np.stack([wide, narrow, wide, narrow]))
    ratio = (mean[1, 0] - mean[0, 0]) / (mean[3, 1] - mean[0, 1])
    ratios = [(shape[1, 0] - shape[0, 0]) / (shape[3, 1] - shape[0, 1]) for shape in (narrow, wide)]
    assert ratios[0] < ratio < ratios[1]
    with pytest.raises(LandmarkError, match="coincide"):
        generalised_procrustes(np.zeros((3, 5, 2)))


def test_the_template_is_an_upright_symmetric_face_inside_the_crop():
    assert TEMPLATE[1, 0] - TEMPLATE[0, 0] == pytest.approx(EYE_DISTANCE_PX)
    assert TEMPLATE[0, 1] == TEMPLATE[1, 1] and TEMPLATE[3, 1] == TEMPLATE[4, 1]
    np.testing.assert_allclose(TEMPLATE[[0, 3], 0] + TEMPLATE[[1, 4], 0], 95)
    assert 0.37 < EYE_DISTANCE_PX / 96 < 0.40
    chin = TEMPLATE[:2, 1].mean() + 1.93 * EYE_DISTANCE_PX  # 95 % of the faces the template was made of
    assert chin < 95
    with pytest.raises(ValueError, match="read-only"):
        TEMPLATE[0, 0] = 0


def test_aligning_undoes_the_motion_of_a_face():
    crop = smooth_picture(96, 96)
    motion = similarity(25, 1.7, (140, 60))
    frame = cv2.warpAffine(crop, motion, (420, 360), flags=cv2.INTER_CUBIC)
    aligned = align(frame, landmarks_with(apply_transform(motion, TEMPLATE)), None, "procrustes5")
    assert aligned.residual_px == pytest.approx(0, abs=EXACT)
    points = five_points(landmarks_with(apply_transform(motion, TEMPLATE)))
    np.testing.assert_allclose(apply_transform(aligned.transform, points), TEMPLATE, atol=EXACT)
    difference = np.abs(aligned.crop.astype(int) - crop)[4:-4, 4:-4]
    assert difference.mean() < 2


def test_the_residual_is_the_distance_from_the_template():
    # Moving the nose alone: the fit takes up a little, so the residual is just below 10 / sqrt(5).
    points = TEMPLATE.copy()
    points[2, 0] += 10
    aligned = align(np.zeros((200, 200, 3), np.uint8), landmarks_with(points), None, "procrustes5")
    moved = apply_transform(fit_similarity(points, TEMPLATE), points)
    assert aligned.residual_px == pytest.approx(np.sqrt(((moved - TEMPLATE) ** 2).sum() / 5))
    assert 3.5 < aligned.residual_px < 10 / np.sqrt(5)


@pytest.mark.parametrize("points", [np.full((5, 2), 50.0), np.outer(np.arange(5.0), [10, 3]) + 20, TEMPLATE * np.nan])
def test_points_on_a_spot_or_a_line_are_no_face(points):
    with pytest.raises(LandmarkError):
        align(np.zeros((200, 200, 3), np.uint8), landmarks_with(points), None, "procrustes5")
    with pytest.raises(LandmarkError, match="expected landmarks"):
        align(np.zeros((200, 200, 3), np.uint8), None, None, "procrustes5")


@pytest.mark.parametrize("scale", [1.0, 2.6, 4.0, 11.3])
def test_a_large_face_is_averaged_and_stays_in_place(scale):
    size = int(96 * scale) + 240
    motion = similarity(12, scale, (150, 60))
    inverse = fit_similarity(apply_transform(motion, TEMPLATE), TEMPLATE)
    picture = smooth_picture(size, size, 2.5 * scale)  # nothing finer than a crop pixel: plain sampling is exact
    expected = cv2.warpAffine(picture, inverse, (96, 96), flags=cv2.INTER_LINEAR).astype(int)
    difference = np.abs(warp(picture, inverse) - expected).mean()
    assert difference < 1.2  # a third of a crop pixel off makes 2
    if scale > 2:
        stripes = np.zeros((size, size, 3), np.uint8)
        stripes[:, ::2] = 255  # finer than a crop pixel: their average is grey, anything else is aliasing
        assert np.abs(warp(stripes, similarity(0, 1 / scale, (-9, -5)))[8:-8, 8:-8].astype(float) - 127.5).max() < 70
        assert np.abs(warp(stripes, similarity(0, 1 / scale, (-9, -5))).astype(float).mean() - 127.5) < 12


def test_outside_the_picture_the_crop_is_black():
    white = np.full((300, 300, 3), 255, np.uint8)
    for scale in (1.0, 0.2):
        crop = warp(white, similarity(0, scale, (48, 0)))
        assert (crop[10:50, :46] == 0).all() and (crop[10:50, 50:90] == 255).all()
    aligned = align(white, None, np.array([-50.0, 0, 50, 100]), "box")
    assert (aligned.crop[:, :47] == 0).all() and (aligned.crop[:, 49:] == 255).all()
    far_away = align(white, None, np.array([900.0, 900, 950, 950]), "box")
    assert (far_away.crop == 0).all()


def test_a_box_is_cut_as_the_ck_recipe_cuts_it():
    picture = smooth_picture(400, 500)
    crop = align(picture, None, np.array([100.0, 50, 340, 290], np.float32), "box")
    expected = cv2.resize(picture[50:290, 100:340], (96, 96), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(crop.crop, expected)
    assert np.isnan(crop.residual_px)
    # The box's first pixel covers crop coordinates -0.5 to -0.1: its centre is half a scaled pixel inside.
    np.testing.assert_allclose(apply_transform(crop.transform, np.array([99.5, 49.5])), [-0.5, -0.5], atol=1e-9)
    np.testing.assert_allclose(apply_transform(crop.transform, np.array([339.5, 289.5])), [95.5, 95.5], atol=1e-9)


def test_a_box_that_is_no_square_becomes_one_around_its_centre():
    picture = smooth_picture(400, 500)
    tall = align(picture, None, np.array([150.0, 50, 250, 250]), "box")
    np.testing.assert_array_equal(tall.crop, align(picture, None, np.array([100.0, 50, 300, 250]), "box").crop)


@pytest.mark.parametrize("name", RESIZE_FILTERS)
@pytest.mark.parametrize("shape", [(112, 112), (60, 80), (96, 96), (1, 1)])
def test_a_given_crop_is_resized_bit_for_bit(name, shape):
    picture = np.random.default_rng(5).integers(0, 256, (*shape, 3)).astype(np.uint8)
    given = align(picture, None, None, "given", resize=name)
    expected = cv2.resize(picture, (96, 96), interpolation=getattr(cv2, RESIZE_FILTERS[name]))
    np.testing.assert_array_equal(given.crop, expected)
    height, width = shape
    np.testing.assert_allclose(apply_transform(given.transform, np.array([-0.5, -0.5])), [-0.5, -0.5], atol=1e-12)
    np.testing.assert_allclose(apply_transform(given.transform, np.array([width - 0.5, height - 0.5])), [95.5, 95.5])


def test_the_filters_differ_and_an_unknown_one_is_refused():
    picture = np.random.default_rng(5).integers(0, 256, (112, 112, 3)).astype(np.uint8)
    crops = [align(picture, None, None, "given", resize=name).crop.tobytes() for name in RESIZE_FILTERS]
    assert len(set(crops)) == len(crops)
    with pytest.raises(ConfigError, match="expected a filter of area"):
        align(picture, None, None, "given", resize="lanczos")
    with pytest.raises(ConfigError, match="expected procrustes5, box"):
        align(picture, None, None, "box")
