"""Pictures of sound against matplotlib's, pixel by pixel and in windows per second, in one run:

    python benchmarks/spectrograms.py --audio DIR [--quick]

DIR holds recordings (flac, wav, mp3, m4a, ogg), in any folders. Of --windows files, evenly spread over their sorted
names, one window each is drawn, by `emopipe.spectrograms` and by matplotlib (tests/spectrogram_figure.py).

difference: mean absolute difference of the two pictures in levels of 255; the mean over the windows and the worst one.
speed: windows per second of processor time from samples to pixels, both sides on one thread of one process, in turns.
Decoding and the first call are left out. matplotlib's side is measured as a whole, and its drawing alone with the
values given. Processor time is what wall time would be on a machine that does nothing else.
"""

import argparse
import json
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import in_child, ratios, save, scratch, take_turns

from emopipe.media.audio import read_sound
from emopipe.spectrograms import SpectrogramConfig, log_mel_rows, pictures, window_axis

FIGURE = runpy.run_path(str(Path(__file__).parents[1] / "tests" / "spectrogram_figure.py"))
SUFFIXES = {".flac", ".wav", ".mp3", ".m4a", ".ogg"}
PICTURES = {
    "mel viridis": SpectrogramConfig(),
    "mel magma": SpectrogramConfig(colour_map="magma"),
    "linear viridis": SpectrogramConfig(kind="linear"),
    "chroma viridis": SpectrogramConfig(kind="chroma"),
}
LOG_MEL = SpectrogramConfig(render="log-mel", window_s=0.05, hop_s=0.02)
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

Sounds = list[tuple[np.ndarray, int]]


def main() -> None:
    """Measure both and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, default=None, help="folder of real recordings")
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--speed-windows", type=int, default=100, help="drawn per side and round")
    parser.add_argument("--quick", action="store_true", help="few, of a generated voice, to see that it runs")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--child", nargs=2, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        sys.stdout.write(json.dumps(measure(**json.loads(arguments.child[1]))) + "\n")
        return
    if arguments.quick:
        arguments.windows, arguments.rounds, arguments.speed_windows = 4, 2, 4
    elif arguments.audio is None:
        parser.error("--audio is missing: name a folder of recordings.")
    with scratch() as folder:
        audio = arguments.audio or voices(Path(folder), arguments.windows)
        given = {"audio": str(audio), "windows": arguments.windows, "rounds": arguments.rounds}
        content = in_child(__file__, "measure", {**given, "speed_windows": arguments.speed_windows}, ONE_THREAD)
    save("spectrograms", {"generated": arguments.audio is None, **content}, arguments.out)


def voices(folder: Path, count: int) -> Path:
    """Files of noise that is louder in some places, for `--quick`."""
    import scipy.io.wavfile

    random = np.random.default_rng(0)
    for number in range(count):
        loudness = np.interp(np.arange(40000), np.arange(0, 40001, 4000), random.random(11) ** 3)
        scipy.io.wavfile.write(folder / f"{number}.wav", 16000, (loudness * random.normal(size=40000)).astype("f4"))
    return folder


def measure(audio: str, windows: int, rounds: int, speed_windows: int) -> dict[str, Any]:
    """Both lines, in this process."""
    files = sorted(path for path in Path(audio).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"{audio}: holds no recording ({', '.join(sorted(SUFFIXES))}).")
    chosen = [files[number * len(files) // windows] for number in range(windows)]
    sounds = [(sound.samples, sound.rate_hz) for sound in (read_sound(path) for path in chosen)]
    return {
        "files": len(set(chosen)),
        "of_files": len(files),
        "rates_hz": sorted({rate_hz for _, rate_hz in sounds}),
        "windows": len(sounds),
        "difference": {name: difference(sounds, config) for name, config in PICTURES.items()},
        "speed": {name: speed(sounds, config, rounds, speed_windows) for name, config in PICTURES.items()},
        "log_mel_rows_per_s": round(log_mel_speed(sounds)),
    }


def difference(sounds: Sounds, config: SpectrogramConfig) -> dict[str, float]:
    """Levels of 255 between the two pictures of one window of each sound."""
    found = []
    for number, (samples, rate_hz) in enumerate(sounds):
        valid = np.flatnonzero(window_axis(len(samples), rate_hz, 0.0, config)[1])
        if not len(valid):
            continue
        chosen = int(valid[number % len(valid)])  # beginnings, middles and ends, cut-off windows among them
        drawn = np.concatenate(list(pictures(samples, rate_hz, config)))[chosen].astype(int)
        start = int(chosen * config.hop_s * rate_hz)
        window = samples[start : start + round(config.window_s * rate_hz)]
        expected = FIGURE["figure_of"](window, rate_hz, config.kind, config.colour_map).astype(int)
        found.append(float(np.abs(drawn - expected).mean()))
    return {"windows": len(found), "mean": round(float(np.mean(found)), 6), "worst": round(max(found), 6)}


def speed(sounds: Sounds, config: SpectrogramConfig, rounds: int, count: int) -> dict[str, Any]:
    """Windows per second of the whole windows of the sounds, end to end, on each side."""
    rate_hz = sounds[0][1]
    alike = [samples for samples, rate in sounds if rate == rate_hz]
    samples = np.concatenate(alike)[: int((count + 1) * config.hop_s * rate_hz)]
    length, hop = round(config.window_s * rate_hz), int(config.hop_s * rate_hz)
    windows = [samples[start : start + length] for start in range(0, len(samples) - length + 1, hop)]
    values = [FIGURE["window_values"](window, rate_hz, config.kind) for window in windows]
    edges = FIGURE["band_edges"](len(values[0]), rate_hz, config.kind)

    def ours() -> None:
        for _ in pictures(samples, rate_hz, config):
            pass

    def matplotlib() -> None:
        for window in windows:
            FIGURE["figure_of"](window, rate_hz, config.kind, config.colour_map)

    def drawing() -> None:
        for each in values:
            FIGURE["draw"](each, edges, config.kind, config.colour_map)

    sides: dict[str, Callable[[], None]] = {"ours": ours, "matplotlib": matplotlib, "matplotlib_drawing": drawing}
    ours()
    FIGURE["figure_of"](windows[0], rate_hz, config.kind, config.colour_map)
    num_ours = len(window_axis(len(samples), rate_hz, 0.0, config)[0])
    numbers = {"ours": num_ours, "matplotlib": len(windows), "matplotlib_drawing": len(windows)}
    per_s = take_turns({name: lambda name=name: numbers[name] / seconds(sides[name]) for name in sides}, rounds)
    return {
        "windows_per_s": per_s,
        "ours_of_matplotlib": ratios(per_s["ours"], per_s["matplotlib"]),
        "ours_of_matplotlib_drawing": ratios(per_s["ours"], per_s["matplotlib_drawing"]),
    }


def log_mel_speed(sounds: Sounds) -> float:
    """Rows per second without a picture."""
    samples, rate_hz = sounds[0]
    log_mel_rows(samples, rate_hz, LOG_MEL)
    num_rows = sum(len(window_axis(len(each), rate, 0.0, LOG_MEL)[0]) for each, rate in sounds)
    return num_rows / seconds(lambda: [log_mel_rows(each, rate, LOG_MEL) for each, rate in sounds])


def seconds(step: Callable[[], Any]) -> float:
    """Processor time of one call."""
    begun = time.process_time()
    step()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
