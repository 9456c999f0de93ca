"""`.keras` files read without keras: what they take, which layers they have, and the note emopipe leaves in them."""

import contextlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emopipe.errors import ConfigError, WeightsError
from emopipe.faces.normalisation import InputSpec
from emopipe.files import partial_path, storage_error

METADATA_MEMBER = "emopipe.json"  # keras reads its own three members and leaves others alone
METADATA_VERSION = 1


@dataclass(frozen=True)
class Metadata:
    """What a file's maker says about it.

    Attributes:
        input: what the network is fed.
        taps: taps when none are named.
    """

    input: InputSpec
    taps: tuple[str, ...]


@dataclass(frozen=True)
class KerasFile:
    """What a `.keras` file says of its network.

    Attributes:
        path: the file.
        size_px: side of the square it takes; None when open.
        channels: 1 or 3.
        layers: names of its layers, in order.
        metadata: emopipe's own note; None when there is none.
    """

    path: Path
    size_px: int | None
    channels: int
    layers: tuple[str, ...]
    metadata: Metadata | None


def read_keras_file(path: Path) -> KerasFile:
    """Read a `.keras` file's description.

    Raises:
        WeightsError: there is no such file, it is not a `.keras` file, or its network does not take one square
            picture with channels last.
    """
    config = _read_member(path, "config.json")
    if config is None:
        raise WeightsError(f"{path}: expected a .keras file with a member config.json. Received a zip without one.")
    shape = _input_shape(path, config)
    height, width, channels = shape[1:]
    if channels not in (1, 3) or height != width:
        raise WeightsError(
            f"{path}: expected a network that takes a square (N, H, W, C) with C of 1 or 3. Received: {tuple(shape)}."
        )
    layers = tuple(layer["config"]["name"] for layer in config["config"]["layers"])
    return KerasFile(path, height, channels, layers, read_metadata(path))


def read_metadata(path: Path) -> Metadata | None:
    """The note that `write_metadata` left, or None.

    Raises:
        WeightsError: the file is not there, is no `.keras` file, or its note is of another version.
    """
    content = _read_member(path, METADATA_MEMBER)
    if content is None:
        return None
    if content.get("version") != METADATA_VERSION:
        raise WeightsError(
            f"{path}, {METADATA_MEMBER}: expected version {METADATA_VERSION}. Received: {content.get('version')!r}.\n"
            "A newer emopipe wrote it: update this one."
        )
    return Metadata(InputSpec(**content["input"]), tuple(content["taps"]))


def write_metadata(path: Path, input_spec: InputSpec, taps: Sequence[str]) -> None:
    """Leave a note in a `.keras` file, so that it needs no `--input-range`; keras still loads it.

    Args:
        path: the file; replaced whole by one with the note.
        input_spec: what the network is fed.
        taps: taps when none are named.

    Raises:
        WeightsError: it is no `.keras` file.
        StorageError: it cannot be written.
    """
    content = {"version": METADATA_VERSION, "input": asdict(input_spec), "taps": list(taps)}
    _read_member(path, METADATA_MEMBER)
    partial = partial_path(path)
    try:
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(partial, "w") as target:
            for member in source.infolist():
                if member.filename != METADATA_MEMBER:
                    target.writestr(member, source.read(member))
            target.writestr(METADATA_MEMBER, json.dumps(content, indent=1))
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise storage_error(path, error) from error


def _read_member(path: Path, name: str) -> dict[str, Any] | None:
    """A JSON member of the zip; None when it has none of that name."""
    try:
        with zipfile.ZipFile(path) as file:
            if name not in file.namelist():
                return None
            content = json.loads(file.read(name))
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file. Expected a .keras file.") from error
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(
            f"{path}: expected a .keras file. Received something that cannot be read ({error})."
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}, {name}: expected a JSON object. Received: {type(content).__name__}.")
    return content


def _input_shape(path: Path, config: Mapping[str, Any]) -> Sequence[int | None]:
    inner = config.get("config", {})
    if "layers" not in inner:
        raise WeightsError(
            f"{path}: expected a Functional or Sequential network, whose layers can be tapped. "
            f"Received: {config.get('class_name')}."
        )
    shapes = [layer["config"]["batch_shape"] for layer in inner["layers"] if layer["class_name"] == "InputLayer"]
    if not shapes and inner.get("build_input_shape"):
        shapes = [inner["build_input_shape"]]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise WeightsError(f"{path}: expected a network with one (N, H, W, C) input. Received inputs: {shapes}.")
    shape: Sequence[int | None] = shapes[0]
    return shape


def settle_input(file: KerasFile, value_range: str | None, size_px: int | None) -> InputSpec:
    """What a file's network is fed: as the caller says, else as its metadata says.

    Raises:
        ConfigError: range or size is said nowhere, or the size is not the network's; names the option to give.
    """
    stated = file.metadata.input if file.metadata else None
    value_range = value_range or (stated.value_range if stated else None)
    if value_range is None:
        raise ConfigError(
            f"{file.path}: nothing says which numbers this network expects, and the wrong ones give wrong features.\n"
            "Give --input-range: -1..1, 0..1, 0..255, caffe (BGR minus mean) or imagenet (by mean and deviation)."
        )
    if size_px is not None and file.size_px is not None and size_px != file.size_px:
        raise ConfigError(f"{file.path}: takes {file.size_px} pixels. Received: --input-size {size_px}.")
    size_px = size_px or file.size_px or (stated.size_px if stated else None)
    if size_px is None:
        raise ConfigError(f"{file.path}: takes any size. Give --input-size, in pixels.")
    return InputSpec(size_px, file.channels, value_range)
