"""emopipe evaluate"""

import json
from pathlib import Path
from typing import Any

import click

from .options import cache_option, fill_option, json_option, resolve_cache, root_option
from .progress import say_on_terminal
from .sections import Command

_EXAMPLES = (
    "emopipe evaluate runs/gru3 --split dev",
    "emopipe evaluate runs/gru3 --split test --submission predictions.txt --sample official.txt",
)


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["train", "dev", "test", "none", "all"]), default="dev", show_default=True,
              help="Which clips. none: those without a split; all: every one.")  # fmt: skip
@click.option("--dataset", default=None, metavar="NAME", help="Corpus.  [default: the one that the run was trained on]")
@root_option
@cache_option
@fill_option
@click.option("--submission", type=click.Path(path_type=Path), default=None, metavar="PATH",
              help="Also write the competition's files: one .txt for all clips (ABAW since 2023), one .csv with a "
              "row per clip (OMG-Emotion, Hume-Reaction), else a folder with one file per clip (ABAW 2020, "
              "2021).")  # fmt: skip
@click.option("--sample", type=click.Path(path_type=Path), default=None, metavar="FILE",
              help="The official sample of that .txt, for its rows and their order.")  # fmt: skip
@json_option
def evaluate(
    run: Path, split: str, dataset: str | None, root: Path | None, cache: Path | None, fill: Any,
    submission: Path | None, sample: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Score a RUN of train-cnn, train-rnn or fuse on a split, with 95 % intervals, and write its predictions.

    RUN/predictions/<split>.csv has a row for every frame, or for every clip where each has one label. A split without
    labels is predicted and not scored.
    """
    from emopipe.stages.evaluate import score
    from emopipe.stages.fusion import predict_run
    from emopipe.stages.submission import write_submission

    if sample is not None and submission is None:
        raise click.UsageError("--sample needs --submission.")
    folder = resolve_cache(cache, must_exist=True)
    say_on_terminal("Reading the cache, then loading keras …")
    found = predict_run(run, split=split, cache=folder, root=root, dataset=dataset, fill=fill)
    notes = () if submission is None else write_submission(found, submission, sample)
    say_on_terminal("Scoring, with 1,000 resamples for the intervals …")
    evaluation = score(found)
    click.echo(json.dumps(evaluation.to_dict()) if as_json else evaluation.to_text())
    for note in notes:
        click.echo(f"note: {note}", err=True)
