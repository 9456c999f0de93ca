"""A small corpus in Aff-Wild2 layout, and a cache of features that say what the label is; for several test files."""

from pathlib import Path

import numpy as np

from emopipe.stages.spec import ExtractSpec, Plan, make_plan, planned_clip
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.writer import ShardWriter

CLIPS = {"train": 4, "dev": 3}
CLASSES = ("Neutral", "Happiness", "Sadness")
NUM_FRAMES, NUM_FEATURES = 60, 6
GAP = 20  # this frame of every clip has no face


def labels_of(split: str, clip: int) -> np.ndarray:
    """(T, 2) valence and arousal that wander over the plane."""
    t = np.arange(NUM_FRAMES) / NUM_FRAMES + 0.4 * clip + (0.2 if split == "dev" else 0)
    return np.stack([0.9 * np.sin(6 * t), 0.8 * np.cos(4 * t + clip)], axis=1).round(3)


def features_of(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(T, D): the labels through a fixed matrix, and noise."""
    mixing = np.random.default_rng(1).normal(size=(2, NUM_FEATURES))
    return (labels @ mixing + 0.3 * generator.normal(size=(NUM_FRAMES, NUM_FEATURES))).astype(np.float32)


def write_annotation(root: Path, split: str, name: str, labels: np.ndarray) -> None:
    folder = root / "annotations" / "VA_Set" / {"train": "Train_Set", "dev": "Validation_Set"}[split]
    folder.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"{valence},{arousal}" for valence, arousal in labels)
    (folder / f"{name}.txt").write_text(f"valence,arousal\n{rows}\n")


def write_classes(root: Path, split: str, name: str, numbers: np.ndarray) -> None:
    folder = root / "annotations" / "EXPR_Set" / {"train": "Train_Set", "dev": "Validation_Set"}[split]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.txt").write_text("\n".join([",".join(CLASSES), *map(str, numbers)]) + "\n")


def classes_of(labels: np.ndarray) -> np.ndarray:
    """(T,) numbers of `CLASSES`."""
    return np.where(np.abs(labels[:, 0]) < 0.3, 0, np.where(labels[:, 0] > 0, 1, 2))


def header_of(plan: Plan, what: str) -> ShardHeader:
    return ShardHeader("features", what, {"faces": plan.faces.config, "weights": "0" * 64}, what[0] * 64)


def write_features(root: Path, cache: Path, what: str, poison: float | None = None, dataset: str = "affwild2") -> None:
    """A features shard of all clips; `poison` replaces one number of a valid row of the first clip."""
    spec = ExtractSpec(dataset, root, cache, only="faces")
    plan = make_plan(spec, Cache(cache))
    header = header_of(plan, what)
    writer = ShardWriter(cache, header, spec.to_request())
    for number, planned in enumerate(plan.clips):
        clip = planned.clip
        key = planned_clip(clip, Cache(cache), plan.faces, header).features_key
        split, index = str(clip.split), int(clip.clip_id[-1])
        features = features_of(labels_of(split, index), np.random.default_rng(number))
        valid = np.arange(NUM_FRAMES) != GAP
        features[GAP] = np.nan
        if poison is not None and number == 0:
            features[3, 2] = poison
        rows = {"frame_index": np.arange(NUM_FRAMES), "time_s": np.arange(NUM_FRAMES) / 25, "valid": valid}
        writer.append(clip.clip_id, {**rows, "taps/dense": features})
        writer.finish_clip(ClipEntry(str(key), clip.clip_id, "", NUM_FRAMES, int(valid.sum())))
    writer.commit()


def make_corpus(folder: Path) -> Path:
    root = folder / "corpus"
    (root / "batch1").mkdir(parents=True)
    for split, count in CLIPS.items():
        for number in range(count):
            name = f"{split}{number}"
            (root / "batch1" / f"{name}.mp4").write_bytes(name.encode())
            write_annotation(root, split, name, labels_of(split, number))
            write_classes(root, split, name, classes_of(labels_of(split, number)))
    return root
