"""Weights: found and identified before any frame is decoded, and put into networks when these are built."""

import contextlib
import hashlib
import math
import os
import shutil
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emopipe.errors import WeightsError
from emopipe.files import partial_path, sha256_of_file, storage_error
from emopipe.models.architecture import Architecture, PublishedWeights
from emopipe.models.stored_layers import StoredLayers, open_stored_layers
from emopipe.processes import held_back
from emopipe.typing import Array, Floats

if TYPE_CHECKING:
    import keras

RANDOM_SEED = 0
RANDOM_SCHEME = 1  # raised whenever `initialise` gives other numbers; it is part of the digest
DOWNLOAD_TIMEOUT_S = 10.0
SUFFIXES = (".keras", ".h5")
_NUM_SHOWN = 8
_CONVOLUTION_NDIM = 4  # (H, W, in, out)


@dataclass(frozen=True)
class ResolvedWeights:
    """Weights that are at hand.

    Attributes:
        label: "imagenet", "none", or the digest of a file named by its path.
        digest: hex SHA-256 of the file; of a description of the random numbers for "none".
        path: the file; None for "none".
        notes: what the user is to be told.
    """

    label: str
    digest: str
    path: Path | None
    notes: tuple[str, ...] = ()


def resolve_weights(architecture: Architecture, spec: str) -> ResolvedWeights:
    """Find the weights of a registered backbone; keras is not imported.

    Args:
        architecture: the backbone.
        spec: "imagenet" (the file of keras.applications, downloaded when absent), "none" (seeded random numbers) or the
            path of an .h5, .weights.h5 or .keras file.

    Raises:
        WeightsError: they are not there; the message says what to put where.
    """
    if spec == "none":
        described = f"emopipe random initialisation {RANDOM_SCHEME}, seed {RANDOM_SEED}, {architecture.name}"
        note = f"{architecture.name} has seeded random weights (--weights none): its features mean nothing yet."
        return ResolvedWeights("none", hashlib.sha256(described.encode()).hexdigest(), None, (note,))
    if spec == "imagenet":
        if architecture.published is None:
            raise WeightsError(
                f"{architecture.name}: no ImageNet weights exist for it. "
                "Give --weights PATH of a trained network, or --weights none for seeded random ones."
            )
        path = published_file(architecture.name, architecture.published)
        return ResolvedWeights("imagenet", sha256_of_file(path), path)
    return resolve_file(spec)


def resolve_file(spec: str) -> ResolvedWeights:
    """Find a weights file named by its path; keras is not imported.

    Raises:
        WeightsError: there is none, or its name ends otherwise than a weights file's.
    """
    path = Path(spec)
    if not path.is_file():
        raise WeightsError(f"--weights {spec}: expected 'imagenet', 'none' or a file. There is no such file.")
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"--weights {spec}: expected a file named .keras, .h5 or .weights.h5.")
    digest = sha256_of_file(path)
    return ResolvedWeights(digest, digest, path)


