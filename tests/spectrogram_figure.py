"""The picture of a window of sound as matplotlib draws it: the measure for `emopipe.spectrograms`.

Nothing of the package is used: values come from librosa's own functions, pixels from matplotlib's Agg.
"""

import librosa
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

NUM_BANDS = 128


def window_values(window, rate_hz, kind="mel", num_fft=None):
    """(bands, frames): what the colours stand for."""
    num_fft = num_fft or int(2 ** np.ceil(np.log2(int(0.025 * rate_hz))))
    spectrum = np.abs(librosa.stft(window, n_fft=num_fft, hop_length=num_fft // 2, center=False))
    if kind == "mel":
        power = librosa.feature.melspectrogram(S=spectrum**2, sr=rate_hz, n_mels=NUM_BANDS)
        return librosa.power_to_db(power, ref=np.max, top_db=None)
    if kind == "linear":
        return librosa.amplitude_to_db(spectrum, ref=np.max, top_db=None)
    return librosa.feature.chroma_stft(S=spectrum**2, sr=rate_hz, n_fft=num_fft, tuning=0.0)


def band_edges(num_bands, rate_hz, kind="mel"):
    """(bands + 1,): borders of the cells on the frequency axis, as librosa 0.7.2 lays them."""
    if kind == "chroma":
        return np.linspace(0, 12, num_bands + 1)
    highest_hz = rate_hz / 2
    if kind == "mel":
        edges = librosa.mel_frequencies(num_bands, fmin=0, fmax=highest_hz)
    else:
        edges = np.linspace(0, highest_hz, num_bands)
    edges[1:] -= 0.5 * np.diff(edges)
    return np.append(edges, highest_hz)


def draw(values, edges, kind="mel", colour_map="viridis", size_px=227):
    """(size_px, size_px, 3) uint8 RGB of (bands, frames): a figure of one inch that its axes fill."""
    figure = Figure(figsize=(1, 1), dpi=size_px, frameon=False)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.pcolormesh(
        np.arange(values.shape[1] + 1), edges, values, cmap=matplotlib.colormaps[colour_map], shading="flat"
    )
    axes.set_xlim(0, values.shape[1])
    axes.set_ylim(edges[0], edges[-1])
    if kind == "mel":
        axes.set_yscale("symlog", base=2, linthresh=1000)
        axes.set_ylim(edges[0], edges[-1])
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def figure_of(window, rate_hz, kind="mel", colour_map="viridis", size_px=227):
    """The picture of one window of samples."""
    values = window_values(window, rate_hz, kind)
    return draw(values, band_edges(len(values), rate_hz, kind), kind, colour_map, size_px)
