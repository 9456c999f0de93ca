"""The file that challenges on Hume-Reaction take predictions in: `File_ID`, with its brackets, and seven columns.

Rows are in the order of the official list of the split, and there is one for every clip of it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from emopipe.datasets.csv_file import finite_number, read_csv
from emopipe.datasets.hume_table import COLUMN_OF, KEY, TARGETS, clip_id_of
from emopipe.datasets.listing import cell_error, printable, some
from emopipe.errors import ConfigError, ManifestError
from emopipe.files import write_whole
from emopipe.typing import Floats

COLUMNS = (KEY, *COLUMN_OF.values())


def write_predictions(path: Path, official: Sequence[str], values: Mapping[str, Floats]) -> tuple[str, ...]:
    """Write one line for each official clip, in the official order.

    A clip without a prediction, or with one that is not finite, is given the mean of all predictions.

    Args:
        path: the file.
        official: `File_ID` of each row; see `hume_table.official_ids`.
        values: clip id -> (7,) in the order of `hume_table.TARGETS`. They are written as they are: the file scores what
            the run scores.

    Returns:
        What the user is to be told: which clips were given the mean, if any.

    Raises:
        ConfigError: no clip has a prediction, one is not official, or one has another number of values.
        StorageError: the file cannot be written.
    """
    names = [clip_id_of(file_id) for file_id in official]
    if strangers := sorted(values.keys() - set(names)):
        raise ConfigError(
            f"{path}: expected predictions of the {len(names)} official clips. Received: '{strangers[0]}'."
        )
    for clip_id, row in values.items():
        if np.shape(row) != (len(TARGETS),):
            raise ConfigError(f"{path}: expected {len(TARGETS)} values of '{clip_id}'. Received: {np.shape(row)}.")
    known = {clip_id: row for clip_id, row in values.items() if np.isfinite(row).all()}
    if not known:
        raise ConfigError(f"{path}: expected a prediction of at least one of {len(names)} clips. Received none.")
    mean: Floats = np.stack([known[name] for name in names if name in known]).mean(axis=0)
    lines = [",".join(COLUMNS)]
    for file_id, name in zip(official, names, strict=True):
        lines.append(",".join([file_id, *(f"{value:.6f}" for value in known.get(name, mean))]))
    write_whole(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    lacking = [file_id for file_id, name in zip(official, names, strict=True) if name not in known]
    if not lacking:
        return ()
    verb = "has no prediction and is" if len(lacking) == 1 else "have no prediction and are"
    return (f"{len(lacking)} of {len(official)} official clips {verb} given the mean of the others: {some(lacking)}.",)


def read_predictions(path: Path, official: Sequence[str]) -> Floats:
    """Read a file of predictions and compare its rows with the official ones.

    Args:
        path: the file.
        official: as in `write_predictions`.

    Returns:
        (N, 7) in the order of `hume_table.TARGETS`.

    Raises:
        ManifestError: the columns are not the official eight in their order, there is another number of rows, a clip is
            not the official one of its row, or a cell is not a number.
    """
    columns, rows = read_csv(path, COLUMNS)
    if columns != tuple(name.lower() for name in COLUMNS):
        raise ManifestError(
            f"{printable(path)}, line 1: expected {','.join(COLUMNS)}. Received: {printable(','.join(columns))}.",
            path=path,
            row=1,
        )
    if len(rows) != len(official):
        raise ManifestError(
            f"{printable(path)}: expected {len(official)} rows, one for every official clip. Received: {len(rows)}.",
            path=path,
        )
    values = np.empty((len(rows), len(TARGETS)))
    for index, ((line, cells), file_id) in enumerate(zip(rows, official, strict=True)):
        if cells[0].strip() != file_id:
            raise cell_error(path, line, KEY, f"'{file_id}' here, as in the official list", cells[0])
        for place, column in enumerate(COLUMN_OF.values()):
            text = cells[place + 1].strip() if place + 1 < len(cells) else ""
            values[index, place] = finite_number(path, line, column, text)
    return values
