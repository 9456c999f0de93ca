"""The published checkpoint: a Keras 2 HDF5 file of recurrent layers and one dense layer, read as a head."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emopipe.errors import ConfigError, WeightsError
from emopipe.models.heads import RnnHeadConfig, build_rnn
from emopipe.typing import Floats

if TYPE_CHECKING:
    import keras

_CELLS = {"SimpleRNN": "simple", "GRU": "gru", "LSTM": "lstm"}
_NUM_GATES = {"simple": 1, "gru": 3, "lstm": 4}
_IGNORED = ("InputLayer", "Dropout")  # they hold no weights and do nothing when predicting
# What our layers do; a file that says otherwise would load and predict something else.
_EXPECTED = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "go_backwards": False}


@dataclass(frozen=True)
class Keras2Head:
    """What such a file holds.

    Attributes:
        config: the head.
        num_features: numbers per step.
        weights: arrays in the order of the head's `set_weights`: kernel, recurrent kernel and bias per layer, with
            Keras' gate order (GRU: update, reset, new), which Keras 3 has kept; then the dense kernel and bias.
    """

    config: RnnHeadConfig
    num_features: int
    weights: tuple[Floats, ...]


def load_keras2_head(path: Path) -> "keras.Model":
    """The head in a Keras 2 checkpoint, as `build_head` makes them, with the file's weights.

    Raises:
        WeightsError: see `read_keras2_head`.
    """
    file = read_keras2_head(path)
    head = build_rnn(file.config, file.num_features)
    head.set_weights(file.weights)
    return head


def read_keras2_head(path: Path) -> Keras2Head:
    """Read a Keras 2 checkpoint; keras is not imported and nothing in the file is run.

    Args:
        path: an HDF5 file with the attribute model_config and weights such as
            ``model_weights/gru/gru/gru_cell/kernel:0``.

    Raises:
        WeightsError: it is not there, is cut short, or holds another network than SimpleRNN, GRU or LSTM layers and
            one dense layer behind them.
    """
    import h5py

    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file. Expected a Keras 2 checkpoint (.hdf5).")
    try:
        with h5py.File(path, "r") as file:
            layers = _layers(path, file)
            arrays = [_arrays(path, file, layer["config"]["name"]) for layer in layers]
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: expected a Keras 2 checkpoint (.hdf5). Received something that is cut short or no HDF5 ({error})."
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(
            f"{path}: model_config is not what Keras 2 writes ({type(error).__name__}: {error}).\n"
            "Expected the attribute of a file from keras 2 `model.save`."
        ) from error
    config = _head_config(path, layers)
    weights, num_features = _checked(path, config, arrays)
    return Keras2Head(config, num_features, weights)


def _layers(path: Path, file: Any) -> list[dict[str, Any]]:
    """Descriptions of the layers that have weights, in order."""
    for name, where in (("model_config", file.attrs), ("model_weights", file)):
        if name not in where:
            raise WeightsError(
                f"{path}: has no {name}. Expected a whole model as keras 2 saves it, not its weights alone.\n"
                f"Received a file with: {', '.join([*file.attrs, *file]) or 'nothing'}."
            )
    described = json.loads(file.attrs["model_config"])
    layers: list[dict[str, Any]] = described["config"]["layers"]
    return [layer for layer in layers if layer["class_name"] not in _IGNORED]


def _arrays(path: Path, file: Any, layer: str) -> dict[str, Floats]:
    """Name of a weight without its path and ``:0`` -> its numbers."""
    import h5py

    group = file["model_weights"].get(layer)
    if group is None:
        raise WeightsError(
            f"{path}: has no model_weights/{layer}. Received: {', '.join(file['model_weights']) or 'no layers'}."
        )
    found: dict[str, Floats] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name.rsplit("/", 1)[-1].split(":")[0]] = np.asarray(item, np.float32)

    group.visititems(visit)
    return found


def _head_config(path: Path, layers: list[dict[str, Any]]) -> RnnHeadConfig:
    kinds = [layer["class_name"] for layer in layers]
    recurrent, dense = layers[:-1], layers[-1:]
    if not recurrent or kinds[-1] != "Dense" or len(set(kinds[:-1])) != 1 or kinds[0] not in _CELLS:
        raise WeightsError(
            f"{path}: expected {', '.join(_CELLS)} layers of one kind and one Dense. "
            f"Received: {', '.join(kinds) or 'no layers'}."
        )
    for number, layer in enumerate(recurrent, start=1):
        expected = _EXPECTED | {"return_sequences": number < len(recurrent)}
        if layer["class_name"] == "GRU":
            expected["reset_after"] = True
        for name, value in expected.items():
            if (received := layer["config"].get(name, value)) != value:
                where = f"layer {layer['config']['name']}, {name}"
                raise WeightsError(f"{path}, {where}: expected {value!r}. Received: {received!r}.")
    try:
        return RnnHeadConfig(
            cells=_CELLS[kinds[0]],  # type: ignore[arg-type]
            units=tuple(layer["config"]["units"] for layer in recurrent),
            num_outputs=dense[0]["config"]["units"],
            output_activation=dense[0]["config"].get("activation", "linear"),
        )
    except (ConfigError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: its layers cannot be a head ({error}).") from error


def _checked(path: Path, config: RnnHeadConfig, arrays: list[dict[str, Floats]]) -> tuple[tuple[Floats, ...], int]:
    """The arrays in order, and the number of features, once their shapes and numbers are right."""
    num_features = arrays[0]["kernel"].shape[0] if "kernel" in arrays[0] else 0
    num_gates = _NUM_GATES[config.cells]
    shapes: list[dict[str, tuple[int, ...]]] = []
    size = num_features
    for units in config.units:
        width = num_gates * units
        bias = (2, width) if config.cells == "gru" else (width,)  # a GRU that resets after the product has two
        shapes.append({"kernel": (size, width), "recurrent_kernel": (units, width), "bias": bias})
        size = units
    shapes.append({"kernel": (size, config.num_outputs), "bias": (config.num_outputs,)})
    for number, (expected, received) in enumerate(zip(shapes, arrays, strict=True), start=1):
        given = {name: array.shape for name, array in received.items()}
        if given != expected:
            raise WeightsError(f"{path}, layer {number}: expected arrays {expected}. Received: {given}.")
    weights = tuple(array[name] for array, shape in zip(arrays, shapes, strict=True) for name in shape)
    if not all(np.isfinite(array).all() for array in weights):
        raise WeightsError(f"{path}: expected finite weights. Received NaN or infinity: the training diverged.")
    return weights, num_features
