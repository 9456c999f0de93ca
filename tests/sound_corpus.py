"""A small corpus of videos with sound and of sounds alone, its cache, and small heads; for several test files."""

import shutil
import wave
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from csv_rows import numbers
from extraction import face_frames

from emopipe.config import FacesConfig
from emopipe.faces.normalisation import InputSpec
from emopipe.media.video import write_video
from emopipe.models.keras_files import write_metadata
from emopipe.models.multimodal import MultimodalHeadConfig
from emopipe.models.spectrogram_cnn import AudioRequest, spectrogram_for
from emopipe.models.windows import WindowConfig
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.extract import extract
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.sound_rows import joined_plan
from emopipe.stages.spec import BackboneRequest, ExtractSpec
from emopipe.store.cache import Cache

RATE_HZ, FRAME_RATE, NUM_FRAMES = 16_000, 25, 24
TOLERANCE = 1e-3  # of a recording that is decoded again with the cache
VIDEOS = {"train": ("t0", "t1", "t2", "t3"), "dev": ("d0", "d1", "d2")}
SOUNDS = {"train": ("w0",), "dev": ("x0",)}  # without a picture
SILENT, SHORT = "d2", "t3"  # no track, and one that ends at half
BANDS, PICTURE = 20, InputSpec(32, 3, "0..1")
WHOLE = WindowConfig(12, target="clip", sampling="uniform")
FEW = TrainRnnConfig(
    window=WHOLE, units=(6,), standardise=True, epochs=3, patience=None, batch_size=4, learning_rate=0.05,
    optimiser="adam", loss="mse",
)  # fmt: skip
CONFIGS = {
    "sound": FEW,
    "both": replace(FEW, multimodal=MultimodalHeadConfig(units=(6,), fusion_units=5, dropout=0.0)),
    "picture": replace(FEW, window=replace(WHOLE, sampling="motion"), standardise=False),  # of one face
}


@dataclass(frozen=True)
class Made:
    """What `make` wrote, and where runs go; `log_mel` and `cnn` are fingerprints of the two sets of sound."""

    corpus: Path
    cache: Path
    runs: Path
    log_mel: str
    cnn: str


def tone(number: int, seconds: float) -> np.ndarray:
    at = np.arange(round(RATE_HZ * seconds)) / RATE_HZ
    return (0.1 + 0.08 * number) * np.sin(2 * np.pi * (300 + 250 * number) * at) * (1 + 0.5 * np.sin(9 * at)) / 1.5


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((32767 * samples).astype("<i2").tobytes())


def pictures_of(number: int) -> list[np.ndarray]:
    light = 0.5 + 0.07 * number
    return [(light * frame).astype(np.uint8) for frame in face_frames(NUM_FRAMES, 3 * number)]


def write_corpus(root: Path) -> None:
    root.mkdir()
    lines, number = ["clip,split,subject,valence,arousal"], 0
    length_s = NUM_FRAMES / FRAME_RATE
    for split in VIDEOS:
        for name in (*VIDEOS[split], *SOUNDS[split]):
            lines.append(f"{name},{split},{name},{0.1 * number - 0.4:.2f},{0.9 - 0.2 * number:.2f}")
            sound = tone(number, length_s / 2 if name == SHORT else length_s)
            if name in SOUNDS[split]:
                write_wav(root / f"{name}.wav", sound)
            else:
                audio = None if name == SILENT else sound
                write_video(root / f"{name}.mp4", pictures_of(number), Fraction(FRAME_RATE), audio, RATE_HZ)
            number += 1
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def write_cnn(path: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    image = keras.Input(PICTURE.shape, name="image")
    x = layers.Conv2D(5, 5, strides=2, activation="relu", name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    keras.Model(image, layers.Dense(4, name="output")(x)).save(path)
    write_metadata(path, PICTURE, ("pool",))


def make(folder: Path, weights: Path) -> Made:
    """Write the corpus and extract picture and sound below `folder`; `weights` hold the Khorrami network."""
    corpus, cache, cnn = (folder / name for name in ("corpus", "cache", "small.keras"))
    write_corpus(corpus)
    write_cnn(cnn)
    shutil.copytree(weights, cache / "weights")
    rows = spectrogram_for("log-mel", num_bands=BANDS)
    shown = spectrogram_for(str(cnn), window_s=0.2, hop_s=0.1, size_px=48)
    spec = ExtractSpec("folder", corpus, cache, FacesConfig(), BackboneRequest("khorrami", "none"))
    first = extract(replace(spec, audio=AudioRequest(spectrogram=rows)))
    second = extract(replace(spec, only="audio", audio=AudioRequest(str(cnn), spectrogram=shown)))
    assert first.failed == second.failed == {SILENT}
    sets = {record.header.what: record.header.fingerprint for record in Cache(cache).records("audio")}
    log_mel = sets.pop("log-mel")
    (of_cnn,) = sets.values()
    return Made(corpus, cache, folder / "runs", log_mel, of_cnn)


def plan_of_both(made: Made, fingerprint: str, root: Path | None = None):
    cache = Cache(made.cache)
    plan = cached_plan(cache, "features", "folder", root)
    return cache, joined_plan(plan, cached_plan(cache, "audio", "folder", root, fingerprint))


def audio_of(made: Made, fingerprint: str, clip_id: str) -> dict[str, np.ndarray]:
    cache = Cache(made.cache)
    for record in cache.records("audio", fingerprint):
        if clip_id in [entry.clip_id for entry in record.entries]:
            with cache.open(record) as shard:
                return dict(shard.rows(clip_id))
    raise KeyError(clip_id)


def values_of(rows: list[dict[str, str]]) -> np.ndarray:
    return numbers(rows, "valence", "arousal")
