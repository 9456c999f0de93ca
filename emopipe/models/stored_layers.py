"""HDF5 weights files of Keras, new and old, read as layers with arrays; keras is not needed for it."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emopipe.errors import WeightsError

StoredLayers = Mapping[str, Sequence[Any]]


@contextlib.contextmanager
def open_stored_layers(path: Path) -> Iterator[StoredLayers]:
    """The layers of an HDF5 file that hold arrays, in the file's order.

    Three layouts are known: weights of Keras 1 and 2 (attributes layer_names and weight_names), whole models of these
    (the same below model_weights), and `.weights.h5` of Keras 3, whose layers are called as they were in the network
    where the file says it, else by their kind and number (conv2d_3).

    Args:
        path: the file.

    Yields:
        Name of the layer -> its arrays, kernel before bias; read from the file only when they are used.

    Raises:
        WeightsError: it is not HDF5, cut short, or of another layout.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield _layers(path, file)
    except OSError as error:
        raise WeightsError(
            f"{path}: expected an HDF5 file with weights. Received something that is cut short or no HDF5 ({error})."
        ) from error


def _layers(path: Path, file: Any) -> dict[str, list[Any]]:
    root = file.get("model_weights", file)
    try:
        if "layer_names" in root.attrs:
            found = _from_attributes(root)
        else:
            found = _from_groups(root["layers"]) if "layers" in root else {}
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: names a layer or an array that it does not hold ({error}).\n"
            "Expected a whole file: fetch or save it again."
        ) from error
    if not found:
        raise WeightsError(
            f"{path}: expected the attribute layer_names (Keras 1 and 2) or a group layers (Keras 3).\n"
            f"Received a file with: {', '.join([*root.attrs, *root][:12]) or 'nothing'}."
        )
    return {name: arrays for name, arrays in found.items() if arrays}


def _from_attributes(root: Any) -> dict[str, list[Any]]:
    found = {}
    for name in map(_text, root.attrs["layer_names"]):
        group = root[name]
        found[name] = [group[_text(weight)] for weight in group.attrs["weight_names"]]
    return found


def _from_groups(root: Any) -> dict[str, list[Any]]:
    found = {}
    for key in sorted(root, key=_natural):
        group = root[key]
        arrays = group.get("vars", {})
        found[_text(group.attrs.get("name", key))] = [arrays[number] for number in sorted(arrays, key=int)]
    return found


def _natural(name: str) -> tuple[str, int]:
    """ "conv2d" before "conv2d_2" before "conv2d_10"."""
    match = re.fullmatch(r"(.*?)(?:_(\d+))?", name)
    return (match[1], int(match[2] or 0)) if match else (name, 0)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
