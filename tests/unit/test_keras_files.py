"""Any `.keras` file as a backbone: described without keras, refused without an input range."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from emopipe.errors import ConfigError, WeightsError
from emopipe.faces.normalisation import InputSpec, normalise
from emopipe.models.backbones import resolve_backbone
from emopipe.models.building import build_network
from emopipe.models.keras_files import METADATA_MEMBER, read_keras_file, read_metadata, write_metadata

PARITY = 1e-3  # between engines, relative to the tap's largest number


def save_network(path: Path, side: int | None = 32, channels: int = 3, sequential: bool = False) -> Path:
    """A small network with a Normalization layer, as trained networks often begin with one."""
    import keras
    from keras import layers

    stack = [
        layers.Normalization(mean=[0.4] * channels, variance=[0.04] * channels, name="normalise"),
        layers.Conv2D(6, 3, strides=2, activation="relu", name="conv"),
        layers.GlobalAveragePooling2D(name="features"),
        layers.Dense(4, name="classes"),
    ]
    keras.utils.set_random_seed(3)
    if sequential:
        model = keras.Sequential([keras.Input((side, side, channels)), *stack])
    else:
        image = output = keras.Input((side, side, channels), name="image")
        for layer in stack:
            output = layer(output)
        model = keras.Model(image, output)
    model.save(path)
    return path


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("networks") / "small.keras")


@pytest.fixture
def crops():
    return np.random.default_rng(0).integers(0, 256, (5, 96, 96, 3), np.uint8)


def test_a_file_says_what_it_takes(network_file):
    file = read_keras_file(network_file)
    assert (file.size_px, file.channels, file.metadata) == (32, 3, None)
    assert file.layers == ("image", "normalise", "conv", "features", "classes")


@pytest.mark.parametrize(("side", "channels", "sequential"), [(None, 3, False), (24, 1, True)])
def test_open_sizes_grey_and_sequential_networks(tmp_path, side, channels, sequential):
    file = read_keras_file(save_network(tmp_path / "other.keras", side, channels, sequential))
    assert (file.size_px, file.channels) == (side, channels)
    assert file.layers[-2:] == ("features", "classes")


def test_without_a_range_it_is_refused(network_file):
    with pytest.raises(ConfigError, match="Give --input-range"):
        resolve_backbone(str(network_file), taps=["features"])


def test_without_a_tap_the_last_layers_are_named(network_file):
    with pytest.raises(ConfigError, match="--tap.*\n.*features, classes"):
        resolve_backbone(str(network_file), input_range="0..1")


def test_a_tap_that_is_not_there_is_refused_before_keras_is_needed(network_file):
    with pytest.raises(ConfigError, match="no layer 'feature'.*\n.*first: features"):
        resolve_backbone(str(network_file), taps=["feature"], input_range="0..1")


def test_lengths_in_a_file_are_not_stated(network_file):
    plan = resolve_backbone(str(network_file), taps=["features", "conv:gap"], input_range="0..1")
    assert plan.tap_sizes == {"features": None, "conv:gap": None}


def test_weights_beside_a_file_are_refused(network_file):
    with pytest.raises(ConfigError, match="brings its own"):
        resolve_backbone(str(network_file), "none", ["features"], input_range="0..1")


def test_a_size_is_asked_for_only_when_open(network_file, tmp_path):
    with pytest.raises(ConfigError, match="takes 32 pixels. Received: --input-size 64"):
        resolve_backbone(str(network_file), taps=["features"], input_range="0..1", input_size_px=64)
    open_file = save_network(tmp_path / "open.keras", side=None)
    with pytest.raises(ConfigError, match="Give --input-size"):
        resolve_backbone(str(open_file), taps=["features"], input_range="0..1")
    plan = resolve_backbone(str(open_file), taps=["conv:grid3"], input_range="0..1", input_size_px=48, engine="keras")
    assert plan.config.input_size_px == 48
    values = build_network(plan, batch_size=2)(np.zeros((1, 96, 96, 3), np.uint8))
    assert values["conv:grid3"].shape == (1, 54)


def test_metadata_stands_in_for_the_options_and_keras_still_loads_the_file(network_file, tmp_path, crops):
    path = tmp_path / "trained.keras"
    path.write_bytes(network_file.read_bytes())
    for taps in (["classes"], ["features"]):  # the second call replaces the first note
        write_metadata(path, InputSpec(32, 3, "-1..1"), taps)
    with zipfile.ZipFile(path) as file:
        assert file.namelist().count(METADATA_MEMBER) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["trained.keras"]
    metadata = read_metadata(path)
    assert metadata is not None
    assert (metadata.input, metadata.taps) == (InputSpec(32, 3, "-1..1"), ("features",))
    plan = resolve_backbone(str(path), engine="keras")
    assert (plan.config.input_range, plan.config.taps, plan.config.backbone) == ("-1..1", ("features",), "file")
    said = resolve_backbone(str(network_file), taps=["features"], input_range="-1..1", engine="keras")
    assert said.weights_digest != plan.weights_digest
    np.testing.assert_array_equal(build_network(plan)(crops)["features"], build_network(said)(crops)["features"])


def test_the_range_reaches_the_network(network_file, crops):
    import keras

    model = keras.saving.load_model(network_file)
    expected = np.asarray(model(normalise(crops, InputSpec(32, 3, "0..1"))))
    right = resolve_backbone(str(network_file), taps=["classes"], input_range="0..1", engine="keras")
    wrong = resolve_backbone(str(network_file), taps=["classes"], input_range="0..255", engine="keras")
    np.testing.assert_allclose(build_network(right)(crops)["classes"], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(build_network(wrong)(crops)["classes"] - expected).max() > 1
    assert right.config != wrong.config


def test_both_engines_agree_and_the_file_is_kept(network_file, tmp_path, crops):
    features = {}
    for engine in ("keras", "onnxruntime"):
        settings = {"input_range": "0..1", "engine": engine, "weights_folder": tmp_path}
        plan = resolve_backbone(str(network_file), taps=["conv:grid3", "classes"], **settings)
        features[engine] = build_network(plan)(crops)
    for tap, values in features["keras"].items():
        assert np.abs(features["onnxruntime"][tap] - values).max() < PARITY * np.abs(values).max()
    assert (tmp_path / f"{plan.weights_digest}.keras").read_bytes() == network_file.read_bytes()


def _write_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("other.txt", "")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("no zip"), "cannot be read"),
        (_write_zip, "config.json"),
    ],
)
def test_what_is_no_keras_file_is_refused(tmp_path, make, message):
    path = tmp_path / "wrong.keras"
    make(path)
    with pytest.raises(WeightsError, match=message):
        resolve_backbone(str(path), taps=["a"], input_range="0..1")


def test_code_in_a_file_is_not_run(tmp_path):
    import keras

    image = keras.Input((32, 32, 3))
    output = keras.layers.Lambda(lambda x: x + 1, name="plus")(image)
    keras.Model(image, output).save(tmp_path / "code.keras")
    plan = resolve_backbone(str(tmp_path / "code.keras"), taps=["plus:gap"], input_range="0..1")
    with pytest.raises(WeightsError, match="without Lambda layers"):
        build_network(plan)
