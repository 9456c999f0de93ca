"""VGG-Face: the paper's layers, and its weights from files in the layouts in which others publish them."""

import hashlib
from itertools import pairwise

import h5py
import keras
import numpy as np
import pytest

from emopipe.errors import WeightsError
from emopipe.models.backbones import resolve_backbone
from emopipe.models.building import build_model
from emopipe.models.stored_layers import open_stored_layers
from emopipe.models.vggface import VGGFACE, build_vggface, vgg16_layers
from emopipe.models.weights import initialise, load_weights, resolve_weights, take_weights

WIDTH = 1 / 32  # the layouts are those of full-size files, the arrays are small
CONVOLUTIONS = [layer for layer in vgg16_layers() if layer.index]


@pytest.fixture(scope="module")
def trained():
    """A narrow VGG-Face with weights of its own."""
    model = build_vggface(VGGFACE.input, WIDTH)
    initialise(model, seed=11)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, np.random.default_rng(len(layer.name)).random(bias.shape, np.float32)])
    return model


def write_old(path, layers, below=None):
    """The layout of Keras 1 and 2: names of layers and of weights in attributes, arrays by name below each layer."""
    with h5py.File(path, "w") as file:
        root = file.create_group(below) if below else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in arrays]
            for weight, array in arrays.items():
                group[weight] = array


def with_numbers(model, names):
    """(new name, kernel, bias) of every convolution."""
    return [(new, *model.get_layer(old.name).get_weights()) for old, new in zip(CONVOLUTIONS, names, strict=True)]


def dense(name, shape):
    return {name: {f"{name}/kernel:0": np.ones(shape, np.float32), f"{name}/bias:0": np.ones(shape[-1], np.float32)}}


def keras_vggface(path, model, weight="{0}_{1}_1:0"):
    """Names of keras-vggface; poolings without weights, and the three layers of the top."""
    layers = {"input_1": {}}
    names = [f"conv{layer.block}_{layer.index}" for layer in CONVOLUTIONS]
    for new, kernel, bias in with_numbers(model, names):
        layers[new] = {weight.format(new, "W"): kernel, weight.format(new, "b"): bias}
        layers[f"pool{new[4]}"] = {}
    write_old(path, {**layers, "flatten": {}, **dense("fc6", (7, 5)), **dense("fc7", (5, 5)), **dense("fc8", (5, 3))})


def keras_vggface_2(path, model):
    names = [f"conv{layer.block}_{layer.index}" for layer in CONVOLUTIONS]
    layers = {
        new: {f"{new}/kernel:0": kernel, f"{new}/bias:0": bias} for new, kernel, bias in with_numbers(model, names)
    }
    write_old(path, {**layers, **dense("fc6", (7, 5))}, below="model_weights")


def applications(path, model):
    names = [f"block{layer.block}_conv{layer.index}" for layer in CONVOLUTIONS]
    layers = {new: {f"{new}_W_1:0": kernel, f"{new}_b_1:0": bias} for new, kernel, bias in with_numbers(model, names)}
    write_old(path, layers)


def sequential(path, model):
    """Convolutions by number, paddings between them, and the top as convolutions of 7 x 7 and 1 x 1."""
    layers = {}
    names = [f"conv2d_{number}" for number in range(1, 14)]
    for new, kernel, bias in with_numbers(model, names):
        layers[new.replace("conv2d", "zero_padding2d")] = {}
        layers[new] = {f"{new}/kernel:0": kernel, f"{new}/bias:0": bias}
    for number, (before, after) in zip((14, 15, 16), pairwise((16, 9, 9, 4)), strict=True):
        layers |= dense(f"conv2d_{number}", (7 if number == 14 else 1,) * 2 + (before, after))
        layers[f"dropout_{number}"] = {}
    write_old(path, layers)


def named_otherwise(names, model):
    """The same network under other names, as Keras 3 keeps it."""
    text = model.to_json()
    for layer, new in zip(CONVOLUTIONS, names, strict=True):
        text = text.replace(f'"{layer.name}"', f'"{new}"')
    other = keras.models.model_from_json(text)
    other.set_weights(model.get_weights())
    return other


def keras_3_blocks(path, model):
    named_otherwise([f"block{layer.block}_conv{layer.index}" for layer in CONVOLUTIONS], model).save_weights(path)


def keras_3_numbered(path, model):
    names = ["conv2d", *(f"conv2d_{number}" for number in range(1, 13))]
    named_otherwise(names, model).save_weights(path)


LAYOUTS = {
    "keras-vggface": ("rcmalli.h5", keras_vggface),
    "keras-vggface 2": ("rcmalli2.h5", keras_vggface_2),
    "applications": ("vgg16.h5", applications),
    "sequential": ("sequential.h5", sequential),
    "keras 3, blocks": ("blocks.weights.h5", keras_3_blocks),
    "keras 3, numbered": ("numbered.weights.h5", keras_3_numbered),
    "keras 3": ("own.weights.h5", lambda path, model: model.save_weights(path)),
    "keras 3, whole": ("own.keras", lambda path, model: model.save(path)),
    "keras 2, whole": ("own.h5", lambda path, model: model.save(path)),
}


