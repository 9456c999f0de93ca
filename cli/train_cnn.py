"""emopipe train-cnn"""

import json
from pathlib import Path
from typing import Any

import click

from .options import (
    balance_option,
    batch_option,
    cache_option,
    dataset_option,
    epochs_option,
    fold_options,
    folds_of,
    json_option,
    learning_rate_option,
    names_of,
    optimiser_option,
    patience_option,
    resolve_cache,
    root_option,
    run_option,
    say_next,
    seed_option,
    targets_option,
    task_option,
)
from .progress import EpochLines, say_on_terminal
from .sections import Command

_SECTIONS = {
    "What it learns from": "dataset root cache faces task targets num_folds fold fold_rule",
    "Where it goes": "run seed",
    "The network": "backbone width weights",
    "Learning": "loss optimiser learning_rate batch_size balance literal_balance augment epochs steps_per_epoch "
    "patience precision",
}
_EXAMPLES = (
    "emopipe train-cnn --dataset affwild2 --balance midpoint --run runs/cnn",
    "emopipe train-cnn --dataset ckplus --folds 10 --fold 0 --run runs/ckplus",
)


@click.command("train-cnn", cls=Command, sections=_SECTIONS, examples=_EXAMPLES)
@dataset_option
@root_option
@cache_option
@run_option
@click.option("--faces", default="", metavar="FINGERPRINT",
              help="Which faces, where the cache holds several sets; see: emopipe cache list.")  # fmt: skip
@click.option("--backbone", default="khorrami", show_default=True, metavar="NAME",
              help="Network to train: khorrami, vggface, resnet50 or densenet121.")  # fmt: skip
@click.option("--width", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, metavar="W",
              help="Share of the published channels: 0.125 for an eighth; khorrami has all.")  # fmt: skip
@click.option("--weights", default="none", show_default=True, metavar="SPEC",
              help="Start from: none (random), imagenet, a .keras or .h5 file, a run of train-cnn.")  # fmt: skip
@task_option
@fold_options
@targets_option
@click.option("--loss", type=click.Choice(["ccc", "mse", "crossentropy"]), default=None,
              help="What training makes small: 1 - CCC, the squared error, or for classes the cross-entropy.  "
              "[default: ccc; for classes crossentropy]")  # fmt: skip
@balance_option
@click.option("--literal-balance", is_flag=True,
              help="--balance by the formula as the paper prints it, which keeps the crowd.")  # fmt: skip
@click.option("--augment/--no-augment", default=True, show_default=True, help="Show every image another way each time.")
@epochs_option
@patience_option
@click.option("--steps-per-epoch", type=click.IntRange(1), default=None, metavar="N",
              help="End an epoch after N batches.  [default: after all frames]")  # fmt: skip
@batch_option(128)
@optimiser_option("sgd")
@learning_rate_option(0.01)
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True,
              help="bfloat16 multiplies in half the time where the processor or the accelerator knows it.")  # fmt: skip
@seed_option
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

    if settings["literal_balance"] and settings["balance"] == "none":
        raise click.UsageError("--literal-balance: is about --balance. Expected --balance max, mean or midpoint too.")
    say_on_terminal("Reading the cache, then loading keras …")
    with EpochLines() as progress:
        report = train(
            TrainCnnConfig(targets=names_of(targets), folds=folds_of(num_folds, fold, fold_rule), **settings),
            dataset=dataset,
            root=resolve_root(dataset, root),
            cache=resolve_cache(cache, must_exist=True),
            run=run,
            faces=faces,
            progress=progress,
        )
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())
    if not as_json:
        say_next("extract", "--backbone", run / "network.keras")
