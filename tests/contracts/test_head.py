"""What every registered head promises, on this backend and on another."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emopipe.config import from_dict, to_dict
from emopipe.errors import ConfigError, UnknownNameError
from emopipe.models.heads import HEADS, MeanHeadConfig, RnnHeadConfig, build_head, save_head
from emopipe.models.multimodal import MultimodalHeadConfig
from emopipe.models.rows import Statistics
from emopipe.models.spectrogram_head import SpectrogramHeadConfig
from emopipe.models.tap_heads import TapHeadConfig
from emopipe.models.weights import load_network
from emopipe.stages.rnn_config import TrainRnnConfig

NUM_FEATURES, LENGTH, BATCH_SIZE = 12, 9, 16
SUM_ORDER = 1e-5  # masked and unmasked kernels may add in another order

# Columns of `NUM_FEATURES` numbers; those of the landmarks are fewer than in a real table.
COLUMNS = (("pool2", 5), ("pool5", 4), ("landmarks", 3))
SMALL = {"fc_units": 6, "units": (5, 4), "columns": COLUMNS}
BOTH = (("audio:mel", 5), ("pool", 4), ("audio:gap", 3))

# A head that is not named here is tried as its configuration is by default.
CASES = {
    "rnn simple": ("rnn", RnnHeadConfig(cells="simple", units=(7,))),
    "rnn gru": ("rnn", RnnHeadConfig(units=(8, 8, 5))),
    "rnn lstm": ("rnn", RnnHeadConfig(cells="lstm", units=(6, 5))),
    "rnn both ways": ("rnn", RnnHeadConfig(units=(6, 5), bidirectional=True, dropout=0.2)),
    "rnn classes": ("rnn", RnnHeadConfig(units=(6,), num_outputs=5, output_activation="softmax")),
    "mean": ("mean", MeanHeadConfig()),
    "multimodal": ("multimodal", MultimodalHeadConfig(units=(6,), fusion_units=5, columns=BOTH, num_outputs=3)),
    "multimodal deep": (
        "multimodal",
        MultimodalHeadConfig("gru", (6, 4), (5,), 7, 0.0, BOTH, num_outputs=4, output_activation="softmax"),
    ),
    "spectrogram mean max": ("spectrogram-cnn", SpectrogramHeadConfig((4, 6, 5))),
    "spectrogram gru": (
        "spectrogram-cnn",
        SpectrogramHeadConfig((4, 6), "gru", 5, num_outputs=3, output_activation="sigmoid"),
    ),
    "taps frame by frame": ("taps", TapHeadConfig(("pool2", "pool5", "fc"), "none", num_outputs=1, **SMALL)),
    "taps one rnn": ("taps", TapHeadConfig(("pool2", "pool5", "fc"), "one", landmark_units=2, **SMALL)),
    "taps an rnn each": ("taps", TapHeadConfig(("pool2", "fc"), "each", "pool5", joint_units=3, **SMALL)),
}
CASES |= {name: (name, HEADS.load(name).config()) for name in HEADS if name not in {head for head, _ in CASES.values()}}
every_case = pytest.mark.parametrize("case", CASES)
STANDARDISED = [case for case, (name, _) in CASES.items() if HEADS.load(name).standardises]


@functools.cache
def head_of(case):
    return build_head(*CASES[case], NUM_FEATURES)


@functools.cache
def windows():
    return np.random.default_rng(0).standard_normal((BATCH_SIZE, LENGTH, NUM_FEATURES)).astype(np.float32)


def outputs(head, features, mask=None):
    return np.asarray(head.predict_on_batch({"features": features, "mask": mask}))


def shape_of(case, length=LENGTH):
    """Of what the head gives for the windows: one row for each, or heads over taps one for every step."""
    name, config = CASES[case]
    return (BATCH_SIZE, *((length,) if name == "taps" else ()), config.num_outputs)


@every_case
def test_gives_one_row_per_window_or_step(case):
    activation = getattr(CASES[case][1], "output_activation", "linear")
    values = outputs(head_of(case), windows())
    assert (values.shape, values.dtype) == (shape_of(case), np.float32)
    assert np.ptp(values, axis=0).min() > 0, "does not depend on the features"
    if activation == "softmax":
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-6)
    assert head_of(case).get_layer("output").activation.__name__ == activation


@every_case
def test_padding_changes_nothing(case):
    expected = outputs(head_of(case), windows())
    rubbish = np.full((BATCH_SIZE, 4, NUM_FEATURES), 9, np.float32)
    padded = np.concatenate([windows(), rubbish], axis=1)
    mask = np.arange(LENGTH + 4) < LENGTH
    every_step = len(expected.shape) == 3
    received = outputs(head_of(case), padded, np.tile(mask, (BATCH_SIZE, 1)))
    unmasked = outputs(head_of(case), padded, np.ones((BATCH_SIZE, LENGTH + 4), bool))
    if every_step:  # what is to the right of a step is nothing to it, so that such heads need no mask
        received, unmasked = received[:, :LENGTH], unmasked[:, :LENGTH]
    np.testing.assert_allclose(received, expected, atol=SUM_ORDER)
    if every_step:
        np.testing.assert_allclose(unmasked, expected, atol=SUM_ORDER)
    else:
        assert np.abs(unmasked - expected).max() > 100 * SUM_ORDER, "the mask has no effect"


@every_case
def test_windows_of_different_lengths_share_a_batch(case):
    lengths = np.arange(BATCH_SIZE) % LENGTH + 1
    mask = np.arange(LENGTH) < lengths[:, None]
    together = outputs(head_of(case), windows(), mask)
    for length in (1, 4, LENGTH):
        (numbers,) = np.nonzero(lengths == length)
        alone = outputs(head_of(case), windows()[numbers, :length])
        found = together[numbers] if together.ndim == 2 else together[numbers, :length]
        np.testing.assert_allclose(found, alone, atol=SUM_ORDER)


@pytest.mark.parametrize("case", STANDARDISED)
def test_features_of_any_scale_are_brought_to_one(case, tmp_path):
    scale, shift = np.linspace(1, 50, NUM_FEATURES), np.linspace(-80, 10, NUM_FEATURES)
    statistics = Statistics(shift.astype(np.float32), np.square(scale).astype(np.float32))
    head = build_head(*CASES[case], NUM_FEATURES, statistics=statistics)
    features = (windows() * scale + shift).astype(np.float32)
    expected = outputs(head_of(case), windows())
    np.testing.assert_allclose(outputs(head, features), expected, atol=1e-4)
    assert head.count_params() == head_of(case).count_params()
    save_head(head, tmp_path / "head.keras")
    np.testing.assert_allclose(outputs(load_network(tmp_path / "head.keras"), features), expected, atol=1e-4)


@pytest.mark.parametrize("case", STANDARDISED)
def test_a_step_at_which_nothing_is_stays_zeros(case):
    statistics = Statistics(np.full(NUM_FEATURES, 3, np.float32), np.ones(NUM_FEATURES, np.float32))
    features, plain = windows() + 3, windows().copy()
    features[:, 2:4], plain[:, 2:4] = 0, 0
    standardised = outputs(build_head(*CASES[case], NUM_FEATURES, statistics=statistics), features)
    np.testing.assert_allclose(standardised, outputs(head_of(case), plain), atol=SUM_ORDER)


@every_case
def test_a_step_of_training_lowers_the_loss(case):
    import keras

    name, config = CASES[case]
    dropouts = {field.name: 0.0 for field in dataclasses.fields(config) if field.name.endswith("dropout")}
    head = build_head(name, dataclasses.replace(config, **dropouts), NUM_FEATURES)
    head.compile(keras.optimizers.SGD(0.1), "mse")
    inputs = {"features": windows(), "mask": None}
    truth = np.random.default_rng(1).uniform(-1, 1, shape_of(case)).astype(np.float32)
    before = float(head.test_on_batch(inputs, truth))
    head.train_on_batch(inputs, truth)
    assert float(head.test_on_batch(inputs, truth)) < before - 1e-4


@every_case
def test_its_configuration_goes_through_json(case):
    name, config = CASES[case]
    content = json.loads(json.dumps(to_dict(config)))
    again = from_dict(HEADS.load(name).config, content)
    assert again == config
    np.testing.assert_array_equal(
        outputs(build_head(name, again, NUM_FEATURES), windows()), outputs(head_of(case), windows())
    )


@every_case
def test_saved_and_loaded_it_is_the_same(case, tmp_path):
    head = build_head(*CASES[case], NUM_FEATURES)
    expected = outputs(head, windows())
    head.compile("adam", "mse")  # a compiled head has momenta, twice as large as the head
    head.train_on_batch({"features": windows(), "mask": None}, np.zeros(shape_of(case)))
    trained = outputs(head, windows())
    path = tmp_path / "head.keras"
    save_head(head, path)
    loaded = load_network(path)
    np.testing.assert_array_equal(outputs(loaded, windows()), trained)
    assert np.abs(trained - expected).max() > 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["head.keras"]
    assert path.stat().st_size < 4 * head.count_params() + 200_000
    assert not loaded.compiled


@every_case
def test_weights_follow_the_seed(case):
    name, config = CASES[case]
    same, other = build_head(name, config, NUM_FEATURES), build_head(name, config, NUM_FEATURES, seed=1)
    kernels = [variable.path for variable in same.weights if "kernel" in variable.path]
    arrays = {variable.path: np.asarray(variable) for variable in same.weights}
    for variable in head_of(case).weights:
        np.testing.assert_array_equal(np.asarray(variable), arrays[variable.path])
    for variable in other.weights:
        assert np.array_equal(np.asarray(variable), arrays[variable.path]) == (variable.path not in kernels)
    assert len({arrays[path].tobytes() for path in kernels}) == len(kernels), "two kernels start equal"


def test_train_rnn_knows_every_head_that_has_no_settings_of_its_own():
    for name in HEADS:
        if name in ("taps", "multimodal", "spectrogram-cnn"):
            with pytest.raises(ConfigError, match=f"head: '{name}' has settings of its own"):
                TrainRnnConfig(head=name)
            continue
        config = TrainRnnConfig(head=name, cells="lstm", units=(7,)).head_config(3)
        assert isinstance(config, HEADS.load(name).config)
        assert (config.num_outputs, getattr(config, "units", (7,)), getattr(config, "cells", "lstm")) == (
            3,
            (7,),
            "lstm",
        )
    with pytest.raises(UnknownNameError, match="Did you mean 'mean'"):
        TrainRnnConfig(head="men")


def test_mistakes_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'rnn'"):
        build_head("rn", RnnHeadConfig(), 3)
    with pytest.raises(ConfigError, match="head 'mean': expected a MeanHeadConfig. Received: RnnHeadConfig"):
        build_head("mean", RnnHeadConfig(), 3)
    with pytest.raises(ConfigError, match="at least one feature"):
        build_head("rnn", RnnHeadConfig(), 0)
    statistics = Statistics(np.zeros(NUM_FEATURES, np.float32), np.ones(NUM_FEATURES, np.float32))
    with pytest.raises(ConfigError, match="head 'taps': takes features as they are"):
        build_head(*CASES["taps one rnn"], NUM_FEATURES, statistics=statistics)
    with pytest.raises(ConfigError, match="expected statistics of 3 features, not 12"):
        build_head("rnn", RnnHeadConfig(), 3, statistics=statistics)


@pytest.mark.slow
def test_another_backend_keeps_the_promises():
    import keras

    other = "jax" if keras.backend.backend() != "jax" else "tensorflow"
    of_steps = Path(__file__).parents[1] / "unit" / "test_tap_heads.py"
    files = (str(Path(__file__)), f"{of_steps}::test_a_weight_of_0_takes_a_step_out_whatever_its_label[one]")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", "not another"]
    environment = {**os.environ, "KERAS_BACKEND": other}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
