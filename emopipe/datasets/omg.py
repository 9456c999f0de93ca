"""OMG-Emotion (Barros et al., 2018): monologues from YouTube, cut into utterances that have one label each.

The official lists (see `omg_table` and `omg_lists`) say which utterances there are and what split they are in. Their
media lie in any layout above ``<video>/<utterance>``: directly below the downloader's target, in `Videos/Train`,
`Validation` and `Test`, or in `train_data`, `dev_data` and `test_data`. About half of the links are dead, so media that
are missing are the normal case: coverage is noted for every split.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from emopipe.datasets.adapter import Adapter, MediaKind
from emopipe.datasets.listing import (
    clip_name,
    entries,
    not_found,
    printable,
    require_folder,
    some,
    video_stem,
    why_not_inside,
)
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.datasets.omg_lists import read_lists, source_disjoint, source_of
from emopipe.datasets.omg_table import EMOTIONS, OmgTable, read_table
from emopipe.errors import ManifestError
from emopipe.records import VA_TARGETS, Clip, Labels, Split

TITLE = "OMG-Emotion corpus"
EXPECTED = "omg_TrainVideos.csv, omg_ValidationVideos.csv, ... and <video>/utterance_1.mp4 in any folder"
TASKS = ("va", "emotion")
_UTTERANCE = re.compile(r"utterance_\d+", re.IGNORECASE)


@dataclass
class _Media:
    """What lies below the root: clip id -> paths, entries that must not be read, and media that no list mentions."""

    paths: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    refused: list[Refusal] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


class Omg(Adapter):
    """OMG-Emotion: valence, arousal and one of seven emotions for each utterance as a whole.

    A clip is an utterance, "<video>/utterance_K". Its subject is the YouTube video it was cut from, all parts together;
    the official splits share some of these, see `omg_lists.source_disjoint`.
    """

    name = "omg"
    tasks = TASKS

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "images":
            raise ManifestError(f"{printable(root)}: OMG-Emotion has no official images. Expected videos.", path=root)
        lists = read_lists(root)
        if not lists.tables:
            raise not_found(root, TITLE, EXPECTED)
        media = _index_media(root, {clip_id for table in lists.tables.values() for clip_id in table.rows})
        clips: list[Clip] = []
        missing: list[Clip] = []
        notes = list(lists.notes)
        for split, table in lists.tables.items():
            found, absent = _clips_of(root, split, table, media)
            clips += found
            missing += absent
            notes.append(f"{split}: {len(found):,} of {len(table.rows):,} utterances have media.")
        notes += [line for split in lists.tables if (line := _shared_sources(root, split))]
        if media.unlisted:
            notes.append(f"media that no list mentions ({len(media.unlisted)}): {some(sorted(media.unlisted))}.")
        clips.sort(key=lambda clip: clip.clip_id)
        missing.sort(key=lambda clip: clip.clip_id)
        return Manifest(self.name, root, tuple(clips), tuple(notes), tuple(missing), tuple(media.refused))

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """One row for the clip as a whole: valence in [-1, 1] and arousal in [0, 1], or the number of the emotion."""
        task, path = self.annotation(clip, task)
        table = read_table(path)
        row = table.rows.get(clip.clip_id)
        if row is None:
            raise ManifestError(f"{printable(path)}: expected a row of '{clip.clip_id}'. Received none.", path=path)
        if task == "emotion":
            return Labels(("emotion",), np.array([[float(table.emotion(row))]]), np.array([True]), classes=EMOTIONS)
        values = np.array([[table.number(row, target) for target in VA_TARGETS]])
        return Labels(VA_TARGETS, values, np.array([True]))


def _clips_of(root: Path, split: Split, table: OmgTable, media: _Media) -> tuple[list[Clip], list[Clip]]:
    """The utterances of one list: those that have media, and those that have none."""
    annotations = dict.fromkeys(TASKS, table.path) if "arousal" in table.columns else {}
    shut = {refusal.clip_id for refusal in media.refused}
    found: list[Clip] = []
    missing: list[Clip] = []
    for clip_id, row in table.rows.items():
        if clip_id in shut:
            continue
        paths = media.paths.get(clip_id)
        path = paths[0] if paths else root / row.video / row.utterance
        clip = Clip(clip_id, path, split=split, subject=source_of(clip_id), annotations=annotations)
        (found if paths else missing).append(clip)
    return found, missing


def _index_media(root: Path, wanted: Collection[str]) -> _Media:
    """Every `<video>/<utterance>` below the root, once; a wanted one that is there twice is refused."""
    media = _Media()
    folders = [root]
    for folder in folders:
        video = clip_name(folder.name)
        for entry in entries(folder):
            stem = video_stem(entry.name)
            clip_id = f"{video}/{clip_name(stem or entry.name)}"
            if entry.is_symlink() and (clip_id in wanted or entry.is_dir()):
                if reason := why_not_inside(root, entry):
                    media.refused.append(Refusal(clip_id, reason))
                    continue
                if entry.is_dir():
                    continue  # what it leads to is below the root, and is found there
            if entry.is_dir():
                if stem is None:  # folders named utterance_1.mp4 hold the annotators' single ratings
                    folders.append(Path(entry.path))
            elif clip_id in wanted and stem is not None:
                media.paths[clip_id].append(Path(entry.path))
            elif stem is not None and _UTTERANCE.fullmatch(stem):
                media.unlisted.append(clip_id)
    for clip_id, paths in sorted(media.paths.items()):
        if len(paths) > 1:
            both = " and ".join(printable(path) for path in paths)
            media.refused.append(
                Refusal(clip_id, f"expected one video of the utterance. Received: {both}. Remove one.")
            )
    return media


def _shared_sources(root: Path, split: Split) -> str:
    """A sentence about the utterances of a split whose source an earlier split has too, "" when there are none."""
    clean = source_disjoint(root, split)
    num_all = len(read_lists(root).tables[split].rows)
    if len(clean) == num_all:
        return ""
    earlier = "train" if split == "dev" else "train or dev"
    return (
        f"{split}: {num_all - len(clean):,} of {num_all:,} utterances are from a source video that {earlier} has too, "
        "as the official splits have it."
    )
