"""`train-cnn` from other weights than random ones, in other widths, with another optimiser."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from train_runner import make_cache

from emopipe.errors import ConfigError, EmopipeError, RunError, WeightsError
from emopipe.files import sha256_of_file
from emopipe.models.bundle import open_run
from emopipe.models.trainable import CNNS
from emopipe.models.weights import initialise
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.start_weights import resolve_start
from emopipe.stages.train_cnn import train_cnn

TINY = TrainCnnConfig(backbone="tiny", epochs=2, batch_size=16, learning_rate=0.05)
VGG = TrainCnnConfig(backbone="vggface", width=1 / 64, epochs=1, batch_size=38, optimiser="adam", learning_rate=1e-3)
STANDS_STILL = 1e-12  # a learning rate at which nothing moves by more than a rounding


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(corpus, cache) that no test changes."""
    return make_cache(tmp_path_factory.mktemp("made"))


@pytest.fixture
def train(made, tmp_path):
    """``train(config, "name")`` trains into a new run folder of that name, reading crops in this process."""

    def run(config=TINY, name="run", **options):
        where = {"root": made[0], "cache": made[1], "run": tmp_path / name}
        return train_cnn(config, dataset="affwild2", num_readers=0, **where, **options)

    return run


def network_of(folder):
    import keras

    return keras.saving.load_model(folder / "network.keras", safe_mode=True)


def test_a_run_starts_from_another_run(train, tmp_path):
    train(TINY, "first")
    first = network_of(tmp_path / "first")
    config = replace(TINY, weights=str(tmp_path / "first"), learning_rate=STANDS_STILL, momentum=0.0, epochs=1)
    report = train(config, "second")
    for one, other in zip(first.get_weights(), network_of(tmp_path / "second").get_weights(), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)
    digest = sha256_of_file(tmp_path / "first" / "network.keras")
    assert report.notes == (
        f"Starts from {tmp_path / 'first' / 'network.keras'}: 2 layers are taken, none is at random.",
    )
    run = open_run(tmp_path / "second")
    assert run.content["settings"]["weights"] == digest
    assert run.content["start"] == {
        "file": str(tmp_path / "first" / "network.keras"),
        "digest": digest,
        "taken": ["dense", "output"],
        "random": [],
    }


def test_the_output_follows_the_task_and_stays_random(train, tmp_path):
    train(replace(TINY, epochs=1), "plane")
    weights = str(tmp_path / "plane" / "network.keras")
    still = replace(TINY, epochs=1, weights=weights, learning_rate=STANDS_STILL, momentum=0.0)
    report = train(replace(still, task="expr"), "classes")
    assert report.notes[-1].endswith("1 layers are taken, at random: output.")
    network = network_of(tmp_path / "classes")
    dense = network_of(tmp_path / "plane").get_layer("dense")
    np.testing.assert_allclose(network.get_layer("dense").get_weights()[0], dense.get_weights()[0], atol=1e-6)
    assert network.output.shape == (None, 3)
    fresh = CNNS.load("tiny").build(3, "softmax", 1.0)
    initialise(fresh, still.seed)
    expected = fresh.get_layer("output").get_weights()[0]
    np.testing.assert_allclose(network.get_layer("output").get_weights()[0], expected, atol=1e-6)
    assert open_run(tmp_path / "classes").content["start"]["random"] == ["output"]


def test_vggface_goes_from_one_run_to_the_next_and_is_fed_from_minus_one(train, tmp_path):
    from emopipe.faces.normalisation import InputSpec
    from emopipe.models.backbones import resolve_backbone
    from emopipe.models.building import build_network

    train(VGG, "first")
    run = open_run(tmp_path / "first")
    assert run.content["settings"]["width"] == VGG.width
    assert run.content["settings"]["optimiser"] == "adam"
    assert (run.content["width"], run.content["optimiser"], run.content["start"]) == (VGG.width, "adam", None)
    taps = ["pool2:grid4", "pool5:flat", "fc"]
    plan = resolve_backbone(str(run.network), taps=taps, engine="keras", device="cpu")
    assert plan.input == InputSpec(96, 3, "-1..1")
    features = build_network(plan)(np.zeros((2, 96, 96, 3), np.uint8))
    assert {tap: values.shape for tap, values in features.items()} == {
        "pool2:grid4": (2, 32), "pool5:flat": (2, 72), "fc": (2, 64),
    }  # fmt: skip
    report = train(replace(VGG, weights=str(tmp_path / "first"), targets=("arousal",)), "second")
    assert report.notes[-1].endswith("14 layers are taken, at random: output.")
    with pytest.raises(WeightsError, match=r"layer 'conv1'.*\nExpected arrays \[\(3, 3, 3, 2\)"):
        train(replace(VGG, width=1 / 32, weights=str(tmp_path / "first")), "wider")


