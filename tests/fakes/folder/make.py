"""Write a small folder of videos with a `labels.csv`; videos are placeholder bytes."""

from pathlib import Path

RANGES = {"labels": (-1, 1)}  # task -> range that its targets are in
VIDEOS = ("anna/take1.mp4", "anna/take2.MOV", "ben/001.mp4", "ben/001.avi", "cleo.webm")
LABELS = """clip,split,subject,frame,valence,arousal
anna/take1,train,anna,0,0.1,0.2
anna/take1,train,anna,1,0.2,
anna/take2.MOV,train,anna,0,-0.1,0.2
ben/001.avi,dev,ben,5,1,-1
"""


def make(root: Path) -> Path:
    """Write the tree below `root` and return it."""
    for video in VIDEOS:
        path = root / video
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video " + video.encode())
    (root / "labels.csv").write_text(LABELS)
    return root
