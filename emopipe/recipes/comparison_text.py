"""A comparison with a paper as text: aligned columns, 120 characters wide."""

import math
import textwrap

from emopipe.recipes.comparison import Cell, ComparedRow, ComparedTable, Comparison
from emopipe.recipes.recipe import Table

WIDTH = 120
_NOTHING = "-"
_GAP = 2
_HEADS = ("quantity", "published", "ours", "95 % interval", "p", "rows", "seeds")
_COUNTS = ("best_epoch",)  # shown without decimals
_DECIMALS = 3  # of ours

LEGEND = (
    "ours: the mean over the seeds; the interval is the mean of theirs. p: two-sided, from a bootstrap that draws "
    "clips or source videos once for the row and for the reference; it is not corrected for the number of rows."
)
PHANTOM_LEGEND = (
    "[phantom]: scored on a generated corpus, as in a smoke run. These numbers say nothing about the paper's and are "
    "compared with each other only."
)


def comparison_text(comparison: Comparison) -> str:
    """All tables, for people."""
    paper = comparison.paper
    lines = textwrap.wrap(f"{comparison.name}: {paper.citation} ({paper.identifier})", WIDTH)
    lines += textwrap.wrap(LEGEND, WIDTH)
    if any(row.is_phantom for compared in comparison.tables for row in compared.rows):
        lines += textwrap.wrap(PHANTOM_LEGEND, WIDTH)
    for compared in comparison.tables:
        lines += ["", *_table_lines(compared)]
    return "\n".join(lines)


def heading(compared: ComparedTable) -> str:
    """Name, caption, what stands in parentheses, and the row of reference."""
    table = compared.table
    raw = " In parentheses: without post-processing." if table.with_raw else ""
    labels = {row.recipe: row.label for row in compared.rows}
    reference = compared.reference and f" Reference: {labels.get(compared.reference, '')} ({compared.reference})."
    return f"{table.name}. {table.caption}{raw}{(reference or '').replace(':  (', ': (')}"


def quantity(key: str) -> str:
    """A key in words.

    Examples:
        >>> quantity("mse_positive_low_valence")
        'mse positive low valence'
    """
    return key.replace("_", " ")


def cell_texts(cell: Cell, row: ComparedRow, compared: ComparedTable) -> tuple[str, str, str, str]:
    """Published, ours, interval and p-value of a cell; published numbers have as many decimals as any of the table."""
    table, decimals = compared.table, _decimals(compared)
    printed = [_number(cell.key, value, decimals) for value in (cell.published, cell.published_raw)]
    published = _pair(printed[0], printed[1], table)
    if not row.dataset:
        return published, "not run", "", ""
    interval = f"{cell.low:.3f} to {cell.high:.3f}" if cell.low is not None and cell.high is not None else _NOTHING
    ours = [_number(cell.key, value, _DECIMALS) for value in (cell.ours, cell.ours_raw)]
    return published, _pair(ours[0], ours[1], table), interval, _p_value(cell, row)


def row_count(cell: Cell) -> str:
    """How many rows the number is of; "" where there is no number."""
    return "" if cell.num_rows is None else str(cell.num_rows)


def _table_lines(compared: ComparedTable) -> list[str]:
    blocks = [(row, _block(row, compared)) for row in compared.rows]
    columns = zip(_HEADS, *(line for _, block in blocks for line in block), strict=True)
    widths = [max(map(len, column)) for column in columns]
    left = WIDTH - sum(widths) - _GAP * len(widths)
    left = min(left, max([len("recipe"), *(len(line) for row in compared.rows for line in _names(row))]))
    lines = [*textwrap.wrap(heading(compared), WIDTH), _line("recipe", _HEADS, left, widths)]
    for row, block in blocks:
        names = [part for name in _names(row) for part in textwrap.wrap(name, left)]
        for number in range(max(len(names), len(block))):
            name = names[number] if number < len(names) else ""
            lines.append(_line(name, block[number] if number < len(block) else (), left, widths))
    for note in compared.notes:
        lines += textwrap.wrap(f"note: {note}", WIDTH)
    return lines


def _names(row: ComparedRow) -> tuple[str, ...]:
    """What the paper calls it, its name here, and whether it is of a generated corpus."""
    return (row.label, f"  {row.recipe.partition('/')[2]}", *([f"  [{row.dataset}]"] if row.is_phantom else []))


def _block(row: ComparedRow, compared: ComparedTable) -> list[tuple[str, ...]]:
    """The cells of each line of a row; what would repeat the line above is left out."""
    lines: list[tuple[str, ...]] = []
    seeds, above = ",".join(map(str, row.seeds)), ""
    for cell in row.cells:
        num_rows = row_count(cell)
        lines.append(
            (quantity(cell.key), *cell_texts(cell, row, compared), "" if num_rows == above else num_rows, seeds)
        )
        above, seeds = num_rows or above, ""
    return lines


def _line(name: str, cells: tuple[str, ...], left: int, widths: list[int]) -> str:
    """The first two columns stand left, all others right."""
    parts = [f"{name:<{left}}"]
    parts += [f"{cell:{'<' if not number else '>'}{widths[number]}}" for number, cell in enumerate(cells)]
    return (" " * _GAP).join(parts).rstrip()


def _pair(value: str, raw: str, table: Table) -> str:
    return f"{value} ({raw})" if table.with_raw and raw != _NOTHING else value


def _decimals(compared: ComparedTable) -> int:
    cells = [cell for row in compared.rows for cell in row.cells if cell.key not in _COUNTS]
    printed = [value for cell in cells for value in (cell.published, cell.published_raw) if value is not None]
    return max((len(f"{value:g}".partition(".")[2]) for value in printed), default=0)


def _number(key: str, value: float | None, decimals: int) -> str:
    if value is None or not math.isfinite(value):
        return _NOTHING
    return f"{value:.{0 if key in _COUNTS else decimals}f}"


def _p_value(cell: Cell, row: ComparedRow) -> str:
    if row.is_reference:
        return "reference"
    if cell.against_reference is None or not math.isfinite(cell.against_reference.p):
        return _NOTHING
    p = cell.against_reference.p
    return "<0.001" if p < 0.001 else f"{p:.3f}"
