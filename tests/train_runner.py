"""A small CNN for tests, a faces cache made for it, and a way to train it from a process that gets killed.

As a program: ``python train_runner.py PLAN train-cnn ...``; PLAN is JSON. ``{"kill_after": N}`` kills the process at
once after the state of the N-th epoch is written, ``{"kill_before": N}`` before, when its network is there already.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from emopipe.faces.normalisation import InputSpec
from emopipe.models.trainable import CNNS, TrainableCnn

FRAMES = {"train": (3, 40), "dev": (2, 24)}  # clips, frames per clip


def build_tiny(num_outputs: int, activation: str, width: float = 1.0) -> Any:
    """Sees brightness and where it is; 4,000 times less arithmetic than Khorrami's network."""
    import keras
    from keras import layers

    image = keras.Input((96, 96, 1), name="image")
    x = layers.AveragePooling2D(24, name="pool")(image)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(8, activation="tanh", name="dense")(x)
    x = layers.Dropout(0.05, name="dropout")(x)
    return keras.Model(image, layers.Dense(num_outputs, activation=activation, name="output")(x), name="tiny")


TINY = TrainableCnn(InputSpec(96, 1, "0..1"), ("dense",), build_tiny)
if "tiny" not in CNNS:  # as a program this file is imported once more under its own name
    CNNS.register("tiny", "train_runner:TINY")


def crop_of(valence: float, arousal: float) -> np.ndarray:
    """Brightness says the valence, the difference between upper and lower half the arousal."""
    crop = np.full((96, 96, 3), 128 + 60 * valence)
    crop[:48] += 60 * arousal
    crop[48:] -= 60 * arousal
    return crop.clip(0, 255).astype(np.uint8)


def labels_of(split: str, clip: int, num_frames: int) -> np.ndarray:
    """(T, 2) valence and arousal that wander over the plane."""
    t = np.arange(num_frames) / num_frames + 0.37 * clip + (0.2 if split == "dev" else 0)
    return np.stack([0.9 * np.sin(7 * t), 0.8 * np.cos(5 * t + clip)], axis=1).round(3)


CLASSES = ("Neutral", "Happiness", "Sadness")


def class_of(valence: float) -> int:
    """The expression of a valence."""
    return 0 if abs(valence) < 0.3 else 1 if valence > 0 else 2


def write_labels(root: Path, split: str, name: str, truth: np.ndarray) -> None:
    """Annotations of one clip for both tasks; row 7 has no label."""
    folder = {"train": "Train_Set", "dev": "Validation_Set"}[split]
    plane = [f"{valence},{arousal}" for valence, arousal in truth]
    classes = [str(class_of(valence)) for valence, _ in truth]
    plane[7], classes[7] = "-5,-5", "-1"
    for task, header, rows in (("VA_Set", "valence,arousal", plane), ("EXPR_Set", ",".join(CLASSES), classes)):
        path = root / "annotations" / task / folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *rows]) + "\n")


def make_cache(folder: Path) -> tuple[Path, Path]:
    """Write a corpus with labels and a cache with its faces: 3 train clips, 2 dev clips; row 5 of each has no face.

    Args:
        folder: where; "corpus" and "cache" are made in it and returned.
    """
    from emopipe.records import FaceRows
    from emopipe.stages.spec import ExtractSpec, make_plan
    from emopipe.store.cache import Cache
    from emopipe.store.layout import ClipEntry
    from emopipe.store.writer import ShardWriter

    root, cache = folder / "corpus", folder / "cache"
    labels = {}
    (root / "batch1").mkdir(parents=True)
    for split, (num_clips, num_frames) in FRAMES.items():
        for number in range(num_clips):
            name = f"{split}{number}"
            labels[name] = labels_of(split, number, num_frames)
            write_labels(root, split, name, labels[name])
            (root / "batch1" / f"{name}.mp4").write_bytes(name.encode())
    spec = ExtractSpec("affwild2", root, cache, only="faces")
    plan = make_plan(spec, Cache(cache))
    writer = ShardWriter(cache, plan.faces, spec.to_request())
    for planned in plan.clips:
        truth = labels[planned.clip.clip_id]
        rows = FaceRows.empty(len(truth))
        rows.frame_index[:], rows.time_s[:], rows.valid[:] = np.arange(len(truth)), np.arange(len(truth)) / 25, True
        rows.crop[:] = [crop_of(*label) for label in truth]
        rows.valid[5], rows.crop[5] = False, 0
        writer.append(planned.clip.clip_id, rows.arrays())
        entry = ClipEntry(planned.faces_key, planned.clip.clip_id, "", len(truth), int(rows.valid.sum()))
        writer.finish_clip(entry)
    writer.commit()
    return root, cache


def main() -> None:
    """Train as a user would, up to the moment of the kill."""
    plan = json.loads(sys.argv.pop(1))
    from emopipe_cli import main as command_line

    from emopipe.stages import training

    save, calls = training.save_state, 0

    def save_and_die(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == plan.get("kill_before"):
            os.kill(os.getpid(), signal.SIGKILL)
        save(*arguments)
        if calls == plan.get("kill_after"):
            os.kill(os.getpid(), signal.SIGKILL)

    training.save_state = save_and_die
    command_line.main()


if __name__ == "__main__":
    main()
