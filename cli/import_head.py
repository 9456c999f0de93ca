"""emopipe import-head"""

from pathlib import Path

import click

from .options import cache_option, names_of, resolve_cache, root_option, run_option, say_next
from .progress import say_on_terminal
from .sections import Command

_EXAMPLES = ("emopipe import-head gru3.hdf5 --dataset affwild2 --run runs/published",)


@click.command("import-head", cls=Command, examples=_EXAMPLES)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@run_option
@click.option("--dataset", default=None, metavar="NAME",
              help="Corpus whose features it works on.  [default: the only one in the cache]")  # fmt: skip
@root_option
@cache_option
@click.option("--features", default="", metavar="FINGERPRINT",
              help="Which features of faces, where the cache holds several sets; see: emopipe cache list.")  # fmt: skip
@click.option("--tap", "taps", multiple=True, metavar="NAME",
              help="Tap that it takes; repeatable.  [default: all]")  # fmt: skip
@click.option("--targets", default="valence,arousal", show_default=True, metavar="NAME,NAME,…",
              help="What its outputs are, in their order.")  # fmt: skip
@click.option("--window", type=click.IntRange(1), default=100, show_default=True, metavar="N",
              help="Frames of the windows that it was trained on.")  # fmt: skip
@click.option("--window-target", type=click.Choice(["next", "last"]), default="next", show_default=True,
              help="Which frame it speaks of: the last of the window, or the one behind it.")  # fmt: skip
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

    say_on_terminal("Loading keras …")
    opened = make(
        checkpoint,
        run,
        cache=resolve_cache(cache, must_exist=True),
        dataset=dataset,
        root=root,
        features=features,
        taps=taps,
        targets=names_of(targets),
        window=WindowConfig(length=window, target=window_target),  # type: ignore[arg-type]  # click.Choice
    )
    click.echo(f"{run}: {opened.content['num_parameters']:,} numbers.")
    say_next("evaluate", run)
