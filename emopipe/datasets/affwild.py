"""Aff-Wild (2017): videos and two annotation files per video, one for valence and one for arousal.

    videos/{train,test}/<id>.avi or .mp4
    annotations/{train,test}/{valence,arousal}/<id>.txt     one number per video frame, no header

The labels of the test part were never published. The list of subjects is not given out either: each video counts as a
subject of its own. There is no official validation part.
"""

import warnings
from pathlib import Path

import numpy as np

from emopipe.datasets.adapter import Adapter, MediaKind
from emopipe.datasets.annotations import frame_labels, read_column
from emopipe.datasets.listing import (
    clip_name,
    entries,
    not_found,
    printable,
    require_folder,
    some,
    videos_in,
    why_not_inside,
)
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.errors import ManifestError
from emopipe.records import VA_TARGETS, Clip, Labels, Split

TITLE = "Aff-Wild corpus"
EXPECTED = "videos/train/<id>.avi and annotations/train/valence/<id>.txt"
LINE_EXPECTED = "one number in [-1, 1]"
SPLITS: tuple[Split, ...] = ("train", "test")


class AffWild(Adapter):
    """Aff-Wild: valence and arousal, frame by frame; a clip's annotation is its valence file."""

    name = "affwild"
    tasks = ("va",)

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "images":
            raise ManifestError(f"{printable(root)}: Aff-Wild has no official images. Expected videos.", path=root)
        clips: list[Clip] = []
        missing: list[Clip] = []
        refused: list[Refusal] = []
        notes: list[str] = []
        videos = {split: _videos(root, split, refused) for split in SPLITS}
        labels = {split: _annotations(root, split, refused, notes) for split in SPLITS}
        if not any(videos.values()) and not any(labels.values()) and not refused:
            raise not_found(root, TITLE, EXPECTED)
        names = {split: videos[split].keys() | labels[split].keys() for split in SPLITS}
        twice = names["train"] & names["test"]
        for split in SPLITS:
            for name in names[split] - {refusal.clip_id for refusal in refused}:
                clip_id = f"{split}/{name}" if name in twice else name
                media = videos[split].get(name)
                files = {"va": labels[split][name]} if name in labels[split] else {}
                clip = Clip(clip_id, media or root / name, split=split, subject=clip_id, annotations=files)
                (missing if media is None else clips).append(clip)
        clips.sort(key=lambda clip: clip.clip_id)
        missing.sort(key=lambda clip: clip.clip_id)
        if missing:
            notes.append(f"{len(missing)} annotated clips have no video: {some([clip.clip_id for clip in missing])}.")
        return Manifest(self.name, root, tuple(clips), tuple(notes), tuple(missing), tuple(refused))

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """Both files, valence first; the longer one is cut to the shorter, with a Python warning."""
        _, path = self.annotation(clip, task)
        columns = [read_column(path.parent.parent / target / path.name, LINE_EXPECTED) for target in VA_TARGETS]
        num_rows = min(map(len, columns))
        if len(columns[0]) != len(columns[1]):
            warnings.warn(
                f"clip '{clip.clip_id}': {len(columns[0])} labels of valence and {len(columns[1])} of arousal; "
                f"the first {num_rows} are used.",
                stacklevel=2,
            )
        values = np.stack([column[:num_rows] for column in columns], axis=1)
        return frame_labels(VA_TARGETS, values, np.all(np.abs(values) <= 1, axis=1))


def _videos(root: Path, split: str, refused: list[Refusal]) -> dict[str, Path]:
    folder = root / "videos" / split
    if not folder.is_dir():
        return {}
    found, bad = videos_in(root, folder)
    refused += bad
    return dict(reversed(found))  # of two extensions, the first by name


def _annotations(root: Path, split: str, refused: list[Refusal], notes: list[str]) -> dict[str, Path]:
    """Name -> valence file of the names that have both files."""
    files: dict[str, dict[str, Path]] = {target: {} for target in VA_TARGETS}
    for target in VA_TARGETS:
        folder = root / "annotations" / split / target
        for entry in entries(folder) if folder.is_dir() else []:
            if not entry.name.lower().endswith(".txt"):
                continue
            name = clip_name(entry.name[:-4])
            if reason := why_not_inside(root, entry):
                refused.append(Refusal(name, reason))
            else:
                files[target][name] = Path(entry.path)
    if alone := sorted(files["valence"].keys() ^ files["arousal"].keys()):
        what = "have only one of valence and arousal and count as unlabelled"
        notes.append(f"{len(alone)} clips of {split} {what}: {some(alone)}.")
    return {name: path for name, path in files["valence"].items() if name in files["arousal"]}
