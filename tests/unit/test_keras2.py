"""A checkpoint of the published layout, made here, against a forward pass written out in numpy."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from keras2_checkpoint import write_checkpoint

from emopipe.errors import WeightsError
from emopipe.models.heads import RnnHeadConfig, save_head
from emopipe.models.keras2 import load_keras2_head, read_keras2_head
from emopipe.models.weights import load_network

PUBLISHED = os.environ.get("EMOPIPE_RANGULOV_GRU", "")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def forward_by_hand(features, arrays):
    """GRU layers that reset after the product, one step at a time, in float64; gates in the order z, r, h."""
    sequence = features.astype(np.float64)
    for layer in arrays[:-1]:
        kernel, recurrent, bias = (layer[key].astype(np.float64) for key in ("kernel", "recurrent_kernel", "bias"))
        state, units = np.zeros((len(sequence), recurrent.shape[0])), recurrent.shape[0]
        states = []
        for step in range(sequence.shape[1]):
            given = sequence[:, step] @ kernel + bias[0]
            kept = state @ recurrent + bias[1]
            z = sigmoid(given[:, :units] + kept[:, :units])
            r = sigmoid(given[:, units : 2 * units] + kept[:, units : 2 * units])
            new = np.tanh(given[:, 2 * units :] + r * kept[:, 2 * units :])
            state = z * state + (1 - z) * new
            states.append(state)
        sequence = np.stack(states, axis=1)
    return sequence[:, -1] @ arrays[-1]["kernel"] + arrays[-1]["bias"]


def test_predicts_what_the_equations_say(tmp_path):
    arrays = write_checkpoint(tmp_path / "gru.hdf5")
    head = load_keras2_head(tmp_path / "gru.hdf5")
    assert head.count_params() == 204_102
    random = np.random.default_rng(1)
    features = np.concatenate([np.zeros((1, 100, 300)), random.normal(0, 1, (3, 100, 300))]).astype(np.float32)
    expected = forward_by_hand(features, arrays)
    received = np.asarray(head.predict_on_batch({"features": features, "mask": None}))
    np.testing.assert_allclose(received, expected, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 0.1


@pytest.mark.skipif(
    not PUBLISHED, reason="EMOPIPE_RANGULOV_GRU does not name the published checkpoint, which cannot be passed on"
)
def test_the_published_file_says_what_it_said_when_published():
    head = load_keras2_head(Path(PUBLISHED))
    received = np.asarray(head.predict_on_batch({"features": np.zeros((1, 100, 300), np.float32), "mask": None}))
    np.testing.assert_allclose(received, [[-0.346384, 0.180836]], atol=2e-6)


@pytest.mark.parametrize(
    ("kind", "cells", "units"), [("SimpleRNN", "simple", (100,)), ("GRU", "gru", (100,)), ("LSTM", "lstm", (8, 5))]
)
def test_other_cells_and_depths_load(tmp_path, kind, cells, units):
    arrays = write_checkpoint(tmp_path / "other.hdf5", kind, units, num_features=7, num_outputs=3)
    file = read_keras2_head(tmp_path / "other.hdf5")
    assert (file.config, file.num_features) == (RnnHeadConfig(cells, units, num_outputs=3), 7)
    expected = [array for layer in arrays for array in layer.values()]
    for one, other in zip(file.weights, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    received = load_keras2_head(tmp_path / "other.hdf5").get_weights()
    assert [array.shape for array in received] == [array.shape for array in expected]


def test_it_becomes_a_head_like_any_other(tmp_path):
    write_checkpoint(tmp_path / "gru.hdf5", units=(6, 5), num_features=4)
    head = load_keras2_head(tmp_path / "gru.hdf5")
    save_head(head, tmp_path / "head.keras")
    inputs = {"features": np.ones((2, 9, 4), np.float32), "mask": np.arange(9) < np.array([[9], [3]])}
    np.testing.assert_array_equal(np.asarray(load_network(tmp_path / "head.keras")(inputs)), np.asarray(head(inputs)))
    assert [layer.name for layer in head.layers] == ["features", "mask", "rnn1", "rnn2", "output"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reset_after": False}, "layer gru, reset_after: expected True. Received: False"),
        ({"activation": "relu"}, "layer gru, activation: expected 'tanh'. Received: 'relu'"),
        ({"go_backwards": True}, "go_backwards"),
        ({"return_sequences": False}, "return_sequences: expected True"),
        ({"units": 7}, "layer 1: expected arrays"),
        ({"units": "many"}, "cannot be a head"),
    ],
)
def test_layers_that_would_compute_something_else_are_refused(tmp_path, changes, message):
    write_checkpoint(tmp_path / "gru.hdf5", units=(6, 5), num_features=4, changes=changes)
    with pytest.raises(WeightsError, match=message):
        load_keras2_head(tmp_path / "gru.hdf5")


def edit(change):
    def apply(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def replace_array(name, array):
    def change(file):
        del file[name]
        file[name] = array

    return edit(change)


def describe(**content):
    return edit(lambda file: file.attrs.__setitem__("model_config", json.dumps(content)))


CELL = "model_weights/gru/gru/gru_cell"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.write_text("weights"), "cut short or no HDF5"),
        (cut, "cut short or no HDF5"),
        (edit(lambda file: file.attrs.__delitem__("model_config")), "has no model_config.*not its weights alone"),
        (edit(lambda file: file.__delitem__("model_weights")), "has no model_weights"),
        (edit(lambda file: file["model_weights"].__delitem__("gru_1")), "has no model_weights/gru_1. Received: dense"),
        (edit(lambda file: file.__delitem__(f"{CELL}/kernel:0")), "layer 1: expected arrays"),
        (edit(lambda file: file.__delitem__(f"{CELL}/bias:0")), "layer 1: expected arrays"),
        (replace_array(f"{CELL}/bias:0", np.zeros(18, np.float32)), r"'bias': \(2, 18\).*Received.*'bias': \(18,\)"),
        (replace_array(f"{CELL}/kernel:0", np.full((4, 18), np.nan)), "finite weights"),
        (edit(lambda file: file.attrs.__setitem__("model_config", "{")), "not what Keras 2 writes"),
        (describe(config=[]), "not what Keras 2 writes"),
        (describe(config={"layers": []}), "Received: no layers"),
        (describe(config={"layers": [{"class_name": "Dense", "config": {"name": "dense"}}]}), "Received: Dense"),
    ],
)
def test_other_files_are_refused_in_one_message(tmp_path, damage, message):
    path = tmp_path / "gru.hdf5"
    write_checkpoint(path, units=(6, 5), num_features=4)
    load_keras2_head(path)
    damage(path)
    with pytest.raises(WeightsError, match=message) as caught:
        load_keras2_head(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_nothing_in_the_file_is_run(tmp_path):
    write_checkpoint(tmp_path / "gru.hdf5", units=(6,), num_features=4)
    code = {"class_name": "Lambda", "config": {"name": "lambda", "function": ["4wEAAAA=", None, None]}}
    with h5py.File(tmp_path / "gru.hdf5", "r+") as file:
        described = json.loads(file.attrs["model_config"])
        described["config"]["layers"].insert(1, code)
        file.attrs["model_config"] = json.dumps(described)
        file["model_weights"].create_group("lambda")
    with pytest.raises(WeightsError, match="Received: GRU, Lambda, Dense"):
        load_keras2_head(tmp_path / "gru.hdf5")
