"""The CNN over log-mel rows: sizes, padding to the bit, and what training shows it."""

import numpy as np
import pytest

from emopipe.errors import ConfigError
from emopipe.models.heads import build_head, save_head
from emopipe.models.rows import Statistics
from emopipe.models.spectrogram_head import (
    MASKED_BANDS,
    MASKED_STEPS,
    MAX_GAIN_DB,
    MAX_SHIFT_BANDS,
    NUM_MASKS,
    SpectrogramHeadConfig,
    augmentation,
    hidden,
    shifted,
)
from emopipe.models.weights import load_network

NUM_BANDS = 12
SMALL = SpectrogramHeadConfig((4, 6, 5), dropout=0.0)
MEAN = np.linspace(-60, -30, NUM_BANDS).astype(np.float32)
STATISTICS = Statistics(MEAN, np.full(NUM_BANDS, 100, np.float32))
ROUNDING = 1e-4  # of numbers near 80


def rows_of(num_clips=3, length=20, num_bands=NUM_BANDS, seed=0) -> np.ndarray:
    """(B, L, D) dB."""
    return np.random.default_rng(seed).normal(-45, 10, (num_clips, length, num_bands)).astype(np.float32)


def outputs(head, features, mask=None) -> np.ndarray:
    return np.asarray(head.predict_on_batch({"features": features, "mask": mask}))


def shown(features, is_real=None, seed=0, calls=1) -> np.ndarray:
    """What training shows of the same clips, call after call."""
    layer = augmentation(STATISTICS, seed)
    return np.concatenate([np.asarray(layer(features, is_real=is_real, training=True)) for _ in range(calls)])


@pytest.mark.parametrize("num_bands", [1, 12, 40, 64, 65])
@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        SpectrogramHeadConfig((3,), num_outputs=8),
        SpectrogramHeadConfig((4, 6), "gru", 5),
        SpectrogramHeadConfig((2, 3, 4, 5, 6), num_outputs=1),
    ],
)
def test_the_formula_counts_what_is_built(config, num_bands):
    assert build_head("spectrogram-cnn", config, num_bands).count_params() == config.num_parameters(num_bands)


def test_the_default_is_a_small_network():
    assert SpectrogramHeadConfig(num_outputs=8).num_parameters(64) == 85_720
    assert SpectrogramHeadConfig(num_outputs=8, pooling="gru").num_parameters(64) == 166_488


@pytest.mark.parametrize("pooling", ["mean-max", "gru"])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 20, 33])
def test_padding_of_any_length_changes_no_bit(pooling, length):
    """Odd and even lengths: strides and poolings count from the first step on, wherever the last one is."""
    head = build_head("spectrogram-cnn", SpectrogramHeadConfig((4, 6, 5), pooling), NUM_BANDS, statistics=STATISTICS)
    features = rows_of(length=length)
    expected = np.asarray(head({"features": features, "mask": None}))
    for padding in (1, 2, 3, 8):
        rubbish = np.full((len(features), padding, NUM_BANDS), 40, np.float32)
        mask = np.tile(np.arange(length + padding) < length, (len(features), 1))
        padded = np.concatenate([features, rubbish], axis=1)
        found = np.asarray(head({"features": padded, "mask": mask}))
        np.testing.assert_array_equal(found, expected, err_msg=f"{padding} steps of padding")


def test_padding_does_not_move_the_statistics_of_a_batch():
    """Also in training: the means that batch normalisation keeps are those of real steps."""
    features = rows_of()
    rubbish = np.full((len(features), 13, NUM_BANDS), 40, np.float32)
    padded, mask = np.concatenate([features, rubbish], axis=1), np.tile(np.arange(33) < 20, (3, 1))
    heads = [build_head("spectrogram-cnn", SMALL, NUM_BANDS, statistics=STATISTICS) for _ in range(2)]
    heads[0]({"features": features, "mask": None}, training=True)
    heads[1]({"features": padded, "mask": mask}, training=True)
    for one, other in zip(*(head.weights for head in heads), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-5, err_msg=one.path)
    moved = [np.ptp(np.asarray(each)) for each in heads[0].weights if "moving_mean" in each.path]
    assert min(moved) > 0


def test_every_band_and_every_step_is_seen():
    head = build_head("spectrogram-cnn", SMALL, NUM_BANDS, statistics=STATISTICS)
    base = outputs(head, rows_of())
    for place in [(slice(None), 0), (slice(None), NUM_BANDS - 1), (0, slice(None)), (19, slice(None))]:
        changed = rows_of()
        changed[(slice(None), *place)] += 30
        assert np.abs(outputs(head, changed) - base).max(axis=1).min() > 1e-5, place


def test_the_file_is_made_of_layers_that_keras_has(tmp_path):
    import zipfile

    head = build_head("spectrogram-cnn", SpectrogramHeadConfig((4, 6), "gru"), NUM_BANDS, statistics=STATISTICS)
    save_head(head, tmp_path / "head.keras")
    with zipfile.ZipFile(tmp_path / "head.keras") as file:
        assert b"emopipe" not in file.read("config.json")
    np.testing.assert_allclose(outputs(load_network(tmp_path / "head.keras"), rows_of()), outputs(head, rows_of()),
                               atol=1e-6)  # fmt: skip


