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
fill_option = click.option(
    "--fill",
    type=click.Choice(["short", "linear"]),
    default="short",
    show_default=True,
    help="Frames without a full window. short: the first ones of a stretch take a shorter window, frames without a "
    "face stay empty; linear: lines between the full windows (arXiv:2006.11168).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of text.")


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
