"""Media files anywhere below a corpus folder, and which of several files of one utterance is read."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emopipe.datasets.listing import clip_name, entries, printable, sound_stem, video_stem, why_not_inside
from emopipe.datasets.manifest import Refusal
from emopipe.files import media_identity


@dataclass(frozen=True)
class MediaFile:
    """One video or sound file: its name without the extension as it may stand in a clip id, and its kind."""

    path: Path
    stem: str
    kind: Literal["video", "sound"]


def media_below(root: Path, leave: Collection[str] = ()) -> tuple[list[MediaFile], list[Refusal]]:
    """All videos and sound files below `root`, at any depth, sorted by path; and what must not be read as one.

    Links to folders are not followed: what they lead to is found in its own place, or lies outside the corpus.

    Args:
        root: the corpus folder.
        leave: names of folders that hold no media and are not looked into.
    """
    found: list[MediaFile] = []
    refused: list[Refusal] = []
    folders = [root]
    for folder in folders:
        for entry in entries(folder):
            kind = _kind_of(entry.name)
            name = clip_name(entry.name if kind is None else Path(entry.name).stem)
            if (kind is not None or entry.is_dir()) and (reason := why_not_inside(root, entry)):
                refused.append(Refusal(name, reason))
            elif entry.is_dir():
                if kind is not None:
                    reason = printable(f"{entry.path}: named like a media file. Expected a file. Received: a folder.")
                    refused.append(Refusal(name, reason))
                elif entry.name not in leave and not entry.is_symlink():
                    folders.append(Path(entry.path))
            elif kind is not None:
                path = Path(entry.path)
                found.append(MediaFile(path, name, kind))
    return sorted(found, key=lambda file: str(file.path)), refused


def choose(clip_id: str, files: Sequence[MediaFile], rank: Callable[[MediaFile], int]) -> MediaFile | Refusal:
    """The file with the lowest rank; copies of it with the same content are one, the first by path.

    Two files of that rank with different content are a refusal: nothing says which one the labels are about.
    """
    lowest = min(map(rank, files))
    best = [file for file in files if rank(file) == lowest]
    if len(best) > 1 and len({media_identity(file.path) for file in best}) > 1:
        both = " and ".join(printable(file.path) for file in best)
        return Refusal(clip_id, f"expected one file of the clip. Received: {both}, which differ. Remove one.")
    return best[0]


def _kind_of(name: str) -> Literal["video", "sound"] | None:
    if video_stem(name) is not None:
        return "video"
    return "sound" if sound_stem(name) is not None else None