def test_training_shows_another_picture_each_time_and_prediction_the_same():
    features = rows_of()
    layer = augmentation(STATISTICS, seed=1)
    np.testing.assert_array_equal(np.asarray(layer(features)), features)
    first, second = shown(features, calls=2, seed=1).reshape(2, *features.shape)
    assert np.abs(first - second).max() > 1
    assert np.abs(first[0] - features[0]).max() > 0.1
    np.testing.assert_array_equal(shown(features, seed=1), first)
    assert np.abs(shown(features, seed=2) - first).max() > 1


def test_what_is_hidden_is_the_mean_of_training_and_never_too_wide():
    """Clips that are the same everywhere: gain and shift leave them so, and what differs is hidden."""
    num_steps, num_bands, calls = 60, 40, 40
    mean = np.linspace(-80, -40, num_bands).astype(np.float32)
    layer = augmentation(Statistics(mean, np.ones(num_bands, np.float32)), seed=0)
    features = np.full((8, num_steps, num_bands), -20, np.float32)
    found = np.concatenate([np.asarray(layer(features, training=True)) for _ in range(calls)])
    is_hidden = np.isclose(found, mean, atol=ROUNDING)
    steps, bands = is_hidden.all(axis=2).sum(axis=1), is_hidden.all(axis=1).sum(axis=1)
    assert NUM_MASKS * MASKED_STEPS * num_steps >= steps.max() > MASKED_STEPS * num_steps
    assert NUM_MASKS * MASKED_BANDS * num_bands >= bands.max() > MASKED_BANDS * num_bands
    level = np.where(is_hidden, np.nan, found)
    gains = np.nanmean(level, axis=(1, 2)) + 20
    assert np.nanmax(np.nanstd(level, axis=(1, 2))) < ROUNDING, "one gain for all of a clip"
    assert MAX_GAIN_DB >= np.abs(gains).max() > 0.9 * MAX_GAIN_DB
    assert abs(gains.mean()) < 0.3


def test_absent_steps_stay_absent():
    features = rows_of()
    features[1, 4:9] = 0
    found = shown(features)
    assert not found[1, 4:9].any()
    assert np.abs(found[1, 3]).min() > 0


def test_stretches_are_drawn_inside_a_clip():
    """Not in its padding, where hiding teaches nothing: of the first 10 of 40 places, one stretch of up to 8."""
    from keras import ops

    draws = np.random.default_rng(0).random((4000, 1, 2)).astype(np.float32)
    places = np.arange(40, dtype=np.float32)
    found = ops.convert_to_numpy(hidden(draws, places, np.full(4000, 10, np.float32), 0.8))
    assert not found[:, 10:].any()
    widths = found.sum(axis=1)
    np.testing.assert_allclose(np.bincount(widths, minlength=9) / 4000, 1 / 9, atol=0.02)
    assert found[:, [0, 9]].any(axis=0).all()
    assert (np.abs(np.diff(found.astype(int), axis=1)).sum(axis=1) <= 2).all(), "one stretch"
    short = ops.convert_to_numpy(hidden(draws, places, np.full(4000, 3, np.float32), 0.8))
    assert short.sum(axis=1).max() == 2


def test_bands_are_shifted_by_parts_of_a_band():
    from keras import ops

    features = np.arange(5, dtype=np.float32)[None, None] ** 2
    moved = ops.convert_to_numpy(
        shifted(np.repeat(features, 4, axis=0), np.array([0.0, 1.0, -2.0, 0.25], np.float32))
    )  # fmt: skip
    expected = [[0, 1, 4, 9, 16], [0, 0, 1, 4, 9], [4, 9, 16, 16, 16], [0, 0.75, 3.25, 7.75, 14.25]]
    np.testing.assert_allclose(moved[:, 0], expected, atol=1e-5)
    assert MAX_SHIFT_BANDS == 2


def test_it_learns_what_the_mean_of_the_bands_does_not_say():
    """A tone that rises against one that falls: the same bands, in another order."""
    import keras

    random = np.random.default_rng(0)
    rises = random.random(160) < 0.5
    places = np.linspace(0, NUM_BANDS - 1, 24)
    tone = np.exp(-np.square(np.arange(NUM_BANDS) - places[:, None]))
    features = -60 + 30 * np.where(rises[:, None, None], tone, tone[::-1]) + random.normal(0, 2, (160, 24, NUM_BANDS))
    features, truth = features.astype(np.float32), np.eye(2, dtype=np.float32)[rises.astype(int)]
    statistics = Statistics(features.mean(axis=(0, 1)), features.var(axis=(0, 1)))
    config = SpectrogramHeadConfig((8, 8), num_outputs=2, output_activation="softmax")
    head = build_head("spectrogram-cnn", config, NUM_BANDS, statistics=statistics)
    head.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy")
    for _ in range(8):
        for part in np.split(np.arange(120), 4):
            head.train_on_batch({"features": features[part], "mask": None}, truth[part])
    assert (outputs(head, features[120:]).argmax(axis=1) == rises[120:]).mean() > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": ()}, "at least 1 channel"),
        ({"channels": (4, 0)}, "at least 1 channel"),
        ({"units": 0}, "1 unit"),
        ({"pooling": "max"}, "pooling"),
        ({"dropout": 1.0}, "dropout"),
        ({"num_outputs": 0}, "num_outputs"),
        ({"output_activation": "relu"}, "output_activation"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=f"SpectrogramHeadConfig.*{message}"):
        SpectrogramHeadConfig(**settings)
