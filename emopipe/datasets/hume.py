"""Hume-Reaction (Cowen et al., 2022): people filmed by their own webcams, who rate what they felt at a video.

    data_info.csv                                        the release of ABAW-5
    {train,val,test}/mp4/<id>.mp4, {train,val,test}/wav/<id>.wav
    c2_muse_reaction/labels.csv, partition.csv           the release of MuSe-2022
    c2_muse_reaction/feats/<FEATURE>/<id>.csv            ready-made features, without media

A clip is the mp4, whose sound is that of the wav; where only the wav is there it is a clip of sound. The lists are read
by `hume_table`, ready-made features by `hume_features.read_muse_features`.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from emopipe.datasets.adapter import Adapter, Source
from emopipe.datasets.hume_features import features_of
from emopipe.datasets.hume_table import FEATURES_FOLDER, TARGETS, HumeLists, read_lists, read_table
from emopipe.datasets.listing import not_found, printable, require_folder, some
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.datasets.media_tree import MediaFile, choose, media_below
from emopipe.errors import ManifestError
from emopipe.records import Clip, Labels

TITLE = "Hume-Reaction corpus"
EXPECTED = "data_info.csv and train/mp4/00000.mp4, or c2_muse_reaction with labels.csv and partition.csv"
TASK = "reactions"
_FOLDER_OF = {"train": "train", "dev": "val", "test": "test"}


class Hume(Adapter):
    """Hume-Reaction: seven intensities in [0, 1] for each clip as a whole.

    A clip's id is its `File_ID` without brackets. The corpus names no people: every clip is its own subject.
    """

    name = "hume"
    tasks = (TASK,)

    def scan(self, root: Path, *, source: Source | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "images":
            raise ManifestError(f"{printable(root)}: Hume-Reaction has no pictures. Expected videos.", path=root)
        lists = read_lists(root)
        if lists is None:
            raise not_found(root, TITLE, EXPECTED)
        media, refused, unlisted = _index_media(root, lists)
        shut = {refusal.clip_id for refusal in refused}
        clips: list[Clip] = []
        missing: list[Clip] = []
        for clip_id, split in lists.splits.items():
            if clip_id in shut:
                continue
            file = media.get(clip_id)
            path = file.path if file else root / _FOLDER_OF[split] / "mp4" / f"{clip_id}.mp4"
            annotations = {TASK: lists.labels.path} if lists.labels.has_labels(clip_id) else {}
            kind = file.kind if file else "video"
            clip = Clip(clip_id, path, kind, split=split, subject=clip_id, annotations=annotations)
            (clips if file else missing).append(clip)
        clips.sort(key=lambda clip: clip.clip_id)
        missing.sort(key=lambda clip: clip.clip_id)
        notes = (*lists.notes, *_notes(lists, clips, missing, unlisted))
        return Manifest(self.name, root, tuple(clips), notes, tuple(missing), tuple(refused))

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """One row for the clip as a whole: seven intensities in [0, 1], divided by the largest of the clip."""
        _, path = self.annotation(clip, task)
        return Labels(TARGETS, read_table(path).intensities(clip.clip_id)[None], np.array([True]))


def _index_media(root: Path, lists: HumeLists) -> tuple[dict[str, MediaFile], list[Refusal], list[str]]:
    """Clip id -> its file; what must not be read; and the names of media that no list mentions."""
    # folders named like a clip hold single frames in some copies
    files, refused = media_below(root, leave={FEATURES_FOLDER, *lists.splits})
    named: dict[str, list[MediaFile]] = defaultdict(list)
    for file in files:
        named[file.stem].append(file)
    media = {}
    for clip_id, candidates in named.items():
        if clip_id in lists.splits:
            chosen = choose(clip_id, candidates, lambda file: file.kind == "sound")
            if isinstance(chosen, Refusal):
                refused.append(chosen)
            else:
                media[clip_id] = chosen
    return media, refused, sorted(named.keys() - lists.splits.keys())


def _notes(lists: HumeLists, clips: list[Clip], missing: list[Clip], unlisted: list[str]) -> list[str]:
    notes = ["File_ID names no person: every clip counts as a subject of its own."]
    for split in _FOLDER_OF:
        found = [clip for clip in clips if clip.split == split]
        num_all = sum(listed == split for listed in lists.splits.values())
        num_sound = sum(clip.kind == "sound" for clip in found)
        if num_all:
            only = f", {num_sound:,} of them sound only" if num_sound else ""
            notes.append(f"{split}: {len(found):,} of {num_all:,} clips have media{only}.")
    if unlisted:
        notes.append(f"media that no list mentions ({len(unlisted)}): {some(unlisted)}.")
    if missing and lists.features is not None:
        absent = {clip.clip_id for clip in missing}
        there = [f"{name} ({len(absent & ids):,})" for name, ids in features_of(lists.features).items() if absent & ids]
        listed = ", ".join(there) or "none"
        notes.append(f"features of the {len(absent):,} clips without media that are there: {listed}.")
    return notes
