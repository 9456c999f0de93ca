"""emopipe report"""

from pathlib import Path

import click

from .sections import Command

_EXAMPLES = ("emopipe report runs/gru3",)


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
              help="Where the page goes.  [default: RUN/report.html]")  # fmt: skip
def report(run: Path, out: Path | None) -> None:
    """Put what there is to know about a RUN on one HTML page, and print where it is.

    What it is, its settings, how training went, and for every split that `evaluate` was run on the scores with 95 %
    intervals and the predictions beside the truth. The page needs nothing but itself.
    """
    from emopipe.stages.report import write_report

    click.echo(write_report(run, out))
