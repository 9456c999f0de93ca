"""emopipe train-cnn"""

import json
from pathlib import Path
from typing import Any

import click

from .options import (
    cache_option,
    dataset_option,
    fold_options,
    folds_of,
    json_option,
    resolve_cache,
    root_option,
)
from .progress import EpochLines


@click.command("train-cnn")
@dataset_option
@root_option
@cache_option
@click.option(
    "--run", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Run folder; a killed run goes on."
)
@click.option("--faces", default="", metavar="FINGERPRINT", help="Which faces, where the cache holds several sets.")
@click.option("--backbone", default="khorrami", show_default=True, metavar="NAME", help="Network to train.")
@click.option("--width", type=float, default=1.0, show_default=True, metavar="W",
              help="Share of the published channels: 0.125 for an eighth.")  # fmt: skip
@click.option("--weights", default="none", show_default=True, metavar="SPEC",
              help="Start from: none (random), imagenet, a .keras or .h5 file, a run of train-cnn.")  # fmt: skip
@click.option(
    "--task", default=None, metavar="NAME", help="What to predict (va, expr).  [default: the dataset's first]"
)
@fold_options
@click.option("--targets", default="", metavar="NAMES", help="Some of the task's targets only: valence, for example.")
@click.option(
    "--loss",
    type=click.Choice(["ccc", "mse", "crossentropy"]),
    default=None,
    help="[default: ccc, for classes crossentropy]",
)
@click.option(
    "--balance",
    type=click.Choice(["none", "max", "mean", "midpoint"]),
    default="none",
    show_default=True,
    help="Thin out crowded cells of the valence-arousal plane, with this k_max.",
)
@click.option("--literal-balance", is_flag=True, help="Balance by the formula as the paper prints it.")
@click.option("--augment/--no-augment", default=True, show_default=True, help="Show every image another way each time.")
@click.option("--epochs", type=click.IntRange(1), default=100, show_default=True, metavar="N")
@click.option("--patience", type=click.IntRange(1), default=10, show_default=True, metavar="N",
              help="Stop after so many epochs without a better dev score.")  # fmt: skip
@click.option("--steps-per-epoch", type=click.IntRange(1), default=None, metavar="N",
              help="Batches per epoch.  [default: all frames]")  # fmt: skip
@click.option("--batch", "batch_size", type=click.IntRange(1), default=128, show_default=True, metavar="N")
@click.option("--optimiser", type=click.Choice(["sgd", "adam"]), default="sgd", show_default=True)
@click.option("--learning-rate", type=float, default=0.01, show_default=True, metavar="R")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True,
              help="bfloat16 multiplies in half the time where the processor or the accelerator knows it.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N")
@json_option
def train_cnn(
    dataset: str, root: Path | None, cache: Path | None, run: Path, faces: str, targets: str, as_json: bool,
    num_folds: int | None, fold: int | None, fold_rule: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Train a CNN on cached faces; `extract --backbone RUN/network.keras` then uses it.

    The best epoch on the dev split is kept. A training that was stopped goes on with the same command.
    """
    from emopipe.datasets.adapter import resolve_root
    from emopipe.stages.cnn_config import TrainCnnConfig
    from emopipe.stages.train_cnn import train_cnn as train

    names = tuple(name.strip() for name in targets.split(",") if name.strip())
    report = train(
        TrainCnnConfig(targets=names, folds=folds_of(num_folds, fold, fold_rule), **settings),
        dataset=dataset,
        root=resolve_root(dataset, root),
        cache=resolve_cache(cache, must_exist=True),
        run=run,
        faces=faces,
        progress=EpochLines(),
    )
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())
