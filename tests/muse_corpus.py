"""A small corpus in the layout of MuSe-2022, lists and ready-made features, of which some say what the labels are."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from fakes.hume.make import EMOTIONS

NUM_CLIPS = {"train": 60, "devel": 24, "test": 5}
WIDTH, GAP = 6, 2  # numbers in a row, and the row of every clip that lacks one
HOP_MS = 500
# feature -> the labels that it speaks of
SAYS = {"FAUs": range(4), "DeepSpectrum": range(4, 7), "eGeMAPS": range(0)}

Write = Callable[[Path, np.ndarray], None]


def clips() -> dict[str, tuple[str, np.ndarray]]:
    """Clip -> its part, and its seven intensities, of which the largest is 1."""
    random = np.random.default_rng(0)
    parts = [part for part, count in NUM_CLIPS.items() for _ in range(count)]
    said = 1 / (1 + np.exp(-2 * random.normal(size=(len(parts), len(EMOTIONS)))))
    return {
        f"{number:05d}": (part, values / values.max())
        for number, (part, values) in enumerate(zip(parts, said, strict=True))
    }


def rows_of(name: str, feature: str, intensities: np.ndarray) -> np.ndarray:
    """(T, D): what a feature says of a clip, and noise; row `GAP` has no second number and an odd third one."""
    random = np.random.default_rng(int(name) + 1000 * list(SAYS).index(feature))
    mixing = np.random.default_rng(len(SAYS[feature])).normal(size=(len(EMOTIONS), WIDTH))
    says = np.isin(np.arange(len(EMOTIONS)), SAYS[feature])
    rows = np.where(says, intensities - 0.5, 0) @ mixing + 0.1 * random.normal(
        size=(int(random.integers(8, 15)), WIDTH)
    )
    rows[GAP, 1:3] = np.nan, 70
    return rows


def write_csv(path: Path, rows: np.ndarray) -> None:
    """A feature's file of one clip; a number that is not there is an empty cell."""
    lines = [["timestamp", "segment_id", *(f"f{column}" for column in range(rows.shape[1]))]]
    for step, row in enumerate(rows):
        cells = ["" if np.isnan(value) else f"{value:.5f}" for value in row]
        lines.append([str(HOP_MS * step), path.stem, *cells])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(line) + "\n" for line in lines))


def write_corpus(root: Path, features: Mapping[str, Write] | None = None) -> Path:
    """Write the lists and the features below `root`/c2_muse_reaction, each with its function; returns that folder."""
    folder = root / "c2_muse_reaction"
    labels, partition = [",".join(("File_ID", *EMOTIONS))], ["Id,Partition"]
    for name, (part, values) in clips().items():
        partition.append(f"[{name}],{part}")
        if part != "test":
            labels.append(",".join([f"[{name}]", *(f"{value:.4f}" for value in values)]))
        for feature, write in (features or dict.fromkeys(SAYS, write_csv)).items():
            write(folder / "feats" / feature / f"{name}.csv", rows_of(name, feature, values))
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "partition.csv").write_text("\n".join(partition) + "\n")
    return folder
