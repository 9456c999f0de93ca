"""emopipe fuse"""

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .options import (
    batch_option,
    cache_option,
    epochs_option,
    json_option,
    learning_rate_option,
    optimiser_option,
    patience_option,
    resolve_cache,
    root_option,
    run_option,
    say_next,
    seed_option,
)
from .progress import EpochLines, say_on_terminal
from .sections import Command

_SECTIONS = {
    "What is fused": "level root cache",
    "Where it goes": "run",
    "Learning (model-fc and model-rnn)": "epochs patience batch_size optimiser learning_rate seed",
}
_EXAMPLES = (
    "emopipe fuse runs/gru runs/taps --level decision --run runs/both",
    "emopipe fuse runs/one runs/each --level model-rnn --run runs/fused",
)


@click.command(cls=Command, sections=_SECTIONS, examples=_EXAMPLES)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN RUN...")
@click.option("--level", type=click.Choice(["decision", "model-fc", "model-rnn"]), required=True,
              help="Average what the runs say, or learn a dense or a GRU layer over their joined RNNs.")  # fmt: skip
@run_option
@root_option
@cache_option
@epochs_option
@patience_option
@batch_option(4)
@optimiser_option("adam")
@learning_rate_option(0.001)
@seed_option
@json_option
def fuse(
    runs: tuple[Path, ...], level: str, run: Path, root: Path | None, cache: Path | None, as_json: bool, **settings: Any
) -> None:
    """Fuse several runs of train-rnn into one.

    decision: each run weighs, per target, its CCC on the dev split, or Pearson's r where that picked its best epoch;
    runs on faces and runs on sound can be fused where clips have one label each. model-fc and model-rnn: heads over
    taps of the same features lose their last layers and learn on together. The runs must have learned the same targets
    from the same clips.
    """
    from emopipe.stages.fuse import fuse_decisions, fuse_models

    folder = resolve_cache(cache, must_exist=True)
    say_on_terminal("Reading the cache, then loading keras …")
    report: Any
    if level == "decision":
        _refuse_learning()
        report = fuse_decisions(runs, run=run, cache=folder, root=root)
    else:
        from emopipe.stages.rnn_config import TrainRnnConfig

        layer: Any = level.removeprefix("model-")
        config = TrainRnnConfig(decay=0.0, **settings)
        with EpochLines() as progress:
            report = fuse_models(runs, layer, config, run=run, cache=folder, root=root, progress=progress)
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())
    if not as_json:
        say_next("evaluate", run)


def _refuse_learning() -> None:
    """Refuse options of learning where nothing is learned."""
    context = click.get_current_context()
    for name in ("epochs", "patience", "batch_size", "optimiser", "learning_rate", "seed"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.removesuffix('_size').replace('_', '-')}"
            raise click.UsageError(f"{option}: is for --level model-fc and model-rnn; decision averages.")
