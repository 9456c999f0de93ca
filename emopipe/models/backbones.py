"""Backbones: chosen and fingerprinted without importing keras, then built as one call from crops to vectors."""

import importlib.util
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from emopipe.config import FeaturesConfig, fingerprint
from emopipe.errors import ConfigError
from emopipe.faces.normalisation import InputSpec, normalise
from emopipe.files import sha256_of_file
from emopipe.models.architecture import Architecture
from emopipe.models.engines import (
    Engine,
    KerasEngine,
    OnnxEngine,
    check_parity,
    export_onnx,
    load_keras,
    require_gpu,
)
from emopipe.models.keras_files import read_keras_file, settle_input
from emopipe.models.taps import Tap, attach, check_layer, locate, parse_taps, pooled_size
from emopipe.models.weights import ResolvedWeights, keep, load_network, load_weights, resolve_weights
from emopipe.records import CROP_SIZE_PX
from emopipe.registry import Registry
from emopipe.typing import Floats, Image

if TYPE_CHECKING:
    import keras

BACKBONES = Registry(
    "backbone",
    {
        "khorrami": "emopipe.models.khorrami:KHORRAMI",
        "vgg16": "emopipe.models.applications:VGG16",
        "resnet50": "emopipe.models.applications:RESNET50",
        "densenet121": "emopipe.models.applications:DENSENET121",
        "mobilenetv2": "emopipe.models.applications:MOBILENETV2",
    },
)
FILE = "file"  # what FeaturesConfig.backbone says for a .keras file

DEFAULT_BATCH_SIZE = 64
DEFAULT_NUM_THREADS = 2
EXPORT_VERSION = 1  # raised whenever the exported graph changes; part of its file name
_NUM_PARITY_CROPS = 8

EngineName = Literal["keras", "onnxruntime"]


@dataclass(frozen=True)
class BackbonePlan:
    """A backbone, its weights and its taps, settled before anything is decoded. Picklable; holds no network.

    Attributes:
        name: registered name, or "file".
        config: what the fingerprint covers.
        weights_digest: hex SHA-256 of the weights; enters the fingerprint beside the config.
        input: what the network is fed.
        taps: the taps, with friendly names replaced by layers.
        weights: where the numbers come from; for a `.keras` file the file itself.
        weights_folder: where the network is kept; None to keep nothing.
        device: "cpu" or "gpu".
    """

    name: str
    config: FeaturesConfig
    weights_digest: str
    input: InputSpec
    taps: tuple[Tap, ...]
    weights: ResolvedWeights
    weights_folder: Path | None
    device: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user is to be told."""
        return self.weights.notes

    @property
    def kept_network(self) -> Path | None:
        """Where the network stays beside the features that it made."""
        return None if self.weights_folder is None else self.weights_folder / f"{self.weights_digest}.keras"

    @property
    def kept_graph(self) -> Path | None:
        """Where its exported graph stays, one per choice of taps; later runs then need no keras."""
        if self.weights_folder is None:
            return None
        about = fingerprint([[tap.layer, tap.pooling] for tap in self.taps], self.input.size_px, EXPORT_VERSION)
        return self.weights_folder / f"{self.weights_digest}-{about[:10]}.onnx"

    @property
    def tap_sizes(self) -> dict[str, int | None]:
        """Name of the tap -> numbers per crop, told without building the network; keras is not imported.

        None where only the network itself knows: in a `.keras` file, at a layer without a friendly name, and for "flat"
        at another input size than the backbone's own.

        Raises:
            ConfigError: the pooling does not suit the layer; building the network would say the same.

        Example:
            >>> resolve_backbone("vgg16", "none", ["pool2:flat", "pool2:gap", "block2_pool:grid4"]).tap_sizes
            {'pool2:flat': 73728, 'pool2:gap': 128, 'block2_pool:grid4': 2048}
        """
        if self.name == FILE:
            return {tap.name: None for tap in self.taps}
        architecture: Architecture = BACKBONES.load(self.name)
        shapes: dict[str, tuple[int | None, ...]] = {place.layer: place.shape for place in architecture.places.values()}
        if self.input.size_px != architecture.input.size_px:
            shapes = {layer: (None, None, *shape[2:]) for layer, shape in shapes.items() if len(shape) == 3}
        return {tap.name: pooled_size(tap, shapes[tap.layer]) if tap.layer in shapes else None for tap in self.taps}


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


def resolve_backbone(
    backbone: str,
    weights: str = "imagenet",
    taps: Sequence[str] = (),
    *,
    input_range: str | None = None,
    input_size_px: int | None = None,
    weights_folder: Path | None = None,
    engine: Literal["auto", "keras", "onnxruntime"] = "auto",
    device: str = "auto",
) -> BackbonePlan:
    """Settle everything that the keys of the features depend on; keras is not imported.

    Args:
        backbone: a registered name, or the path of a `.keras` file.
        weights: "imagenet", "none" or a path; a `.keras` file brings its own.
        taps: "layer", "layer:flat", "layer:gap", "layer:gridN"; empty for the backbone's default.
        input_range: replaces the backbone's own; a `.keras` file without metadata needs it.
        input_size_px: likewise, where the network takes more than one size.
        weights_folder: where the network and its exported graph are kept.
        engine: "auto" is onnxruntime on a CPU, and Keras on a GPU or where keras does not run on TensorFlow.
        device: "auto", "cpu" or "gpu".

    Raises:
        UnknownNameError, ConfigError: a name or a setting is wrong, or the input range is said nowhere.
        WeightsError: the weights are not at hand.
    """
    device = resolve_device(device)
    if Path(backbone).suffix == ".keras":
        name, spec, located, found = _from_file(Path(backbone), weights, taps, input_range, input_size_px)
    else:
        architecture: Architecture = BACKBONES.load(backbone)
        name, found = architecture.name, resolve_weights(architecture, weights)
        spec = _settled(architecture, input_range, input_size_px)
        located = _located(architecture, taps, spec)
    config = FeaturesConfig(
        backbone=name,
        weights=found.label,
        taps=tuple(tap.name for tap in located),
        input_range=spec.value_range,
        input_size_px=spec.size_px,
        engine=_choose_engine(engine, device),
    )
    return BackbonePlan(name, config, found.digest, spec, located, found, weights_folder, device)


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


def resolve_device(device: str) -> str:
    """ "auto" as "gpu" where an NVIDIA driver and onnxruntime's CUDA provider are both there, else as "cpu"."""
    if device not in ("auto", "cpu", "gpu"):
        raise ConfigError(f"--device: expected auto, cpu or gpu. Received: '{device}'.")
    if device != "auto":
        return device
    if not Path("/dev/nvidiactl").exists():
        return "cpu"
    import onnxruntime

    return "gpu" if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "cpu"


