"""The ready-made features of the MuSe-2022 release of Hume-Reaction: `feats/<FEATURE>/<id>.csv`."""

from pathlib import Path

import numpy as np

from emopipe.datasets.listing import cell_error, entries, printable
from emopipe.datasets.omg_table import read_csv
from emopipe.errors import ManifestError
from emopipe.typing import Floats

_NUM_OTHER_COLUMNS = 2  # timestamp and segment_id, in either order: the baseline goes by position


def features_of(folder: Path) -> dict[str, frozenset[str]]:
    """Name of a feature ("DeepSpectrum") -> ids of the clips that have it, sorted by name; empty without the folder."""
    if not folder.is_dir():
        return {}
    found = {}
    for entry in entries(folder):
        if entry.is_dir():
            files = entries(Path(entry.path))
            found[entry.name] = frozenset(file.name[:-4] for file in files if file.name.lower().endswith(".csv"))
    return found


def read_muse_features(path: Path) -> Floats:
    """The features of one clip.

    The first two columns, timestamp and segment, are skipped by their position, because their order is not fixed.

    Args:
        path: ``feats/<FEATURE>/<id>.csv``, with a header.

    Returns:
        (T, D) float32, one row for each step of the feature's own axis; NaN where a cell is empty or says nan.

    Raises:
        ManifestError: it cannot be read, holds no row or no feature, or a cell is not a number.

    Examples:
        >>> read_muse_features(Path("c2_muse_reaction/feats/FAUs/00042.csv")).shape         # doctest: +SKIP
        (48, 20)
    """
    columns, lines = read_csv(path, ())
    if len(columns) <= _NUM_OTHER_COLUMNS or not lines:
        raise ManifestError(
            f"{printable(path)}: expected a timestamp, a segment and at least one feature in each row. "
            f"Received: {len(columns)} columns and {len(lines)} rows.",
            path=path,
        )
    values = np.empty((len(lines), len(columns) - _NUM_OTHER_COLUMNS), np.float32)
    for index, (line, cells) in enumerate(lines):
        if len(cells) != len(columns):
            raise cell_error(path, line, columns[-1], f"{len(columns)} cells, as the header has", str(len(cells)))
        for place, cell in enumerate(cells[_NUM_OTHER_COLUMNS:]):
            try:
                values[index, place] = float(cell) if cell.strip() else np.nan
            except ValueError as error:
                column = columns[_NUM_OTHER_COLUMNS + place]
                raise cell_error(path, line, column, "a number, or nothing", cell) from error
    return values
