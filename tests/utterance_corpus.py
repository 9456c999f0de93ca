"""A small corpus in OMG-Emotion layout, and a cache of its faces and features as if they had been extracted.

The brightness of a crop says the valence, the difference between its halves and the landmarks say the arousal. No face
is detected and no video is decoded. For several test files.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emopipe.faces.normalisation import InputSpec, normalise
from emopipe.models.keras_files import write_metadata
from emopipe.records import FaceRows
from emopipe.stages.spec import BackboneRequest, ExtractSpec, Plan, make_plan
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry
from emopipe.store.writer import ShardWriter

SPEC = InputSpec(24, 1, "0..1")
BRIGHTNESS, LOW, HIGH = "pool0:gap", "pool1:grid2", "pool2:flat"  # the first one knows nothing of the arousal
TAPS = (BRIGHTNESS, LOW, HIGH)
SIZES = {BRIGHTNESS: 1, LOW: 12, HIGH: 16}
# split -> video -> numbers of its utterances; dev shares the source of ee01 with train
VIDEOS = {
    "train": {f"ee0{number}_1": (1, 2, 3) for number in range(6)},
    "dev": {"dd00_1": (9, 10, 2), "dd01": (1, 2, 3, 4), "ee01_2": (1, 2, 3)},
    "test": {"cc00": (1, 2, 3)},
}
FACELESS = "dd01/utterance_3"
GAPPED = "dd00_1/utterance_10"  # three of its ten frames have no face
WITHOUT_MEDIA = "dd01/utterance_4"
LISTS = {"train": "TrainVideos", "dev": "ValidationVideos", "test": "TestVideos_WithLabels"}
NUM_SHARDS = 3  # of the features


@dataclass(frozen=True)
class Made:
    """What `make` wrote; `lengths`, `labels` (valence, arousal) and `splits` are by clip id and of those with media."""

    root: Path
    cache: Path
    cnn: Path
    lengths: dict[str, int]
    labels: dict[str, tuple[float, float]]
    splits: dict[str, str]

    def of(self, split: str) -> list[str]:
        """Clip ids of a split."""
        return [name for name, of in self.splits.items() if of == split]


def build_cnn() -> Any:
    """Two convolutions on small grey pictures."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    image = keras.Input(SPEC.shape, name="image")
    x = layers.AveragePooling2D(2, name="pool0")(image)
    x = layers.Conv2D(3, 3, padding="same", activation="relu", bias_initializer="ones", name="conv1")(x)
    x = layers.AveragePooling2D(2, name="pool1")(x)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", bias_initializer="ones", name="conv2")(x)
    x = layers.AveragePooling2D(3, name="pool2")(x)
    return keras.Model(image, layers.Dense(2, name="output")(layers.Flatten(name="flatten")(x)), name="small")


def crop_of(valence: float, arousal: float) -> np.ndarray:
    crop = np.full((96, 96, 3), 128 + 60 * valence)
    crop[:48] += 60 * (arousal - 0.5)
    crop[48:] -= 60 * (arousal - 0.5)
    return crop.clip(0, 255).astype(np.uint8)


def faces_of(name: str, length: int, valence: float, arousal: float) -> FaceRows:
    """Frames around the label of the utterance; `GAPPED` lacks 3 of 10 faces, `FACELESS` all."""
    random = np.random.default_rng(sum(name.encode()))
    rows = FaceRows.empty(length)
    rows.frame_index[:], rows.time_s[:] = np.arange(length), np.arange(length) / 25
    rows.valid[:] = name != FACELESS
    if name == GAPPED:
        rows.valid[[2, 5, 9]] = False
    grid = np.stack(np.meshgrid(np.linspace(20, 76, 17), np.linspace(30, 60, 4)), axis=-1).reshape(68, 2)
    for row in np.flatnonzero(rows.valid):
        now_valence, now_arousal = valence + 0.2 * random.standard_normal(), arousal + 0.1 * random.standard_normal()
        rows.crop[row] = crop_of(now_valence, now_arousal)
        rows.landmarks[row] = grid + [0, 40 * (now_arousal - 0.5)]
        rows.transform[row] = np.eye(2, 3)
        rows.box[row], rows.score[row], rows.residual_px[row], rows.track[row] = (0, 0, 96, 96), 1, 0, 0
    return rows


