"""CSV files that corpora come with: what every list and every table of them is read with."""

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from emopipe.datasets.listing import LFS_STUB_START, cell_error, printable
from emopipe.errors import ManifestError


def read_csv(path: Path, needed: Collection[str]) -> tuple[tuple[str, ...], list[tuple[int, tuple[str, ...]]]]:
    """The header of a CSV file in lower case, and (line from 1, cells) of every row that is not blank.

    Raises:
        ManifestError: it cannot be read, is a Git LFS pointer, or lacks one of the `needed` columns.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{printable(path)}: cannot be read ({error.strerror}).", path=path) from error
    if content.startswith(LFS_STUB_START):
        raise ManifestError(f"{printable(path)}: a Git LFS pointer, not the file. Run: git lfs pull", path=path)
    # bytes that are not UTF-8 are kept as Python keeps them in file names, so that names still meet their folders
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig", "surrogateescape"), newline=""))
    try:
        header = next(reader, [])
        columns = tuple(name.strip().lower() for name in header)
        for name in needed:
            if (count := columns.count(name.lower())) != 1:
                raise ManifestError(
                    f"{printable(path)}, line 1: expected one column '{name}' of {', '.join(needed)}. "
                    f"Received {'none' if count == 0 else count} in: '{printable(','.join(header))[:80]}'.",
                    path=path,
                    row=1,
                    column=name,
                )
        rows = [(reader.line_num, tuple(cells)) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise ManifestError(f"{printable(path)}, line {reader.line_num}: not CSV ({error}).", path=path) from error
    return columns, rows


def cell_of(cells: Sequence[str], columns: Sequence[str], name: str) -> str:
    """The cell of a row in the column of this name, without blanks around it; "" where the row is too short."""
    place = columns.index(name.lower())
    return cells[place].strip() if place < len(cells) else ""


def finite_number(path: Path, line: int, column: str, text: str) -> float:
    """A cell as a number.

    Raises:
        ManifestError: it is none, or not finite; names line and column.
    """
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise cell_error(path, line, column, "a number", text)
    return number
