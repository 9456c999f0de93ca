"""Every option that more than one command takes, declared once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from emopipe.errors import ConfigError
from emopipe.provenance import num_cores

CACHE_VARIABLE = "EMOPIPE_CACHE"

Command = Callable[..., Any]


def default_workers() -> int:
    """Processes that make faces: a quarter of the cores, at least one and at most eight; each keeps about two busy."""
    return max(1, min(8, num_cores() // 4))


dataset_option = click.option("--dataset", required=True, metavar="NAME", help="Corpus; see: emopipe datasets list.")
root_option = click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="Folder of the corpus.  [default: $EMOPIPE_DATA/<dataset>]",
)
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help=f"Folder of the cache.  [default: ${CACHE_VARIABLE} or ./cache]",
)
split_option = click.option(
    "--split", "splits", multiple=True, type=click.Choice(["train", "dev", "test"]), help="Only this split; repeatable."
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(1),
    default=default_workers,
    show_default="a quarter of the cores, at most 8",
    metavar="N",
    help="Processes that make faces; with more than one, features are made beside them.",
)
fill_option = click.option(
    "--fill",
    type=click.Choice(["short", "linear"]),
    default="short",
    show_default=True,
    help="Frames without a full window. short: the first ones of a stretch take a shorter window, frames without a "
    "face stay empty; linear: lines between the full windows (arXiv:2006.11168).",
)
_FOLD_OPTIONS = (
    click.option("--folds", "num_folds", type=int, default=None, metavar="N",
                 help="Divide a corpus without splits into N parts: one test, one dev, the others train."),
    click.option("--fold", type=int, default=None, metavar="K",
                 help="The part that is tested, from 0.  [default: 0]"),
    click.option("--fold-rule", type=click.Choice(["subjects", "images", "keep-test", "numbers"]), default=None,
                 help="images: the published rule for CK+, under which train and dev share a subject; keep-test: the "
                 "official test part stays, train and dev are divided anew, and fold K is dev; numbers: as subjects, "
                 "dealt in the order of their names, not shuffled.  [default: subjects]"),
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of text.")


def fold_options(command: Command) -> Command:
    """--folds, --fold and --fold-rule; `folds_of` makes one value of them."""
    for option in reversed(_FOLD_OPTIONS):
        command = option(command)
    return command


def folds_of(num_folds: int | None, fold: int | None, rule: Any) -> Any:
    """The folds that are asked for, or None.

    Raises:
        UsageError: a fold or a rule without --folds.
    """
    from emopipe.datasets.splits import Folds

    if num_folds is None:
        if fold is not None or rule is not None:
            raise click.UsageError("--fold and --fold-rule need --folds N.")
        return None
    return Folds(num_folds, fold or 0, rule or "subjects")


def resolve_cache(cache: Path | None, *, must_exist: bool = False) -> Path:
    """The cache folder: the option, else the environment, else ./cache.

    Raises:
        ConfigError: `must_exist` and there is none.
    """
    folder = cache or Path(os.environ.get(CACHE_VARIABLE) or "cache")
    if must_exist and not folder.is_dir():
        raise ConfigError(
            f"{folder}: there is no cache here. Expected a folder made by emopipe extract.\n"
            f"Name it with --cache DIR or ${CACHE_VARIABLE}."
        )
    return folder