def make(folder: Path, *, landmarks: bool = True) -> Made:
    """Write corpus, network and cache below `folder`; without landmarks the faces are as official crops are."""
    root, cache, cnn = folder / "omg", folder / "cache", folder / "small.keras"
    random = np.random.default_rng(0)
    lengths: dict[str, int] = {}
    labels, splits = {}, {}
    for split, videos in VIDEOS.items():
        lines = ["link,start,end,video,utterance,arousal,valence,EmotionMaxVote"]
        for video, numbers in videos.items():
            for number in numbers:
                name, utterance = f"{video}/utterance_{number}", f"utterance_{number}.mp4"
                valence, arousal = round(random.uniform(-0.9, 0.9), 3), round(random.uniform(0.05, 0.95), 3)
                lines.append(f"https://youtube.com/x,0.0,1.0,{video},{utterance},{arousal},{valence},4")
                if name == WITHOUT_MEDIA:
                    continue
                path = root / video / utterance
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"video " + name.encode())
                labels[name], splits[name] = (valence, arousal), split
                lengths[name] = 10 if name in (GAPPED, FACELESS) else 6 + (7 * len(lengths)) % 19
        (root / f"omg_{LISTS[split]}.csv").write_text("\n".join(lines) + "\n")
    build_cnn().save(cnn)
    write_metadata(cnn, SPEC, TAPS)
    made = Made(root, cache, cnn, lengths, labels, splits)
    _write_cache(made, landmarks)
    return made


def spec_of(made: Made) -> ExtractSpec:
    return ExtractSpec("omg", made.root, made.cache, backbone=BackboneRequest(str(made.cnn), taps=TAPS))


def _write_cache(made: Made, landmarks: bool) -> None:
    plan = make_plan(spec_of(made), Cache(made.cache))
    kept = made.cache / "weights" / f"{plan.features.config['weights']}.keras"
    kept.parent.mkdir(parents=True)
    shutil.copy(made.cnn, kept)
    found = {
        planned.clip.clip_id: faces_of(
            planned.clip.clip_id, made.lengths[planned.clip.clip_id], *made.labels[planned.clip.clip_id]
        )
        for planned in plan.clips
    }
    for rows in found.values():
        rows.landmarks[:] = rows.landmarks if landmarks else np.nan
    features = features_of(plan, found)
    parts = [plan.clips[number::NUM_SHARDS] for number in range(NUM_SHARDS)]
    for header, clips in [(plan.faces, plan.clips), *((plan.features, part) for part in parts)]:
        writer = ShardWriter(made.cache, header, spec_of(made).to_request())
        for planned in clips:
            name, rows = planned.clip.clip_id, found[planned.clip.clip_id]
            arrays = rows.arrays()
            if header is plan.features:
                axes = {axis: arrays[axis] for axis in ("frame_index", "time_s", "valid")}
                arrays = axes | {f"taps/{tap}": features[name][tap] for tap in TAPS}
            key = planned.faces_key if header is plan.faces else str(planned.features_key)
            writer.append(name, arrays)
            writer.finish_clip(ClipEntry(key, name, "", len(rows), int(rows.valid.sum())))
        writer.commit()


def features_of(plan: Plan, faces: dict[str, FaceRows]) -> dict[str, dict[str, np.ndarray]]:
    """Clip id -> tap -> vectors, NaN where there is no face."""
    from emopipe.models.building import build_model
    from emopipe.models.taps import attach

    cnn = attach(build_model(plan.backbone), plan.backbone.taps, "small")
    crops = np.concatenate([rows.crop for rows in faces.values()])
    vectors = dict(zip(TAPS, cnn.predict(normalise(crops, SPEC), verbose=0), strict=True))
    found, start = {}, 0
    for name, rows in faces.items():
        stop = start + len(rows)
        found[name] = {
            tap: np.where(rows.valid[:, None], values[start:stop], np.float32(np.nan))
            for tap, values in vectors.items()
        }
        start = stop
    return found
