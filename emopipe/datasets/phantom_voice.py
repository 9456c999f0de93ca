"""A voice without words: glottal pulses through formants, with the syllables of the face that speaks.

Pitch, loudness and speaking rate rise with arousal; valence adds a little pitch range and brightness.
"""

import numpy as np
from scipy.signal import lfilter

from emopipe.datasets.phantom_affect import LATENT_RATE_HZ, Performance, smooth_noise
from emopipe.typing import Floats

SAMPLE_RATE_HZ = 16_000
_OPEN_SHARE = 0.6  # of a glottal period in which air flows
_BANDWIDTHS_HZ = (80.0, 110.0, 160.0)  # of the first three formants


def speak(performance: Performance, identity: np.random.Generator, generator: np.random.Generator) -> Floats:
    """The sound of one clip.

    Args:
        performance: whose `speech` envelope and `speech_state` are voiced.
        identity: source of the subject's pitch and vocal-tract length.
        generator: source of jitter, intonation and breath.

    Returns:
        (N,) float32 in [-1, 1], mono at 16,000 Hz, as long as the clip.
    """
    envelope, (valence, arousal) = performance.speech, performance.speech_state.T
    num_blocks = len(envelope)
    pitch_hz = float(np.exp(identity.uniform(np.log(95), np.log(210))))
    tract = float(identity.uniform(0.92, 1.10))
    melody = smooth_noise(generator, num_blocks, 0.12)
    semitones = 5.0 * arousal + 1.0 * valence + (1.6 + 0.7 * valence) * melody
    loudness = 0.28 * 10 ** (7.0 * arousal / 20)  # 14 dB between the calmest and the most aroused
    vowel = smooth_noise(generator, num_blocks, 0.08)
    bright = tract * (1 + 0.04 * valence)
    formants = np.stack(
        [
            bright * (350 + 320 * np.minimum(envelope, 1.2)),  # the first follows the jaw
            bright * np.clip(1500 + 420 * vowel, 800, 2400),
            bright * (2550 + 150 * vowel),
        ],
        axis=1,
    )
    num_samples = int(round(num_blocks / LATENT_RATE_HZ * SAMPLE_RATE_HZ))
    at = np.arange(num_samples) / SAMPLE_RATE_HZ
    clock = np.arange(num_blocks) / LATENT_RATE_HZ

    def per_sample(values: Floats) -> Floats:
        return np.interp(at, clock, values)

    frequency = pitch_hz * 2 ** (per_sample(semitones) / 12)
    frequency = frequency * (1 + 0.008 * np.interp(at, clock, generator.normal(size=num_blocks)))
    phase = np.cumsum(frequency) / SAMPLE_RATE_HZ % 1
    flow = np.where(phase < _OPEN_SHARE, np.sin(np.pi * phase / _OPEN_SHARE) ** 2, 0)
    source = np.diff(flow, prepend=0) + 0.004 * generator.normal(size=num_samples) * (0.3 + flow)
    voiced = _formant_filter(source, formants)
    duration_s = len(performance.time_s) * float(performance.time_s[1]) if len(performance.time_s) > 1 else 0.04
    sound = np.tanh(per_sample(envelope * loudness) * voiced) + 0.0008 * generator.normal(size=num_samples)
    return np.clip(sound[: int(round(duration_s * SAMPLE_RATE_HZ))], -1, 1).astype(np.float32)


def _formant_filter(source: Floats, formants: Floats) -> Floats:
    """Second-order resonators in a row, retuned every 10 ms; their state runs on, so nothing clicks."""
    block = int(SAMPLE_RATE_HZ / LATENT_RATE_HZ)
    signal = source
    for number, bandwidth in enumerate(_BANDWIDTHS_HZ):
        radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE_HZ)
        state = np.zeros(2)
        filtered = np.empty_like(signal)
        for index, start in enumerate(range(0, len(signal), block)):
            angle = 2 * np.pi * formants[min(index, len(formants) - 1), number] / SAMPLE_RATE_HZ
            poles = np.array([1.0, -2 * radius * np.cos(angle), radius**2])
            part = signal[start : start + block]
            filtered[start : start + block], state = lfilter([poles.sum()], poles, part, zi=state)
        signal = filtered
    return signal / 0.05  # a derivative of the flow is small: 0.05 brings a stressed syllable near full scale