def loaded(path):
    model = build_vggface(VGGFACE.input, WIDTH)
    load_weights(model, VGGFACE, resolve_weights(VGGFACE, str(path)))
    return model


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_come_from_every_layout(layout, trained, tmp_path):
    name, write = LAYOUTS[layout]
    path = tmp_path / name
    write(path, trained)
    for expected, received in zip(trained.get_weights(), loaded(path).get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


def test_layers_in_the_file_s_order_and_not_the_alphabet_s(trained, tmp_path):
    for name, write in (("old.h5", sequential), ("new.weights.h5", keras_3_numbered)):
        write(tmp_path / name, trained)
        with open_stored_layers(tmp_path / name) as stored:
            shapes = [array[0].shape for array in stored.values()][:13]
        assert shapes == [trained.get_layer(layer.name).weights[0].shape for layer in CONVOLUTIONS]


def test_the_digest_of_the_file_identifies_the_features(trained, tmp_path):
    path = tmp_path / "vggface.h5"
    keras_vggface(path, trained)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    plan = resolve_backbone("vggface", str(path), ["pool2:grid4", "pool5:flat"], engine="keras", device="cpu")
    assert plan.config.weights == plan.weights_digest == digest
    assert plan.input.value_range == "-1..1"
    own_range = resolve_backbone("vggface", str(path), ["pool5:flat"], input_range="caffe", device="cpu")
    assert own_range.input.value_range == "caffe"


def test_a_file_of_another_width_names_layer_and_shapes(trained, tmp_path):
    path = tmp_path / "narrow.h5"
    keras_vggface(path, trained)
    plan = resolve_backbone("vggface", str(path), engine="keras", device="cpu")
    with pytest.raises(WeightsError) as caught:
        build_model(plan)
    message = str(caught.value)
    assert f"{path}: does not fit vggface, layer 'conv1' (there 'conv1_1')" in message
    assert "Expected arrays [(3, 3, 3, 64), (64,)]. Received: [(3, 3, 3, 2), (2,)]" in message
    assert len(message.splitlines()) <= 3


def rewrite(path, change):
    with h5py.File(path, "a") as file:
        change(file)


@pytest.mark.parametrize("write", [keras_vggface, sequential])
def test_a_kernel_of_another_order_of_axes_is_refused(write, trained, tmp_path):
    """Theano's files hold (out, in, H, W)."""
    path = tmp_path / "theano.h5"
    write(path, trained)

    def turn(file):
        layer = file["conv3_2" if write is keras_vggface else "conv2d_6"]
        name = layer.attrs["weight_names"][0]
        kernel = layer[name][()]
        del layer[name]
        layer[name] = kernel.transpose(3, 2, 0, 1)

    rewrite(path, turn)
    with pytest.raises(WeightsError, match=r"layer 'conv6'.*\nExpected arrays \[\(3, 3, 8, 8\), .* \[\(8, 8, 3, 3\)"):
        loaded(path)


def shorten(file, num_layers):
    file.attrs["layer_names"] = file.attrs["layer_names"][:num_layers]


def test_a_layer_that_is_missing_is_named(trained, tmp_path):
    path = tmp_path / "missing.h5"
    applications(path, trained)
    rewrite(path, lambda file: shorten(file, 12))
    with pytest.raises(WeightsError, match="layer 'conv13' .there 'block5_conv3'.*\n.*Received: no such layer"):
        loaded(path)
    sequential(path, trained)
    rewrite(path, lambda file: shorten(file, 4))
    with pytest.raises(WeightsError, match="layer 'conv3'.*\n.*Received: no such layer"):
        loaded(path)


def test_a_file_that_lacks_an_array_or_is_no_weights_file_is_refused(trained, tmp_path):
    path = tmp_path / "cut.h5"
    keras_vggface(path, trained)

    def drop(file):
        del file["conv4_1"]["conv4_1_b_1:0"]

    rewrite(path, drop)
    with pytest.raises(WeightsError, match="an array that it does not hold"):
        loaded(path)
    with h5py.File(path, "w") as file:
        file["numbers"] = np.zeros(3)
    with pytest.raises(WeightsError, match="layer_names .*\n.*numbers"):
        loaded(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(WeightsError, match="cut short or no HDF5"):
        loaded(path)


def test_without_imagenet_weights_it_says_what_to_give():
    with pytest.raises(WeightsError, match="--weights PATH"):
        resolve_backbone("vggface")


def test_only_the_layers_named_optional_may_stay_as_they_are(trained, tmp_path):
    path = tmp_path / "vggface.h5"
    keras_vggface(path, trained)
    x = keras.layers.Flatten()(trained.get_layer("pool5").output)
    x = keras.layers.Dense(2, name="output")(keras.layers.Dense(6, name="fc")(x))
    whole = keras.models.clone_model(keras.Model(trained.input, x))
    fc = whole.get_layer("fc").get_weights()
    assert take_weights(whole, path, VGGFACE.other_names, ("fc", "output")) == ("fc", "output")
    np.testing.assert_array_equal(
        whole.get_layer("conv9").get_weights()[0], trained.get_layer("conv9").get_weights()[0]
    )
    np.testing.assert_array_equal(whole.get_layer("fc").get_weights()[0], fc[0])
    with pytest.raises(WeightsError, match="layer 'fc'.*\n.*no such layer"):
        take_weights(whole, path, VGGFACE.other_names, ("output",))
