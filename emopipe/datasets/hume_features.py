"""The ready-made features of the MuSe-2022 release of Hume-Reaction: `feats/<FEATURE>/<id>.csv`."""

from pathlib import Path

import numpy as np

from emopipe.datasets.csv_file import read_csv
from emopipe.datasets.listing import cell_error, clip_name, entries, printable, why_not_video
from emopipe.datasets.manifest import Refusal
from emopipe.errors import ManifestError
from emopipe.records import ReadyMadeRows
from emopipe.typing import Floats

_NUM_OTHER_COLUMNS = 2  # timestamp and segment_id, in either order: the baseline goes by position
_TIME = "timestamp"
_MOST_SECONDS = 60.0  # clips have some 17 s at most, so numbers beyond it are milliseconds
_LARGEST = float(np.finfo(np.float32).max)


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


def files_of(root: Path, folder: Path) -> tuple[dict[str, Path], list[Refusal]]:
    """Clip id -> its file in ``feats/<FEATURE>``, sorted; and what is named like one and must not be read."""
    found: dict[str, Path] = {}
    refused = []
    for entry in entries(folder):
        if not entry.name.lower().endswith(".csv"):
            continue
        clip_id = clip_name(entry.name[:-4])
        if reason := why_not_video(root, entry, "feature file"):
            refused.append(Refusal(clip_id, reason))
        else:
            found[clip_id] = Path(entry.path)
    return found, refused


def read_muse_features(path: Path) -> ReadyMadeRows:
    """The features of one clip, one row for each step of the feature's own axis.

    The first two columns are no features, whatever they are called: the order of timestamp and segment is not fixed.
    Times are those of the one that is called ``timestamp``, milliseconds where one is above 60 and else seconds; where
    neither is called so, or a time is no number, they are the numbers of the steps.

    Args:
        path: ``feats/<FEATURE>/<id>.csv``, with a header.

    Returns:
        T rows of D values; NaN where a cell is empty or says nan.

    Raises:
        ManifestError: it cannot be read, holds no row or no feature, or a cell is not a number; names line and column.

    Examples:
        >>> read_muse_features(Path("c2_muse_reaction/feats/FAUs/00042.csv")).values.shape  # doctest: +SKIP
        (48, 20)
    """
    columns, lines = read_csv(path, ())
    if len(columns) <= _NUM_OTHER_COLUMNS or not lines:
        raise ManifestError(
            f"{printable(path)}: expected a timestamp, a segment and at least one feature in each row. "
            f"Received: {len(columns)} columns and {len(lines)} rows.",
            path=path,
        )
    names = columns[_NUM_OTHER_COLUMNS:]
    values = np.empty((len(lines), len(names)))
    for index, (line, cells) in enumerate(lines):
        if len(cells) != len(columns):
            raise cell_error(path, line, columns[-1], f"{len(columns)} cells, as the header has", str(len(cells)))
        values[index] = [
            _number(path, line, name, cell) if cell.strip() else np.nan
            for name, cell in zip(names, cells[_NUM_OTHER_COLUMNS:], strict=True)
        ]
    return ReadyMadeRows(_times(columns, [cells for _, cells in lines]), values.astype(np.float32))


def _times(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Floats:
    """(T,) seconds, or the numbers of the steps."""
    if _TIME in columns[:_NUM_OTHER_COLUMNS]:
        place = columns.index(_TIME)
        try:
            times = np.array([float(cells[place]) for cells in rows])
        except ValueError:
            times = np.array([np.nan])
        if np.isfinite(times).all():
            return times / 1000 if times.max() > _MOST_SECONDS else times
    return np.arange(len(rows), dtype=np.float64)


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        number = float(cell)
    except ValueError as error:
        raise cell_error(path, line, column, "a number, or nothing", cell) from error
    if abs(number) > _LARGEST:
        raise cell_error(path, line, column, "a number, or nothing", cell)
    return number
