"""A CNN and a head as one network: the same numbers as one after the other, and both learn."""

import numpy as np
import pytest

from emopipe.faces.normalisation import InputSpec
from emopipe.models.end_to_end import join
from emopipe.models.heads import build_head
from emopipe.models.tap_heads import TapHeadConfig
from emopipe.models.taps import attach, parse_taps

SPEC = InputSpec(8, 3, "-1..1")
NUM_PIXELS = 8 * 8 * 3
SIZES = {"pool1:grid2": 16, "pool2:flat": 20}
SAME = 1e-5
STILL = {"fc_dropout": 0.0, "gru_dropout": 0.0}


def small_cnn():
    """Two convolutions, each with a pooling behind it, and an output that no tap needs."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    image = keras.Input(SPEC.shape)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1")(image)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    return keras.Model(image, layers.Dense(2, name="last")(layers.Flatten()(x)), name="small")


def parts(taps, landmarks: bool, **settings):
    """(the whole CNN, its taps, the head, the network of both)"""
    base = small_cnn()
    cnn = attach(base, parse_taps(taps), "small")
    config = TapHeadConfig((*taps[:-1], taps[-1], "fc"), "each", fc_units=6, units=(4, 3), landmarks=landmarks, **STILL)
    config = config.with_columns(SIZES, 2)
    head = build_head("taps", config, sum(size for _, size in config.columns))
    return base, cnn, head, join(cnn, SPEC, head, 136 if landmarks else 0)


def numbers_of(model, inputs) -> np.ndarray:
    from keras import ops

    return ops.convert_to_numpy(model(inputs))


@pytest.mark.parametrize("landmarks", [True, False])
@pytest.mark.parametrize("taps", [("pool1:grid2", "pool2:flat"), ("pool2:flat",)], ids=len)
def test_it_says_what_the_head_says_of_the_taps(taps, landmarks):
    _, cnn, head, network = parts(taps, landmarks)
    random = np.random.default_rng(0)
    crops = random.uniform(-1, 1, (3, 5, *SPEC.shape)).astype(np.float32)
    extra = random.standard_normal((3, 5, 136 if landmarks else 0)).astype(np.float32)
    found = [np.reshape(each, (3, 5, -1)) for each in _listed(cnn.predict_on_batch(crops.reshape(15, *SPEC.shape)))]
    expected = numbers_of(head, {"features": np.concatenate([*found, extra], axis=2), "mask": None})
    features = np.concatenate([crops.reshape(3, 5, NUM_PIXELS), extra], axis=2)
    received = numbers_of(network, {"features": features, "mask": None})
    assert received.shape == (3, 5, 2)
    np.testing.assert_allclose(received, expected, atol=SAME)
    padded = np.concatenate([features, np.full((3, 2, features.shape[2]), 9, np.float32)], axis=1)
    mask = np.tile(np.arange(7) < 5, (3, 1))
    np.testing.assert_allclose(numbers_of(network, {"features": padded, "mask": mask})[:, :5], expected, atol=SAME)


def _listed(outputs):
    return outputs if isinstance(outputs, list) else [outputs]


def test_both_learn_and_are_the_models_that_were_given():
    import keras
    from keras.ops import convert_to_numpy

    base, _, head, network = parts(("pool1:grid2", "pool2:flat"), True)
    before = {each.path: convert_to_numpy(each).copy() for each in (*base.weights, *head.weights)}
    inner = [each for each in base.weights if not each.path.startswith("last/")]
    assert {id(each) for each in network.trainable_weights} == {id(each) for each in (*inner, *head.weights)}
    network.compile(keras.optimizers.SGD(0.1), "mse")
    features = np.random.default_rng(0).uniform(-1, 1, (4, 5, NUM_PIXELS + 136)).astype(np.float32)
    inputs, truth = {"features": features, "mask": None}, np.ones((4, 5, 2), np.float32)
    losses = [float(network.train_on_batch(inputs, truth)) for _ in range(4)]
    assert losses[-1] < losses[0]
    for each in (*inner, *head.weights):
        assert not np.array_equal(before[each.path], convert_to_numpy(each)), each.path
    for each in base.get_layer("last").weights:
        np.testing.assert_array_equal(before[each.path], convert_to_numpy(each))


def test_pixels_are_in_the_order_of_the_crops():
    """A crop whose one corner is bright, through a CNN that hands its pixels on."""
    import keras

    image = keras.Input(SPEC.shape)
    cnn = attach(keras.Model(image, keras.layers.Identity(name="same")(image)), parse_taps(["same:flat"]), "same")
    config = TapHeadConfig(("same:flat",), "none", landmarks=False).with_columns({"same:flat": NUM_PIXELS}, 1)
    head = build_head("taps", config, NUM_PIXELS)
    kernel = np.zeros((8, 8, 3, 1), np.float32)
    kernel[2, 5, 1] = 1
    head.get_layer("output").set_weights([kernel.reshape(NUM_PIXELS, 1), np.zeros(1, np.float32)])
    crops = np.random.default_rng(0).uniform(-1, 1, (2, 3, *SPEC.shape)).astype(np.float32)
    found = numbers_of(join(cnn, SPEC, head, 0), {"features": crops.reshape(2, 3, NUM_PIXELS), "mask": None})
    np.testing.assert_allclose(found[..., 0], crops[:, :, 2, 5, 1], atol=1e-6)
