"""What stands in a .csv that the program wrote."""

import csv
from pathlib import Path

import numpy as np


def rows_of(path: Path, clip: str | None = None) -> list[dict[str, str]]:
    """The rows by column, of one clip where it is given."""
    with path.open() as file:
        return [row for row in csv.DictReader(file) if clip in (None, row.get("clip"))]


def numbers(rows: list[dict[str, str]], *columns: str) -> np.ndarray:
    """(rows, columns), NaN where a cell is empty."""
    return np.array([[float(row[name] or "nan") for name in columns] for row in rows])
