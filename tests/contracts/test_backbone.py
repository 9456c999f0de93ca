"""What every registered backbone promises."""

import functools
import math
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from emopipe.config import fingerprint
from emopipe.errors import ConfigError, UnknownNameError, WeightsError
from emopipe.faces.normalisation import normalise
from emopipe.models.backbones import BACKBONES, BackbonePlan, resolve_backbone
from emopipe.models.building import build_model, build_network
from emopipe.models.engines import relative_difference
from emopipe.models.taps import parse_tap, pooled_size
from emopipe.models.weights import load_network

SAME_SHAPE = 1e-6  # a batch of one is filled up to the batch size, so only the thread that adds a sum may differ
SUM_ORDER = 1e-4  # the same network with other outputs may fuse, and so add, in another order
PARITY = 1e-3  # between engines, relative to the tap's largest number
BATCH_SIZE = 8

# Taps that are read beside the default ones and the lengths of all of them, as the papers and keras' own networks have
# them. A backbone that is not named here is read at its default taps, with the lengths that its places say.
TAPS = {
    "khorrami": {"dense": 300, "pool2:grid4": 2048, "pool3:flat": 1024},
    "vggface": {"pool5:gap": 512, "pool2:grid4": 2048, "conv8:gap": 512},
    "vgg16": {"pool5:gap": 512, "pool2:grid4": 2048, "pool5:flat": 4608},
    "resnet50": {"avg_pool": 2048, "conv4_block6_out:gap": 1024, "conv3_block4_out:grid3": 4608},
    "densenet121": {"avg_pool": 1024, "pool4_relu:gap": 1024, "pool3_pool:grid2": 1024},
    "mobilenetv2": {"avg_pool": 1280, "block_13_expand_relu:gap": 576, "block_6_expand_relu:grid2": 768},
    "vgg16-224": {"fc2": 4096, "fc1": 4096, "pool2:grid4": 2048},
    "mobilenetv2-224": {"avg_pool": 1280, "block_13_expand_relu:gap": 576, "block_6_expand_relu:grid2": 768},
}
# Lengths that the OMG-Emotion paper's taps have at 96 x 96.
VGG16_FLAT = {
    "pool1": 48 * 48 * 64, "conv3": 294_912, "conv4": 294_912, "pool2": 73_728, "conv5": 147_456, "conv6": 147_456,
    "conv7": 147_456, "pool3": 36_864, "conv8": 73_728, "conv9": 73_728, "conv10": 73_728, "pool4": 18_432,
    "conv11": 18_432, "conv12": 18_432, "conv13": 18_432, "pool5": 4_608,
}  # fmt: skip

# 138 million numbers take a quarter of a minute to make.
every_backbone = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "vgg16-224" else name for name in sorted(BACKBONES)],
)


def taps_of(name) -> dict[str, int]:
    """Taps that are read and their lengths."""
    return TAPS.get(name) or resolve_backbone(name, "none", device="cpu").tap_sizes


def plan_of(name, taps=None, engine="keras", **settings) -> BackbonePlan:
    read = taps_of(name) if taps is None else taps
    return resolve_backbone(name, "none", read, engine=engine, device="cpu", **settings)


@functools.cache
def network_of(name):
    return build_network(plan_of(name), batch_size=BATCH_SIZE)


@functools.cache
def some_crops():
    """Eight pictures with structure: smooth blobs of colour, as random noise would be the same everywhere."""
    noise = np.random.default_rng(0).random((BATCH_SIZE, 6, 6, 3))
    return (np.kron(noise, np.ones((1, 16, 16, 1))) * 255).astype(np.uint8)


def test_taps_are_named_of_registered_backbones_only():
    assert set(TAPS) <= set(BACKBONES)


@every_backbone
def test_gives_the_declared_vectors(name):
    features = network_of(name)(some_crops())
    assert {tap: (values.shape, values.dtype) for tap, values in features.items()} == {
        tap: ((BATCH_SIZE, size), np.float32) for tap, size in taps_of(name).items()
    }
    for tap, values in features.items():
        assert np.isfinite(values).all(), tap
        assert np.ptp(values, axis=0).max() > 0, f"{tap} does not depend on the picture"


