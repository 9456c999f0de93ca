"""The file that the OMG-Emotion challenge takes predictions in: ``video,utterance,arousal,valence``.

The official evaluator puts the rows of this file beside those of the official list by their place alone, so that a row
too few, or two rows in another order, spoil every score behind them. Files are compared by name here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from emopipe.datasets.csv_file import cell_of, finite_number, read_csv
from emopipe.datasets.listing import printable
from emopipe.datasets.omg_table import KEY_COLUMNS, clip_id_of
from emopipe.errors import ManifestError
from emopipe.files import write_whole
from emopipe.records import VA_TARGETS
from emopipe.typing import Floats

COLUMNS = ("video", "utterance", "arousal", "valence")


def write_predictions(path: Path, official: Sequence[tuple[str, str]], values: Mapping[str, Floats]) -> None:
    """Write one line for each official row, in the official order.

    Args:
        path: the file.
        official: (video, utterance) of each row; see `omg_lists.official_rows`.
        values: clip id of every official row -> (2,) valence and arousal, finite. They are written as they are: the
            file scores what the run scores.

    Raises:
        StorageError: the file cannot be written.
    """
    lines = [",".join(COLUMNS)]
    for video, utterance in official:
        valence, arousal = values[clip_id_of(video, utterance)]
        lines.append(f"{video},{utterance},{arousal:.6f},{valence:.6f}")
    write_whole(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


def read_predictions(path: Path, official: Sequence[tuple[str, str]]) -> Floats:
    """Read a file of predictions and compare its rows with the official ones.

    Args:
        path: the file; its columns may stand in any order.
        official: as in `write_predictions`.

    Returns:
        (N, 2) valence and arousal of the N official rows.

    Raises:
        ManifestError: a column is missing, a number is none, an utterance comes twice, is missing or not official,
            or the rows are in another order.
    """
    columns, rows = read_csv(path, COLUMNS)
    keys = [tuple(cell_of(cells, columns, name) for name in KEY_COLUMNS) for _, cells in rows]
    _compare(path, [line for line, _ in rows], keys, [tuple(row) for row in official])
    values = np.empty((len(rows), len(VA_TARGETS)))
    for place, (line, cells) in enumerate(rows):
        for column, target in enumerate(VA_TARGETS):
            values[place, column] = finite_number(path, line, target, cell_of(cells, columns, target))
    return values


def _compare(path: Path, lines: list[int], keys: list[tuple[str, ...]], official: list[tuple[str, ...]]) -> None:
    first: dict[tuple[str, ...], int] = {}
    for line, key in zip(lines, keys, strict=True):
        if (other := first.setdefault(key, line)) != line:
            raise _error(path, line, f"{_shown(key)} is on line {other} already. Expected every utterance once.")
    wanted = set(official)
    for line, key in zip(lines, keys, strict=True):
        if key not in wanted:
            what = f"expected an utterance of the official list. Received: {_shown(key)}"
            raise _error(path, line, f"{what}; {len(keys)} rows for {len(official)} official ones.")
    if absent := [key for key in official if key not in first]:
        raise ManifestError(
            f"{printable(path)}: expected {len(official)} rows, one for every official utterance. "
            f"Received: {len(keys)}.\nThe first that has none is {_shown(absent[0])}.",
            path=path,
        )
    for line, key, expected in zip(lines, keys, official, strict=True):
        if key != expected:
            what = f"expected {_shown(expected)} here. Received: {_shown(key)}"
            raise _error(
                path, line, f"{what}.\nThe evaluator goes by order: keep the rows as the official list has them."
            )


def _shown(key: tuple[str, ...]) -> str:
    return printable(", ".join(f"'{name}'" for name in key))


def _error(path: Path, line: int, what: str) -> ManifestError:
    return ManifestError(f"{printable(path)}, line {line}: {what}", path=path, row=line)
