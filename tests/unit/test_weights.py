"""Weights are found, identified and refused before anything is decoded."""

import hashlib
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from emopipe.errors import StorageError, WeightsError
from emopipe.faces.normalisation import InputSpec
from emopipe.models.applications import DENSENET121, MOBILENETV2, RESNET50, VGG16
from emopipe.models.architecture import PublishedWeights
from emopipe.models.khorrami import KHORRAMI, build_khorrami
from emopipe.models.weights import glorot_uniform, initialise, keep, load_weights, resolve_weights

REFUSED_AT_ONCE_S = 5.0
CLOSED_PORT = "http://127.0.0.1:9"  # the discard port; nothing listens there


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path / "models"


def _published_at(url, md5=""):
    return replace(RESNET50, published=PublishedWeights(url, md5))


def test_a_failed_download_says_what_to_put_where(keras_home):
    start_s = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        resolve_weights(_published_at(f"{CLOSED_PORT}/resnet/resnet50_notop.h5"), "imagenet")
    assert time.monotonic() - start_s < REFUSED_AT_ONCE_S
    message = str(caught.value)
    assert len(message.splitlines()) <= 3
    for part in (
        f"{CLOSED_PORT}/resnet/resnet50_notop.h5",
        f"put resnet50_notop.h5 into {keras_home}",
        "faces are kept",
    ):
        assert part in message
    assert list(keras_home.iterdir()) == []


def test_a_download_is_kept_under_its_name_and_not_repeated(keras_home, tmp_path):
    source = tmp_path / "served" / "net.h5"
    source.parent.mkdir()
    source.write_bytes(b"weights")
    md5 = hashlib.md5(b"weights").hexdigest()
    found = resolve_weights(_published_at(source.as_uri(), md5), "imagenet")
    source.unlink()
    assert found == resolve_weights(_published_at(source.as_uri(), md5), "imagenet")
    assert (found.path, found.label) == (keras_home / "net.h5", "imagenet")
    assert found.digest == hashlib.sha256(b"weights").hexdigest()


def test_a_file_that_is_not_the_published_one_is_refused(keras_home):
    keras_home.mkdir()
    path = keras_home / RESNET50.published.file_name
    path.write_bytes(b"half a download")
    with pytest.raises(WeightsError, match=f"{path}: expected the file with MD5 {RESNET50.published.md5}"):
        resolve_weights(RESNET50, "imagenet")


@pytest.mark.parametrize(
    ("architecture", "module", "names"),
    [
        (VGG16, "vgg16", ["WEIGHTS_PATH_NO_TOP"]),
        (RESNET50, "resnet", ["BASE_WEIGHTS_PATH"]),
        (DENSENET121, "densenet", ["DENSENET121_WEIGHT_PATH_NO_TOP"]),
        (MOBILENETV2, "mobilenet_v2", ["BASE_WEIGHT_PATH"]),
    ],
)
def test_the_published_files_are_the_ones_that_keras_names(architecture, module, names):
    import importlib

    source = importlib.import_module(f"keras.src.applications.{module}")
    assert architecture.published.url.startswith(getattr(source, names[0]))
    assert architecture.published.md5 in Path(source.__file__).read_text()


def test_khorrami_has_no_imagenet_weights():
    with pytest.raises(WeightsError, match="--weights none"):
        resolve_weights(KHORRAMI, "imagenet")


def test_no_weights_are_announced_and_told_apart_by_backbone():
    found = resolve_weights(KHORRAMI, "none")
    assert (found.label, found.path) == ("none", None)
    assert "seeded random" in found.notes[0]
    assert found == resolve_weights(KHORRAMI, "none")
    assert found.digest != resolve_weights(VGG16, "none").digest


@pytest.mark.parametrize("name", ["absent.h5", "weights.pkl", "folder"])
def test_other_paths_are_refused(tmp_path, name):
    (tmp_path / "weights.pkl").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsError, match="expected"):
        resolve_weights(KHORRAMI, str(tmp_path / name))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