def published_folder() -> Path:
    """Where keras.applications keeps what it downloads: ``$KERAS_HOME/models``, else ``~/.keras/models``."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def published_file(name: str, published: PublishedWeights) -> Path:
    """The published file of backbone `name`, downloaded when it is not there yet.

    Raises:
        WeightsError: it cannot be downloaded, or is not the file that was published.
    """
    path = published_folder() / published.file_name
    if not path.is_file():
        _download(name, published, path)
    if published.md5:
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if md5 != published.md5:
            raise WeightsError(
                f"{path}: expected the file with MD5 {published.md5}. Received: {md5}.\n"
                f"Delete it and run again, or fetch it from {published.url}."
            )
    return path


def _download(name: str, published: PublishedWeights, path: Path) -> None:
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The URL is a constant of ours; a corpus or a user's file never reaches this line.
        with urllib.request.urlopen(published.url, timeout=DOWNLOAD_TIMEOUT_S) as response, partial.open("wb") as file:
            shutil.copyfileobj(response, file)
        partial.replace(path)
    except OSError as error:  # URLError and timeouts are OSErrors
        with contextlib.suppress(OSError):
            partial.unlink()
        reason = getattr(error, "reason", None) or error
        raise WeightsError(
            f"{name}: its ImageNet weights are not on this machine and the download failed ({reason}).\n"
            f"Fetch {published.url}\n"
            f"and put {published.file_name} into {path.parent} (or use --weights none). Extracted faces are kept."
        ) from error


def load_weights(model: "keras.Model", architecture: Architecture, weights: ResolvedWeights) -> None:
    """Put resolved weights into a freshly built registered backbone.

    Raises:
        WeightsError: the file does not fit the network.
    """
    if weights.path is None:
        initialise(model)
    elif weights.path.suffix == ".keras" or architecture.other_names:
        take_weights(model, weights.path, architecture.other_names)
    else:
        try:
            with held_back():
                model.load_weights(weights.path)
        except (ValueError, KeyError, OSError, AttributeError) as error:
            raise WeightsError(
                f"{weights.path}: does not fit {architecture.name}, which has {architecture.num_parameters:,} numbers "
                f"in {sum(bool(layer.weights) for layer in model.layers)} layers.\n"
                f"Received: {_first_line(error)}"
            ) from error


def load_network(path: Path) -> "keras.Model":
    """A network from a `.keras` file, in safe mode: no code in the file is run and nothing is unpickled.

    Raises:
        WeightsError: the file is damaged, or needs code that is not in keras.
    """
    from keras import saving

    try:
        with held_back():
            network: keras.Model = saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, AttributeError) as error:
        raise WeightsError(
            f"{path}: keras cannot load it: {_first_line(error)}\n"
            "Expected a .keras file of built-in layers, without Lambda layers or classes of its own."
        ) from error
    return network


def initialise(model: "keras.Model", seed: int = RANDOM_SEED) -> None:
    """Fill a network with random weights that are the same with every keras backend and on every machine.

    Kernels are Glorot uniform (Glorot and Bengio 2010, eq. 16), biases and means are 0, gains and variances 1. Each
    array has its own generator, seeded by its name, so that layers do not depend on each other's order.
    """
    for layer in model.layers:
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        layer.set_weights([_initial(layer.name, variable, seed, depthwise) for variable in layer.weights])


def _initial(layer_name: str, variable: Any, seed: int, depthwise: bool) -> Array:
    shape = tuple(variable.shape)
    if variable.name in ("bias", "beta", "moving_mean", "mean", "count"):
        return np.zeros(shape, np.float32)
    if variable.name in ("gamma", "moving_variance", "variance"):
        return np.ones(shape, np.float32)
    if variable.name != "kernel":
        raise WeightsError(f"layer '{layer_name}': no random initialisation is known for '{variable.name}'.")
    digest = hashlib.sha256(f"{RANDOM_SCHEME}/{seed}/{layer_name}/{variable.name}".encode()).digest()
    return glorot_uniform(shape, np.random.default_rng(int.from_bytes(digest[:16])), depthwise)


def glorot_uniform(shape: tuple[int, ...], generator: np.random.Generator, depthwise: bool = False) -> Floats:
    """Uniform numbers in ±sqrt(6 / (fan in + fan out)).

    Args:
        shape: (in, out), (H, W, in, out), or (H, W, in, multiplier) for a depthwise kernel, where each output sees one
            channel only.
        generator: the source of the numbers.
        depthwise: whether the last shape is meant.
    """
    field = math.prod(shape[:-2])
    fan_in, fan_out = (field, field * shape[-1]) if depthwise else (field * shape[-2], field * shape[-1])
    limit = math.sqrt(6 / (fan_in + fan_out))
    return ((2 * generator.random(shape, np.float32) - 1) * np.float32(limit)).astype(np.float32)


def take_weights(
    model: "keras.Model",
    path: Path,
    other_names: Sequence[Mapping[str, str]] = (),
    optional: Collection[str] = (),
) -> tuple[str, ...]:
    """Take every layer's weights from a file, by name and shape, whatever else the file holds.

    Args:
        model: is filled.
        path: a `.keras` file, or an HDF5 file that `open_stored_layers` reads.
        other_names: see `Architecture.other_names`.
        optional: layers that stay as they are where the file has none of this name and shape.

    Returns:
        The optional layers that stayed as they were.

    Raises:
        WeightsError: another layer is not in the file or has other shapes, or the file cannot be read.
    """
    if path.suffix == ".keras":
        stored = {layer.name: layer.get_weights() for layer in load_network(path).layers if layer.weights}
        return _take(model, path, stored, other_names, optional)
    with open_stored_layers(path) as layers:
        return _take(model, path, layers, other_names, optional)


def _take(
    model: "keras.Model",
    path: Path,
    stored: StoredLayers,
    other_names: Sequence[Mapping[str, str]],
    optional: Collection[str],
) -> tuple[str, ...]:
    names = _names_in_file(model, stored, other_names)
    left = []
    for layer in model.layers:
        if not layer.weights:
            continue
        expected = [tuple(variable.shape) for variable in layer.weights]
        arrays = stored.get(names.get(layer.name, ""))
        received = None if arrays is None else [tuple(array.shape) for array in arrays]
        if received == expected:
            layer.set_weights([np.asarray(array, np.float32) for array in arrays or ()])
        elif layer.name in optional:
            left.append(layer.name)
        else:
            called = f" (there '{names[layer.name]}')" if names.get(layer.name, layer.name) != layer.name else ""
            known = ", ".join(list(stored)[:_NUM_SHOWN]) + (", ..." if len(stored) > _NUM_SHOWN else "")
            raise WeightsError(
                f"{path}: does not fit {model.name}, layer '{layer.name}'{called}.\n"
                f"Expected arrays {expected}. Received: {received or 'no such layer'}.\n"
                f"Layers of the file: {known}. A .keras file's own network is used with --backbone FILE.keras."
            )
    return tuple(left)


def _names_in_file(
    model: "keras.Model", stored: StoredLayers, other_names: Sequence[Mapping[str, str]]
) -> Mapping[str, str]:
    """Our layer -> its name in the file: our own, those of the table that fits best, else by the order."""
    own = {layer.name: layer.name for layer in model.layers if layer.weights}
    tables: list[Mapping[str, str]] = [own, *other_names]
    best = max(tables, key=lambda table: sum(name in stored for name in table.values()))
    if not other_names or any(name in stored for name in best.values()):
        return best
    convolutions = [name for name, arrays in stored.items() if len(arrays[0].shape) == _CONVOLUTION_NDIM]
    return dict(zip(other_names[0], convolutions, strict=False))


def keep(source: Path, target: Path) -> None:
    """Copy a file into the cache under its final name; one that is there is left alone.

    A hard link would cost less, and would change with a file that its owner writes again in place.

    Raises:
        StorageError: the cache cannot be written.
    """
    if target.exists():
        return
    partial = partial_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as original, partial.open("wb") as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
        partial.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise storage_error(target, error) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
