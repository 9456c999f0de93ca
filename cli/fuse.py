"""emopipe fuse"""

import json
from pathlib import Path
from typing import Any

import click

from .options import cache_option, json_option, resolve_cache, root_option
from .progress import EpochLines


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN RUN...")
@click.option("--level", type=click.Choice(["decision", "model-fc", "model-rnn"]), required=True,
              help="Average what the runs say, or learn a dense or a GRU layer over their joined RNNs.")  # fmt: skip
@click.option("--run", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Run folder; new.")
@root_option
@cache_option
@click.option("--epochs", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="At most so many.")
@click.option("--patience", type=click.IntRange(1), default=10, show_default=True, metavar="N",
              help="Stop after so many epochs without a better dev score.")  # fmt: skip
@click.option("--batch", "batch_size", type=click.IntRange(1), default=4, show_default=True, metavar="N",
              help="Sequences per step.")  # fmt: skip
@click.option("--optimiser", type=click.Choice(["sgd", "adam"]), default="adam", show_default=True,
              help="sgd has a momentum of 0.9.")  # fmt: skip
@click.option("--learning-rate", type=float, default=0.001, show_default=True, metavar="R",
              help="Of the first step.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Of weights, order and everything else that is random.")  # fmt: skip
@json_option
def fuse(
    runs: tuple[Path, ...], level: str, run: Path, root: Path | None, cache: Path | None, as_json: bool, **settings: Any
) -> None:
    """Fuse several runs of train-rnn into one.

    decision: each run weighs, per target, its CCC on the dev split, or Pearson's r where that picked its best epoch;
    runs on faces and runs on sound can be fused where clips have one label each. model-fc and model-rnn: heads over
    taps of the same features lose their last layers and learn on together; --epochs to --seed are for these two. The
    runs must have learned the same targets from the same clips.
    """
    from emopipe.stages.fuse import fuse_decisions, fuse_models

    folder = resolve_cache(cache, must_exist=True)
    report: Any
    if level == "decision":
        report = fuse_decisions(runs, run=run, cache=folder, root=root)
    else:
        from emopipe.stages.rnn_config import TrainRnnConfig

        layer: Any = level.removeprefix("model-")
        config = TrainRnnConfig(decay=0.0, **settings)
        report = fuse_models(runs, layer, config, run=run, cache=folder, root=root, progress=EpochLines())
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())
