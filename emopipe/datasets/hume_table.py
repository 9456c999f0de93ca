"""The lists of Hume-Reaction: which reactions there are, in which order and split, and what they are labelled.

    data_info.csv                      the release of ABAW-5
        File_ID,Split,Adoration,Amusement,Anxiety,Disgust,Empathic-Pain,Fear,Surprise,Age,Country
    c2_muse_reaction/labels.csv        the release of MuSe-2022: File_ID and the seven columns
    c2_muse_reaction/partition.csv     first column File_ID, last column train, devel or test

`File_ID` has brackets, "[00042]"; file names and clip ids have none. Columns are found by name.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from emopipe.datasets.csv_file import cell_of, read_csv
from emopipe.datasets.listing import cell_error, clip_name, entries, printable, some
from emopipe.errors import ManifestError
from emopipe.files import ensure_inside
from emopipe.records import Split
from emopipe.typing import Floats

# target -> the official name of its column; the order is the official one
COLUMN_OF: Final[Mapping[str, str]] = {
    "adoration": "Adoration", "amusement": "Amusement", "anxiety": "Anxiety", "disgust": "Disgust",
    "empathic_pain": "Empathic-Pain", "fear": "Fear", "surprise": "Surprise",
}  # fmt: skip
TARGETS: Final = tuple(COLUMN_OF)
KEY: Final = "File_ID"
SPLIT: Final = "Split"
INFO_FILE, LABELS_FILE, PARTITION_FILE = "data_info.csv", "labels.csv", "partition.csv"
FEATURES_FOLDER: Final = "feats"
_SPLIT_OF: Final[Mapping[str, Split]] = {"train": "train", "val": "dev", "devel": "dev", "test": "test"}


@dataclass(frozen=True)
class HumeTable:
    """A list with the seven columns.

    Attributes:
        path: the file.
        columns: its header, in lower case.
        rows: clip id -> (line from 1, cells), in the order of the file.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[int, tuple[str, ...]]]

    def has_labels(self, clip_id: str) -> bool:
        """Whether a clip is listed with anything in the seven columns; those of the test part are empty."""
        return clip_id in self.rows and any(self.cell(clip_id, column) for column in COLUMN_OF.values())

    def intensities(self, clip_id: str) -> Floats:
        """(7,) float64 in [0, 1], in the order of `TARGETS`.

        Raises:
            ManifestError: the clip is not listed, or a cell is not a number in [0, 1]; names line and column.
        """
        if clip_id not in self.rows:
            raise ManifestError(
                f"{printable(self.path)}: expected a row of '{printable(clip_id)}'. Received none.", path=self.path
            )
        return np.array([self._number(clip_id, column) for column in COLUMN_OF.values()])

    def cell(self, clip_id: str, column: str) -> str:
        """One cell without blanks around it; "" where the row is too short."""
        _, cells = self.rows[clip_id]
        return cell_of(cells, self.columns, column)

    def _number(self, clip_id: str, column: str) -> float:
        text = self.cell(clip_id, column)
        try:
            number = float(text)
        except ValueError:
            number = np.nan
        if not 0 <= number <= 1:
            raise cell_error(self.path, self.rows[clip_id][0], column, "a number in [0, 1]", text)
        return number


@dataclass(frozen=True)
class HumeLists:
    """All that one release says about its clips.

    Attributes:
        labels: the list with the seven columns.
        file_ids: clip id -> `File_ID` as the official file has it, in the official order.
        splits: clip id -> split.
        features: the folder of `feats/<FEATURE>/<id>.csv`, None in the release that has none.
        notes: plain sentences about what is unusual.
    """

    labels: HumeTable
    file_ids: Mapping[str, str]
    splits: Mapping[str, Split]
    features: Path | None = None
    notes: tuple[str, ...] = ()


def clip_id_of(file_id: str) -> str:
    """The clip id of a `File_ID`: without its brackets.

    Examples:
        >>> clip_id_of("[00042]")
        '00042'
    """
    return clip_name(file_id.strip().removeprefix("[").removesuffix("]"))


def official_ids(root: Path, split: Split) -> tuple[str, ...]:
    """`File_ID` of every clip of a split, in the official order, those without media included.

    Raises:
        ManifestError: there is no list, it is not in order, or it holds nothing of the split.

    Examples:
        >>> official_ids(Path("corpora/hume"), "test")[0]                        # doctest: +SKIP
        '[20463]'
    """
    lists = read_lists(root)
    if lists is None:
        raise ManifestError(
            f"{printable(root)}: expected {INFO_FILE}, or {LABELS_FILE} and {PARTITION_FILE}. Received neither.",
            path=root,
        )
    ids = tuple(file_id for clip_id, file_id in lists.file_ids.items() if lists.splits[clip_id] == split)
    if not ids:
        raise ManifestError(f"{printable(root)}: expected clips of split '{split}'. Received none.", path=root)
    return ids


