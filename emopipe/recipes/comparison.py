"""A paper's tables with ours beside them, as records; what makes them is `emopipe.recipes.compare`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emopipe.bootstrap import Paired
from emopipe.recipes.recipe import Paper, Table
from emopipe.recipes.seed_rows import PHANTOM


@dataclass(frozen=True)
class Cell:
    """One quantity of a row.

    Attributes:
        key: which; one of `Table.metrics`.
        published, published_raw: as printed, with and without post-processing; None where nothing is.
        ours, ours_raw: measured, the mean over the seeds; None where the recipe was not run or gives no such number.
        low, high: the mean over the seeds of the bounds of their 95 % intervals; None where there are none.
        spread: standard deviation over the seeds, divided by their number less one; None for one seed.
        num_rows: rows that `ours` is computed from; None with it.
        against_reference: difference from the row of reference; None where the two are not compared.
    """

    key: str
    published: float | None = None
    published_raw: float | None = None
    ours: float | None = None
    ours_raw: float | None = None
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    num_rows: int | None = None
    against_reference: Paired | None = None


@dataclass(frozen=True)
class ComparedRow:
    """A recipe in a table of its paper.

    Attributes:
        label, recipe: what the paper calls it, and its name here.
        cells: in the order of `Table.metrics`.
        dataset: what it was scored on, "phantom <layout>" for a generated corpus; "" where it was not run.
        seeds: of its trainings.
        is_reference: whether the others of the table are compared with it.
    """

    label: str
    recipe: str
    cells: tuple[Cell, ...]
    dataset: str
    seeds: tuple[int, ...]
    is_reference: bool

    @property
    def is_phantom(self) -> bool:
        """Whether the numbers are of a generated corpus, as a smoke run's."""
        return self.dataset.startswith(PHANTOM)


@dataclass(frozen=True)
class ComparedTable:
    """A table of the paper.

    Attributes:
        table: its name, caption and metrics.
        rows: in the paper's order.
        reference: name of the recipe that the others are compared with; None where nothing is to be compared.
        notes: which rows are not compared, and why.
    """

    table: Table
    rows: tuple[ComparedRow, ...]
    reference: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """All tables of a paper. `emopipe.recipes.comparison_text` prints it, `emopipe.recipes.page` makes a page of it.

    Attributes:
        name, paper: of the paper.
        results: the folder that the numbers are from.
        tables: in the paper's order.
        deviations: recipe -> sentences, for every recipe of the tables.
    """

    name: str
    paper: Paper
    results: Path
    tables: tuple[ComparedTable, ...]
    deviations: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; what is undefined is null."""
        return {
            "paper": self.name,
            "citation": self.paper.citation,
            "identifier": self.paper.identifier,
            "results": str(self.results),
            "tables": [_table_dict(each) for each in self.tables],
            "deviations": {name: list(sentences) for name, sentences in self.deviations.items()},
        }


def _table_dict(compared: ComparedTable) -> dict[str, Any]:
    return {
        "table": compared.table.name,
        "caption": compared.table.caption,
        "reference": compared.reference,
        "rows": [
            {
                "label": row.label,
                "recipe": row.recipe,
                "dataset": row.dataset or None,
                "phantom": row.is_phantom,
                "seeds": list(row.seeds),
                "is_reference": row.is_reference,
                "cells": [_cell_dict(cell) for cell in row.cells],
            }
            for row in compared.rows
        ],
        "notes": list(compared.notes),
    }


def _cell_dict(cell: Cell) -> dict[str, Any]:
    content = asdict(cell)
    if cell.against_reference is not None:
        content["against_reference"] = _finite(cell.against_reference._asdict())
    return _finite(content)


def _finite(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in content.items()}
