"""The backbones of the OMG-Emotion paper in other widths, and with the fully connected layer that train-cnn trains."""

import keras
import numpy as np
import pytest

from emopipe.errors import ConfigError
from emopipe.faces.normalisation import InputSpec
from emopipe.models.applications import DENSENET121, RESNET50
from emopipe.models.architecture import check_width, scaled
from emopipe.models.backbones import resolve_backbone
from emopipe.models.building import build_network
from emopipe.models.engines import relative_difference
from emopipe.models.keras_files import write_metadata
from emopipe.models.losses import get_loss
from emopipe.models.trainable import CNNS
from emopipe.models.vggface import vgg16_layers
from emopipe.models.weights import initialise
from emopipe.stages.training import compile_model, optimiser

EIGHTH = 1 / 8
SAME_GRAPH = 1e-4
SUM_ORDER = 1e-4
NAMES = ("vggface", "resnet50", "densenet121")
# Without the top: formats of the published networks. With it: fc on 4,608, 2,048 and 1,024 numbers, and two outputs.
NUM_PARAMETERS = {
    "vggface": 14_714_688 + 4_609 * 4_096 + 4_097 * 2,
    "resnet50": 23_587_712 + 2_049 * 1_500 + 1_501 * 2,
    "densenet121": 7_037_504 + 1_025 * 1_500 + 1_501 * 2,
}


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).uniform(-1, 1, (4, 96, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def small():
    """Name -> network at an eighth of the width."""
    found = {}
    for name in NAMES:
        found[name] = CNNS.load(name).build(2, "linear", EIGHTH)
        initialise(found[name])
    return found


@pytest.mark.parametrize(
    ("architecture", "constructor"), [(RESNET50, "ResNet50"), (DENSENET121, "DenseNet121")], ids=["resnet", "densenet"]
)
def test_at_width_one_it_is_the_network_of_keras_applications(architecture, constructor, pictures):
    ours = architecture.build(architecture.input)
    theirs = getattr(keras.applications, constructor)(weights=None, include_top=False, input_shape=(96, 96, 3))
    assert ours.count_params() == theirs.count_params() == architecture.num_parameters
    kinds = [[type(layer).__name__ for layer in model.layers] for model in (ours, theirs)]
    assert kinds[0] == kinds[1]
    names = [[layer.name for layer in model.layers if layer.weights] for model in (ours, theirs)]
    assert names[0] == names[1]  # in this order, by which older weights files are read
    initialise(theirs, seed=3)
    ours.set_weights(theirs.get_weights())
    expected = np.asarray(theirs(pictures))
    assert expected.std() > 0.01
    np.testing.assert_allclose(np.asarray(ours(pictures)), expected, atol=SAME_GRAPH * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_cnn_has_the_paper_s_numbers_at_width_one(name):
    cnn = CNNS.load(name)
    model = cnn.build(2, "linear", 1.0)
    assert model.count_params() == NUM_PARAMETERS[name]
    assert cnn.input == InputSpec(96, 3, "-1..1")
    units = {"vggface": 4096}.get(name, 1500)
    pooled = {"vggface": ("flatten", 4608), "resnet50": ("avg_pool", 2048), "densenet121": ("avg_pool", 1024)}[name]
    assert model.get_layer(pooled[0]).output.shape[1] == pooled[1]
    assert [layer.name for layer in model.layers][-4:] == [pooled[0], "fc", "dropout", "output"]
    fc = model.get_layer("fc")
    assert (fc.units, fc.activation.__name__, model.get_layer("dropout").rate) == (units, "relu", 0.5)


def test_vggface_has_the_shapes_of_the_paper_at_every_tap():
    model = CNNS.load("vggface").build(2, "linear", 1.0)
    sizes = {
        "pool1": 48 * 48 * 64, "conv3": 294_912, "conv4": 294_912, "pool2": 73_728, "conv5": 147_456, "conv6": 147_456,
        "conv7": 147_456, "pool3": 36_864, "conv8": 73_728, "conv9": 73_728, "conv10": 73_728, "pool4": 18_432,
        "conv11": 18_432, "conv12": 18_432, "conv13": 18_432, "pool5": 4_608, "fc": 4_096,
    }  # fmt: skip
    assert {name: int(np.prod(model.get_layer(name).output.shape[1:])) for name in sizes} == sizes
    assert model.get_layer("pool2").output.shape == (None, 24, 24, 128)


@pytest.mark.parametrize("name", NAMES)
def test_an_eighth_has_an_eighth_of_the_channels_everywhere(name, small):
    full = CNNS.load(name).build(2, "linear", 1.0)
    for layer in full.layers[1:-1]:
        if layer.output.shape[-1] == 3:
            continue  # the picture, padded
        narrow = small[name].get_layer(layer.name).output.shape
        assert narrow[1:-1] == layer.output.shape[1:-1], layer.name
        assert narrow[-1] == scaled(layer.output.shape[-1], EIGHTH), layer.name
    assert small[name].output.shape == (None, 2)
    ratio = full.count_params() / small[name].count_params()
    assert 40 < ratio < 64  # a kernel shrinks in both its channels; the picture keeps its three


def test_no_layer_is_left_without_a_channel():
    model = CNNS.load("densenet121").build(2, "linear", 1 / 1000)
    assert min(layer.output.shape[-1] for layer in model.layers) == 1


@pytest.mark.parametrize("width", [0, -0.5, 1.5, float("nan")])
def test_a_width_that_makes_no_network_is_refused(width):
    with pytest.raises(ConfigError, match="width: expected a share"):
        check_width(width)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_it_trains_a_step(name, method, pictures):
    network = CNNS.load(name).build(2, "linear", EIGHTH)
    initialise(network)
    truth = np.array([[0.5, 0.1], [-0.5, 0.9], [0.3, 0.4], [0.9, 0.0]], np.float32)
    compile_model(network, optimiser(method, 1e-3, 0.9), get_loss("ccc"))
    network.run_eagerly = keras.backend.backend() != "jax"  # one step is not worth the tracing of 121 layers
    before = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    loss = float(network.train_on_batch(pictures, truth))
    assert np.isfinite(loss)
    for layer in network.layers:
        if layer.weights:
            assert any((a != b).any() for a, b in zip(before[layer.name], layer.get_weights(), strict=True)), layer.name


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_it_is_the_same(name, small, tmp_path, pictures):
    path = tmp_path / "network.keras"
    small[name].save(path)
    loaded = keras.saving.load_model(path, safe_mode=True)
    np.testing.assert_array_equal(np.asarray(loaded(pictures)), np.asarray(small[name](pictures)))


def file_of(name, network, folder):
    cnn = CNNS.load(name)
    path = folder / "network.keras"
    network.save(path)
    write_metadata(path, cnn.input, cnn.taps)
    return path


@pytest.mark.parametrize("engine", ["keras", pytest.param("onnxruntime", marks=pytest.mark.slow)])
def test_a_trained_vggface_gives_several_taps_in_one_pass(small, tmp_path, engine):
    path = file_of("vggface", small["vggface"], tmp_path)
    crops = np.random.default_rng(1).integers(0, 256, (5, 96, 96, 3), np.uint8)
    taps = ["pool2:grid4", "pool5:flat", "fc"]
    together = build_network(resolve_backbone(str(path), taps=taps, engine=engine, device="cpu"))(crops)
    assert {tap: values.shape for tap, values in together.items()} == {
        "pool2:grid4": (5, 16 * 16), "pool5:flat": (5, 576), "fc": (5, 512),
    }  # fmt: skip
    expected = keras.Model(small["vggface"].input, small["vggface"].get_layer("fc").output)(crops / 127.5 - 1)
    assert relative_difference(np.asarray(expected), together["fc"]) < 1e-3
    for tap in taps:
        alone = build_network(resolve_backbone(str(path), taps=[tap], engine=engine, device="cpu"))(crops)
        assert relative_difference(alone[tap], together[tap]) < SUM_ORDER


@pytest.mark.parametrize("name", NAMES)
def test_the_trained_file_knows_its_default_taps(name, small, tmp_path):
    plan = resolve_backbone(str(file_of(name, small[name], tmp_path)), engine="keras", device="cpu")
    features = build_network(plan)(np.zeros((1, 96, 96, 3), np.uint8))
    assert {tap: values.shape[1] for tap, values in features.items()} == {
        {"vggface": "pool5:flat"}.get(name, "avg_pool"): {"vggface": 576, "resnet50": 256, "densenet121": 128}[name]
    }


def test_every_convolution_and_pooling_of_the_trained_vggface_can_be_tapped(small, tmp_path):
    path = file_of("vggface", small["vggface"], tmp_path)
    taps = [f"{layer.name}:gap" for layer in vgg16_layers()]
    features = build_network(resolve_backbone(str(path), taps=taps, engine="keras", device="cpu"))
    sizes = {tap: values.shape[1] for tap, values in features(np.zeros((1, 96, 96, 3), np.uint8)).items()}
    assert sizes == {f"{layer.name}:gap": layer.channels // 8 for layer in vgg16_layers()}
    assert list(sizes)[-1] == "pool5:gap" and len(sizes) == 18
