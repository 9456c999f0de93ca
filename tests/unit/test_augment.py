import json

import keras
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from emopipe.errors import ConfigError
from emopipe.models.augment import BRIGHTNESS, ZOOM, affine_maps, augmentation

STILL = np.array([[0.5, 0.5, 0.5, (1 - ZOOM[0]) / (ZOOM[1] - ZOOM[0]), (1 - ZOOM[0]) / (ZOOM[1] - ZOOM[0]), 0.0]])
SAMPLING_TOLERANCE = 2e-3  # float32 coordinates of a 96-pixel picture, times its steepest step


@pytest.fixture(scope="module")
def pictures():
    """Smooth pictures in [0, 1], no two alike."""
    generator = np.random.default_rng(0)
    coarse = generator.random((6, 12, 12, 1))
    return np.clip(np.repeat(np.repeat(coarse, 4, axis=1), 4, axis=2), 0, 1).astype(np.float32)


def maps_of(draws, height=48, width=48):
    return np.asarray(
        keras.ops.convert_to_numpy(affine_maps(keras.ops.convert_to_tensor(draws, "float32"), height, width))
    )


def with_draw(column, value):
    draws = STILL.copy()
    draws[0, column] = value
    return maps_of(draws)[0]


def test_the_middle_of_all_ranges_changes_nothing():
    np.testing.assert_allclose(maps_of(STILL)[0], [1, 0, 0, 0, 1, 0, 0, 0], atol=1e-5)


def test_each_draw_moves_what_it_is_named_after():
    angle = np.radians(15)
    c = (48 - 1) / 2
    np.testing.assert_allclose(with_draw(5, 0.9), [-1, 0, 47, 0, 1, 0, 0, 0], atol=1e-4)  # flip: x' = 47 - x
    np.testing.assert_allclose(with_draw(1, 0.0), [1, 0, 0, 0, 1, -4.8, 0, 0], atol=1e-4)
    np.testing.assert_allclose(with_draw(2, 1.0), [1, 0, 4.8, 0, 1, 0, 0, 0], atol=1e-4)
    np.testing.assert_allclose(with_draw(3, 1.0), [1, 0, 0, 0, 1.25, c - 1.25 * c, 0, 0], atol=1e-4)
    np.testing.assert_allclose(with_draw(4, 0.0), [0.9, 0, c - 0.9 * c, 0, 1, 0, 0, 0], atol=1e-4)
    turned = with_draw(0, 1.0)
    np.testing.assert_allclose(
        turned[[0, 1, 3, 4]], [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], atol=1e-5
    )
    np.testing.assert_allclose(turned[:2] @ [c, c] + turned[2], c, atol=1e-4)  # the middle stays


def test_pictures_are_sampled_as_scipy_does_with_a_mirrored_border(pictures):
    layer = augmentation(seed=4)
    draws = np.asarray(keras.ops.convert_to_numpy(keras.random.uniform((6, 7), seed=keras.random.SeedGenerator(4))))
    shown = np.asarray(keras.ops.convert_to_numpy(layer(pictures, training=True)))
    y, x = np.mgrid[:48, :48]
    for picture, received, draw, a in zip(pictures, shown, draws, maps_of(draws[:, :6]), strict=True):
        place = [a[3] * x + a[4] * y + a[5], a[0] * x + a[1] * y + a[2]]
        sampled = map_coordinates(picture[..., 0], place, order=1, mode="reflect")
        factor = BRIGHTNESS[0] + (BRIGHTNESS[1] - BRIGHTNESS[0]) * draw[6]
        np.testing.assert_allclose(received[..., 0], np.clip(sampled * factor, 0, 1), atol=SAMPLING_TOLERANCE)


def test_every_image_gets_its_own_draw_each_time():
    layer = augmentation(seed=1)
    same = np.full((64, 8, 8, 1), 0.4, np.float32)
    first, second = (np.asarray(keras.ops.convert_to_numpy(layer(same, training=True))) for _ in range(2))
    brightness = first.mean(axis=(1, 2, 3)) / 0.4
    assert len(np.unique(brightness)) == 64
    assert 0.5 <= brightness.min() < 0.6 and 1.4 < brightness.max() <= 1.5
    assert np.ptp(first, axis=(1, 2, 3)).max() < 1e-5  # mirrored, so no border of another colour
    assert not np.allclose(first, second)
    again = np.asarray(keras.ops.convert_to_numpy(augmentation(seed=1)(same, training=True)))
    np.testing.assert_array_equal(first, again)


def test_nothing_happens_outside_training(pictures):
    layer = augmentation(seed=1)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(pictures)), pictures)


def test_bright_pictures_stay_pictures():
    shown = keras.ops.convert_to_numpy(augmentation(2)(np.full((64, 8, 8, 1), 0.9, np.float32), training=True))
    assert shown.max() == 1.0


@pytest.mark.parametrize(("value_range", "low", "high"), [("-1..1", -1, 1), ("0..255", 0, 255)])
def test_another_range_shows_the_same_pictures(pictures, value_range, low, high):
    usual = np.asarray(keras.ops.convert_to_numpy(augmentation(3)(pictures, training=True)))
    layer = augmentation(3, value_range)
    shown = np.asarray(keras.ops.convert_to_numpy(layer(low + (high - low) * pictures, training=True)))
    np.testing.assert_allclose((shown - low) / (high - low), usual, atol=1e-5)
    assert shown.min() >= low and shown.max() == high


def test_a_range_without_a_black_is_refused():
    with pytest.raises(ConfigError, match="expected pictures in 0..1, -1..1, 0..255. Received: 'caffe'"):
        augmentation(3, "caffe")


def test_the_layer_survives_saving(tmp_path, pictures):
    image = keras.Input((48, 48, 1))
    model = keras.Model(image, augmentation(7, "-1..1")(image))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    assert loaded.layers[1].get_config()["seed"] == 7
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(model(pictures, training=True)),
        keras.ops.convert_to_numpy(loaded(pictures, training=True)),
    )
    assert json.loads(model.to_json())["config"]["layers"][1]["registered_name"] == "emopipe>FaceAugmentation"