def test_weights_come_back_from_a_file(tmp_path, suffix):
    trained = build_khorrami()
    initialise(trained, seed=5)
    path = tmp_path / f"trained{suffix}"
    trained.save_weights(path) if suffix == ".weights.h5" else trained.save(path)
    found = resolve_weights(KHORRAMI, str(path))
    assert found.label == found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    fresh = build_khorrami()
    load_weights(fresh, KHORRAMI, found)
    for expected, received in zip(trained.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize("kind", ["other width", "other network"])
def test_weights_that_do_not_fit_are_refused(tmp_path, suffix, kind):
    import keras

    other = build_khorrami(num_outputs=8)
    if kind == "other network":
        other = keras.Sequential([keras.Input((96, 96, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    path = tmp_path / f"other{suffix}"
    other.save_weights(path) if suffix == ".weights.h5" else other.save(path)
    with pytest.raises(WeightsError, match="does not fit khorrami") as caught:
        load_weights(build_khorrami(), KHORRAMI, resolve_weights(KHORRAMI, str(path)))
    assert "Received: " in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "damaged.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(WeightsError, match="does not fit"):
        load_weights(build_khorrami(), KHORRAMI, resolve_weights(KHORRAMI, str(path)))


def test_random_weights_are_the_same_in_every_process_and_differ_by_seed():
    code = (
        "import hashlib; from emopipe.models.khorrami import build_khorrami; "
        "from emopipe.models.weights import initialise; m = build_khorrami(); initialise(m); "
        "print(hashlib.sha256(b''.join(w.tobytes() for w in m.get_weights())).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    model = build_khorrami()
    initialise(model)
    first = model.get_weights()
    assert hashlib.sha256(b"".join(weight.tobytes() for weight in first)).hexdigest() == other
    initialise(model, seed=1)
    assert any((before != after).any() for before, after in zip(first, model.get_weights(), strict=True))


def test_random_kernels_are_glorot_and_the_rest_is_neutral():
    model = build_khorrami()
    initialise(model)
    kernel = model.get_layer("conv2").get_weights()[0]
    limit = math.sqrt(6 / (25 * 64 + 25 * 128))
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    np.testing.assert_allclose(kernel.std(), limit / math.sqrt(3), rtol=0.01)
    assert [weight.tolist() for weight in model.get_layer("normalisation").get_weights()] == [[1], [0], [0], [1]]
    assert (model.get_layer("dense").get_weights()[1] == 0).all()


def test_a_normalization_layer_starts_neutral():
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Normalization(name="scale")])
    model.get_layer("scale").set_weights([np.full(3, 7), np.full(3, 7), np.array(7)])
    initialise(model)
    assert [weight.tolist() for weight in model.get_weights()] == [[0, 0, 0], [1, 1, 1], 0]


def test_a_depthwise_kernel_counts_its_own_channel_only():
    kernel = glorot_uniform((3, 3, 512, 1), np.random.default_rng(0), depthwise=True)
    assert 0.99 * math.sqrt(6 / 18) < np.abs(kernel).max() <= math.sqrt(6 / 18)


def test_a_kept_file_does_not_change_with_its_source(tmp_path):
    source, target = tmp_path / "source.keras", tmp_path / "weights" / "digest.keras"
    source.write_bytes(b"first")
    keep(source, target)
    source.write_bytes(b"second")
    keep(source, target)
    assert target.read_bytes() == b"first"
    assert [entry.name for entry in target.parent.iterdir()] == ["digest.keras"]


def test_a_cache_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "source").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        keep(tmp_path / "source", tmp_path / "file" / "digest.keras")


def test_mobilenet_published_weights_are_those_of_its_size():
    assert f"_{MOBILENETV2.input.size_px}_no_top" in MOBILENETV2.published.file_name
    assert MOBILENETV2.input == InputSpec(96, 3, "-1..1")
