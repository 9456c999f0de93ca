"""Aff-Wild2 in every layout of its releases, from the first ABAW competition (2020) to the sixth (2024).

Annotations are found by name, up to three levels below the root: a folder that begins with `VA_`, `EXPR_` or `AU_` and
holds folders that begin with `Train` and `Valid`. Videos lie in `batch1`, `batch2`, ..., `new_vids`; official crops in
`cropped_aligned` and `cropped_aligned_new_50_vids`, a folder of `00001.jpg`, `00002.jpg`, ... for each clip.

A clip is one trial: a video, or one of its two people. The tasks divide the same clips differently: a clip is in the
split that VA gives it, else EXPR, else AU, and `Manifest.for_task` gives the division of one task. Media that no task
mentions are listed with split None, so that one extraction serves every task, and the test part without its lists.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emopipe.datasets import annotations
from emopipe.datasets.adapter import Adapter, MediaKind
from emopipe.datasets.affwild2_layout import TASKS, Places, find_places, index_images, index_videos, split_folders
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
from emopipe.errors import ManifestError
from emopipe.files import ensure_inside
from emopipe.records import Clip, Labels, Side, Split

TITLE = "Aff-Wild2 corpus"
EXPECTED = "annotations/VA_Set/Train_Set/*.txt (or a later release's names) and batch1/*.mp4 or cropped_aligned/<clip>/"
SIDE = re.compile(r"(.+)_(left|right)", re.IGNORECASE)

READERS = {
    "va": annotations.read_valence_arousal,
    "expr": annotations.read_expressions,
    "au": annotations.read_action_units,
}


@dataclass
class Names:
    """What the corpus says about each clip name: annotation files and splits, task -> name -> value."""

    files: dict[str, dict[str, Path]] = field(default_factory=lambda: defaultdict(dict))
    splits: dict[str, dict[str, Split]] = field(default_factory=lambda: defaultdict(dict))
    notes: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class AffWild2(Adapter):
    """Aff-Wild2: valence and arousal, expressions and action units, frame by frame."""

    name = "affwild2"
    tasks = TASKS

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        places = find_places(root)
        names = read_names(root, places)
        videos, video_notes, no_videos = index_videos(root, places)
        images, image_notes, no_images = index_images(root, places)
        if not (videos or images or names.splits or no_videos or no_images or places.refused):
            raise not_found(root, TITLE, EXPECTED)
        source = source or ("videos" if videos or not images else "images")
        if source == "images" and not images and not no_images:
            raise not_found(root, f"{TITLE} with official images", "cropped_aligned/<clip>/00001.jpg")
        notes = video_notes if source == "videos" else image_notes
        refused = [*(no_videos if source == "videos" else no_images), *places.refused, *names.refused]
        mentioned = {name for splits in names.splits.values() for name in splits}
        # a video of two people serves two clips and is not a third one
        used = mentioned | {_video_of(name, videos) for name in mentioned}
        unmentioned = set(videos if source == "videos" else images) - used
        shut = {refusal.clip_id for refusal in refused}
        clips: list[Clip] = []
        missing: list[Clip] = []
        for name in sorted(mentioned | unmentioned):
            if name in shut or (source == "videos" and _video_of(name, shut) in shut):
                continue
            video = videos.get(_video_of(name, videos) or "")
            media = video if source == "videos" else images.get(name)
            clip = _clip(name, media or root / name, source, video, names, mentioned)
            (missing if media is None else clips).append(clip)
        absent = [clip.clip_id for clip in missing]
        notes += names.notes + _notes(absent, unmentioned, names, images if source == "videos" else {})
        splits = {task: dict(given) for task, given in names.splits.items()}
        return Manifest(self.name, root, tuple(clips), tuple(notes), tuple(missing), tuple(refused), splits)

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        task, path = self.annotation(clip, task)
        return READERS[task](path)


def read_names(root: Path, places: Places) -> Names:
    """Which clips each task annotates or lists as test, and in which split. Opens the test lists, no annotation.

    Raises:
        ManifestError: a task annotates one clip in two splits.
    """
    names = Names()
    for task in TASKS:
        if task in places.tasks:
            _add_annotations(root, task, places.tasks[task], names)
        for path in places.lists.get(task, ()):
            _add_test_list(root, task, path, names)
    placed: dict[str, set[str]] = defaultdict(set)
    for splits in names.splits.values():
        for name, split in splits.items():
            placed[name].add(split)
    if several := sum(len(splits) > 1 for splits in placed.values()):
        rule = "VA decides, then EXPR, then AU"
        names.notes.append(f"{several} clips are in different splits in different tasks; {rule}.")
    return names


def _add_annotations(root: Path, task: str, task_folder: Path, names: Names) -> None:
    files, splits = names.files[task], names.splits[task]
    for split, folder in split_folders(root, task_folder, names.refused):
        for entry in entries(folder):
            if not entry.name.lower().endswith(".txt"):
                continue
            name, path = clip_name(entry.name[:-4]), Path(entry.path)
            if reason := why_not_inside(root, entry):
                names.refused.append(Refusal(name, reason))
                continue
            if name in files:
                raise ManifestError(
                    f"{printable(path)}: expected one annotation of '{name}' for '{task}'. Received a second one.\n"
                    f"The other is {printable(files[name])}. Remove one of them.",
                    path=path,
                )
            files[name], splits[name] = path, split


def _add_test_list(root: Path, task: str, path: Path, names: Names) -> None:
    splits = names.splits[task]
    both = []
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig", "surrogateescape").splitlines(), start=1):
        text = line.strip().rstrip(",")
        if not text:
            continue
        name = clip_name(video_stem(text) or text.removesuffix(".txt"))
        try:
            ensure_inside(root, root / text)
        except (ManifestError, ValueError) as error:
            reason = f"{path}, line {number}: expected the name of a clip. Received: '{text}'. {error}"
            names.refused.append(Refusal(name.lstrip("/"), printable(reason)))
            continue
        if splits.setdefault(name, "test") != "test":
            both.append(name)
    if both:
        what = f"lists clips that are annotated for '{task}'; the annotation decides"
        names.notes.append(f"{printable(path.name)} {what}: {some(both)}.")


def _clip(
    name: str, media: Path, source: MediaKind, video: Path | None, names: Names, mentioned: Collection[str]
) -> Clip:
    match = SIDE.fullmatch(name)
    split = next((splits[name] for splits in names.splits.values() if name in splits), None)
    return Clip(
        clip_id=name,
        media=media,
        kind="video" if source == "videos" else "images",
        side=_side(name, mentioned),
        split=split,
        # The list of subjects is not given out; the official splits keep the people of one video together.
        subject=name if match is None else match[1],
        annotations={task: files[name] for task, files in names.files.items() if name in files},
        source_video=video if source == "images" else None,
    )


def _side(name: str, mentioned: Collection[str]) -> Side:
    """Which of two people a clip is about; a name without suffix stands across from the one that has one."""
    if (match := SIDE.fullmatch(name)) is not None:
        return "left" if match[2].lower() == "left" else "right"
    has_left, has_right = f"{name}_left" in mentioned, f"{name}_right" in mentioned
    if has_left == has_right:
        return ""
    return "left" if has_right else "right"


def _video_of(name: str, videos: Collection[str]) -> str | None:
    """The video of a clip: of its own name, else that without `_left` or `_right` (`_2` belongs to the name)."""
    if name in videos:
        return name
    match = SIDE.fullmatch(name)
    return match[1] if match and match[1] in videos else None


def _notes(missing: list[str], unmentioned: set[str], names: Names, images: Mapping[str, Path]) -> list[str]:
    notes = []
    if missing:
        pictured = sum(name in images for name in missing)
        hint = f" {pictured} of them have official images." if pictured else ""
        notes.append(f"annotated or listed, but no media ({len(missing)}): {some(missing)}.{hint}")
    if unmentioned:
        listed = some(sorted(unmentioned))
        notes.append(f"neither annotated nor listed, so in no split ({len(unmentioned)}): {listed}.")
    if not names.files:
        notes.append("no annotations were found.")
    return notes
