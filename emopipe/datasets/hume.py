"""Hume-Reaction (Cowen et al., 2022): people filmed by their own webcams, who rate what they felt at a video.

    data_info.csv                                        the release of ABAW-5
    {train,val,test}/mp4/<id>.mp4, {train,val,test}/wav/<id>.wav
    c2_muse_reaction/labels.csv, partition.csv           the release of MuSe-2022
    c2_muse_reaction/feats/<FEATURE>/<id>.csv            ready-made features, without media

A clip is the mp4, whose sound is that of the wav; where only the wav is there it is a clip of sound. Or, where
ready-made features are asked for, it is their csv. The lists are read by `hume_table`, features by `hume_features`.
"""

from collections import defaultdict
from pathlib import Path
from typing import Literal

import numpy as np

from emopipe.datasets.adapter import Adapter, MediaKind
from emopipe.datasets.hume_features import features_of, files_of, read_muse_features
from emopipe.datasets.hume_table import FEATURES_FOLDER, TARGETS, HumeLists, read_lists, read_table
from emopipe.datasets.listing import not_found, printable, require_folder, some
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.datasets.media_tree import MediaFile, choose, media_below
from emopipe.errors import ManifestError
from emopipe.records import Clip, Labels, ReadyMadeRows

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

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "images":
            raise ManifestError(f"{printable(root)}: Hume-Reaction has no pictures. Expected videos.", path=root)
        lists = _lists(root)
        media, refused, unlisted = _index_media(root, lists)
        shut = {refusal.clip_id for refusal in refused}
        clips: list[Clip] = []
        missing: list[Clip] = []
        for clip_id in sorted(lists.splits.keys() - shut):
            if (file := media.get(clip_id)) is not None:
                clips.append(_clip(lists, clip_id, file.path, file.kind))
            else:
                path = root / _FOLDER_OF[lists.splits[clip_id]] / "mp4" / f"{clip_id}.mp4"
                missing.append(_clip(lists, clip_id, path, "video"))
        notes = (*lists.notes, *_notes(lists, clips, unlisted), *_feature_notes(lists, missing))
        return Manifest(self.name, root, tuple(clips), notes, tuple(missing), tuple(refused))

    def scan_ready_made(self, root: Path, name: str) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        lists = _lists(root)
        if lists.features is None:
            raise ManifestError(
                f"{printable(lists.labels.path)}: the release of ABAW-5 brings no features along.\n"
                f"Expected the folder c2_muse_reaction of MuSe-2022 for --root, to take '{name}' from.",
                path=lists.labels.path,
            )
        folder = lists.features / name
        if name not in (known := features_of(lists.features)):
            listed = ", ".join(f"{feature} ({len(ids):,} clips)" for feature, ids in known.items()) or "no features"
            raise ManifestError(
                f"{printable(lists.features)}: expected features '{printable(name)}'. Received: {listed}.", path=folder
            )
        files, refused = files_of(root, folder)
        shut = {refusal.clip_id for refusal in refused}
        clips: list[Clip] = []
        missing: list[Clip] = []
        for clip_id in sorted(lists.splits.keys() - shut):
            clip = _clip(lists, clip_id, files.get(clip_id, folder / f"{clip_id}.csv"), "features")
            (clips if clip_id in files else missing).append(clip)
        unlisted = sorted(files.keys() - lists.splits.keys())
        notes = (*lists.notes, *_notes(lists, clips, unlisted, name))
        return Manifest(self.name, root, tuple(clips), notes, tuple(missing), tuple(refused))

    def read_ready_made(self, clip: Clip) -> ReadyMadeRows:
        return read_muse_features(clip.media)

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """One row for the clip as a whole: seven intensities in [0, 1], divided by the largest of the clip."""
        _, path = self.annotation(clip, task)
        return Labels(TARGETS, read_table(path).intensities(clip.clip_id)[None], np.array([True]))


def _lists(root: Path) -> HumeLists:
    """The lists.

    Raises:
        ManifestError: there are none, or they are not in order.
    """
    if (lists := read_lists(root)) is None:
        raise not_found(root, TITLE, EXPECTED)
    return lists


def _clip(lists: HumeLists, clip_id: str, media: Path, kind: Literal["video", "sound", "features"]) -> Clip:
    annotations = {TASK: lists.labels.path} if lists.labels.has_labels(clip_id) else {}
    return Clip(clip_id, media, kind, split=lists.splits[clip_id], subject=clip_id, annotations=annotations)


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


def _notes(lists: HumeLists, clips: list[Clip], unlisted: list[str], what: str = "media") -> list[str]:
    """Sentences about how many clips of each split have `what`, and who has it without being listed."""
    notes = ["File_ID names no person: every clip counts as a subject of its own."]
    for split in _FOLDER_OF:
        found = [clip for clip in clips if clip.split == split]
        num_all = sum(listed == split for listed in lists.splits.values())
        num_sound = sum(clip.kind == "sound" for clip in found)
        if num_all:
            only = f", {num_sound:,} of them sound only" if num_sound else ""
            notes.append(f"{split}: {len(found):,} of {num_all:,} clips have {what}{only}.")
    if unlisted:
        notes.append(f"{what} that no list mentions ({len(unlisted)}): {some(unlisted)}.")
    return notes


def _feature_notes(lists: HumeLists, missing: list[Clip]) -> list[str]:
    """A sentence about which ready-made features there are of clips without media."""
    if not missing or lists.features is None:
        return []
    absent = {clip.clip_id for clip in missing}
    there = [f"{name} ({len(absent & ids):,})" for name, ids in features_of(lists.features).items() if absent & ids]
    cure = " Take them with: emopipe extract --ready-made NAME" if there else ""
    listed = ", ".join(there) or "none"
    return [f"features of the {len(absent):,} clips without media that are there: {listed}.{cure}"]
