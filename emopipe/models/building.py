"""Building a settled backbone: from its plan to one call from crops to vectors."""

import tempfile
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emopipe.errors import ConfigError, WeightsError
from emopipe.faces.normalisation import InputSpec, normalise
from emopipe.models.architecture import Architecture
from emopipe.models.backbones import BACKBONES, DEFAULT_BATCH_SIZE, DEFAULT_NUM_THREADS, FILE, BackbonePlan
from emopipe.models.engines import (
    Engine,
    KerasEngine,
    OnnxEngine,
    check_parity,
    export_onnx,
    load_keras,
    quiet_stderr,
    require_gpu,
)
from emopipe.models.taps import attach
from emopipe.models.weights import keep, load_network, load_weights
from emopipe.processes import deaf_children, process_pool
from emopipe.records import CROP_SIZE_PX
from emopipe.typing import Floats, Image

if TYPE_CHECKING:
    import keras

_NUM_PARITY_CROPS = 8


class Network:
    """A built backbone: crops in, one vector per crop and tap out, all taps in one forward pass.

    Attributes:
        engine: "keras" or "onnxruntime".
        device: "cpu" or "gpu", where it really runs.
    """

    def __init__(self, plan: BackbonePlan, engine: Engine, batch_size: int):
        self.engine, self.device = engine.name, engine.device
        self._run, self._batch_size = engine, batch_size
        self._names, self._input = tuple(tap.name for tap in plan.taps), plan.input

    def __call__(self, crops: Image) -> dict[str, Floats]:
        """Features of crops.

        Args:
            crops: (N, 96, 96, 3) uint8 RGB; beyond the batch size they are run in pieces.

        Returns:
            Name of the tap -> (N, D) float32.
        """
        if len(crops) <= self._batch_size:
            return dict(zip(self._names, self._run(normalise(crops, self._input)), strict=True))
        features: dict[str, Floats] = {}
        for start in range(0, len(crops), self._batch_size):
            piece = self(crops[start : start + self._batch_size])
            for name, values in piece.items():
                if name not in features:
                    features[name] = np.empty((len(crops), values.shape[1]), np.float32)
                features[name][start : start + len(values)] = values
        return features


def build_network(
    plan: BackbonePlan, *, batch_size: int = DEFAULT_BATCH_SIZE, num_threads: int = DEFAULT_NUM_THREADS
) -> Network:
    """Build a settled backbone. The first time takes seconds; the exported graph is kept for the next.

    Args:
        plan: from `resolve_backbone`.
        batch_size: crops per forward pass.
        num_threads: threads of onnxruntime; Keras decides for itself.

    Raises:
        WeightsError: the weights do not fit, or the exported graph gives other numbers than Keras.
        DeviceError: a GPU is asked for and not there.
        ConfigError: a tap names a layer that is not there.
        StorageError: the weights folder cannot be written.
    """
    if plan.config.engine == "onnxruntime":
        return Network(plan, _onnx_engine(plan, num_threads), batch_size)
    load_keras()
    if plan.device == "gpu":
        require_gpu()
    return Network(plan, KerasEngine(_tapped(plan), batch_size, plan.device), batch_size)


def build_model(plan: BackbonePlan) -> "keras.Model":
    """The backbone itself, with its weights and without taps."""
    load_keras()
    if plan.name == FILE:
        return _with_size(load_network(_file_of(plan)), plan.input)
    architecture: Architecture = BACKBONES.load(plan.name)
    model = architecture.build(plan.input)
    load_weights(model, architecture, plan.weights)
    return model


def _onnx_engine(plan: BackbonePlan, num_threads: int) -> OnnxEngine:
    kept = plan.kept_graph
    if kept is not None and kept.exists():
        return OnnxEngine(kept, num_threads, plan.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        _export_apart(plan, path)
        engine = OnnxEngine(path, num_threads, plan.device)
        if kept is not None:
            keep(path, kept)
    return engine


def _export_apart(plan: BackbonePlan, path: Path) -> None:
    """`export` in a process of its own, so that keras and the gigabytes of the export are gone when it is over.

    Raises:
        WeightsError: as `export`, or the process died.
    """
    with process_pool(1) as pool:
        try:
            with deaf_children():
                exported = pool.submit(export, plan, path)
            exported.result()
        except BrokenProcessPool as error:
            raise WeightsError(
                f"{plan.name}: the process that exports it to ONNX died; it takes about 3 GB for ResNet50.\n"
                "Free some memory, or run the network with Keras: KERAS_BACKEND=jax or --device gpu."
            ) from error


def export(plan: BackbonePlan, path: Path) -> None:
    """Build a settled backbone with Keras, write its graph, and compare the two on random crops.

    Raises:
        WeightsError: the weights do not fit, a layer cannot be exported, or the graph gives other numbers.
    """
    with quiet_stderr():
        load_keras()
        network = _tapped(plan)
        export_onnx(network, path)
        crops = np.random.default_rng(0).integers(0, 256, (_NUM_PARITY_CROPS, CROP_SIZE_PX, CROP_SIZE_PX, 3), np.uint8)
        batch = normalise(crops, plan.input)
        reference = KerasEngine(network, _NUM_PARITY_CROPS)
        check_parity(reference(batch), OnnxEngine(path, 1, "cpu")(batch), plan.config.taps)


def _tapped(plan: BackbonePlan) -> "keras.Model":
    """The backbone with its taps as outputs; the backbone itself is kept on the way."""
    model = build_model(plan)
    tapped = attach(model, plan.taps, plan.name)
    if plan.kept_network is not None and not plan.kept_network.exists():
        if plan.name == FILE:
            keep(_file_of(plan), plan.kept_network)
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "network.keras"
                model.save(path)
                keep(path, plan.kept_network)
    return tapped


def _file_of(plan: BackbonePlan) -> Path:
    if plan.weights.path is None:
        raise ConfigError("a file backbone without its file.")
    return plan.weights.path


def _with_size(model: "keras.Model", spec: InputSpec) -> "keras.Model":
    """The same network with a fixed input size, where it was made with an open one."""
    if model.inputs[0].shape[1:] == spec.shape:
        return model
    config = model.get_config()
    for layer in config["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_shape"] = (None, *spec.shape)
    fixed = type(model).from_config(config)
    fixed.set_weights(model.get_weights())
    return fixed
