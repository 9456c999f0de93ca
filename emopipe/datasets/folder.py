"""Any folder of videos or sound files, with an optional `labels.csv`: a user's own recordings need no code.

A sound file beside a video of the same name is taken for the video's own sound and is no clip; a video's sound is read
from the video.

`labels.csv` has a header. Its columns, in any order:

    clip      path of the recording below the root, with or without its extension
    split     optional: train, dev or test
    subject   optional: who is seen
    frame     optional: 0-based frame that the row belongs to, as `emopipe predict` writes it
    time_s    optional, instead of frame: seconds in the recording
    anything else is a target: a number, or empty where there is no label

Without `frame` and `time_s` a clip has one row, its label as a whole.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from emopipe.datasets import labels_table
from emopipe.datasets.adapter import Adapter, MediaKind
from emopipe.datasets.labels_table import Table
from emopipe.datasets.listing import (
    clip_name,
    entries,
    not_found,
    printable,
    require_folder,
    some,
    sound_stem,
    video_stem,
    why_not_video,
)
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.errors import ManifestError
from emopipe.files import ensure_inside
from emopipe.records import Clip, Labels, Split

TITLE = "folder of recordings"
EXPECTED = "video files (.mp4, .avi, .mov, .mkv, ...) or sound files (.wav, .mp3, .flac, ...) in it or in folders below"
LABELS_FILE = "labels.csv"
TASK = "labels"
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@dataclass(frozen=True)
class _Recording:
    """A file that is a clip: its path below the root with and without its extension, and where it lies."""

    name: str
    stem: str
    path: Path
    kind: Literal["video", "sound"]


class Folder(Adapter):
    """Videos and sound files in a folder, at any depth; a clip's id is its path below the root without extension."""

    name = "folder"
    tasks = (TASK,)

    def scan(self, root: Path, *, source: MediaKind | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "images":
            raise ManifestError(f"{printable(root)}: folders of images are not read. Expected recordings.", path=root)
        refused: list[Refusal] = []
        notes: list[str] = []
        found = list(_walk(root, root, "", refused, notes))
        if not found and not refused:
            raise not_found(root, TITLE, EXPECTED)
        found = _without_companions(found, notes)
        # 001.mp4 and 001.avi are two clips and keep their extensions
        stems = Counter(each.stem for each in found)
        clips = [Clip(each.stem if stems[each.stem] == 1 else each.name, each.path, each.kind) for each in found]
        table = None
        if (path := root / LABELS_FILE).exists():
            table = labels_table.read_table(ensure_inside(root, path))
            _report_rows(root, table, clips, stems, refused, notes)
        clips = sorted((_with_labels(clip, table) for clip in clips), key=lambda clip: clip.clip_id)
        unlabelled = [clip.clip_id for clip in clips if not clip.annotations]
        if table is not None and table.targets and unlabelled:
            verb = "recording has" if len(unlabelled) == 1 else "recordings have"
            notes.append(f"{len(unlabelled)} {verb} no row in {LABELS_FILE}: {some(unlabelled)}.")
        return Manifest(self.name, root, tuple(clips), tuple(notes), refused=tuple(refused))

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """The clip's rows of `labels.csv`, in the order of their frames or times."""
        _, path = self.annotation(clip, task)
        table = labels_table.read_table(path)
        return table.labels(clip.clip_id, _rows(table, clip))


def _walk(root: Path, folder: Path, prefix: str, refused: list[Refusal], notes: list[str]) -> Iterator[_Recording]:
    """Every video and sound file, named with forward slashes; links to folders are left."""
    for entry in entries(folder):
        name = prefix + clip_name(entry.name)
        video, sound = video_stem(entry.name), sound_stem(entry.name)
        stem = video if video is not None else sound
        if stem is not None:
            kind: Literal["video", "sound"] = "sound" if video is None else "video"
            if reason := why_not_video(root, entry, "video" if video is not None else "sound file"):
                refused.append(Refusal(name, reason))
            else:
                yield _Recording(name, prefix + clip_name(stem), Path(entry.path), kind)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(root, Path(entry.path), f"{name}/", refused, notes)
        elif entry.is_symlink() and entry.is_dir():
            notes.append(f"{name} is a link to a folder and is not followed.")


def _without_companions(found: list[_Recording], notes: list[str]) -> list[_Recording]:
    """The recordings without sound files that lie beside a video of the same name."""
    videos = {each.stem for each in found if each.kind == "video"}
    beside = [each.name for each in found if each.kind == "sound" and each.stem in videos]
    if beside:
        verb = "sound file lies" if len(beside) == 1 else "sound files lie"
        notes.append(f"{len(beside)} {verb} beside a video of the same name, whose own sound is read: {some(beside)}.")
    return [each for each in found if each.kind == "video" or each.stem not in videos]


def _names(clip: Clip) -> tuple[str, str]:
    """How the column `clip` may call a clip: without and with its extension."""
    return clip.clip_id, clip.clip_id + clip_name(clip.media.suffix)


def _rows(table: Table, clip: Clip) -> list[tuple[int, list[str]]]:
    return [row for name in _names(clip) for row in table.rows.get(name, ())]


def _with_labels(clip: Clip, table: Table | None) -> Clip:
    rows = _rows(table, clip) if table is not None else []
    if table is None or not rows:
        return replace(clip, subject=clip.clip_id)
    stated = table.one_value(rows, "split")
    split = next((known for known in SPLITS if known == stated), None)
    if stated and split is None:
        raise table.error(rows[0][0], "split", "train, dev or test", stated)
    subject = table.one_value(rows, "subject") or clip.clip_id
    annotations = {TASK: table.path} if table.targets else {}
    return replace(clip, split=split, subject=subject, annotations=annotations)


def _report_rows(
    root: Path, table: Table, clips: list[Clip], stems: Counter[str], refused: list[Refusal], notes: list[str]
) -> None:
    """Say which rows belong to no recording, and refuse those that lead outside the root.

    Raises:
        ManifestError: a row names two recordings.
    """
    known = {name for clip in clips for name in _names(clip)}
    unknown = []
    for name, rows in table.rows.items():
        if name in known:
            continue
        if stems[name] > 1:
            raise table.error(rows[0][0], "clip", "the name with its extension, for several recordings have it", name)
        try:
            ensure_inside(root, root / name)
            unknown.append(name)
        except ManifestError as error:
            refused.append(Refusal(name, printable(f"{LABELS_FILE}, row {rows[0][0]}, column 'clip': {error}")))
    if unknown:
        verb = "name in the column 'clip' matches" if len(unknown) == 1 else "names in the column 'clip' match"
        cells = "".join(cell for name in unknown for _, row in table.rows[name] for cell in row)
        is_other_code = any("\udc80" <= letter <= "\udcff" for letter in cells)
        cure = " It is not UTF-8; save it as UTF-8." if is_other_code else ""
        notes.append(f"{LABELS_FILE}: {len(unknown)} {verb} no recording: {some(sorted(unknown))}.{cure}")
