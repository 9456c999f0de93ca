"""emopipe import-head"""

from pathlib import Path

import click

from .options import cache_option, resolve_cache, root_option


@click.command("import-head")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Run folder; new.")
@click.option("--dataset", default=None, metavar="NAME", help="Corpus whose features are meant.")
@root_option
@cache_option
@click.option("--features", default="", metavar="FINGERPRINT", help="Which, where the cache holds several sets.")
@click.option("--tap", "taps", multiple=True, metavar="NAME", help="Tap that it takes; repeatable.  [default: all]")
@click.option("--targets", default="valence,arousal", show_default=True, metavar="NAMES", help="What its outputs are.")
@click.option("--window", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Frames it sees.")
@click.option("--window-target", type=click.Choice(["next", "last"]), default="next", show_default=True,
              help="Which frame it speaks of.")  # fmt: skip
def import_head(
    checkpoint: Path, run: Path, dataset: str | None, root: Path | None, cache: Path | None, features: str,
    taps: tuple[str, ...], targets: str, window: int, window_target: str,
) -> None:  # fmt: skip
    """Make a run of a Keras 2 CHECKPOINT (.hdf5), such as the published GRU of arXiv:2006.11168.

    It works on features that are in the cache, which must be of the network that it was trained on; `evaluate` and
    `predict` then take the run.
    """
    from emopipe.models.windows import WindowConfig
    from emopipe.stages.import_head import import_head as make

    names = tuple(name.strip() for name in targets.split(",") if name.strip())
    opened = make(
        checkpoint,
        run,
        cache=resolve_cache(cache, must_exist=True),
        dataset=dataset,
        root=root,
        features=features,
        taps=taps,
        targets=names,
        window=WindowConfig(length=window, target=window_target),  # type: ignore[arg-type]  # click.Choice
    )
    click.echo(f"{run}: {opened.content['num_parameters']:,} numbers.\nnext: emopipe evaluate {run}")
