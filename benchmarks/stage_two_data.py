"""What stage two is measured on: tables, and caches of features and of faces, all generated."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emopipe.models.rows import Rows
from emopipe.models.windows import WindowConfig, plan_windows
from emopipe.records import CROP_SIZE_PX, FaceRows
from emopipe.stages.spec import ExtractSpec, planned_clip
from emopipe.stages.spec import make_plan as make_corpus_plan
from emopipe.stages.training_windows import Split
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.writer import ShardWriter

FOLDERS = {"train": "Train_Set", "dev": "Validation_Set"}  # of Aff-Wild2
CLIP_FRAMES = 5000


def features_of(num_rows: int, num_features: int, seed: int = 0) -> np.ndarray:
    """(R, D) float16; a random block that is repeated, since what the numbers are costs no time."""
    block = np.random.default_rng(seed).standard_normal((min(num_rows, CLIP_FRAMES), num_features), np.float32)
    return np.resize(block.astype(np.float16), (num_rows, num_features))


def labels_of(num_rows: int, seed: int = 0) -> np.ndarray:
    """(R, 2) valence and arousal that wander over the plane."""
    t = np.arange(num_rows) / 100 + seed
    return np.stack([0.9 * np.sin(t), 0.8 * np.cos(1.7 * t)], axis=1).round(3)


def table(num_rows: int, num_features: int, window: int) -> Split:
    """Clips of `CLIP_FRAMES` frames as one table, and all windows of it."""
    starts = np.append(np.arange(0, num_rows, CLIP_FRAMES), num_rows).astype(np.int64)
    frames = np.arange(num_rows) - np.repeat(starts[:-1], np.diff(starts))
    rows = Rows(
        features=features_of(num_rows, num_features),
        valid=np.ones(num_rows, bool),
        labels=labels_of(num_rows).astype(np.float32),
        label_valid=np.ones(num_rows, bool),
        clip_starts=starts,
        frame_index=frames,
        clip_ids=tuple(map(str, range(len(starts) - 1))),
    )
    plan = plan_windows(rows, WindowConfig(window))
    return Split(rows, plan, rows.labels[plan.target_rows])


def make_corpus(root: Path, clips: dict[str, tuple[str, int]]) -> None:
    """Clip -> (split, frames) as Aff-Wild2 lays them out: labels, and files in the place of videos."""
    (root / "batch1").mkdir(parents=True)
    for number, (name, (split, num_frames)) in enumerate(clips.items()):
        path = root / "annotations" / "VA_Set" / FOLDERS[split] / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{valence},{arousal}" for valence, arousal in labels_of(num_frames, number)]
        path.write_text("\n".join(["valence,arousal", *lines]) + "\n")
        (root / "batch1" / f"{name}.mp4").write_bytes(name.encode())


def features_cache(folder: Path, num_frames: int, num_features: int, num_clips: int) -> tuple[Path, Path]:
    """A corpus and the cache of its features; a tenth of the clips, at least one, is the dev split."""
    root, cache = folder / "corpus", folder / "cache"
    splits = ["dev" if number % 10 == 0 else "train" for number in range(num_clips)]
    clips = {f"clip{number}": (split, num_frames // num_clips) for number, split in enumerate(splits)}
    make_corpus(root, clips)
    spec = ExtractSpec("affwild2", root, cache, only="faces")
    plan = make_corpus_plan(spec, Cache(cache))
    header = ShardHeader("features", "benchmark", {"faces": plan.faces.config, "weights": "0" * 64}, "b" * 64)
    writer = ShardWriter(cache, header, spec.to_request())
    for number, planned in enumerate(plan.clips):
        length = clips[planned.clip.clip_id][1]
        rows = {"frame_index": np.arange(length), "time_s": np.arange(length) / 25, "valid": np.ones(length, bool)}
        writer.append(planned.clip.clip_id, {**rows, "taps/dense": features_of(length, num_features, number)})
        key = planned_clip(planned.clip, Cache(cache), plan.faces, header).features_key
        writer.finish_clip(ClipEntry(str(key), planned.clip.clip_id, "", length, length))
    writer.commit()
    return root, cache


def faces_cache(folder: Path, num_frames: int, num_clips: int) -> tuple[Path, Path]:
    """A corpus and the cache of its faces: a portrait that drifts, with the noise of a camera.

    `num_frames` in `num_clips` clips are the train split; one more clip, in a shard of its own, is the dev split.
    """
    import cv2
    from skimage.data import astronaut

    root, cache = folder / "corpus", folder / "cache"
    length = num_frames // num_clips
    make_corpus(root, {f"clip{n}": ("dev" if n == num_clips else "train", length) for n in range(num_clips + 1)})
    spec = ExtractSpec("affwild2", root, cache, only="faces")
    plan = make_corpus_plan(spec, Cache(cache))
    portrait = cv2.resize(astronaut()[0:250, 100:350], (CROP_SIZE_PX + 24, CROP_SIZE_PX + 24)).astype(np.float32)
    generator = np.random.default_rng(0)

    def pieces() -> Iterator[FaceRows]:
        for start in range(0, length, 500):
            rows = FaceRows.empty(min(500, length - start))
            rows.frame_index[:] = np.arange(start, start + len(rows))
            rows.time_s[:], rows.valid[:] = rows.frame_index / 25, True
            for number in range(len(rows)):
                x, y = (start + number) % 24, (start + number) // 7 % 24
                picture = portrait[y : y + CROP_SIZE_PX, x : x + CROP_SIZE_PX]
                rows.crop[number] = (picture + generator.normal(0, 2, picture.shape)).clip(0, 255)
            yield rows

    for split in FOLDERS:
        writer = ShardWriter(cache, plan.faces, spec.to_request())
        for planned in plan.clips:
            if planned.clip.split == split:
                for rows in pieces():
                    writer.append(planned.clip.clip_id, rows.arrays())
                writer.finish_clip(ClipEntry(planned.faces_key, planned.clip.clip_id, "", length, length))
        writer.commit()
    return root, cache


def backend() -> str:
    """What keras runs on, and where."""
    import keras

    return f"{keras.backend.backend()}, keras {keras.__version__}, {'gpu' if has_gpu() else 'cpu'}"


def has_gpu() -> bool:
    """Whether keras works on an accelerator. Asked for "gpu" alone, JAX raises where there is none."""
    import keras

    return any(place.lower().startswith(("gpu", "cuda")) for place in keras.distribution.list_devices())
