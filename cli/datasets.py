"""`emopipe datasets`: which corpora there are, what one is, and whether a copy of it is whole."""

import json
from pathlib import Path

import click

from .options import json_option, root_option
from .progress import Counter
from .sections import Command


@click.group()
def datasets() -> None:
    """List the corpora, describe one, check a copy of one."""


@datasets.command("list")
def list_datasets() -> None:
    """List the corpora by the names that --dataset takes."""
    from emopipe.datasets.adapter import DATASETS, load_adapter

    for name in sorted(DATASETS):
        adapter = load_adapter(name)
        click.echo(f"{name:<12}{adapter.title} ({', '.join(adapter.tasks)})")


@datasets.command(short_help="Say what a corpus is and where to ask for it.")
@click.argument("name")
def show(name: str) -> None:
    """Say what a corpus is, under which licence, what to cite and where to ask for it."""
    from emopipe.datasets.adapter import load_adapter

    adapter = load_adapter(name)
    click.echo(
        f"{adapter.title}\n\nLicence:   {adapter.licence}\nAsk at:    {adapter.homepage}\nCite:      {adapter.citation}"
    )
    for release in adapter.releases:
        counts = ", ".join(f"{split} {release[split]}" for split in ("train", "dev", "test"))
        click.echo(f"{release['release'] + ':':<18}{counts} clips")


@datasets.command(
    cls=Command,
    short_help="Look a corpus folder over: counts, labels, media.",
    examples=("emopipe datasets check affwild2 --root /data/affwild2",),
)
@click.argument("name")
@root_option
@json_option
def check(name: str, root: Path | None, as_json: bool) -> None:
    """Count the clips of a corpus folder, read every label, look at every medium.

    Ends with exit code 1 when something needs a person: a bad line, missing or broken media, a subject in two splits.
    """
    from emopipe.datasets.adapter import load_adapter, resolve_root
    from emopipe.stages.check import check as check_corpus

    adapter = load_adapter(name)
    counter = Counter("clips")
    try:
        report = check_corpus(adapter, adapter.scan(resolve_root(name, root)), on_medium=counter)
    finally:
        counter.close()
    click.echo(json.dumps(report.to_dict(), indent=1) if as_json else report.to_text())
    if report.problems:
        if as_json:
            click.echo(f"emopipe: {name}: {'; '.join(report.problems)}.", err=True)
        raise click.exceptions.Exit(1)