@every_backbone
def test_a_plan_states_the_lengths_that_the_network_gives(name):
    stated, features = plan_of(name).tap_sizes, network_of(name)(some_crops())
    assert list(stated) == list(features)
    for tap, values in features.items():
        # A layer without a friendly name is known to the network alone.
        has_place = parse_tap(tap).layer in BACKBONES.load(name).places
        assert stated[tap] == (values.shape[1] if has_place else None), tap


def test_khorrami_states_the_length_of_every_pooling_of_every_place():
    maps = ("conv1", "pool1", "conv2", "pool2", "conv3", "pool3")
    taps = [f"{place}:{pooling}" for place in maps for pooling in ("flat", "gap", "grid2")]
    plan = plan_of("khorrami", [*taps, "dense", "dense:flat", "output"])
    features = build_network(plan, batch_size=1)(some_crops()[:1])
    assert plan.tap_sizes == {tap: values.shape[1] for tap, values in features.items()}


@pytest.mark.parametrize(
    ("name", "tap", "size"),
    [
        ("vgg16", "pool2:flat", 73_728),
        ("vgg16", "pool2:gap", 128),
        ("vgg16", "block2_pool:gap", 128),
        ("vgg16", "pool5:flat", 4608),
        ("vgg16", "pool5:gap", 512),
        ("resnet50", "avg_pool", 2048),
        ("resnet50", "conv5_block3_out:flat", 18_432),
        ("resnet50", "conv4_block6_out:gap", None),
        ("densenet121", "avg_pool", 1024),
        ("mobilenetv2", "avg_pool", 1280),
    ],
)
def test_lengths_are_stated_without_a_network(name, tap, size):
    assert plan_of(name, [tap]).tap_sizes == {tap: size}


def test_at_another_size_only_lengths_that_do_not_depend_on_it_are_stated():
    plan = plan_of("vgg16", ["pool5:gap", "pool4:grid2", "pool5:flat"], input_size_px=64)
    assert plan.tap_sizes == {"pool5:gap": 512, "pool4:grid2": 2048, "pool5:flat": None}


def test_a_length_that_cannot_be_is_an_error():
    with pytest.raises(ConfigError, match="block2_pool:gap"):
        _ = plan_of("vgg16", ["block2_pool"]).tap_sizes


@every_backbone
def test_is_the_network_that_it_declares(name):
    architecture = BACKBONES.load(name)
    model = build_model(plan_of(name))
    assert architecture.name == name
    assert model.count_params() == architecture.num_parameters
    for friendly, place in architecture.places.items():
        assert tuple(model.get_layer(place.layer).output.shape[1:]) == place.shape, friendly
    for tap in architecture.default_taps:
        place = architecture.places[parse_tap(tap).layer]
        assert place.pooling or len(place.shape) == 1 or ":" in tap


@every_backbone
def test_a_batch_of_one_is_a_row_of_a_batch_of_eight(name):
    network, crops = network_of(name), some_crops()
    eight, one = network(crops), network(crops[5:6])
    for tap, values in eight.items():
        assert relative_difference(values[5:6], one[tap]) < SAME_SHAPE


@pytest.mark.slow
@every_backbone
def test_three_taps_equal_one_by_one(name):
    together = network_of(name)(some_crops())
    for tap, values in together.items():
        alone = build_network(plan_of(name, [tap]), batch_size=BATCH_SIZE)(some_crops())
        assert list(alone) == [tap]
        assert relative_difference(values, alone[tap]) < SUM_ORDER


@every_backbone
def test_is_fed_its_declared_range(name):
    """The network, run by hand on pixels prepared as its makers say, gives what the backbone gives."""
    import keras

    own = name.removesuffix("-224")
    module = {"densenet121": "densenet", "mobilenetv2": "mobilenet_v2", "vggface": "mobilenet_v2"}.get(own, own)
    prepared = normalise(some_crops(), BACKBONES.load(name).input)
    if (makers := getattr(keras.applications, module, None)) is not None:
        pixels = normalise(some_crops(), replace(BACKBONES.load(name).input, value_range="0..255"))
        prepared = makers.preprocess_input(pixels)
    elif name == "khorrami":
        assert (prepared.shape[3], prepared.min() >= 0, prepared.max() <= 1) == (1, True, True)
    tap = next(iter(taps_of(name)))
    located = plan_of(name).taps[0]
    model = build_model(plan_of(name))
    output = np.asarray(keras.Model(model.input, model.get_layer(located.layer).output)(prepared))
    expected = output.mean(axis=(1, 2)) if output.ndim == 4 else output
    assert relative_difference(expected, network_of(name)(some_crops())[tap]) < SUM_ORDER


