"""Write a small tree in the layout of CK+; pictures are tiny."""

from pathlib import Path

import PIL.Image

RANGES = {"expr": (0, 7)}  # task -> range that its targets are in
HAS_SPLITS = False
# sequence -> code of its label (None: no label), number of pictures
SEQUENCES = {
    "S005/001": (3, 11),
    "S010/002": (7, 6),
    "S010/004": (None, 5),
    "S011/001": (2, 4),
    "S999/001": (1, 5),
}


def make(root: Path) -> Path:
    """Write the tree below `root` and return it."""
    for name, (code, num_pictures) in SEQUENCES.items():
        stem = name.replace("/", "_")
        pictures, labels = root / "cohn-kanade-images" / name, root / "Emotion" / name
        pictures.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number in range(1, num_pictures + 1):
            mode = "RGB" if name == "S999/001" else "L"
            PIL.Image.new(mode, (16, 12)).save(pictures / f"{stem}_{number:08d}.png")
        (pictures / ".DS_Store").write_bytes(b"finder")
        if code is not None:
            (labels / f"{stem}_{num_pictures:08d}_emotion.txt").write_text(f"   {code:.7e}\n")
    (root / "cohn-kanade-images" / ".DS_Store").write_bytes(b"finder")
    return root
