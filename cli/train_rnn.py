"""emopipe train-rnn"""

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .options import cache_option, fold_options, folds_of, json_option, resolve_cache, root_option
from .progress import EpochLines

_TAP_HEADS: dict[str, Any] = {"cnn": "none", "cnn-1rnn": "one", "cnn-multi-rnn": "each"}
# option -> the heads that know what to do with it
_READ_BY = {
    **dict.fromkeys(("cells", "layers", "bidirectional"), ("rnn",)),
    **dict.fromkeys(("units", "dropout"), ("rnn", "cnn-1rnn", "cnn-multi-rnn")),
    "stride": ("rnn", "mean"),
    **dict.fromkeys(("landmarks", "landmark_units", "fc_tap", "fc_units", "joint_units"), tuple(_TAP_HEADS)),
}
_FOR_FC = ("landmarks", "landmark_units", "fc_tap", "fc_units")


@click.command("train-rnn")
@click.option("--dataset", default=None, metavar="NAME", help="Corpus.  [default: the only one in the cache]")
@root_option
@cache_option
@click.option(
    "--run", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Run folder; a killed run goes on."
)
@click.option("--features", default="", metavar="FINGERPRINT", help="Which features, where the cache has several sets.")
@click.option("--tap", "taps", multiple=True, metavar="NAME",
              help="Taps, side by side; repeatable; for heads over taps also fc.  [default: all]")  # fmt: skip
@click.option("--head", type=click.Choice(["rnn", "mean", "cnn", "cnn-1rnn", "cnn-multi-rnn"]), default="rnn",
              show_default=True, help="The last three are heads over taps: fc over the last pooled features and "
              "the landmarks, frame by frame; one RNN for all taps; one RNN for each.")  # fmt: skip
@click.option("--landmarks", is_flag=True, help="Join the 68 landmarks to what feeds fc.")
@click.option("--landmark-units", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Units of a layer between the landmarks and fc.")  # fmt: skip
@click.option("--fc-tap", default="", metavar="NAME", help="The tap that feeds fc.  [default: the last one named]")
@click.option("--fc-units", type=click.IntRange(1), default=4096, show_default=True, metavar="N")
@click.option("--joint-units", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Units of a layer over the joined RNNs.")  # fmt: skip
@click.option("--end-to-end", is_flag=True, help="Train the CNN that made the features too, on cached crops.")
@click.option("--init", "init", type=click.Path(path_type=Path, file_okay=False), default=None, metavar="RUN",
              help="Begin with the weights of this run.")  # fmt: skip
@click.option("--reduce", type=click.Choice(["median", "mean"]), default="median", show_default=True,
              help="How frames become one value where clips have one label each.")  # fmt: skip
@click.option("--optimiser", type=click.Choice(["sgd", "adam"]), default="sgd", show_default=True)
@click.option("--cells", type=click.Choice(["simple", "gru", "lstm"]), default="gru", show_default=True)
@click.option("--layers", type=click.IntRange(1), default=3, show_default=True, metavar="N")
@click.option("--units", default="", metavar="N,N,…", help="Units per layer.  [default: 100 for one, 100,100,50]")
@click.option("--bidirectional", is_flag=True, help="Let every layer also read backwards.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=None,
              help="Share of a recurrent layer's outputs that is dropped.  [default: 0; for heads over taps 0.8 after "
              "the first of two]")  # fmt: skip
@click.option(
    "--window", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Frames per window."
)
@click.option("--stride", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@click.option("--gaps", type=click.Choice(["drop", "hold"]), default=None,
              help="No window across a missing face, or the last face held.  [default: drop; for heads over taps "
              "hold]")  # fmt: skip
@click.option("--target", type=click.Choice(["last", "next", "every"]), default=None,
              help="A window gives the label of its last frame, of the next one, or of every frame, as heads over taps "
              "do.  [default: last]")  # fmt: skip
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
    head: str, taps: tuple[str, ...], dropout: float | None, landmarks: bool, landmark_units: int, fc_tap: str,
    fc_units: int, joint_units: int, init: Path | None,
    window: int, stride: int, gaps: Any, target: Any, as_json: bool,
    num_folds: int | None, fold: int | None, fold_rule: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Train a recurrent head on cached features.

    The best epoch on the dev split, by the CCC over all of its windows (for classes by macro-F1; over clips where each
    has one label), is kept. A training that was stopped goes on with the same command.
    """
    from emopipe.models.windows import WindowConfig
    from emopipe.stages.rnn_config import TrainRnnConfig
    from emopipe.stages.train_rnn import train_rnn as train

    _check_options(head, taps, landmarks)
    over_taps = head in _TAP_HEADS
    if over_taps:
        from emopipe.models.tap_heads import TapHeadConfig

        chosen: dict[str, Any] = {"gru_dropout": dropout} if dropout is not None else {}
        if units:
            chosen["units"] = _numbers(units)
        settings["tap_head"] = TapHeadConfig(
            streams=taps, rnns=_TAP_HEADS[head], fc_tap=fc_tap, fc_units=fc_units, landmarks=landmarks,
            landmark_units=landmark_units, joint_units=joint_units, **chosen,
        )  # fmt: skip
    else:
        settings |= {"head": head, "taps": taps, "units": _numbers(units), "dropout": dropout or 0.0}
    config = TrainRnnConfig(
        window=WindowConfig(
            window, stride, gaps or ("hold" if over_taps else "drop"), target or ("every" if over_taps else "last")
        ),
        targets=tuple(name.strip() for name in targets.split(",") if name.strip()),
        folds=folds_of(num_folds, fold, fold_rule),
        init="" if init is None else str(init),
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


def _check_options(head: str, taps: tuple[str, ...], landmarks: bool) -> None:
    """Refuse options that this head would not look at."""
    context = click.get_current_context()
    given = [name for name in _READ_BY if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    for name in given:
        option = f"--{name.replace('_', '-')}"
        if head not in _READ_BY[name]:
            raise click.UsageError(f"{option}: is for --head {', '.join(_READ_BY[name])}. Received: --head {head}.")
        if name in _FOR_FC and "fc" not in taps:
            raise click.UsageError(f"{option}: is for the layer fc. Expected --tap fc too.")
        if name == "landmark_units" and not landmarks:
            raise click.UsageError(f"{option}: is for the landmarks. Expected --landmarks too.")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise click.BadParameter(f"expected numbers with commas, as 100,100,50. Received: '{text}'.") from error