def keras_backend() -> str:
    """The backend that keras will use when it is imported, by keras' own rule."""
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    home = os.environ.get("KERAS_HOME")
    path = (Path(home) if home else Path.home() / ".keras") / "keras.json"
    try:
        return str(json.loads(path.read_text()).get("backend", "tensorflow"))
    except (OSError, ValueError):
        return "tensorflow"


def _from_file(
    path: Path, weights: str, taps: Sequence[str], input_range: str | None, input_size_px: int | None
) -> tuple[str, InputSpec, tuple[Tap, ...], ResolvedWeights]:
    if weights != "imagenet":  # the default, which says nothing here
        raise ConfigError(f"--backbone {path}: the file brings its own weights. Leave --weights out.")
    file = read_keras_file(path)
    spec = settle_input(file, input_range, input_size_px)
    stated = file.metadata.taps if file.metadata else ()
    if not taps and not stated:
        raise ConfigError(
            f"{path}: nothing says which layer gives the features. Name one with --tap.\n"
            f"Its last layers: {', '.join(file.layers[-8:])}."
        )
    parsed = parse_taps(taps or stated)
    for tap in parsed:
        check_layer(tap, file.layers, path.name)
    digest = sha256_of_file(path)
    return FILE, spec, parsed, ResolvedWeights(digest, digest, path)


def _settled(architecture: Architecture, input_range: str | None, input_size_px: int | None) -> InputSpec:
    own = architecture.input
    if input_size_px not in (None, own.size_px) and not architecture.resizable:
        raise ConfigError(f"{architecture.name} takes {own.size_px} pixels. Received: --input-size {input_size_px}.")
    return replace(own, size_px=input_size_px or own.size_px, value_range=input_range or own.value_range)


def _located(architecture: Architecture, taps: Sequence[str], spec: InputSpec) -> tuple[Tap, ...]:
    located = []
    for tap in parse_taps(taps or architecture.default_taps):
        target = locate(tap, architecture.places)
        place = architecture.places.get(tap.layer)
        if place is not None and spec.size_px == architecture.input.size_px:
            pooled_size(target, place.shape)  # refused here rather than when keras has been loaded
        located.append(target)
    return tuple(located)


def _choose_engine(engine: str, device: str) -> EngineName:
    if engine == "keras":
        return "keras"
    # Keras exports through tf2onnx; with another backend it would need packages that are not among ours.
    exportable = keras_backend() == "tensorflow" and importlib.util.find_spec("tf2onnx") is not None
    if engine == "onnxruntime":
        if not exportable:
            raise ConfigError(
                f"engine onnxruntime: the export needs KERAS_BACKEND=tensorflow. Here: {keras_backend()}."
            )
        return "onnxruntime"
    return "onnxruntime" if device == "cpu" and exportable else "keras"


def _onnx_engine(plan: BackbonePlan, num_threads: int) -> OnnxEngine:
    kept = plan.kept_graph
    if kept is not None and kept.exists():
        return OnnxEngine(kept, num_threads, plan.device)
    network = _tapped(plan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        export_onnx(network, path)
        engine = OnnxEngine(path, num_threads, plan.device)
        crops = np.random.default_rng(0).integers(0, 256, (_NUM_PARITY_CROPS, CROP_SIZE_PX, CROP_SIZE_PX, 3), np.uint8)
        batch = normalise(crops, plan.input)
        reference = KerasEngine(network, _NUM_PARITY_CROPS)
        check_parity(reference(batch), engine(batch), plan.config.taps)
        if kept is not None:
            keep(path, kept)
    return engine


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
