"""The head for picture and sound: sizes, which modality reaches what, and absent sound."""

import numpy as np
import pytest

from emopipe.errors import ConfigError
from emopipe.models.heads import build_head
from emopipe.models.multimodal import FUSED, MultimodalHeadConfig
from emopipe.models.rows import Statistics

TAPS = {"audio:mel": 5, "pool": 4, "audio:gap": 3, "fc": 6}  # as sorted names may come: the modalities mixed
PICTURE = [5, 6, 7, 8, 12, 13, 14, 15, 16, 17]
SOUND = [0, 1, 2, 3, 4, 9, 10, 11]
NUM_FEATURES = 18


def config_of(**settings) -> MultimodalHeadConfig:
    return MultimodalHeadConfig(**{"units": (6,), "fusion_units": 7, **settings}).with_columns(TAPS, 3)


def windows(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((4, 9, NUM_FEATURES)).astype(np.float32)


def outputs(head, features) -> np.ndarray:
    return np.asarray(head.predict_on_batch({"features": features, "mask": None}))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cells": "gru", "units": (5, 4)},
        {"cells": "simple", "audio_units": (3, 2, 2)},
        {"audio_units": (9,), "fusion_units": 1, "dropout": 0.0},
    ],
)
def test_the_formula_counts_what_is_built(settings):
    config = config_of(**settings)
    assert build_head("multimodal", config, NUM_FEATURES).count_params() == config.num_parameters


def test_the_defaults_have_the_size_that_follows_from_their_layers():
    config = MultimodalHeadConfig().with_columns({"avg_pool:flat": 2048, "audio:fc2": 4096}, 7)
    picture, sound = 4 * 64 * (2048 + 64 + 1), 4 * 64 * (4096 + 64 + 1)
    assert config.num_parameters == picture + sound + (128 + 1) * 64 + 65 * 7 == 1_614_855


@pytest.mark.parametrize("columns", [PICTURE, SOUND])
def test_each_modality_is_read_by_its_own_layers(columns):
    """What is changed in one modality reaches its half of the joined numbers and not the other."""
    import keras

    head = build_head("multimodal", config_of(), NUM_FEATURES)
    joined = keras.Model(head.input, head.get_layer("modalities").output)
    changed = windows()
    changed[:, :, columns] += 1
    moved = np.abs(outputs(joined, changed) - outputs(joined, windows())).max(axis=0)
    own = slice(0, 6) if columns is PICTURE else slice(6, 12)
    assert moved[own].min() > 1e-4
    assert np.delete(moved, np.arange(12)[own]).max() == 0
    assert np.abs(outputs(head, changed) - outputs(head, windows())).max() > 1e-4


def test_the_layer_over_both_is_dense_with_relu_and_dropout():
    head = build_head("multimodal", config_of(dropout=0.5), NUM_FEATURES)
    fused = head.get_layer(FUSED)
    assert (fused.units, fused.activation.__name__, fused.input.shape[-1]) == (7, "relu", 12)
    inputs = {"features": windows(), "mask": None}
    np.testing.assert_array_equal(np.asarray(head(inputs)), np.asarray(head(inputs)))
    assert np.abs(np.asarray(head(inputs, training=True)) - np.asarray(head(inputs, training=True))).max() > 0
    assert "dropout" not in [layer.name for layer in build_head("multimodal", config_of(dropout=0.0), 18).layers]


def test_absent_sound_stays_zeros_beside_a_picture_that_is_standardised():
    statistics = Statistics(np.full(NUM_FEATURES, 4, np.float32), np.full(NUM_FEATURES, 9, np.float32))
    plain = windows()
    plain[:, 2:5, SOUND] = 0
    features = plain * 3 + 4
    features[:, 2:5, SOUND] = 0
    standardised = build_head("multimodal", config_of(), NUM_FEATURES, statistics=statistics)
    expected = outputs(build_head("multimodal", config_of(), NUM_FEATURES), plain)
    np.testing.assert_allclose(outputs(standardised, features), expected, atol=1e-5)
    features[:, 2:5, SOUND] = 4  # sound that is as it is on average, which says as little
    np.testing.assert_allclose(outputs(standardised, features), expected, atol=1e-5)


@pytest.mark.parametrize("taps", [{"pool": 4}, {"audio:mel": 4}, {}])
def test_a_missing_modality_is_one_message(taps):
    with pytest.raises(ConfigError, match="expected taps of picture and of sound") as caught:
        MultimodalHeadConfig().with_columns(taps, 2)
    assert len(str(caught.value).splitlines()) <= 3


def test_columns_of_another_width_are_refused():
    with pytest.raises(ConfigError, match="expected columns of 17 numbers"):
        build_head("multimodal", config_of(), 17)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": "rnn"}, "cells"),
        ({"units": ()}, "at least 1 unit"),
        ({"audio_units": (4, 0)}, "at least 1 unit"),
        ({"fusion_units": 0}, "at least 1 unit"),
        ({"dropout": 1.0}, "dropout"),
        ({"num_outputs": 0}, "num_outputs"),
        ({"output_activation": "relu"}, "output_activation"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=f"MultimodalHeadConfig.*{message}"):
        MultimodalHeadConfig(**settings)
