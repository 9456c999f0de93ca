"""A comparison with a paper as one HTML file without anything from outside."""

import math
from collections.abc import Mapping
from html import escape

from emopipe.plots.page import bullets, html_document
from emopipe.recipes.comparison import Cell, ComparedRow, ComparedTable, Comparison
from emopipe.recipes.comparison_text import LEGEND, PHANTOM_LEGEND, cell_texts, heading, quantity, row_count

_STYLE = """
tbody.reference { background: var(--marked); }
tbody.phantom { color: var(--warm); }
tbody.missing td { color: var(--quiet); }
table { font-size: 0.84rem; }
thead th { white-space: normal; vertical-align: bottom; }
th, td, th[scope=row]:first-child { padding: 0.1rem 0.4rem; }
th[scope=rowgroup] { max-width: 13rem; }
"""
_HEADS = (
    "recipe",
    "quantity",
    "published",
    "ours",
    "sd over seeds",
    "95 % interval",
    "less the reference",
    "p",
    "rows",
)
_NUM_LEFT = 2  # the first columns stand left


def html_page(comparison: Comparison) -> str:
    """The page: a section for each table, then where each recipe departs from the paper."""
    paper = comparison.paper
    has_phantom = any(row.is_phantom for compared in comparison.tables for row in compared.rows)
    legends = [LEGEND, *([PHANTOM_LEGEND] if has_phantom else [])]
    parts = [
        f"<p>{escape(paper.citation)} ({escape(paper.identifier)})</p>",
        *(f'<p class="legend">{escape(legend)}</p>' for legend in legends),
        *(_section(compared) for compared in comparison.tables),
        *_deviations(comparison.deviations),
    ]
    title = f"{comparison.name}: published and measured"
    return html_document(title, parts, source=str(comparison.results), style=_STYLE)


def _section(compared: ComparedTable) -> str:
    heads = "".join(
        f'<th scope="col"{" class=left" if number < _NUM_LEFT else ""}>{escape(name)}</th>'
        for number, name in enumerate(_HEADS)
    )
    return "\n".join(
        [
            f"<section><h2>{escape(compared.table.name)}</h2>",
            f"<p>{escape(heading(compared).removeprefix(f'{compared.table.name}. '))}</p>",
            f'<div class="wide"><table><thead><tr>{heads}</tr></thead>',
            *(_row_group(row, compared) for row in compared.rows),
            "</table></div>",
            *(f'<p class="note">{escape(note)}</p>' for note in compared.notes),
            "</section>",
        ]
    )


def _row_group(row: ComparedRow, compared: ComparedTable) -> str:
    """A recipe as one tbody: a line for each of its quantities."""
    states = {"reference": row.is_reference, "phantom": row.is_phantom, "missing": not row.dataset}
    name = f"{escape(row.label)}<br><code>{escape(row.recipe)}</code>"
    if row.is_phantom:
        name += f"<br>[{escape(row.dataset)}]"
    if row.seeds:
        name += f"<br>seeds {', '.join(map(str, row.seeds))}"
    lines = [f'<tbody class="{" ".join(state for state, holds in states.items() if holds)}">']
    for number, cell in enumerate(row.cells):
        head = f'<th scope="rowgroup" rowspan="{len(row.cells)}">{name}</th>' if number == 0 else ""
        published, ours, interval, p = cell_texts(cell, row, compared)
        spread = "" if cell.spread is None else f"{cell.spread:.3f}"
        texts = (published, ours, spread, interval, _difference(cell), p, row_count(cell))
        cells = "".join(f"<td>{escape(text)}</td>" for text in texts)
        lines.append(f'<tr>{head}<th scope="row">{escape(quantity(cell.key))}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody>"])


def _difference(cell: Cell) -> str:
    found = cell.against_reference
    if found is None:
        return ""
    interval = f" ({found.low:+.3f} to {found.high:+.3f})" if math.isfinite(found.low) else ""
    return f"{found.difference:+.3f}{interval}"


def _deviations(deviations: Mapping[str, tuple[str, ...]]) -> list[str]:
    """What differs from the paper: once what all recipes share, then of each recipe the rest."""
    lists = list(deviations.values())
    shared = [sentence for sentence in lists[0] if all(sentence in each for each in lists)]
    parts = ["<section><h2>Where the recipes depart from the paper</h2>"]
    if shared:
        parts += ["<h3>All recipes</h3>", bullets(shared)]
    for recipe, sentences in deviations.items():
        rest = [sentence for sentence in sentences if sentence not in shared]
        if rest:
            parts += [f"<h3><code>{escape(recipe)}</code></h3>", bullets(rest)]
    return [*parts, "</section>"]
