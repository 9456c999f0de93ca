"""Two engines, one result: fixed batches, exported graphs, devices asked for and not there."""

import subprocess
import sys

import numpy as np
import pytest

from emopipe.errors import ConfigError, DeviceError, WeightsError
from emopipe.models.backbones import keras_backend, resolve_backbone, resolve_device
from emopipe.models.building import build_network
from emopipe.models.engines import KerasEngine, OnnxEngine, check_parity, relative_difference, require_gpu

PARITY = 1e-3  # between engines, relative to the tap's largest number
PIECES = 1e-5  # onnxruntime adds in another order for other batch sizes
TAPS = ["dense", "pool2:grid4", "conv1:gap"]


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (10, 96, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A weights folder in which khorrami with three taps has been exported."""
    folder = tmp_path_factory.mktemp("weights")
    build_network(resolve_backbone("khorrami", "none", TAPS, weights_folder=folder, device="cpu"))
    return folder


def test_the_exported_graph_equals_keras(folder, crops):
    plans = {
        engine: resolve_backbone("khorrami", "none", TAPS, engine=engine, weights_folder=folder, device="cpu")
        for engine in ("keras", "onnxruntime")
    }
    networks = {engine: build_network(plan, batch_size=4) for engine, plan in plans.items()}
    assert [network.engine for network in networks.values()] == ["keras", "onnxruntime"]
    features = {engine: network(crops) for engine, network in networks.items()}
    for tap in TAPS:
        assert features["keras"][tap].dtype == features["onnxruntime"][tap].dtype == np.float32
        assert relative_difference(features["keras"][tap], features["onnxruntime"][tap]) < PARITY
    assert plans["keras"].config != plans["onnxruntime"].config


def test_network_and_graph_are_kept_under_their_digest(folder):
    plan = resolve_backbone("khorrami", "none", TAPS, weights_folder=folder, device="cpu")
    assert sorted(entry.name for entry in folder.iterdir()) == sorted([plan.kept_network.name, plan.kept_graph.name])
    assert plan.kept_network.name == f"{plan.weights_digest}.keras"
    other = resolve_backbone("khorrami", "none", TAPS[:1], weights_folder=folder, device="cpu")
    assert other.kept_graph != plan.kept_graph
    assert other.kept_network == plan.kept_network


def test_a_second_run_needs_no_keras(folder):
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from emopipe.models.backbones import resolve_backbone\n"
        "from emopipe.models.building import build_network\n"
        f"plan = resolve_backbone('khorrami', 'none', {TAPS}, weights_folder=Path({str(folder)!r}), device='cpu')\n"
        "features = build_network(plan)(np.zeros((2, 96, 96, 3), np.uint8))\n"
        "assert list(features) == list(plan.config.taps)\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules), 'a heavy module was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_more_crops_than_a_batch_are_run_in_pieces(folder, crops):
    plan = resolve_backbone("khorrami", "none", TAPS, weights_folder=folder, device="cpu")
    whole, pieces = build_network(plan, batch_size=10)(crops), build_network(plan, batch_size=4)(crops)
    for tap in TAPS:
        assert relative_difference(whole[tap], pieces[tap]) < PIECES


def test_no_crops_give_no_rows(folder):
    plan = resolve_backbone("khorrami", "none", TAPS, weights_folder=folder, device="cpu")
    shapes = {tap: values.shape for tap, values in build_network(plan)(np.empty((0, 96, 96, 3), np.uint8)).items()}
    assert shapes == {"dense": (0, 300), "pool2:grid4": (0, 2048), "conv1:gap": (0, 64)}


def test_keras_always_sees_one_shape():
    import keras

    seen = []

    class Spy(keras.Model):
        def predict_on_batch(self, x):
            seen.append(x.shape)
            return super().predict_on_batch(x)

    image = keras.Input((4,))
    engine = KerasEngine(Spy(image, keras.layers.Rescaling(2.0)(image)), batch_size=4)
    batch = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(engine(batch)[0], 2 * batch)
    np.testing.assert_array_equal(engine(np.ones((4, 4), np.float32))[0], np.full((4, 4), 2))
    assert seen == [(4, 4), (4, 4)]


def test_a_graph_with_other_numbers_is_refused():
    right = [np.array([[1.0, 100.0]], np.float32), np.ones((1, 2), np.float32)]
    near = [right[0] + 0.05, right[1]]
    check_parity(right, near, ["a", "b"])
    for wrong in ([right[0] + 0.2, right[1]], [right[1], right[1]], [right[0], right[1] * np.nan]):
        with pytest.raises(WeightsError, match="differs from Keras"):
            check_parity(right, wrong, ["a", "b"])


def test_a_damaged_graph_is_refused(tmp_path):
    (tmp_path / "damaged.onnx").write_bytes(b"no graph")
    with pytest.raises(WeightsError, match="Delete it"):
        OnnxEngine(tmp_path / "damaged.onnx", num_threads=1)


def test_a_gpu_asked_for_and_not_there_is_an_error(tmp_path):
    import keras
    import onnxruntime

    if not keras.distribution.list_devices("gpu"):
        with pytest.raises(DeviceError, match="sees no GPU"):
            require_gpu()
        plan = resolve_backbone("khorrami", "none", device="gpu")
        assert (plan.config.engine, plan.device) == ("keras", "gpu")
        with pytest.raises(DeviceError, match="--device cpu"):
            build_network(plan)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(DeviceError, match="no CUDA"):
            OnnxEngine(tmp_path / "any.onnx", num_threads=1, device="gpu")


def test_the_engine_is_settled_when_planning(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert resolve_backbone("khorrami", "none", device="cpu").config.engine == "onnxruntime"
    assert resolve_backbone("khorrami", "none", device="gpu").config.engine == "keras"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert resolve_backbone("khorrami", "none", device="cpu").config.engine == "keras"
    with pytest.raises(ConfigError, match="KERAS_BACKEND=tensorflow"):
        resolve_backbone("khorrami", "none", device="cpu", engine="onnxruntime")


def test_the_backend_is_found_by_keras_own_rule(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert keras_backend() == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    assert keras_backend() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert keras_backend() == "torch"


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match="auto, cpu or gpu"):
        resolve_device("tpu")
    assert resolve_device("auto") in ("cpu", "gpu")
