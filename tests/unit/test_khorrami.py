"""The network of the CNN-RNN recipe, layer by layer."""

import numpy as np
import pytest

from emopipe.models.khorrami import build_khorrami
from emopipe.models.weights import initialise


@pytest.fixture(scope="module")
def network():
    model = build_khorrami()
    initialise(model)
    return model


@pytest.mark.parametrize(
    ("num_outputs", "activation", "num_parameters"), [(2, "linear", 1_333_706), (8, "softmax", 1_335_512)]
)
def test_has_the_published_number_of_parameters(num_outputs, activation, num_parameters):
    model = build_khorrami(num_outputs, activation)
    assert model.count_params() == num_parameters
    assert model.output.shape == (None, num_outputs)


def test_has_the_published_layers(network):
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in network.layers}
    assert shapes == {
        "image": (96, 96, 1),
        "normalisation": (96, 96, 1),
        "conv1": (96, 96, 64),
        "pool1": (48, 48, 64),
        "conv2": (44, 44, 128),
        "pool2": (22, 22, 128),
        "conv3": (18, 18, 256),
        "pool3": (2, 2, 256),
        "flatten": (1024,),
        "dense": (300,),
        "dropout": (300,),
        "output": (2,),
    }
    assert [layer.name for layer in network.layers if "conv" in layer.name and layer.use_bias] == []


def test_classes_sum_to_one():
    model = build_khorrami(8, "softmax")
    initialise(model)
    faces = np.random.default_rng(0).random((3, 96, 96, 1), np.float32)
    np.testing.assert_allclose(np.asarray(model(faces)).sum(axis=1), 1, atol=1e-6)


def test_features_are_linear_and_not_rectified(network):
    import keras

    features = keras.Model(network.input, network.get_layer("dense").output)
    faces = np.random.default_rng(0).random((4, 96, 96, 1), np.float32)
    values = np.asarray(features(faces))
    assert (values < 0).any()
    assert (values > 0).any()
    # Without biases and with one linear layer behind the last rectifier, half the contrast is half the feature.
    batch_norm = network.get_layer("normalisation")
    assert batch_norm.epsilon == 1e-3
    np.testing.assert_allclose(np.asarray(features(faces / 2)), values / 2, rtol=1e-3, atol=1e-6)


def test_dropout_is_off_when_features_are_taken(network):
    faces = np.random.default_rng(0).random((2, 96, 96, 1), np.float32)
    np.testing.assert_array_equal(np.asarray(network(faces)), np.asarray(network(faces)))
