"""emopipe train-rnn"""

import json
from pathlib import Path
from typing import Any

import click

from .options import cache_option, fold_options, folds_of, json_option, resolve_cache, root_option
from .progress import EpochLines


@click.command("train-rnn")
@click.option("--dataset", default=None, metavar="NAME", help="Corpus.  [default: the only one in the cache]")
@root_option
@cache_option
@click.option(
    "--run", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Run folder; a killed run goes on."
)
@click.option("--features", default="", metavar="FINGERPRINT", help="Which features, where the cache has several sets.")
@click.option("--tap", "taps", multiple=True, metavar="NAME", help="Taps, side by side; repeatable.  [default: all]")
@click.option("--head", type=click.Choice(["rnn", "mean"]), default="rnn", show_default=True)
@click.option("--cells", type=click.Choice(["simple", "gru", "lstm"]), default="gru", show_default=True)
@click.option("--layers", type=click.IntRange(1), default=3, show_default=True, metavar="N")
@click.option("--units", default="", metavar="N,N,…", help="Units per layer.  [default: 100 for one, 100,100,50]")
@click.option("--bidirectional", is_flag=True, help="Let every layer also read backwards.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True)
@click.option(
    "--window", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Frames per window."
)
@click.option("--stride", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@click.option("--gaps", type=click.Choice(["drop", "hold"]), default="drop", show_default=True,
              help="No window across a missing face, or the last face held.")  # fmt: skip
@click.option("--target", type=click.Choice(["last", "next"]), default="last", show_default=True,
              help="A window gives the label of its last frame, or of the next one.")  # fmt: skip
@click.option(
    "--task", default=None, metavar="NAME", help="What to predict (va, expr).  [default: the dataset's first]"
)
@fold_options
@click.option("--targets", default="", metavar="NAMES", help="Some of the task's targets only.")
@click.option("--loss", type=click.Choice(["ccc", "mse", "crossentropy"]), default=None,
              help="[default: ccc, for classes crossentropy]")  # fmt: skip
@click.option("--balance", type=click.Choice(["none", "max", "mean", "midpoint"]), default="none", show_default=True,
              help="Thin out windows whose target lies in a crowded cell.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=100, show_default=True, metavar="N")
@click.option("--patience", type=click.IntRange(1), default=10, show_default=True, metavar="N",
              help="Stop after so many epochs without a better dev score.")  # fmt: skip
@click.option("--batch", "batch_size", type=click.IntRange(1), default=256, show_default=True, metavar="N")
@click.option("--learning-rate", type=float, default=0.01, show_default=True, metavar="R")
@click.option("--clip-value", type=float, default=None, metavar="V", help="Largest part of a gradient.")
@click.option("--device-resident", is_flag=True,
              help="Hold all features on the accelerator; changes nothing but the speed.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N")
@json_option
def train_rnn(
    dataset: str | None, root: Path | None, cache: Path | None, run: Path, features: str, units: str, targets: str,
    window: int, stride: int, gaps: Any, target: Any, as_json: bool,
    num_folds: int | None, fold: int | None, fold_rule: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Train a recurrent head on cached features.

    The best epoch on the dev split, by the CCC over all of its windows (for classes by macro-F1), is kept. A training
    that was stopped goes on with the same command.
    """
    from emopipe.models.windows import WindowConfig
    from emopipe.stages.train_rnn import TrainRnnConfig
    from emopipe.stages.train_rnn import train_rnn as train

    config = TrainRnnConfig(
        window=WindowConfig(window, stride, gaps, target),
        units=_numbers(units),
        targets=tuple(name.strip() for name in targets.split(",") if name.strip()),
        folds=folds_of(num_folds, fold, fold_rule),
        **settings,
    )
    report = train(
        config,
        cache=resolve_cache(cache, must_exist=True),
        run=run,
        dataset=dataset,
        root=root,
        features=features,
        progress=EpochLines(),
    )
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise click.BadParameter(f"expected numbers with commas, as 100,100,50. Received: '{text}'.") from error
