"""emopipe recipes compare"""

import json
from pathlib import Path

import click

from .options import json_option
from .sections import Command


@click.group()
def recipes() -> None:
    """Compare the printed tables of a paper with what was measured."""


@recipes.command(
    cls=Command,
    short_help="Print the tables of a paper with ours beside them.",
    examples=("emopipe recipes compare kollias2020 --html comparison.html",),
)
@click.argument("paper")
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"), metavar="DIR",
              help="Folder of the tables that emopipe reproduce wrote.  [default: ./results]")  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path), default=None, metavar="FILE",
              help="Also write one self-contained page, with what differs from the paper.")  # fmt: skip
@click.option("--against", default=None, metavar="RECIPE",
              help="Compare all rows with this recipe.  [default: the row of each table with the best printed mean of "
              "the CCC]")  # fmt: skip
@json_option
def compare(paper: str, results: Path, html: Path | None, against: str | None, as_json: bool) -> None:
    """Print the tables of a PAPER with ours beside them: intervals, and p-values of a paired bootstrap.

    PAPER is the first half of its recipes' names; see: emopipe list recipes. Rows that were not run say so.
    """
    from emopipe.files import write_whole
    from emopipe.recipes.compare import compare_paper
    from emopipe.recipes.comparison_text import comparison_text
    from emopipe.recipes.page import html_page

    comparison = compare_paper(paper, results, against=against)
    if html is not None:
        write_whole(html, html_page(comparison).encode("utf-8", "backslashreplace"))
        click.echo(f"page: {html}", err=True)
    click.echo(json.dumps(comparison.to_dict()) if as_json else comparison_text(comparison))
