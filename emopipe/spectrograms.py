"""Spectrograms of windows of sound: as coloured pictures for networks made for photographs, or as plain log-mel rows.

A picture shows what a plotting library would draw (the manner of DeepSpectrum: Amiriparian et al., "Snore sound
classification using image-based deep spectrum features", Interspeech 2017), but by array operations: every pixel of a
coloured mesh lies in one cell, so a table of rows, a table of columns and a table of colours give the whole picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import groupby
from typing import Literal, get_args

import numpy as np

from emopipe.errors import ConfigError
from emopipe.typing import Bools, Floats, Image, Ints

Kind = Literal["mel", "linear", "chroma"]
Render = Literal["picture", "log-mel"]
ColourMap = Literal["viridis", "magma", "plasma", "inferno", "cividis", "gray"]

FRAME_S = 0.025  # an STFT frame of a picture is the next power of two samples above this
NUM_CHROMA = 12
NUM_COLOURS = 256  # of matplotlib's colour maps
LINEAR_BELOW_HZ = 1000.0  # the mel axis is linear up to here and logarithmic above
FULL_SCALE_FLOOR_DB = -100.0  # log-mel: below the noise of 16 bits, and steps of float16 are finer than 0.07 dB

_SMALLEST_POWER = 1e-10  # under the logarithm; librosa's default in both of its conversions to decibels
_BLOCK_WINDOWS = 8  # pictures made at once; larger blocks leave the processor's cache and take twice the time
_BLOCK_FRAMES = 2048  # log-mel rows made at once


@dataclass(frozen=True)
class SpectrogramConfig:
    """How sound becomes pictures or rows, and which window each of them shows. Every field enters the fingerprint.

    Attributes:
        kind: "mel" (power, Slaney bands), "linear" (amplitude) or "chroma" (12 pitch classes, A at 440 Hz).
        render: "picture" for (size_px, size_px, 3) RGB of each window, "log-mel" for one row of numbers, where the
            window is one STFT frame.
        rate_hz: rate that sound is resampled to first; None for each file's own.
        window_s: length of a window.
        hop_s: from the beginning of a window to that of the next.
        num_bands: mel bands; the other kinds have as many as they have.
        num_fft: samples of an STFT frame; None for the next power of two from 25 ms of a picture, from the window of a
            log-mel row. The frames of a picture overlap by half.
        highest_hz: upper end of the frequency axis; None for half the rate.
        colour_map: of pictures.
        size_px: side of a picture.
    """

    kind: Kind = "mel"
    render: Render = "picture"
    rate_hz: int | None = None
    window_s: float = 1.0  # with 0.5 s hop: what MuSe-Reaction 2022 is remembered to have used
    hop_s: float = 0.5
    num_bands: int = 128  # AVEC 2019, ComParE 2020
    num_fft: int | None = None
    highest_hz: float | None = None
    colour_map: ColourMap = "viridis"  # DeepSpectrum's default; magma in ComParE 2020
    size_px: int = 227  # DeepSpectrum's default: the input of AlexNet

    def __post_init__(self) -> None:
        for name, allowed in (("kind", Kind), ("render", Render), ("colour_map", ColourMap)):
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise _config_error(name, f"one of {', '.join(get_args(allowed))}", repr(value))
        for name in ("window_s", "hop_s", "highest_hz"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise _config_error(name, "a finite number above 0", value)
        for name, smallest in (("rate_hz", 1), ("num_bands", 1), ("num_fft", 16), ("size_px", 8)):
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise _config_error(name, f"at least {smallest}", value)
        if self.render == "log-mel" and self.kind != "mel":
            raise _config_error("kind", "'mel' with render 'log-mel'", repr(self.kind))
        if self.kind == "chroma" and self.highest_hz is not None:
            raise _config_error("highest_hz", "None with kind 'chroma', which has no frequency axis", self.highest_hz)


def window_axis(num_samples: int, rate_hz: int, start_s: float, config: SpectrogramConfig) -> tuple[Floats, Bools]:
    """Where the windows of a sound lie, and which of them can be shown.

    There are ``T = max(floor(length / hop), 1)`` windows, of pictures and of log-mel rows alike; window k covers
    [k hop, k hop + window), cut off at the end of the sound. Its time is the middle of the whole window, cut off or
    not, so that times rise by the hop exactly. The length counts samples exactly: 0.3 s hold three hops of 0.1 s.

    Args:
        num_samples: of the sound.
        rate_hz: samples per second.
        start_s: time of the first sample.
        config: the windows.

    Returns:
        time_s (T,) float64 middles of the windows, ``start_s + k * hop_s + window_s / 2``, and valid (T,) bool, False
        where not one whole STFT frame fits: the window is too short.

    Raises:
        ConfigError: not even a whole window holds one STFT frame, or the hop is shorter than a sample.

    Examples:
        >>> time_s, valid = window_axis(16000 * 2 + 100, 16000, 0.25, SpectrogramConfig())
        >>> time_s, valid
        (array([0.75, 1.25, 1.75, 2.25]), array([ True,  True,  True,  True]))
        >>> window_axis(100, 16000, 0.0, SpectrogramConfig())
        (array([0.5]), array([False]))
    """
    starts, stops = _bounds(num_samples, rate_hz, config)
    time_s = start_s + np.arange(len(starts)) * config.hop_s + config.window_s / 2
    return time_s, stops - starts >= _frame_samples(rate_hz, config)


def pictures(samples: Floats, rate_hz: int, config: SpectrogramConfig) -> Iterator[Image]:
    """The picture of every window, the colours of each between its own smallest and largest value.

    The picture is the one that matplotlib draws into a figure without margins, as librosa 0.7.2 lays it out: frames of
    equal width; a band reaches half-way to the frequencies of its neighbours, the lowest down to 0 and the highest up
    to the end of the axis. On the mel axis the height of frequency f is T(f) / T(highest), with T(f) = 2 f / 1000 up to
    1000 Hz and 2 + log2(f / 1000) above; frequencies of the linear kind and pitch classes of chroma have a linear axis.

    Values are decibels for "mel" (of power) and "linear" (of amplitude) without a floor, and for "chroma" the power of
    a pitch class relative to the strongest in its frame. A window in which all values are the same, such as digital
    silence, has the lowest colour all over.

    Args:
        samples: (N,) float32 mono, finite.
        rate_hz: of `samples`.
        config: windows, STFT, axis and colours; its own `rate_hz` is for whoever reads the sound.

    Yields:
        (M, size_px, size_px, 3) uint8 RGB, the next M windows in the order of `window_axis`, T in all; zeros where
        `valid` is False.

    Raises:
        ConfigError: as for `window_axis`, or `highest_hz` is above half the rate.

    Examples:
        >>> tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
        >>> picture = next(pictures(tone, 16000, SpectrogramConfig()))[0]
        >>> picture.shape, int(picture[:, 100].sum(axis=-1).argmax())
        ((227, 227, 3), 187)
    """
    starts, stops = _bounds(len(samples), rate_hz, config)
    frame_samples = _frame_samples(rate_hz, config)
    _check_highest(rate_hz, config)
    for length, group in groupby(zip(starts.tolist(), stops.tolist(), strict=True), key=lambda pair: pair[1] - pair[0]):
        alike = list(group)
        for first in range(0, len(alike), _BLOCK_WINDOWS):
            block = alike[first : first + _BLOCK_WINDOWS]
            if length < frame_samples:
                yield np.zeros((len(block), config.size_px, config.size_px, 3), np.uint8)
            else:
                values = _values(np.stack([samples[start:stop] for start, stop in block]), rate_hz, config)
                yield _draw(values, rate_hz, config)


def log_mel_rows(samples: Floats, rate_hz: int, config: SpectrogramConfig) -> Floats:
    """One row of mel bands for every window, which is one STFT frame under a Hann window of its length.

    Decibels are relative to full scale, not to the sound's maximum, so that loudness stays in: 0 dB is the power of a
    sine of amplitude 1. The bands are triangles of height 1 on the Slaney scale; a band narrower than the 4 / window_s
    Hz over which a frame spreads a sine shows a part of it. What lies below -100 dB is -100 dB.

    Args:
        samples: (N,) float32 mono, finite.
        rate_hz: of `samples`.
        config: `window_s`, `hop_s`, `num_bands`, `num_fft` and `highest_hz`.

    Returns:
        (T, num_bands) float32 in the order of `window_axis`, NaN where `valid` is False: a window that the end of the
        sound cuts off has no frame.

    Raises:
        ConfigError: as for `pictures`, or `num_fft` is below the samples of a window.

    Examples:
        >>> tone = 0.1 * np.sin(2 * np.pi * 4000 * np.arange(16000) / 16000).astype(np.float32)
        >>> rows = log_mel_rows(tone, 16000, SpectrogramConfig(render="log-mel", window_s=0.05, hop_s=0.02))
        >>> rows.shape, bool(-22 < rows[0].max() < -20)
        ((50, 128), True)
    """
    starts, stops = _bounds(len(samples), rate_hz, config)
    frame_samples = _frame_samples(rate_hz, config)
    _check_highest(rate_hz, config)
    num_fft = config.num_fft or _next_power_of_two(frame_samples)
    if num_fft < frame_samples:
        raise _config_error("num_fft", f"at least the {frame_samples} samples of a window at {rate_hz} Hz", num_fft)
    # Parseval: over all frequencies, a sine of amplitude 1 then has power 1.
    of_full_scale = np.float32(4 / (num_fft * np.sum(_hann(frame_samples) ** 2)))
    bands = of_full_scale * _mel_bands(rate_hz, num_fft, config.num_bands, config.highest_hz, None)
    floor = 10 ** (FULL_SCALE_FLOOR_DB / 10)
    rows = np.full((len(starts), config.num_bands), np.nan, np.float32)
    whole = np.flatnonzero(stops - starts >= frame_samples)
    for first in range(0, len(whole), _BLOCK_FRAMES):
        block = whole[first : first + _BLOCK_FRAMES]
        frames = samples[starts[block][:, np.newaxis] + np.arange(frame_samples)]
        power = _power(frames, num_fft) @ bands.T
        rows[block] = 10 * np.log10(np.maximum(power, floor))
    return rows


def _bounds(num_samples: int, rate_hz: int, config: SpectrogramConfig) -> tuple[Ints, Ints]:
    """(T,) first sample of each window and (T,) the one after its last; exact, so that no rounding adds up."""
    hop = Fraction(str(config.hop_s)) * rate_hz  # of the number as written: 0.1 is a tenth
    if hop < 1:
        raise _config_error("hop_s", f"at least one sample at {rate_hz} Hz", config.hop_s)
    num_windows = max(int(num_samples / hop), 1)
    starts = np.array([number * hop.numerator // hop.denominator for number in range(num_windows)], np.int64)
    return starts, np.minimum(starts + round(Fraction(str(config.window_s)) * rate_hz), num_samples)


def _frame_samples(rate_hz: int, config: SpectrogramConfig) -> int:
    """Samples that an STFT frame needs."""
    window = round(Fraction(str(config.window_s)) * rate_hz)
    frame = window if config.render == "log-mel" else _picture_fft(rate_hz, config)
    if frame > window or window < 1:
        expected = f"a window of at least one STFT frame, {max(frame, 1)} samples at {rate_hz} Hz"
        raise _config_error("window_s", expected, f"{config.window_s} s, {window} samples")
    return frame


def _picture_fft(rate_hz: int, config: SpectrogramConfig) -> int:
    return config.num_fft or _next_power_of_two(int(FRAME_S * rate_hz))


def _next_power_of_two(number: int) -> int:
    return 1 << max(number - 1, 1).bit_length()


def _check_highest(rate_hz: int, config: SpectrogramConfig) -> None:
    if config.highest_hz is not None and config.highest_hz > rate_hz / 2:
        raise _config_error("highest_hz", f"at most half the rate of {rate_hz} Hz", config.highest_hz)


def _config_error(name: str, expected: str, received: object) -> ConfigError:
    return ConfigError(f"SpectrogramConfig.{name}: expected {expected}. Received: {received}.")


def _values(windows: Floats, rate_hz: int, config: SpectrogramConfig) -> Floats:
    """(M, bands, frames) float32 of (M, samples): what the colours stand for, up to a constant of each window."""
    num_fft = _picture_fft(rate_hz, config)
    frames = np.lib.stride_tricks.sliding_window_view(windows, num_fft, axis=1)[:, :: num_fft // 2]  # not centred
    power = _power(frames, num_fft)
    if config.kind == "chroma":
        return _chroma(power.swapaxes(1, 2), rate_hz, num_fft)
    if config.kind == "mel":
        power = power @ _mel_bands(rate_hz, num_fft, config.num_bands, config.highest_hz, "slaney").T
    elif config.highest_hz is not None:
        power = power[..., : len(_edges_hz(rate_hz, config)) - 1]
    # The reference of the decibels, the window's maximum, cancels in the colours; so does the factor of amplitudes.
    return np.log10(np.maximum(power, np.float32(_SMALLEST_POWER))).swapaxes(1, 2)


def _power(frames: Floats, num_fft: int) -> Floats:
    """(..., num_fft / 2 + 1) float32 power of (..., samples) frames under a Hann window."""
    import librosa

    # `librosa.stft` gives the same numbers three times more slowly: its frames do not lie in one piece.
    spectrum = librosa.get_fftlib().rfft(frames * _hann(frames.shape[-1]), num_fft)
    return np.asarray(spectrum.real**2 + spectrum.imag**2)


def _chroma(power: Floats, rate_hz: int, num_fft: int) -> Floats:
    import librosa

    # Tuning is fixed: librosa would estimate it anew from each second of speech.
    chroma = librosa.feature.chroma_stft(S=power, sr=rate_hz, n_fft=num_fft, n_chroma=NUM_CHROMA, tuning=0.0)
    return np.asarray(chroma, np.float32)


def _draw(values: Floats, rate_hz: int, config: SpectrogramConfig) -> Image:
    """(M, size_px, size_px, 3) uint8 RGB of (M, bands, frames)."""
    num_windows, _, num_frames = values.shape
    lowest = values.min(axis=(1, 2), keepdims=True)
    span = values.max(axis=(1, 2), keepdims=True) - lowest
    shares = (values - lowest) / np.where(span > 0, span, 1)
    levels = np.minimum(shares * NUM_COLOURS, NUM_COLOURS - 1).astype(np.uint8)
    rows = _picture_rows(rate_hz, config)
    columns = _cells(np.arange(num_frames + 1) * (1 / num_frames * config.size_px), config.size_px)
    picture = _colours(config.colour_map).take(levels.take(columns, axis=2)).take(rows, axis=1)  # one item per pixel
    return np.asarray(picture.view(np.uint8).reshape(num_windows, config.size_px, config.size_px, 3))


@lru_cache(maxsize=32)
def _picture_rows(rate_hz: int, config: SpectrogramConfig) -> Ints:
    """(size_px,) the band that each row of a picture shows, from the top."""
    edges = _edges_hz(rate_hz, config)
    if config.kind == "mel":
        edges = np.where(
            edges <= LINEAR_BELOW_HZ,
            2 * edges / LINEAR_BELOW_HZ,
            2 + np.log2(np.maximum(edges, LINEAR_BELOW_HZ) / LINEAR_BELOW_HZ),
        )
    from_the_top = config.size_px - edges[::-1] * (1 / edges[-1] * config.size_px)
    return np.asarray(len(edges) - 2 - _cells(from_the_top, config.size_px))


def _edges_hz(rate_hz: int, config: SpectrogramConfig) -> Floats:
    """(bands + 1,) where the cells of a picture begin and end on its frequency axis; pitch classes for chroma."""
    import librosa

    if config.kind == "chroma":
        return np.arange(NUM_CHROMA + 1, dtype=np.float64)
    highest_hz = config.highest_hz or rate_hz / 2
    if config.kind == "mel":
        middles = librosa.mel_frequencies(n_mels=config.num_bands, fmin=0.0, fmax=highest_hz)
    else:
        middles = librosa.fft_frequencies(sr=rate_hz, n_fft=_picture_fft(rate_hz, config))
    between = (middles[1:] + middles[:-1]) / 2
    return np.concatenate([[0.0], between[between < highest_hz], [highest_hz]])


def _cells(edges_px: Floats, size_px: int) -> Ints:
    """(size_px,) the cell that each pixel shows, of cells between `edges_px`, which rise from 0 to `size_px`.

    Without anti-aliasing, as meshes are drawn, Agg moves the edges of an upright rectangle to the nearest border
    between pixels, halves upwards; cells that lose their width by that are not seen. Callers scale by one factor,
    1 / length * size, as matplotlib does: otherwise edges on half a pixel are rounded to the other side.
    """
    return np.searchsorted(np.floor(edges_px + 0.5), np.arange(size_px), side="right") - 1


@lru_cache(maxsize=8)
def _mel_bands(
    rate_hz: int, num_fft: int, num_bands: int, highest_hz: float | None, norm: Literal["slaney"] | None
) -> Floats:
    """(num_bands, num_fft / 2 + 1) float32 filter bank on the Slaney scale."""
    import librosa

    bands = librosa.filters.mel(sr=rate_hz, n_fft=num_fft, n_mels=num_bands, fmax=highest_hz, norm=norm)
    return np.asarray(bands, np.float32)


@lru_cache(maxsize=8)
def _hann(num_samples: int) -> Floats:
    """(num_samples,) float32 Hann window, periodic as the STFT wants it."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(num_samples) / num_samples)).astype(np.float32)


@lru_cache(maxsize=8)
def _colours(name: str) -> Image:
    """(NUM_COLOURS,) items of three bytes, RGB: the colour map, lowest first."""
    import matplotlib

    shares = matplotlib.colormaps[name](np.arange(NUM_COLOURS))[
        :, :3
    ]  # in [0, 1]; Agg rounds them, `bytes=True` cuts them off
    return np.ascontiguousarray(np.floor(255 * shares + 0.5).astype(np.uint8)).view("V3")[:, 0]