@every_backbone
def test_a_plan_names_everything_that_changes_the_numbers(name):
    architecture = BACKBONES.load(name)
    plan = plan_of(name)
    assert plan == plan_of(name)
    assert pickle.loads(pickle.dumps(plan)) == plan
    default = resolve_backbone(name, "none", device="cpu")
    assert default.config.taps == architecture.default_taps
    assert default.config.input_range == architecture.input.value_range
    a_map = next(place.layer for place in architecture.places.values() if len(place.shape) == 3)
    another_range = "0..255" if architecture.input.value_range != "0..255" else "0..1"
    others = [plan_of(name, [f"{a_map}:grid3"]),
              plan_of(name, input_range=another_range), plan_of(name, engine="onnxruntime")]  # fmt: skip
    prints = {fingerprint(each.config, each.weights_digest) for each in (plan, *others)}
    assert len(prints) == 4


@every_backbone
def test_saved_and_loaded_it_is_the_same(name, tmp_path):
    plan = plan_of(name, list(taps_of(name))[:1], weights_folder=tmp_path)
    build_network(plan, batch_size=BATCH_SIZE)
    before, after = build_model(plan), load_network(plan.kept_network)
    for expected, received in zip(before.get_weights(), after.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    assert [entry.name for entry in tmp_path.iterdir()] == [plan.kept_network.name]


@pytest.mark.parametrize(
    "name", ["khorrami", pytest.param("mobilenetv2", marks=pytest.mark.slow)]
)  # the others take up to half a minute to export
def test_the_exported_graph_equals_keras(name):
    exported = build_network(plan_of(name, engine="onnxruntime"))(some_crops())
    for tap, values in network_of(name)(some_crops()).items():
        assert relative_difference(values, exported[tap]) < PARITY


@pytest.mark.parametrize("name", ["vgg16", "vggface"])
@pytest.mark.parametrize(("tap", "size"), VGG16_FLAT.items())
def test_vgg16_has_the_taps_of_the_paper(tap, size, name):
    place = BACKBONES.load(name).places[tap]
    assert math.prod(place.shape) == size == pooled_size(parse_tap(f"{tap}:flat"), place.shape)


def test_resizable_backbones_take_other_sizes_and_the_others_say_so():
    plan = plan_of("vgg16", ["pool5:flat"], input_size_px=64)
    assert build_network(plan, batch_size=1)(some_crops()[:1])["pool5:flat"].shape == (1, 2 * 2 * 512)
    with pytest.raises(ConfigError, match="khorrami takes 96 pixels"):
        plan_of("khorrami", input_size_px=64)


def test_mistakes_are_refused_when_planning():
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet50'"):
        resolve_backbone("resnet5", "none")
    with pytest.raises(ConfigError, match="'pool2:gap'"):
        plan_of("vgg16", ["pool2"])
    with pytest.raises(ConfigError, match="does not fit"):
        plan_of("vgg16", ["pool5:grid4"])
    with pytest.raises(ConfigError, match="input range"):
        plan_of("vgg16", input_range="0-1")
    with pytest.raises(WeightsError, match="no ImageNet weights"):
        resolve_backbone("khorrami")


def test_an_unknown_layer_is_refused_when_building():
    with pytest.raises(ConfigError, match="khorrami has no layer 'dens'.*\n.*first: dense"):
        build_network(plan_of("khorrami", ["dens"]))


def test_planning_imports_no_engine():
    code = (
        "import sys; from emopipe.models.backbones import BACKBONES, resolve_backbone\n"
        "for name in BACKBONES: assert all(resolve_backbone(name, 'none', device='cpu').tap_sizes.values())\n"
        "assert not {'keras', 'tensorflow', 'onnxruntime', 'tf2onnx'} & set(sys.modules), 'an engine was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
