"""emopipe reproduce"""

import json
import tempfile
from pathlib import Path

import click

from .options import cache_option, json_option, resolve_cache, workers_option
from .progress import Bar, EpochLines
from .sections import Command

_EXAMPLES = (
    "emopipe reproduce rangulov2020/cnn-gru3 --smoke",
    "emopipe reproduce rangulov2020/cnn-gru3 --root /data/affwild2",
    "emopipe reproduce rangulov2020/cnn-gru3@paper-batch --root /data/affwild2",
)


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("recipe")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Folder of the corpus; for a recipe of two corpora the folder that holds both, each under its dataset's "
    "name.  [default: $EMOPIPE_DATA/<dataset>]",
)
@cache_option
@click.option("--runs", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Folder of the trained networks.  [default: ./runs]")  # fmt: skip
@click.option("--results", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Folder of the tables.  [default: ./results]")  # fmt: skip
@click.option(
    "--smoke",
    is_flag=True,
    help="Run a shrunk recipe on a generated corpus, to see that it runs; whatever folder is not given is a temporary "
    "one, and results/ stays as it is.",
)
@workers_option
@json_option
def reproduce(
    recipe: str, root: Path | None, cache: Path | None, runs: Path | None, results: Path | None, smoke: bool,
    workers: int, as_json: bool,
) -> None:  # fmt: skip
    """Run a RECIPE, an experiment of a paper, and print the published numbers beside ours.

    See: emopipe list recipes. The table goes to results/<RECIPE>.csv. A name may end in @VARIANT. Recipes share what
    they have in common, and the same command goes on where it was stopped.
    """
    from emopipe.recipes.recipe import find_recipe
    from emopipe.recipes.reproduce import run_recipe

    wanted = find_recipe(recipe)
    if smoke:
        wanted = wanted.smoke()
        if None in (root, cache, runs, results):
            spare = Path(tempfile.mkdtemp(prefix="emopipe-smoke-"))
            click.echo(f"A smoke run: the folders that are not given lie in {spare}.", err=True)
            corpora = wanted.experiment.datasets
            root = root or (spare / "data" if len(corpora) > 1 else spare / "data" / corpora[0])
            cache, runs, results = cache or spare / "cache", runs or spare / "runs", results or spare / "results"
    progress = _Lines()
    try:
        result = run_recipe(
            wanted,
            root=root,
            cache=resolve_cache(cache),
            runs=runs or Path("runs"),
            results=results or Path("results"),
            workers=workers,
            progress=progress,
        )
    finally:
        progress.close()
    click.echo(json.dumps(result.to_dict()) if as_json else result.to_text())
    if result.failed:
        raise click.exceptions.Exit(1)


class _Lines(Bar, EpochLines):
    """The `Progress` of a recipe: a bar for each extraction, lines for all else."""

    def begin(self, num_clips: int) -> None:
        """Close the bar of the extraction before, open another."""
        self.close()
        super().__init__()
        super().begin(num_clips)

    def say(self, sentence: str) -> None:
        """Print a sentence where the last line was, or above the bar."""
        self.clear()
        Bar.say(self, sentence)

    def close(self) -> None:
        """Leave the bar on the screen, and no half-said line."""
        self.clear()
        super().close()
