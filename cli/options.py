"""Every option that more than one command takes, declared once."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from emopipe.errors import ConfigError
from emopipe.provenance import num_cores

CACHE_VARIABLE = "EMOPIPE_CACHE"

Command = Callable[..., Any]


def say_next(*words: object) -> None:
    """Print the command that usually follows, with the corpus and the cache that this one was given."""
    context = click.get_current_context()
    line = ["emopipe", *map(str, words)]
    for name in ("dataset", "root", "cache"):
        if (value := context.params.get(name)) is not None and (name != "dataset" or words[0] == "extract"):
            line += [f"--{name}", str(value)]
    click.echo(f"next: {shlex.join(line)}")


class _Numbers(click.ParamType):
    """Whole numbers with commas between them, as a tuple."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(word) for word in names_of(value))
        except ValueError:
            self.fail(f"expected numbers with commas, as 100,100,50. Received: '{value}'.", param, ctx)


NUMBERS = _Numbers()


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
run_option = click.option(
    "--run",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder that the run is written to: a new one, or that of an unfinished run, which then goes on.",
)
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help=f"Folder of the cache.  [default: ${CACHE_VARIABLE} or ./cache]",
)
split_option = click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(["train", "dev", "test"]),
    help="Only clips of this split; repeatable.  [default: all clips]",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(1),
    default=default_workers,
    show_default="a quarter of the cores, at most 8",
    metavar="N",
    help="Processes that make faces; with more than one, features are made beside them.",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Where detector and networks run. auto: on a GPU where one is ready; gpu: there, or not at all.",
)
task_option = click.option(
    "--task",
    default=None,
    metavar="NAME",
    help="What to predict, as emopipe datasets list names it: va or expr, for example.  [default: the dataset's first]",
)
targets_option = click.option(
    "--targets",
    default="",
    metavar="NAME,NAME,…",
    help="Only these targets of the task: valence, for example.  [default: all]",
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
    click.option("--folds", "num_folds", type=click.IntRange(2), default=None, metavar="N",
                 help="Divide a corpus without splits into N parts: one test, one dev, the others train."),
    click.option("--fold", type=click.IntRange(0), default=None, metavar="K",
                 help="The part that is tested, counted from 0.  [default: 0]"),
    click.option("--fold-rule", type=click.Choice(["subjects", "images", "keep-test", "numbers"]), default=None,
                 help="How clips are dealt out. subjects: nobody is in two parts; numbers: likewise, in the order of "
                 "the subjects' names, not shuffled; images: the published rule for CK+, under which train and dev "
                 "share a subject; keep-test: the official test part stays, train and dev are divided anew, and fold K "
                 "is dev.  [default: subjects]"),
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of text.")


# Options of training that train-cnn and train-rnn share; their sizes differ.
balance_option = click.option(
    "--balance",
    type=click.Choice(["none", "max", "mean", "midpoint"]),
    default="none",
    show_default=True,
    help="Thin out what lies in crowded cells of the valence-arousal plane. A cell is emptied when it holds as much as "
    "the largest one (max), the mean one (mean), or the middle between both (midpoint).",
)
epochs_option = click.option(
    "--epochs", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Train for N epochs at most."
)
patience_option = click.option(
    "--patience",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    metavar="N",
    help="Stop after N epochs without a better score on dev.",
)
seed_option = click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of first weights, order and everything else that is random; the same seed trains the same network.",
)


def batch_option(size: int) -> Command:
    """--batch with this default."""
    return click.option(
        "--batch",
        "batch_size",
        type=click.IntRange(1),
        default=size,
        show_default=True,
        metavar="N",
        help="Examples that the network sees between two steps of learning.",
    )


def optimiser_option(name: str) -> Command:
    """--optimiser with this default."""
    return click.option(
        "--optimiser",
        type=click.Choice(["sgd", "adam"]),
        default=name,
        show_default=True,
        help="How the weights are moved; sgd with a momentum of 0.9.",
    )


def learning_rate_option(rate: float) -> Command:
    """--learning-rate with this default."""
    return click.option(
        "--learning-rate",
        type=click.FloatRange(0, min_open=True),
        default=rate,
        show_default=True,
        metavar="R",
        help="Size of the first step of learning.",
    )


def names_of(text: str) -> tuple[str, ...]:
    """Names with commas between them, as --targets takes them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


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
