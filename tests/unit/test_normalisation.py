"""Crops become the numbers that the published networks were trained on."""

import cv2
import numpy as np
import pytest

from emopipe.errors import ConfigError, RecordError
from emopipe.faces.normalisation import InputSpec, normalise

ROUNDING = 1e-4  # of 255: float32 divisions in another order


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)


@pytest.mark.parametrize(
    ("value_range", "module"),
    [("caffe", "resnet50"), ("caffe", "vgg16"), ("imagenet", "densenet"), ("-1..1", "mobilenet_v2")],
)
def test_equals_what_keras_applications_does(crops, value_range, module):
    import keras

    expected = getattr(keras.applications, module).preprocess_input(crops.astype(np.float32))
    received = normalise(crops, InputSpec(96, 3, value_range))
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, expected, atol=ROUNDING)


@pytest.mark.parametrize(("value_range", "low", "high"), [("-1..1", -1, 1), ("0..1", 0, 1), ("0..255", 0, 255)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_range_ends_where_its_name_says(value_range, low, high, channels):
    pictures = np.stack([np.zeros((96, 96, 3), np.uint8), np.full((96, 96, 3), 255, np.uint8)])
    dark, bright = normalise(pictures, InputSpec(96, channels, value_range))
    assert dark.shape == (96, 96, channels)
    assert (dark == low).all()
    assert (bright == high).all()


def test_grey_weighs_red_green_and_blue_as_eyes_do():
    pictures = np.zeros((3, 96, 96, 3), np.uint8)
    for channel in range(3):
        pictures[channel, :, :, channel] = 255
    red, green, blue = normalise(pictures, InputSpec(96, 1, "0..255"))[:, 0, 0, 0]
    assert (red, green, blue) == (76, 150, 29)


@pytest.mark.parametrize(("size_px", "interpolation"), [(48, cv2.INTER_AREA), (224, cv2.INTER_LINEAR)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizes_with_the_stated_filter(crops, size_px, interpolation, channels):
    received = normalise(crops, InputSpec(size_px, channels, "0..255"))
    source = cv2.cvtColor(crops[3], cv2.COLOR_RGB2GRAY) if channels == 1 else crops[3]
    expected = cv2.resize(source, (size_px, size_px), interpolation=interpolation)
    np.testing.assert_array_equal(received[3].squeeze(), expected)


def test_no_crops_give_an_empty_batch():
    assert normalise(np.empty((0, 96, 96, 3), np.uint8), InputSpec(224, 1, "0..1")).shape == (0, 224, 224, 1)


def test_leaves_the_crops_as_they_are(crops):
    before = crops.copy()
    normalise(crops, InputSpec(96, 3, "caffe"))
    np.testing.assert_array_equal(crops, before)


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 96, 96), np.uint8), np.zeros((2, 96, 96, 3), np.float32), np.zeros((2, 96, 96, 1), np.uint8)]
)
def test_refuses_what_is_not_8_bit_rgb(wrong):
    with pytest.raises(RecordError, match="uint8 RGB"):
        normalise(wrong, InputSpec(96, 3, "0..1"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((96, 3, "0-1"), "expected one of"),
        ((96, 2, "0..1"), "channels"),
        ((0, 3, "0..1"), "size"),
        ((96, 1, "caffe"), "three"),
    ],
)
def test_a_spec_that_means_nothing_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        InputSpec(*values)