def test_a_published_file_gives_the_convolutions(train, tmp_path):
    """VGG-Face in the layout of keras-vggface, at the width of the network."""
    import h5py

    from emopipe.models.vggface import vgg16_layers

    source = CNNS.load("vggface").build(2, "linear", VGG.width)
    initialise(source, seed=7)
    path = tmp_path / "vggface.h5"
    with h5py.File(path, "w") as file:
        names = {layer.name: f"conv{layer.block}_{layer.index}" for layer in vgg16_layers() if layer.index}
        file.attrs["layer_names"] = list(names.values())
        for own, name in names.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}_W_1:0", f"{name}_b_1:0"]
            for weight, array in zip(group.attrs["weight_names"], source.get_layer(own).get_weights(), strict=True):
                group[weight] = array
    config = replace(VGG, weights=str(path), optimiser="sgd", momentum=0.0, learning_rate=STANDS_STILL)
    report = train(config)
    assert report.notes[-1].endswith("13 layers are taken, at random: fc, output.")
    kept = network_of(tmp_path / "run")
    for name in names:
        np.testing.assert_allclose(
            kept.get_layer(name).get_weights()[0], source.get_layer(name).get_weights()[0], atol=1e-6
        )


def test_imagenet_weights_are_taken_by_name(tmp_path, monkeypatch):
    """The published file holds the network without a top; here one of our own, narrower, stands in for it."""
    from emopipe.models.architecture import PublishedWeights
    from emopipe.models.residual import build_resnet50
    from emopipe.stages.start_weights import start_from

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    cnn = replace(CNNS.load("resnet50"), published=PublishedWeights((tmp_path / "served.h5").as_uri()))
    source = build_resnet50(cnn.input, 1 / 32)
    initialise(source, seed=5)
    source.save(tmp_path / "served.h5")
    found = resolve_start("resnet50", cnn, "imagenet")
    assert (found.label, found.digest) == ("imagenet", sha256_of_file(tmp_path / "served.h5"))
    network = cnn.build(2, "linear", 1 / 32)
    initialise(network)
    sentence, about = start_from(network, cnn, found)
    assert about["random"] == ["fc", "output"]
    assert len(about["taken"]) == 106  # 53 convolutions, each with its normalisation
    for layer in source.layers:
        for one, other in zip(layer.get_weights(), network.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": "imagenet"}, WeightsError, "tiny: no ImageNet weights exist for it"),
        ({"weights": "nowhere.keras"}, WeightsError, "There is no such file"),
        ({"weights": str(Path(__file__).parent)}, RunError, "is not a run folder"),
        ({"width": 0.5}, ConfigError, "tiny: comes in width 1 only. Received: width 0.5"),
        ({"backbone": "vggface", "weights": "imagenet"}, WeightsError, "vggface: no ImageNet weights"),
        ({"backbone": "resnet50", "weights": "imagenet", "width": 0.5}, ConfigError, "are of width 1"),
    ],
)
def test_a_start_that_cannot_be_is_refused_before_anything_is_made(train, tmp_path, change, error, message):
    with pytest.raises(error, match=message) as caught:
        train(replace(TINY, **change))
    assert isinstance(caught.value, EmopipeError)
    assert len(str(caught.value).splitlines()) <= 3
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"width": 0.0}, {"width": 2.0}, {"optimiser": "rmsprop"}])
def test_a_setting_out_of_range_is_refused(settings):
    with pytest.raises(ConfigError):
        TrainCnnConfig(**settings)


def test_a_run_that_was_begun_before_these_settings_existed_goes_on(train, tmp_path, monkeypatch):
    from emopipe.stages import training

    def stop(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        train(replace(TINY, epochs=1))
    monkeypatch.undo()
    path = tmp_path / "run" / "run.json"
    settings = json.loads(path.read_text())["settings"]
    assert not {"width", "optimiser", "weights"} & set(settings)
    assert train(replace(TINY, epochs=1)).num_epochs == 1


@pytest.mark.slow
def test_the_options_of_the_command_line_arrive(made, tmp_path, program):
    where = ("--dataset", "affwild2", "--root", made[0], "--cache", made[1], "--run", tmp_path / "run")
    outcome = program(
        "train-cnn", *where, "--backbone", "vggface", "--width", VGG.width, "--optimiser", "adam",
        "--learning-rate", 1e-3, "--epochs", 1, "--batch", 57, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    settings = open_run(tmp_path / "run").content["settings"]
    assert (settings["backbone"], settings["width"], settings["optimiser"]) == ("vggface", VGG.width, "adam")
    outcome = program("train-cnn", *where[:-1], tmp_path / "two", "--backbone", "tiny", "--width", 3)
    assert outcome.code == 1
    assert "width: expected a share" in outcome.err
