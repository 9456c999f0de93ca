"""Small sound files, and the options of extractions from them; for several test files."""

import wave
from fractions import Fraction

import av
import numpy as np

RATE_HZ = 8000
AUDIO = ("--only", "audio")
LOG_MEL = (*AUDIO, "--audio-backbone", "log-mel", "--audio-bands", 16)


def tone(seconds, hz=440.0, rate_hz=RATE_HZ, loudness=0.5):
    """A tone that slowly rises, so that no two windows are alike."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (loudness * np.sin(2 * np.pi * (hz + 40 * time_s) * time_s)).astype(np.float32)


def write_sound(path, samples, rate_hz=RATE_HZ, codec="pcm_f32le"):
    """A sound file, its pieces of 1,024 samples each with a time stamp; a list of (start_s, samples) leaves gaps."""
    pieces = samples if isinstance(samples, list) else [(0.0, samples)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        for start_s, piece in pieces:
            for first in range(0, len(piece), 1024):
                block = np.ascontiguousarray(piece[first : first + 1024], np.float32)
                if codec != "pcm_f32le":
                    block = (block * 32767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(
                    block[np.newaxis], format="flt" if codec == "pcm_f32le" else "s16", layout="mono"
                )
                frame.sample_rate = rate_hz
                frame.pts, frame.time_base = round(start_s * rate_hz) + first, Fraction(1, rate_hz)
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_header(path):
    """A sound file of 0 samples."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)


def make_sounds(root):
    """A folder of three sound files of different lengths and formats."""
    (root / "b").mkdir(parents=True)
    write_sound(root / "a.wav", tone(2.6))
    write_sound(root / "b" / "one.flac", tone(1.1, 700), codec="flac")
    write_sound(root / "c.wav", tone(3.3, 1500, 16000), 16000)
    return root
