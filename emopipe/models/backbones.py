"""Backbones, chosen and fingerprinted without importing keras; `emopipe.models.building` builds them."""

import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from emopipe.config import FeaturesConfig, fingerprint
from emopipe.errors import ConfigError
from emopipe.faces.normalisation import InputSpec
from emopipe.files import sha256_of_file
from emopipe.models.architecture import Architecture
from emopipe.models.keras_files import read_keras_file, settle_input
from emopipe.models.taps import Tap, check_layer, locate, parse_taps, pooled_size
from emopipe.models.weights import ResolvedWeights, resolve_weights
from emopipe.registry import Registry

BACKBONES = Registry(
    "backbone",
    {
        "khorrami": "emopipe.models.khorrami:KHORRAMI",
        "vggface": "emopipe.models.vggface:VGGFACE",
        "vgg16": "emopipe.models.applications:VGG16",
        "resnet50": "emopipe.models.applications:RESNET50",
        "densenet121": "emopipe.models.applications:DENSENET121",
        "mobilenetv2": "emopipe.models.applications:MOBILENETV2",
        "vgg16-224": "emopipe.models.applications:VGG16_AT_224",
        "mobilenetv2-224": "emopipe.models.applications:MOBILENETV2_AT_224",
    },
)
FILE = "file"  # what FeaturesConfig.backbone says for a .keras file

DEFAULT_BATCH_SIZE = 64
DEFAULT_NUM_THREADS = 2
EXPORT_VERSION = 2  # raised whenever the exported graph changes; part of its file name

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

        Examples:
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


def carried_backbone(config: FeaturesConfig, digest: str, weights_folder: Path, device: str = "auto") -> BackbonePlan:
    """The backbone that made a run's features, from the file that the run carries; keras is not imported.

    Args:
        config: under which the features were made.
        digest: of its weights.
        weights_folder: of the run.
        device: "auto", "cpu" or "gpu".

    Raises:
        WeightsError: the file is not there or damaged.
    """
    device = resolve_device(device)
    file = read_keras_file(weights_folder / f"{digest}.keras")
    taps = parse_taps(config.taps)
    if config.backbone != FILE:
        architecture: Architecture = BACKBONES.load(config.backbone)
        taps = tuple(locate(tap, architecture.places) for tap in taps)
    spec = InputSpec(config.input_size_px, file.channels, config.input_range)
    settled = replace(config, engine=_choose_engine("auto", device))
    return BackbonePlan(
        FILE, settled, digest, spec, taps, ResolvedWeights(digest, digest, file.path), weights_folder, device
    )


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
