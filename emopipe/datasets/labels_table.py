"""The user's own `labels.csv`: read once as text, turned into numbers clip by clip."""

import csv
import functools
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from emopipe.datasets.listing import LFS_STUB_START, clip_name, printable
from emopipe.errors import ManifestError
from emopipe.records import VA_TARGETS, Labels
from emopipe.typing import Bools, Floats

NOT_TARGETS = ("clip", "split", "subject", "frame", "time_s")
Row = tuple[int, list[str]]  # line of the file, counted from 1; cells


@dataclass(frozen=True)
class Table:
    """`labels.csv`.

    Attributes:
        path: the file.
        columns: the header, stripped and in lower case where it is one of emopipe's own names.
        rows: what the column `clip` says -> the rows that say it.
    """

    path: Path
    columns: tuple[str, ...]
    rows: dict[str, list[Row]]

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that hold labels, valence before arousal."""
        own = [name for name in self.columns if name not in NOT_TARGETS]
        return tuple(sorted(own, key=lambda name: VA_TARGETS.index(name) if name in VA_TARGETS else len(VA_TARGETS)))

    def error(self, row: int, column: str, expected: str, received: str) -> ManifestError:
        """The error for one cell."""
        return ManifestError(
            f"{printable(self.path)}, row {row}, column '{column}': expected {expected}. "
            f"Received: '{printable(received)}'.",
            path=self.path,
            row=row,
            column=column,
        )

    def cell(self, row: Row, column: str) -> str:
        """One cell without blanks around it.

        Raises:
            ManifestError: the row has fewer or more cells than the header.
        """
        number, cells = row
        if len(cells) != len(self.columns):
            missing = self.columns[min(len(cells), len(self.columns) - 1)]
            raise self.error(number, missing, f"{len(self.columns)} cells, as the header has", ",".join(cells))
        return cells[self.columns.index(column)].strip()

    def one_value(self, rows: list[Row], column: str) -> str:
        """What all rows of a clip say in a column that is about the clip; "" when there is no such column.

        Raises:
            ManifestError: they say different things.
        """
        if column not in self.columns:
            return ""
        value = self.cell(rows[0], column)
        for row in rows[1:]:
            if (other := self.cell(row, column)) != value:
                raise self.error(row[0], column, f"'{value}', as in the clip's first row", other)
        return value

    def labels(self, clip_id: str, rows: list[Row]) -> Labels:
        """The labels in the rows of one clip, sorted by frame or time.

        Raises:
            ManifestError: a cell is not the number it should be, a frame comes twice, or a clip has several rows and
                there is neither a column `frame` nor `time_s`.
        """
        values = np.array([[self._number(row, name) for name in self.targets] for row in rows], np.float64)
        valid: Bools = np.all(np.isfinite(values), axis=1)
        place = next((name for name in ("frame", "time_s") if name in self.columns), None)
        if place is None:
            if len(rows) > 1:
                raise self.error(rows[1][0], "clip", "one row per clip, or a column 'frame' or 'time_s'", clip_id)
            return Labels(self.targets, values, valid)
        places = self._places(rows, place)
        order = np.argsort(places, kind="stable")
        again = np.flatnonzero(np.diff(places[order]) == 0)
        if len(again):
            row = rows[order[again[0] + 1]]
            raise self.error(row[0], place, f"each {place} once per clip", self.cell(row, place))
        values, valid, places = values[order], valid[order], places[order]
        if place == "frame":
            return Labels(self.targets, values, valid, frame_index=places.astype(np.int64))
        return Labels(self.targets, values, valid, time_s=places)

    def _places(self, rows: list[Row], column: str) -> Floats:
        places = np.array([self._number(row, column) for row in rows], np.float64)
        bad = ~(places >= 0) | ((places % 1 != 0) if column == "frame" else False)
        if bad.any():
            row = rows[int(bad.argmax())]
            expected = "a whole number from 0 on" if column == "frame" else "seconds from 0 on"
            raise self.error(row[0], column, expected, self.cell(row, column))
        return places

    def _number(self, row: Row, column: str) -> float:
        text = self.cell(row, column)
        if text.lower() in ("", "nan"):  # `emopipe predict` leaves frames without a face empty
            return np.nan
        try:
            number = float(text)
        except ValueError:
            number = np.inf
        if not np.isfinite(number):
            raise self.error(row[0], column, "a number, or nothing where there is no label", text)
        return number


def read_table(path: Path) -> Table:
    """`labels.csv` as text; a second call for an unchanged file costs nothing.

    Raises:
        ManifestError: the file is no CSV with a column `clip`.
    """
    stat = path.stat()
    return _read_table(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=2)
def _read_table(path: Path, mtime_ns: int, size: int) -> Table:
    del mtime_ns, size  # they are there to tell a changed file from the one in memory
    content = path.read_bytes()
    if content.startswith(LFS_STUB_START):
        raise ManifestError(f"{printable(path)}: a Git LFS pointer, not the file. Run: git lfs pull", path=path)
    # bytes that are not UTF-8 are kept as Python keeps them in file names, so that names still meet their files
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig", "surrogateescape"), newline=""))
    try:
        header = next(reader, [])
        columns = tuple(_column(name) for name in header)
        twice = [name for name, count in Counter(columns).items() if count > 1]
        if "clip" not in columns or twice:
            raise ManifestError(
                f"{printable(path)}, row 1: expected a header with the column 'clip' and no name twice. "
                f"Received: '{printable(','.join(header))[:80]}'."
                + ("\nColumns are separated by commas." if len(header) == 1 and ";" in header[0] else ""),
                path=path,
                row=1,
                column=twice[0] if twice else "clip",
            )
        table = Table(path, columns, {})
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            row = (reader.line_num, cells)
            table.rows.setdefault(_clip_name(table, row), []).append(row)
    except csv.Error as error:
        raise ManifestError(f"{printable(path)}, row {reader.line_num}: not CSV ({error}).", path=path) from error
    return table


def _column(name: str) -> str:
    stripped = name.strip()
    lowered = stripped.lower()
    return lowered if lowered in (*NOT_TARGETS, *VA_TARGETS) else stripped


def _clip_name(table: Table, row: Row) -> str:
    place = table.columns.index("clip")
    text = row[1][place].strip() if place < len(row[1]) else ""
    if not text:
        raise table.error(row[0], "clip", "the path of a video below the corpus folder", "")
    # "./a\\b.mp4" and "a/b.mp4" are the same; ".." stays, so that it is refused
    return clip_name(str(PurePosixPath(text.replace("\\", "/"))))
