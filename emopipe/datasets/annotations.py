"""Frame-by-frame annotation text files: an optional header, then one line per frame.

Line i of the body, counted from 0, belongs to frame i: `00001.jpg` and the first frame of the video are body line 0.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emopipe.datasets.listing import LFS_STUB_START, printable
from emopipe.errors import ManifestError
from emopipe.records import VA_TARGETS, Labels
from emopipe.typing import Bools, Floats

VA_EXPECTED = "two numbers in [-1, 1] or -5"
# The seven classes of 2020/21 are the first seven of 2022 and later, in the same order.
EXPR_CLASSES = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
AU_TARGETS = {
    8: tuple(f"AU{unit}" for unit in (1, 2, 4, 6, 12, 15, 20, 25)),  # 2020
    12: tuple(f"AU{unit}" for unit in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)),  # 2021 and later
}


@dataclass(frozen=True)
class Lines:
    """A text file: the cells of its header (empty without one) and its body, still as text."""

    path: Path
    header: tuple[str, ...]
    body: tuple[str, ...]

    def error(self, index: int, expected: str) -> ManifestError:
        """The error for body line `index`."""
        line = index + 1 + bool(self.header)
        return line_error(self.path, line, expected, self.body[index])

    def numbers(self, num_columns: int, expected: str) -> Floats:
        """The body as (N, num_columns) float64.

        Raises:
            ManifestError: a line has other than `num_columns` cells, or one that is not a finite number.
        """
        cells = [line.split(",") for line in self.body]
        try:
            values = np.array(cells, np.float64)
        except ValueError:  # a ragged row or a word; found below
            values = np.empty((0, 0))
        if values.shape == (len(cells), num_columns) and np.isfinite(values).all():
            return values
        is_bad = (len(row) != num_columns or not all(_is_number(cell) for cell in row) for row in cells)
        raise self.error(list(is_bad).index(True), expected)


def read_text(path: Path) -> str:
    """The text of an annotation file with plain line ends; tolerates a byte-order mark and blanks at the end.

    Raises:
        ManifestError: the file is missing, or a Git LFS pointer.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{printable(path)}: cannot be read ({error.strerror}).", path=path) from error
    if content.startswith(LFS_STUB_START):
        raise ManifestError(
            f"{printable(path)}: expected annotations. Received: a Git LFS pointer. Run: git lfs pull", path=path
        )
    # a byte that is not UTF-8 becomes a character that no number has, so that its line is named
    return content.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n").rstrip()


def read_lines(path: Path) -> Lines:
    """Read an annotation file line by line.

    Raises:
        ManifestError: the file is missing, empty, or a Git LFS pointer.
    """
    lines = read_text(path).split("\n")
    if lines == [""]:
        raise ManifestError(f"{printable(path)}: expected one line per frame. Received: an empty file.", path=path)
    first = tuple(cell.strip() for cell in lines[0].split(","))
    is_header = not any(_is_number(cell) for cell in first) and any(cell[:1].isalpha() for cell in first)
    body = tuple(lines[1:] if is_header else lines)
    if not body:
        raise ManifestError(f"{printable(path)}: expected one line per frame. Received: a header only.", path=path)
    return Lines(path, first if is_header else (), body)


def read_valence_arousal(path: Path) -> Labels:
    """Valence and arousal, columns by name, valence first without a header.

    A row is valid if both numbers are in [-1, 1]; annotators' -5 marks a frame without a label.

    Raises:
        ManifestError: a line does not hold as many numbers as there are columns.
    """
    lines = read_lines(path)
    names = tuple(name.lower() for name in lines.header) or VA_TARGETS
    if not set(VA_TARGETS) <= set(names):
        raise line_error(path, 1, "the header 'valence,arousal'", ",".join(lines.header))
    expected = VA_EXPECTED if len(names) == 2 else f"{len(names)} numbers, as the header has"
    values = lines.numbers(len(names), expected)[:, [names.index(target) for target in VA_TARGETS]]
    return frame_labels(VA_TARGETS, values, np.all(np.abs(values) <= 1, axis=1))


def read_expressions(path: Path) -> Labels:
    """Expression classes: one number per line, a position in the header's list of names; -1 is no label.

    Raises:
        ManifestError: a line is not one whole number between -1 and the last class.
    """
    lines = read_lines(path)
    classes = lines.header or EXPR_CLASSES
    expected = f"one class number from 0 to {len(classes) - 1}, or -1"
    values = lines.numbers(1, expected)
    is_bad = (values[:, 0] % 1 != 0) | (values[:, 0] < -1) | (values[:, 0] >= len(classes))
    if is_bad.any():
        raise lines.error(int(is_bad.argmax()), expected)
    return frame_labels(("expression",), values, values[:, 0] >= 0, classes)


def read_action_units(path: Path) -> Labels:
    """Action units: 0 or 1 in each column; a row with -1 in any column is no label.

    Raises:
        ManifestError: a line does not hold one of 0, 1, -1 for each unit, or the units cannot be told.
    """
    lines = read_lines(path)
    num_columns = len(lines.header) or len(lines.body[0].split(","))
    targets = tuple(name.upper() for name in lines.header) or AU_TARGETS.get(num_columns, ())
    if not targets or not all(re.fullmatch(r"AU\d+", name) for name in targets):
        received = ",".join(lines.header) or lines.body[0]
        raise line_error(path, 1, "a header like 'AU1,AU2,AU4', or 8 or 12 numbers", received)
    expected = f"{len(targets)} numbers, each 0, 1 or -1"
    values = lines.numbers(len(targets), expected)
    is_bad = ~np.isin(values, (-1, 0, 1)).all(axis=1)
    if is_bad.any():
        raise lines.error(int(is_bad.argmax()), expected)
    return frame_labels(targets, values, np.all(values >= 0, axis=1))


def read_column(path: Path, expected: str) -> Floats:
    """A file with one number per line, as (N,) float64.

    Raises:
        ManifestError: a line is not one number.
    """
    return read_lines(path).numbers(1, expected)[:, 0]


def frame_labels(targets: Sequence[str], values: Floats, valid: Bools, classes: Sequence[str] = ()) -> Labels:
    """Labels whose row i belongs to frame i, with NaN in the rows that are not valid."""
    values = np.where(valid[:, None], values, np.nan)
    return Labels(tuple(targets), values, valid, np.arange(len(values)), classes=tuple(classes))


def line_error(path: Path, line: int, expected: str, received: str) -> ManifestError:
    """The error for one line of a file, counted from 1."""
    shown = received if len(received) <= 60 else received[:57] + "..."
    return ManifestError(
        f"{printable(path)}, line {line}: expected {expected}. Received: '{printable(shown)}'.", path=path, row=line
    )


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False
