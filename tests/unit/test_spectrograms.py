"""Spectrograms: the pictures that matplotlib draws, exact windows for every duration, rows relative to full scale."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.io.wavfile
from spectrogram_figure import draw, figure_of, window_values

from emopipe.config import fingerprint, from_dict, to_dict
from emopipe.datasets.phantom_affect import Temperament, perform
from emopipe.datasets.phantom_voice import SAMPLE_RATE_HZ, speak
from emopipe.errors import ConfigError
from emopipe.spectrograms import SpectrogramConfig, log_mel_rows, pictures, window_axis

MEAN_DIFFERENCE = 0.01  # levels of 255 (2 are allowed): float32 of another order takes a few cells to the next colour
LOG_MEL = SpectrogramConfig(render="log-mel", window_s=0.05, hop_s=0.02)
# scipy carries a short tone for its own tests; it is repeated to fill a window.
RECORDING = Path(scipy.io.__file__).parent / "tests" / "data" / "test-44100Hz-le-1ch-4bytes.wav"


def speech(seconds, rate_hz=SAMPLE_RATE_HZ, seed=0):
    """A generated voice."""
    names = ("state", "face", "motion", "labels")
    streams = {name: np.random.default_rng([seed, number]) for number, name in enumerate(names)}
    identity = np.random.default_rng(seed)
    performance = perform(streams, Temperament.draw(identity), seconds, 25.0)
    voice = speak(performance, identity, np.random.default_rng(seed + 1))
    return voice if rate_hz == SAMPLE_RATE_HZ else librosa.resample(voice, orig_sr=SAMPLE_RATE_HZ, target_sr=rate_hz)


def all_pictures(samples, rate_hz, config):
    return np.concatenate(list(pictures(samples, rate_hz, config)))


def difference(one, other):
    """Mean absolute difference in levels of 255."""
    return np.abs(one.astype(int) - other.astype(int)).mean()


def tone(frequency_hz, rate_hz=16000, seconds=1.0, amplitude=0.5):
    return (amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype("f4")


@pytest.mark.parametrize("kind", ["mel", "linear", "chroma"])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 48000])
def test_pictures_are_the_ones_that_matplotlib_draws(kind, rate_hz):
    samples = speech(3.4, rate_hz, seed=rate_hz)
    drawn = all_pictures(samples, rate_hz, SpectrogramConfig(kind=kind))
    assert len(drawn) == 6
    assert len(np.unique(drawn)) > 100  # not by being empty
    for number, picture in enumerate(drawn):
        start = int(number * rate_hz // 2)  # the last windows are cut off: 0.9 s
        expected = figure_of(samples[start : start + rate_hz], rate_hz, kind)
        assert difference(picture, expected) <= MEAN_DIFFERENCE


@pytest.mark.parametrize(("colour_map", "size_px"), [("magma", 227), ("gray", 224), ("viridis", 96)])
def test_pictures_in_other_colours_and_sizes(colour_map, size_px):
    samples = speech(1.0)
    (picture, _) = all_pictures(samples, 16000, SpectrogramConfig(colour_map=colour_map, size_px=size_px))
    expected = figure_of(samples, 16000, "mel", colour_map, size_px)
    assert picture.shape == (size_px, size_px, 3)
    assert difference(picture, expected) <= MEAN_DIFFERENCE


def test_a_recording_is_drawn_alike():
    rate_hz, samples = scipy.io.wavfile.read(RECORDING)
    samples = np.resize(samples.astype("f4") / np.abs(samples).max(), rate_hz)
    (picture, _) = all_pictures(samples, rate_hz, SpectrogramConfig())
    assert difference(picture, figure_of(samples, rate_hz)) <= MEAN_DIFFERENCE


def test_an_imshow_of_the_mel_matrix_would_not_pass():
    samples = speech(1.0)
    (picture, _) = all_pictures(samples, 16000, SpectrogramConfig())
    values = window_values(samples, 16000)
    equal_bands = draw(values, np.arange(len(values) + 1), kind="linear")
    assert difference(picture, equal_bands) > 2


def test_a_tone_of_440_hz_lies_at_row_187():
    (picture, _) = all_pictures(tone(440), 16000, SpectrogramConfig())
    brightness = picture.sum(axis=-1, dtype=int)
    assert brightness[:, 100].argmax() == 187
    assert (brightness.argmax(axis=0) == 187).all()


def test_one_kilohertz_is_two_fifths_up_and_each_octave_above_a_fifth():
    for frequency_hz, share in ((1000, 0.4), (2000, 0.6), (4000, 0.8)):
        (picture, _) = all_pictures(tone(frequency_hz), 16000, SpectrogramConfig())
        rows = np.flatnonzero(picture[:, 100].sum(axis=-1) == picture[:, 100].sum(axis=-1).max())
        assert abs(rows.mean() - 227 * (1 - share)) < 3


def test_the_upper_end_of_the_axis_can_be_moved_and_high_tones_then_leave_it():
    for kind in ("mel", "linear"):
        whole, cropped = SpectrogramConfig(kind=kind), SpectrogramConfig(kind=kind, highest_hz=4000)
        assert all_pictures(tone(2000), 16000, cropped)[0, :, 100].sum(axis=-1).argmax() < (
            all_pictures(tone(2000), 16000, whole)[0, :, 100].sum(axis=-1).argmax()
        )
    with pytest.raises(ConfigError, match="at most half the rate of 16000 Hz"):
        list(pictures(tone(2000), 16000, SpectrogramConfig(highest_hz=8001)))


def test_every_setting_of_the_picture_changes_it():
    samples = speech(2.0)
    usual = all_pictures(samples, 16000, SpectrogramConfig())[0]
    for change in (
        {"num_bands": 64},
        {"num_fft": 1024},
        {"window_s": 0.5},
        {"colour_map": "magma"},
        {"kind": "linear"},
    ):
        other = all_pictures(samples, 16000, SpectrogramConfig(**change))[0]
        assert difference(usual, other) > 1, change


@pytest.mark.parametrize("kind", ["mel", "linear", "chroma"])
def test_silence_has_the_lowest_colour_and_one_click_does_not_blow_up(kind):
    with np.errstate(all="raise"):
        silent = all_pictures(np.zeros(16000, "f4"), 16000, SpectrogramConfig(kind=kind))
    assert (silent == (68, 1, 84)).all()  # the lowest of viridis
    click = np.zeros(16000, "f4")
    click[8000] = 1
    picture = all_pictures(click, 16000, SpectrogramConfig(kind=kind))[0]
    expected = figure_of(click, 16000, kind)
    assert difference(picture, expected) <= MEAN_DIFFERENCE
    assert difference(figure_of(np.zeros(16000, "f4"), 16000, kind), silent[0]) == 0


def test_loudness_does_not_change_a_picture():
    samples = speech(1.0)
    (loud, _), (soft, _) = (all_pictures(gain * samples, 16000, SpectrogramConfig()) for gain in (1.0, 0.5))
    assert difference(loud, soft) < 0.5  # but for bands so weak that they meet the smallest power


def test_blocks_join_to_one_picture_per_window_in_order():
    config, samples = SpectrogramConfig(hop_s=0.1), speech(4.0)
    blocks = list(pictures(samples, 16000, config))
    assert len(blocks) > 3
    joined = np.concatenate(blocks)
    time_s, valid = window_axis(len(samples), 16000, 0.0, config)
    assert len(joined) == len(time_s) == 40
    assert valid.all()
    for number in (0, 7, 8, 30, 39):
        alone = samples[1600 * number : 1600 * number + 16000]
        assert difference(joined[number], all_pictures(alone, 16000, config)[0]) <= MEAN_DIFFERENCE


def test_a_sound_shorter_than_a_frame_is_one_invalid_window():
    time_s, valid = window_axis(511, 16000, 3.0, SpectrogramConfig())
    assert (time_s.tolist(), valid.tolist()) == ([3.5], [False])
    assert (all_pictures(np.ones(511, "f4"), 16000, SpectrogramConfig()) == 0).all()
    assert window_axis(512, 16000, 3.0, SpectrogramConfig())[1].tolist() == [True]
    assert window_axis(0, 16000, 0.0, SpectrogramConfig())[1].tolist() == [False]


def test_windows_of_3000_random_durations_rates_and_offsets():
    random = np.random.default_rng(0)
    for _ in range(3000):
        rate_hz = int(random.choice([8000, 11025, 16000, 22050, 44100, 48000]))
        window_s, hop_s = random.choice([(1.0, 0.5), (1.0, 0.1), (4.0, 1.0), (0.5, 0.04), (2.0, 0.3)])
        num_samples = int(random.integers(0, 12 * rate_hz))
        if random.random() < 0.3:  # whole hops, where a rounding would show
            num_samples = int(random.integers(1, 30)) * round(hop_s * 1000) * rate_hz // 1000
        start_s = float(random.choice([0.0, random.uniform(-1, 100)]))
        config = SpectrogramConfig(window_s=float(window_s), hop_s=float(hop_s))
        time_s, valid = window_axis(num_samples, rate_hz, start_s, config)
        hop_ms = round(hop_s * 1000)
        assert len(time_s) == len(valid) == max(num_samples * 1000 // (rate_hz * hop_ms), 1)
        assert time_s[0] == start_s + window_s / 2
        assert np.allclose(np.diff(time_s), hop_s, rtol=0, atol=1e-9)
        frame = 2 ** int(np.ceil(np.log2(int(0.025 * rate_hz))))
        left = num_samples - np.arange(len(time_s)) * hop_ms * rate_hz // 1000
        assert (valid == (np.minimum(left, round(window_s * rate_hz)) >= frame)).all()


@pytest.mark.parametrize(
    ("samples", "rate_hz", "window_s", "hop_s", "count"),
    [
        (4800, 16000, 1.0, 0.1, 3),  # 0.3 / 0.1 is 2.9999999999999996 in floats
        (24000, 16000, 1.0, 0.1, 15),
        (11025, 11025, 0.5, 0.01, 100),  # 110.25 samples per hop
        (15999, 16000, 1.0, 0.5, 1),
        (16000, 16000, 1.0, 0.5, 2),
        (16000, 16000, 0.5, 1.0, 1),
        (1, 16000, 1.0, 0.5, 1),
    ],
)
def test_numbers_of_windows(samples, rate_hz, window_s, hop_s, count):
    config = SpectrogramConfig(window_s=window_s, hop_s=hop_s)
    assert len(window_axis(samples, rate_hz, 0.0, config)[0]) == count


def test_log_mel_rows_are_one_frame_per_window_relative_to_full_scale():
    samples = speech(2.0)
    rows = log_mel_rows(samples, 16000, LOG_MEL)
    time_s, valid = window_axis(len(samples), 16000, 0.5, LOG_MEL)
    assert rows.shape == (100, 128)
    assert rows.dtype == np.float32
    assert np.allclose(time_s[:2], [0.525, 0.545], rtol=0, atol=1e-12)
    assert valid.tolist() == [True] * 98 + [False] * 2  # windows that reach beyond the end
    assert (np.isfinite(rows).all(axis=1) == valid).all()
    for number in (0, 50, 97):  # a second derivation, frame by frame
        frame = samples[320 * number : 320 * number + 800] * librosa.filters.get_window("hann", 800, fftbins=True)
        power = np.abs(np.fft.rfft(frame, 1024)) ** 2 * 4 / (1024 * 300)  # 300: energy of a Hann window of 800
        bands = librosa.filters.mel(sr=16000, n_fft=1024, n_mels=128, norm=None) @ power
        expected = 10 * np.log10(np.maximum(bands, 1e-10))
        assert np.abs(rows[number] - expected).max() < 0.01


@pytest.mark.parametrize("window_s", [0.025, 0.05, 0.1])
def test_a_full_scale_sine_has_0_db_and_silence_the_floor(window_s):
    config = SpectrogramConfig(render="log-mel", window_s=window_s, hop_s=0.02, num_bands=40)
    band_hz = librosa.mel_frequencies(42, fmin=0, fmax=8000)[31]
    rows = log_mel_rows(tone(band_hz, amplitude=1.0), 16000, config)
    assert rows[10].argmax() == 30
    assert -1 < rows[10].max() < 0  # the triangle takes a little from both sides of the peak
    half = log_mel_rows(tone(band_hz, amplitude=0.5), 16000, config)
    assert np.allclose(rows[10].max() - half[10].max(), 20 * np.log10(2), atol=0.01)
    silent = log_mel_rows(np.zeros(16000, "f4"), 16000, config)
    assert np.allclose(silent[:45], -100)


def test_log_mel_rows_of_a_long_sound_and_of_a_short_one():
    samples = np.random.default_rng(0).normal(size=16000 * 60).astype("f4")
    rows = log_mel_rows(samples, 16000, LOG_MEL)
    assert rows.shape == (3000, 128)  # more than one block
    at = 2500
    assert np.allclose(rows[at], log_mel_rows(samples[at * 320 :], 16000, LOG_MEL)[0], atol=0.001)
    assert np.isnan(log_mel_rows(samples[:799], 16000, LOG_MEL)).all()
    assert log_mel_rows(samples[:799], 16000, LOG_MEL).shape == (2, 128)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "mfcc"}, "SpectrogramConfig.kind: expected one of mel, linear, chroma. Received: 'mfcc'."),
        ({"render": "image"}, "render: expected one of picture, log-mel"),
        ({"colour_map": "rainbow"}, "colour_map: expected one of viridis"),
        ({"window_s": 0}, "window_s: expected a finite number above 0. Received: 0."),
        ({"hop_s": float("inf")}, "hop_s"),
        ({"hop_s": float("nan")}, "hop_s"),
        ({"num_bands": 0}, "num_bands: expected at least 1"),
        ({"rate_hz": 0}, "rate_hz: expected at least 1"),
        ({"size_px": 1}, "size_px"),
        ({"num_fft": 1}, "num_fft"),
        ({"highest_hz": -1.0}, "highest_hz"),
        ({"kind": "linear", "render": "log-mel"}, "kind: expected 'mel' with render 'log-mel'"),
        ({"kind": "chroma", "highest_hz": 4000.0}, "no frequency axis"),
    ],
)
def test_wrong_settings_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        SpectrogramConfig(**fields)


def test_settings_that_do_not_fit_the_rate_are_refused():
    with pytest.raises(ConfigError, match="512 samples at 16000 Hz. Received: 0.01 s, 160 samples"):
        window_axis(16000, 16000, 0.0, SpectrogramConfig(window_s=0.01))
    with pytest.raises(ConfigError, match="hop_s: expected at least one sample at 16000 Hz"):
        window_axis(16000, 16000, 0.0, SpectrogramConfig(hop_s=1e-6))
    with pytest.raises(ConfigError, match="num_fft: expected at least the 800 samples"):
        log_mel_rows(tone(440), 16000, SpectrogramConfig(render="log-mel", window_s=0.05, hop_s=0.02, num_fft=512))


def test_settings_survive_json_and_each_enters_the_fingerprint():
    config = SpectrogramConfig(kind="linear", highest_hz=4000.0)
    assert from_dict(SpectrogramConfig, to_dict(config)) == config
    changes = {"kind": "linear", "render": "log-mel", "rate_hz": 16000, "window_s": 2.0, "hop_s": 1.0, "num_bands": 64}
    changes |= {"num_fft": 512, "highest_hz": 8000.0, "colour_map": "magma", "size_px": 224}
    assert set(changes) == set(to_dict(config))
    prints = {fingerprint(SpectrogramConfig(**{name: value})) for name, value in changes.items()}
    assert len(prints | {fingerprint(SpectrogramConfig())}) == len(changes) + 1
