"""The heads of the CNN-RNN paper, number by number."""

import subprocess
import sys

import numpy as np
import pytest

from emopipe.errors import ConfigError, StorageError
from emopipe.models.heads import MeanHeadConfig, RnnHeadConfig, build_head, save_head, units_of_layers


@pytest.mark.parametrize(
    ("cells", "num_layers", "num_parameters"),
    [("gru", 3, 204_102), ("gru", 1, 120_802), ("simple", 1, 40_302), ("lstm", 1, 4 * 100 * 401 + 202)],
)
def test_has_the_published_number_of_parameters(cells, num_layers, num_parameters):
    head = build_head("rnn", RnnHeadConfig(cells, units_of_layers(num_layers)), 300)
    assert head.count_params() == num_parameters
    assert head.output_shape == (None, 2)


def test_has_the_published_layers():
    head = build_head("rnn", RnnHeadConfig(), 300)
    shapes = {layer.name: layer.output.shape for layer in head.layers if layer.name not in ("features", "mask")}
    assert shapes == {"rnn1": (None, None, 100), "rnn2": (None, None, 100), "rnn3": (None, 50), "output": (None, 2)}
    for name in ("rnn1", "rnn2", "rnn3"):
        layer = head.get_layer(name)
        assert layer.reset_after
        assert (layer.activation.__name__, layer.recurrent_activation.__name__) == ("tanh", "sigmoid")
        assert (layer.dropout, layer.recurrent_dropout, layer.go_backwards) == (0, 0, False)
    assert head.get_layer("output").activation.__name__ == "linear"


def test_weights_start_as_published():
    first = build_head("rnn", RnnHeadConfig(), 300).get_layer("rnn1")
    kernel, recurrent, bias = first.get_weights()
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(100), atol=1e-4)
    limit = np.sqrt(6 / (300 + 300))
    assert 0.98 * limit < np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not bias.any()


def test_a_bidirectional_head_reads_from_both_ends():
    head = build_head("rnn", RnnHeadConfig(units=(6,), bidirectional=True), 4)
    assert [variable.path.split("/")[1] for variable in head.get_layer("rnn1").weights] == [
        *["forward_rnn1"] * 3,
        *["backward_rnn1"] * 3,
    ]
    features = np.random.default_rng(0).standard_normal((1, 20, 4)).astype(np.float32)
    base = np.asarray(head({"features": features, "mask": None}))
    for step in (0, 19):
        changed = features.copy()
        changed[0, step] += 3
        assert np.abs(np.asarray(head({"features": changed, "mask": None})) - base).max() > 1e-3


def test_dropout_works_in_training_only():
    head = build_head("rnn", RnnHeadConfig(units=(6, 5), dropout=0.5), 4)
    inputs = {"features": np.ones((2, 5, 4), np.float32), "mask": None}
    np.testing.assert_array_equal(np.asarray(head(inputs)), np.asarray(head(inputs)))
    assert np.abs(np.asarray(head(inputs, training=True)) - np.asarray(head(inputs, training=True))).max() > 0
    assert [layer.name for layer in head.layers if "dropout" in layer.name] == ["dropout1", "dropout2"]


def test_a_number_of_layers_without_published_units_is_refused():
    with pytest.raises(ConfigError, match="--layers 2.*1 or 3.*\n.*--units"):
        units_of_layers(2)


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        (RnnHeadConfig, {"cells": "rnn"}),
        (RnnHeadConfig, {"units": ()}),
        (RnnHeadConfig, {"units": (100, 0)}),
        (RnnHeadConfig, {"dropout": 1.0}),
        (RnnHeadConfig, {"num_outputs": 0}),
        (RnnHeadConfig, {"output_activation": "relu"}),
        (MeanHeadConfig, {"num_outputs": 0}),
        (MeanHeadConfig, {"output_activation": "relu"}),
    ],
)
def test_settings_out_of_range_are_refused(config, setting):
    with pytest.raises(ConfigError, match=f"{config.__name__}.{next(iter(setting))}"):
        config(**setting)


def test_a_head_that_cannot_be_written_leaves_the_old_one(tmp_path):
    head = build_head("mean", MeanHeadConfig(), 3)
    with pytest.raises(StorageError, match="cannot be written"):
        save_head(head, tmp_path / "nowhere" / "head.keras")
    save_head(head, tmp_path / "head.keras")
    assert [entry.name for entry in tmp_path.iterdir()] == ["head.keras"]


def test_momenta_are_not_written(tmp_path):
    head = build_head("rnn", RnnHeadConfig(units=(100,)), 300)
    head.compile("adam", "mse")
    head.train_on_batch({"features": np.ones((2, 3, 300), np.float32), "mask": None}, np.ones((2, 2), np.float32))
    save_head(head, tmp_path / "head.keras")
    assert (tmp_path / "head.keras").stat().st_size < 4 * head.count_params() + 200_000


def test_configurations_need_no_keras():
    code = (
        "import sys; from emopipe.models.heads import HEADS, RnnHeadConfig; from emopipe.models import gather, keras2\n"
        "RnnHeadConfig(); [HEADS.load(name) for name in HEADS]\n"
        "assert not {'keras', 'tensorflow', 'jax', 'h5py'} & set(sys.modules), 'an engine was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
