"""Writes a checkpoint of the published layout, for the tests that read one."""

import json
from pathlib import Path

import h5py
import numpy as np

GATES = {"GRU": 3, "SimpleRNN": 1, "LSTM": 4}


def layer_config(kind, number, size, last, changes):
    """What Keras 2.3.0-tf writes of a recurrent layer, as far as it matters."""
    base = {"SimpleRNN": "simple_rnn", "GRU": "gru", "LSTM": "lstm"}[kind]
    config = {
        "name": base + (f"_{number}" if number else ""),
        "trainable": True,
        "dtype": "float32",
        "return_sequences": not last,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "units": size,
        "activation": "tanh",
        "use_bias": True,
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
    }
    if kind != "SimpleRNN":
        config |= {"time_major": False, "recurrent_activation": "sigmoid", "implementation": 2}
    if kind == "GRU":
        config["reset_after"] = True
    return {"class_name": kind, "config": config | changes}


def write_checkpoint(path: Path, kind="GRU", units=(100, 100, 50), num_features=300, num_outputs=2, changes=None):
    """A checkpoint as `ModelCheckpoint` of Keras 2.3.0-tf leaves it; returns its arrays layer by layer."""
    random = np.random.default_rng(0)
    layers = [
        layer_config(kind, n, size, n == len(units) - 1, (changes or {}) if n == 0 else {})
        for n, size in enumerate(units)
    ]
    layers[0]["config"]["batch_input_shape"] = [None, 100, num_features]
    dense = {"name": "dense", "units": num_outputs, "activation": "linear", "use_bias": True}
    described = {"name": "sequential", "layers": [*layers, {"class_name": "Dense", "config": dense}]}
    arrays = []
    with h5py.File(path, "w") as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["keras_version"] = "2.3.0-tf"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": described})
        file.attrs["training_config"] = json.dumps({"optimizer_config": {"class_name": "SGD"}})
        size, weights = num_features, file.create_group("model_weights")
        for number, layer in enumerate(layers):
            name, width = layer["config"]["name"], GATES[kind] * units[number]
            shapes = {
                "kernel": (size, width),
                "recurrent_kernel": (units[number], width),
                "bias": (2, width) if kind == "GRU" else (width,),
            }
            cell = {"SimpleRNN": "simple_rnn", "GRU": "gru", "LSTM": "lstm"}[kind] + "_cell"
            cell += f"_{number}" if number else ""
            arrays.append({key: random.normal(0, 0.15, shape).astype(np.float32) for key, shape in shapes.items()})
            for key, array in arrays[-1].items():
                weights[f"{name}/{name}/{cell}/{key}:0"] = array
            size = units[number]
        arrays.append(
            {
                "kernel": random.normal(0, 0.3, (size, num_outputs)).astype(np.float32),
                "bias": random.normal(0, 0.1, num_outputs).astype(np.float32),
            }
        )
        for key, array in arrays[-1].items():
            weights[f"dense/dense/{key}:0"] = array
        weights.attrs["layer_names"] = [layer["config"]["name"].encode() for layer in described["layers"]]
        file["optimizer_weights/SGD/iter:0"] = np.int64(99_399)
    return arrays
