"""Write a small tree in the layout of Hume-Reaction, as ABAW-5 or as MuSe-2022; media are placeholder bytes."""

from pathlib import Path

RANGES = {"reactions": (0, 1)}  # task -> range that its targets are in
LABEL_CELL = 8  # place in a line of a cell that is a label, where it is not the last one
EMOTIONS = ("Adoration", "Amusement", "Anxiety", "Disgust", "Empathic-Pain", "Fear", "Surprise")
HEADER = ",".join(("File_ID", "Split", *EMOTIONS, "Age", "Country"))
# File_ID without brackets, split, the seven intensities; not sorted, and the test part has no labels
ROWS = (
    ("00002", "Train", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0)),
    ("00000", "Train", (1.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.5)),
    ("00004", "Val", (0.0, 1.0, 0.75, 0.0, 0.0, 0.0, 0.0)),
    ("00001", "Val", (0.5, 0.5, 0.5, 1.0, 0.5, 0.5, 0.5)),
    ("00003", "Test", None),
)
FEATURES = {"DeepSpectrum": 4, "FAUs": 2}  # name -> number of values


def make(root: Path) -> Path:
    """Write the tree of ABAW-5 below `root` and return it."""
    lines = [HEADER]
    for name, split, values in ROWS:
        cells = [""] * len(EMOTIONS) if values is None else [f"{value:g}" for value in values]
        lines.append(",".join([f"[{name}]", split, *cells, "34.5", "South Africa"]))
        for kind in ("mp4", "wav"):
            path = root / split.lower() / kind / f"{name}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"media " + name.encode())
    (root / "data_info.csv").write_text("\n".join(lines) + "\n")
    return root


def make_muse(root: Path) -> Path:
    """Write the tree of MuSe-2022 below `root` and return it: no media, and clip 00004 has one feature only."""
    folder = root / "c2_muse_reaction"
    labels, partition = [",".join(("File_ID", *EMOTIONS))], ["Id,Part"]
    for name, split, values in ROWS:
        partition.append(f"[{name}],{split.lower().replace('val', 'devel')}")
        if values is not None:
            labels.append(",".join([f"[{name}]", *(f"{value:g}" for value in values)]))
        for feature, width in FEATURES.items():
            if (name, feature) != ("00004", "FAUs"):
                path = folder / "feats" / feature / f"{name}.csv"
                path.parent.mkdir(parents=True, exist_ok=True)
                header = ["timestamp", "segment_id", *(f"f{k}" for k in range(width))]
                rows = [[str(500 * step), name, *(f"{step + k / 8:g}" for k in range(width))] for step in range(3)]
                path.write_text("".join(",".join(row) + "\n" for row in (header, *rows)))
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "partition.csv").write_text("\n".join(partition) + "\n")
    return root
