"""Where the parts of Aff-Wild2 lie: annotations, videos, official crops, and the lists of the test part."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emopipe.datasets.listing import clip_name, entries, printable, video_stem, videos_in, why_not_inside
from emopipe.datasets.manifest import Refusal
from emopipe.errors import ManifestError
from emopipe.records import Split

TASKS = ("va", "expr", "au")
SEARCH_DEPTH = 3  # <root>/annotations/Third ABAW Annotations/VA_Estimation_Challenge
SPLIT_OF_FOLDER: Mapping[str, Split] = {"train": "train", "valid": "dev", "test": "test"}
TASK_OF_LIST = {"valence": "va", "va": "va", "expression": "expr", "expr": "expr", "action": "au", "au": "au"}
# Valence_Arousal_..._test_set_release.txt has one name per line; ..._sample.txt and ..._example.txt have one per frame
TEST_LIST = re.compile(r"(?:\w*_)??(valence|va|expression|expr|action|au)_.*test_set_release\.txt", re.IGNORECASE)
VIDEO_FOLDER = re.compile(r"batch\d*|new_vids.*|videos?", re.IGNORECASE)
ALIGNED_FOLDER = re.compile(r"(cropped_)?aligned.*", re.IGNORECASE)
LOOSE_FOLDER = re.compile(r"cropped.*", re.IGNORECASE)


@dataclass
class Places:
    """Where the parts of one copy of the corpus lie."""

    tasks: dict[str, Path] = field(default_factory=dict)
    lists: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    videos: list[Path] = field(default_factory=list)
    aligned: list[Path] = field(default_factory=list)
    loose: list[Path] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def find_places(root: Path) -> Places:
    """Walk the upper levels of the root and sort its folders and test lists by what they are.

    Raises:
        ManifestError: two folders hold annotations of the same task (two releases lie below one root).
    """
    places = Places()
    level = [root]
    for _ in range(SEARCH_DEPTH):
        below: list[Path] = []
        for folder in level:
            for entry in entries(folder):
                if entry.is_file() and not TEST_LIST.fullmatch(entry.name):
                    continue
                if reason := why_not_inside(root, entry):
                    if video_stem(entry.name) is None:
                        places.refused.append(Refusal(clip_name(entry.name), reason))
                elif entry.is_dir():
                    below += _place_folder(root, places, Path(entry.path))
                elif match := TEST_LIST.fullmatch(entry.name):
                    places.lists[TASK_OF_LIST[match[1].lower()]].append(Path(entry.path))
        level = below
    return places


def _place_folder(root: Path, places: Places, folder: Path) -> list[Path]:
    """Sort one folder in; the folders to look into next."""
    task = folder.name.lower().partition("_")[0]
    if "_" in folder.name and task in TASKS and any(split_folders(root, folder, [])):
        if task in places.tasks:
            pair = ", ".join(printable(path.relative_to(root)) for path in (places.tasks[task], folder))
            raise ManifestError(
                f"{printable(root)}: expected the annotations of one release. Received two for '{task}': {pair}.\n"
                "Move one of them out of the corpus folder.",
                path=root,
            )
        places.tasks[task] = folder
        return []
    if ALIGNED_FOLDER.fullmatch(folder.name):
        places.aligned.append(folder)
        return []
    if LOOSE_FOLDER.fullmatch(folder.name):
        places.loose.append(folder)
        return []
    if VIDEO_FOLDER.fullmatch(folder.name):
        places.videos.append(folder)
    return [folder]


def split_folders(root: Path, task_folder: Path, refused: list[Refusal]) -> Iterator[tuple[Split, Path]]:
    """(split, folder) of the parts of one task; links that lead out of the root are added to `refused`."""
    for entry in entries(task_folder):
        split = SPLIT_OF_FOLDER.get(entry.name[:5].lower()) or SPLIT_OF_FOLDER.get(entry.name[:4].lower())
        if split is None or not entry.is_dir():
            continue
        if reason := why_not_inside(root, entry):
            refused.append(Refusal(clip_name(entry.name), reason))
        else:
            yield split, Path(entry.path)


def index_videos(root: Path, places: Places) -> tuple[dict[str, Path], list[str], list[Refusal]]:
    """Name -> video; notes about names that occur twice; what only looks like a video."""
    videos: dict[str, Path] = {}
    notes, refused = [], []
    for folder in sorted(places.videos):
        found, bad = videos_in(root, folder)
        refused += bad
        for name, path in found:
            if videos.setdefault(name, path) != path:
                pair = [printable(each.relative_to(root)) for each in (videos[name], path)]
                notes.append(f"two videos are named '{name}': {pair[0]} is read, {pair[1]} is not.")
    return videos, notes, refused


def index_images(root: Path, places: Places) -> tuple[dict[str, Path], list[str], list[Refusal]]:
    """Name -> folder of official crops; notes; links that lead out of the root."""
    notes, refused = [], []
    folders = sorted(places.aligned)
    if not folders and places.loose:
        folders = sorted(places.loose)
        notes.append("there is no cropped_aligned; the looser, unaligned crops are read instead.")
    images: dict[str, Path] = {}
    while folders:
        folder = folders.pop(0)
        for entry in entries(folder):
            if reason := why_not_inside(root, entry):
                refused.append(Refusal(clip_name(entry.name), reason))
            elif not entry.is_dir():
                continue
            elif VIDEO_FOLDER.fullmatch(entry.name):
                folders.append(Path(entry.path))  # cropped/batch1/<clip>
            elif images.setdefault(clip_name(entry.name), Path(entry.path)) != Path(entry.path):
                notes.append(f"'{clip_name(entry.name)}' has two folders of images; the first by name is read.")
    return images, notes, refused
