"""Tables of several seeds as csv: a run replaces the rows of its own seed, and no smoke run replaces measured rows."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from emopipe.errors import ConfigError
from emopipe.files import write_whole

PHANTOM = "phantom "  # what the dataset of a row begins with when the corpus was generated, as for a smoke run


def read_table(path: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """Columns and rows of a table; () and [] where there is no file.

    Raises:
        ConfigError: a row has more or fewer cells than there are columns.
    """
    if not path.exists():
        return (), []
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        reader = csv.reader(file)
        columns = tuple(next(reader, ()))
        rows = []
        for cells in reader:
            if len(cells) != len(columns):
                raise ConfigError(
                    f"{path}, line {reader.line_num}: expected {len(columns)} cells. Received: {len(cells)}.\n"
                    "Move the file away and run: emopipe reproduce"
                )
            rows.append(dict(zip(columns, cells, strict=True)))
    return columns, rows


def expect_columns(path: Path, expected: Sequence[str], found: Sequence[str]) -> None:
    """Refuse a table with other columns.

    Raises:
        ConfigError: the columns differ.
    """
    if tuple(found) != tuple(expected):
        raise ConfigError(
            f"{path}: expected the columns {','.join(expected)}.\nReceived: {','.join(found)}. Move the file away."
        )


def write_seed(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write the rows of one run; rows of other seeds that are there already stay.

    Args:
        path: the table.
        rows: column -> cell, the same columns in all of them, with "dataset" and "seed" among them.

    Raises:
        ConfigError: the file has other columns, or measured rows where these are of a generated corpus.
        StorageError: it cannot be written.
    """
    columns, old = read_table(path)
    if columns:
        expect_columns(path, tuple(rows[0]), columns)
    is_phantom = str(rows[0]["dataset"]).startswith(PHANTOM)
    kept = [row for row in old if row["seed"] != str(rows[0]["seed"])]
    if is_phantom != all(row["dataset"].startswith(PHANTOM) for row in old):
        if is_phantom:
            raise ConfigError(
                f"{path}: holds measured numbers, which those of a smoke run must not replace.\n"
                "Give another folder with --results."
            )
        kept = []
    text = io.StringIO()
    writer = csv.DictWriter(text, tuple(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *rows])
    write_whole(path, text.getvalue().encode("utf-8", "surrogateescape"))
