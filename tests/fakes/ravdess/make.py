"""Write a small tree in the form of RAVDESS, with the folders of its archives; media are placeholder bytes."""

from pathlib import Path

RANGES = {"expr": (0, 7), "intensity": (0, 1)}  # task -> range that its targets are in
HAS_SPLITS = False
# every modality, both channels, every emotion, two intensities
NAMES = (
    "Video_Speech_Actor_01/Actor_01/01-01-01-01-01-01-01.mp4",
    "Video_Speech_Actor_01/Actor_01/02-01-01-01-01-01-01.mp4",
    "Audio_Speech_Actors_01-24/Actor_01/03-01-01-01-01-01-01.wav",
    "Audio_Speech_Actors_01-24/Actor_01/03-01-02-02-01-02-01.wav",
    "Actor_02/02-01-03-01-02-01-02.mp4",
    "Actor_02/02-02-04-02-02-01-02.mp4",
    "Actor_02/03-02-04-02-02-01-02.wav",
    "01-01-05-02-02-02-24.mp4",
    "03-01-06-01-01-01-24.flac",
    "03-01-07-01-01-01-24.flac",
    "03-01-08-02-01-01-24.WAV",
)


def make(root: Path) -> Path:
    """Write the tree below `root` and return it."""
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"media " + name.encode())
    (root / "README.txt").write_text("terms")
    return root