def read_lists(root: Path) -> HumeLists | None:
    """Find and read the lists in the root or in a folder of it; None when there are none.

    Where both releases are there, that of ABAW-5 counts.

    Raises:
        ManifestError: there are two of one release, a list is not CSV or lacks a column, a split is unknown, or a clip
            is listed twice.
    """
    folders = [root, *(Path(entry.path) for entry in entries(root) if entry.is_dir())]
    infos = [folder / INFO_FILE for folder in folders if (folder / INFO_FILE).is_file()]
    partitions = [
        folder / PARTITION_FILE
        for folder in folders
        if (folder / PARTITION_FILE).is_file() and (folder / LABELS_FILE).is_file()
    ]
    for paths in (infos, partitions):
        if len(paths) > 1:
            both = " and ".join(printable(path) for path in paths)
            raise ManifestError(f"{printable(root)}: expected one {paths[0].name}. Received: {both}. Remove one.")
    if infos:
        return _abaw_lists(ensure_inside(root, infos[0]))
    return _muse_lists(ensure_inside(root, partitions[0])) if partitions else None


def _abaw_lists(path: Path) -> HumeLists:
    table = _table(path, (KEY, SPLIT, *COLUMN_OF.values()))
    splits = {
        clip_id: _split(path, line, SPLIT, table.cell(clip_id, SPLIT)) for clip_id, (line, _) in table.rows.items()
    }
    return HumeLists(table, {clip_id: table.cell(clip_id, KEY) for clip_id in table.rows}, splits)


def _muse_lists(path: Path) -> HumeLists:
    labels = _table(ensure_inside(path.parent, path.with_name(LABELS_FILE)), (KEY, *COLUMN_OF.values()))
    columns, lines = read_csv(path, ())
    if len(columns) < 2 or columns[-1] in _SPLIT_OF:
        raise cell_error(path, 1, columns[-1] if columns else "", "a header of at least two columns", ",".join(columns))
    file_ids: dict[str, str] = {}
    splits: dict[str, Split] = {}
    for line, cells in lines:
        clip_id = _clip_id(path, line, columns[0], cells[0])
        if clip_id in splits:
            raise cell_error(path, line, columns[0], "every clip once", cells[0])
        splits[clip_id] = _split(path, line, columns[-1], cells[-1] if len(cells) == len(columns) else "")
        file_ids[clip_id] = cells[0].strip()
    lost = [clip_id for clip_id in labels.rows if clip_id not in splits]
    notes = [f"{LABELS_FILE}: clips that {PARTITION_FILE} lacks are left out ({len(lost)}): {some(lost)}."]
    return HumeLists(labels, file_ids, splits, path.parent / FEATURES_FOLDER, tuple(notes if lost else ()))


def read_table(path: Path) -> HumeTable:
    """The list with the seven columns; a second call for an unchanged file costs nothing.

    Raises:
        ManifestError: it cannot be read, lacks a column, or lists a clip twice.
    """
    return _table(path, (KEY, *COLUMN_OF.values()))


def _table(path: Path, needed: tuple[str, ...]) -> HumeTable:
    stat = path.stat()
    return _read_table(path, needed, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4)
def _read_table(path: Path, needed: tuple[str, ...], mtime_ns: int, size: int) -> HumeTable:
    del mtime_ns, size  # they are there to tell a changed file from the one in memory
    columns, lines = read_csv(path, needed)
    place = columns.index(KEY.lower())
    rows: dict[str, tuple[int, tuple[str, ...]]] = {}
    for line, cells in lines:
        file_id = cells[place] if place < len(cells) else ""
        clip_id = _clip_id(path, line, KEY, file_id)
        if clip_id in rows:
            raise cell_error(path, line, KEY, f"every clip once; line {rows[clip_id][0]} has this one", file_id)
        rows[clip_id] = (line, cells)
    return HumeTable(path, columns, rows)


def _clip_id(path: Path, line: int, column: str, file_id: str) -> str:
    clip_id = clip_id_of(file_id)
    if clip_id in ("", ".", "..") or "/" in clip_id or "\\" in clip_id:
        raise cell_error(path, line, column, "an id like [00042]", file_id)
    return clip_id


def _split(path: Path, line: int, column: str, text: str) -> Split:
    if (split := _SPLIT_OF.get(text.strip().lower())) is None:
        raise cell_error(path, line, column, "Train, Val (devel) or Test", text)
    return split
