"""Write a small tree in the layout of Aff-Wild (2017); videos are placeholder bytes."""

from pathlib import Path

RANGES = {"va": (-1, 1)}  # task -> range that its targets are in
NUM_ROWS = 10
VIDEOS = ("train/105.avi", "train/318.mp4", "test/42.mp4")


def make(root: Path) -> Path:
    """Write the tree below `root` and return it."""
    for video in VIDEOS:
        path = root / "videos" / video
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video " + video.encode())
    for name in ("105", "318"):
        for target, sign in (("valence", -1), ("arousal", 1)):
            path = root / "annotations" / "train" / target / f"{name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{sign * index / 10:.2f}\n" for index in range(NUM_ROWS)))
    return root
