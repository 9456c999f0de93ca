"""Write a small tree in the layout of OMG-Emotion; videos are placeholder bytes unless others are given.

No source is in two splits here, although the official splits share some.
"""

from collections.abc import Callable
from pathlib import Path

RANGES = {"va": (-1, 1), "emotion": (0, 6)}  # task -> range that its targets are in
LABELLED = "link,start,end,video,utterance,arousal,valence,EmotionMaxVote"
UNLABELLED = "link,start,end,video,utterance"
# list -> (folder of the media, rows of video, number of the utterance, arousal, valence, emotion)
LISTS = {
    "omg_TrainVideos.csv": (
        "Videos/Train",
        [
            ("74de88564_1", 1, 0.2, -0.4, 4),
            ("74de88564_1", 3, 0.6, 0.5, 3),
            ("74de88564_2", 4, 0.9, 0.1, 6),
            ("01ab23c4d", 10, 0, -1, 5),
            ("01ab23c4d", 2, 1, 1, 0),
        ],
    ),
    "omg_ValidationVideos.csv": (
        "Videos/Validation",
        [("8c49a05d3_1", 2, 0.5, 0.25, 1), ("8c49a05d3_1", 1, 0.3, 0.75, 2), ("9e9c69399", 1, 0.7, -0.25, 3)],
    ),
    "omg_TestVideos_WithLabels.csv": ("Videos/Test", [("fb1d1b14e_1", 1, 0.4, 0.1, 4), ("fb1d1b14e_1", 2, 0.1, 0, 4)]),
}


def make(root: Path, write: Callable[[Path], None] | None = None) -> Path:
    """Write the tree below `root` and return it; `write` says how a video is written."""
    root.mkdir(parents=True, exist_ok=True)
    for name, (folder, rows) in LISTS.items():
        lines, unlabelled = [LABELLED], [UNLABELLED]
        for video, number, arousal, valence, emotion in rows:
            utterance = f"utterance_{number}.mp4"
            begin = f"https://www.youtube.com/watch?v=x{video[:6]},{number}.25,{number}.75,{video},{utterance}"
            lines.append(f"{begin},{arousal},{valence},{emotion}")
            unlabelled.append(begin)
            path = root / folder / video / utterance
            path.parent.mkdir(parents=True, exist_ok=True)
            (write or _placeholder)(path)
        (root / name).write_text("\n".join(lines) + "\n")
        if "Test" in name:
            (root / "omg_TestVideos_WithoutLabels.csv").write_text("\n".join(unlabelled) + "\n")
    # the single ratings, whose folders are named like videos, here and there with one level too many
    for folder in ("74de88564_1/utterance_1.mp4", "74de88564_1/utterance_3.mp4/utterance_3.mp4"):
        path = root / "DetailedAnnotation" / "train" / folder / "0.txt"
        path.parent.mkdir(parents=True)
        path.write_text("arousal,valence,emotion\n96.0,90.3,Surprise\n")
    return root


def _placeholder(path: Path) -> None:
    path.write_bytes(b"video " + path.parent.name.encode() + path.name.encode())
