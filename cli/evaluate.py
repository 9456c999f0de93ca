"""emopipe evaluate"""

import json
from pathlib import Path

import click

from .options import cache_option, json_option, resolve_cache, root_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["train", "dev", "test"]), default="dev", show_default=True)
@root_option
@cache_option
@json_option
def evaluate(run: Path, split: str, root: Path | None, cache: Path | None, as_json: bool) -> None:
    """Score a RUN of train-rnn on a split, with 95 % intervals over clips, and write its predictions frame by frame."""
    from emopipe.stages.evaluate import evaluate as score

    evaluation = score(run, split=split, cache=resolve_cache(cache, must_exist=True), root=root)
    click.echo(json.dumps(evaluation.to_dict()) if as_json else evaluation.to_text())
