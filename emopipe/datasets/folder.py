"""Any folder of videos, with an optional `labels.csv`: a user's own recordings need no code.

`labels.csv` has a header. Its columns, in any order:

    clip      path of the video below the root, with or without its extension
    split     optional: train, dev or test
    subject   optional: who is seen
    frame     optional: 0-based frame that the row belongs to, as `emopipe predict` writes it
    time_s    optional, instead of frame: seconds in the video
    anything else is a target: a number, or empty where there is no label

Without `frame` and `time_s` a clip has one row, its label as a whole.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from emopipe.datasets import labels_table
from emopipe.datasets.adapter import Adapter, Source
from emopipe.datasets.labels_table import Table
from emopipe.datasets.listing import (
    clip_name,
    entries,
    not_found,
    printable,
    require_folder,
    some,
    video_stem,
    why_not_video,
)
from emopipe.datasets.manifest import Manifest, Refusal
from emopipe.errors import ManifestError
from emopipe.files import ensure_inside
from emopipe.records import Clip, Labels, Split

TITLE = "folder of videos"
EXPECTED = "video files (.mp4, .avi, .mov, .mkv, .webm, ...) in it or in folders below"
LABELS_FILE = "labels.csv"
TASK = "labels"
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


class Folder(Adapter):
    """Videos in a folder, at any depth; a clip's id is its path below the root without the extension."""

    name = "folder"
    tasks = (TASK,)

    def scan(self, root: Path, *, source: Source | None = None) -> Manifest:
        require_folder(root, TITLE, EXPECTED)
        if source == "images":
            raise ManifestError(f"{printable(root)}: folders of images are not read. Expected videos.", path=root)
        refused: list[Refusal] = []
        notes: list[str] = []
        videos = list(_walk(root, root, "", refused, notes))
        if not videos and not refused:
            raise not_found(root, TITLE, EXPECTED)
        # 001.mp4 and 001.avi are two clips and keep their extensions
        stems = Counter(stem for _, stem, _ in videos)
        clips = [Clip(stem if stems[stem] == 1 else full, path) for full, stem, path in videos]
        table = None
        if (path := root / LABELS_FILE).exists():
            table = labels_table.read_table(ensure_inside(root, path))
            _report_rows(root, table, clips, stems, refused, notes)
        clips = sorted((_with_labels(clip, table) for clip in clips), key=lambda clip: clip.clip_id)
        unlabelled = [clip.clip_id for clip in clips if not clip.annotations]
        if table is not None and table.targets and unlabelled:
            verb = "video has" if len(unlabelled) == 1 else "videos have"
            notes.append(f"{len(unlabelled)} {verb} no row in {LABELS_FILE}: {some(unlabelled)}.")
        return Manifest(self.name, root, tuple(clips), tuple(notes), refused=tuple(refused))

    def read_labels(self, clip: Clip, task: str | None = None) -> Labels:
        """The clip's rows of `labels.csv`, in the order of their frames or times."""
        _, path = self.annotation(clip, task)
        table = labels_table.read_table(path)
        return table.labels(clip.clip_id, _rows(table, clip))


def _walk(
    root: Path, folder: Path, prefix: str, refused: list[Refusal], notes: list[str]
) -> Iterator[tuple[str, str, Path]]:
    """(path with extension, path without it, file) of every video, with forward slashes; links to folders are left."""
    for entry in entries(folder):
        name = prefix + clip_name(entry.name)
        if (stem := video_stem(entry.name)) is not None:
            if reason := why_not_video(root, entry):
                refused.append(Refusal(name, reason))
            else:
                yield name, prefix + clip_name(stem), Path(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(root, Path(entry.path), f"{name}/", refused, notes)
        elif entry.is_symlink() and entry.is_dir():
            notes.append(f"{name} is a link to a folder and is not followed.")


def _names(clip: Clip) -> tuple[str, str]:
    """How the column `clip` may call a clip: without and with its extension."""
    return clip.clip_id, clip.clip_id + clip_name(clip.media.suffix)


def _rows(table: Table, clip: Clip) -> list[tuple[int, list[str]]]:
    return [row for name in _names(clip) for row in table.rows.get(name, ())]


def _with_labels(clip: Clip, table: Table | None) -> Clip:
    rows = _rows(table, clip) if table is not None else []
    if table is None or not rows:
        return Clip(clip.clip_id, clip.media, subject=clip.clip_id)
    stated = table.one_value(rows, "split")
    split = next((known for known in SPLITS if known == stated), None)
    if stated and split is None:
        raise table.error(rows[0][0], "split", "train, dev or test", stated)
    subject = table.one_value(rows, "subject") or clip.clip_id
    annotations = {TASK: table.path} if table.targets else {}
    return Clip(clip.clip_id, clip.media, split=split, subject=subject, annotations=annotations)


def _report_rows(
    root: Path, table: Table, clips: list[Clip], stems: Counter[str], refused: list[Refusal], notes: list[str]
) -> None:
    """Say which rows belong to no video, and refuse those that lead outside the root.

    Raises:
        ManifestError: a row names two videos.
    """
    known = {name for clip in clips for name in _names(clip)}
    unknown = []
    for name, rows in table.rows.items():
        if name in known:
            continue
        if stems[name] > 1:
            raise table.error(rows[0][0], "clip", "the name with its extension, for several videos have it", name)
        try:
            ensure_inside(root, root / name)
            unknown.append(name)
        except ManifestError as error:
            refused.append(Refusal(name, printable(f"{LABELS_FILE}, row {rows[0][0]}, column 'clip': {error}")))
    if unknown:
        verb = "name in the column 'clip' matches" if len(unknown) == 1 else "names in the column 'clip' match"
        notes.append(f"{LABELS_FILE}: {len(unknown)} {verb} no video: {some(sorted(unknown))}.")
