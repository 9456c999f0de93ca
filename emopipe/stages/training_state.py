"""The state of a run after its last whole epoch: weights, optimiser, random layers and history, in one file."""

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emopipe.errors import ConfigError, RunError
from emopipe.files import write_whole
from emopipe.models.bundle import Run

if TYPE_CHECKING:
    import keras

Number = float | int
STATE_VERSION = 1
_ABOUT = "about"  # member of the file beside the arrays


def save_state(run: Run, model: "keras.Model", network: "keras.Model", rows: list[dict[str, Number]]) -> None:
    """Write the state of a compiled model that was trained, and the history's rows.

    State is the optimiser, the network, and the random layers and counters of the model around it. Other weights that
    nothing learns are data, such as the features that `resident_model` holds: they are not written.

    Args:
        run: the folder.
        model: what is trained.
        network: the part of it that is kept.
        rows: of the history.

    Raises:
        StorageError: the run folder cannot be written.
    """
    from keras import ops

    members: dict[str, Any] = {
        f"v{number}": ops.convert_to_numpy(variable.value) for number, variable in enumerate(_variables(model, network))
    }
    about = json.dumps({"version": STATE_VERSION, "backend": running_backend(), "rows": rows})
    members[_ABOUT] = np.frombuffer(about.encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    write_whole(_path(run), buffer.getvalue())


def restore_state(run: Run, model: "keras.Model", network: "keras.Model") -> list[dict[str, Number]]:
    """Put the saved state into a compiled model and its network; returns the history's rows, none without a state.

    Raises:
        RunError: the file is damaged or of another network.
        ConfigError: the run was begun on another backend of keras, whose random layers draw other numbers.
    """
    path = _path(run)
    if not path.exists():
        return []
    model.optimizer.build(model.trainable_variables)
    variables = _variables(model, network)
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file[_ABOUT].tobytes())
            arrays = [file[f"v{number}"] for number in range(len(file.files) - 1)]
        if about["version"] != STATE_VERSION or [each.shape for each in arrays] != [tuple(v.shape) for v in variables]:
            raise ValueError("another version or network")
        rows: list[dict[str, Number]] = about["rows"]
        backend = about["backend"]
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise RunError(
            f"{path}: expected the state of the last epoch. Received something else ({error}).\n"
            "Delete this file: the run then begins again with its first epoch."
        ) from error
    if backend != running_backend():
        raise ConfigError(
            f"{run.folder}: was begun with keras on {backend}. Received: {running_backend()}.\n"
            f"Set KERAS_BACKEND={backend}, or give another --run."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return rows


def _variables(model: "keras.Model", network: "keras.Model") -> list[Any]:
    own = {id(variable) for variable in network.variables}
    data = {id(variable) for variable in model.non_trainable_weights} - own
    return [*(each for each in model.variables if id(each) not in data), *model.optimizer.variables]


def _path(run: Run) -> Path:
    return run.state / "last.npz"


def running_backend() -> str:
    """The backend that keras runs on in this process: "tensorflow", "jax" or "torch"."""
    import keras

    return str(keras.backend.backend())
