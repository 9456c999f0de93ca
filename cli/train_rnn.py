"""emopipe train-rnn"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from emopipe.models.heads import HEADS, Head
from emopipe.models.tap_heads import OVER_TAPS, TapHeadConfig

from .options import (
    NUMBERS,
    balance_option,
    batch_option,
    cache_option,
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

_HEADS_OF_SOUND = ("multimodal", "spectrogram-cnn")
_HEADS = (*(name for name in HEADS if name != "taps"), *OVER_TAPS)
# options that not every head knows what to do with; see `_read_by`
_OF_HEADS = (
    "cells", "layers", "units", "bidirectional", "dropout", "reduce", "stride", "standardise", "output_activation",
    "audio_units", "fusion_units", "channels", "pooling", "augment", "landmarks", "landmark_units", "fc_tap",
    "fc_units", "joint_units",
)  # fmt: skip
_FOR_FC = ("landmarks", "landmark_units", "fc_tap", "fc_units")
_SECTIONS = {
    "What it learns from": "dataset root cache features audio taps task targets num_folds fold fold_rule",
    "Where it goes": "run init seed",
    "The head": "head cells layers units bidirectional dropout output_activation standardise reduce",
    f"Heads over taps ({', '.join(OVER_TAPS)})": "landmarks landmark_units fc_tap fc_units joint_units end_to_end",
    "Heads that listen (multimodal, spectrogram-cnn)": "audio_units fusion_units channels pooling augment",
    "Windows": "window stride gaps target sampling",
    "Learning": "loss label_smoothing optimiser learning_rate schedule clip_value batch_size balance epochs patience "
    "select device_resident",
}
_EXAMPLES = (
    "emopipe train-rnn --cells gru --layers 3 --run runs/gru3",
    "emopipe train-rnn --units 64 --window 50 --folds 5 --fold 0 --run runs/gru",
    "emopipe train-rnn --head cnn-multi-rnn --tap pool2:gap --tap pool5:gap --tap fc --landmarks --run runs/taps",
)


@click.command("train-rnn", cls=Command, sections=_SECTIONS, examples=_EXAMPLES)
@click.option("--dataset", default=None, metavar="NAME", help="Corpus.  [default: the only one in the cache]")
@root_option
@cache_option
@run_option
@click.option("--features", default="", metavar="FINGERPRINT",
              help="Which features of faces, or ready-made, where the cache holds several sets; see: emopipe cache "
              "list.")  # fmt: skip
@click.option("--audio", default="", metavar="FINGERPRINT",
              help="Which features of sound, to learn from them alone or, with --head multimodal, beside those of "
              "faces.")  # fmt: skip
@click.option("--tap", "taps", multiple=True, metavar="NAME",
              help="Read this tap; repeatable, side by side. For heads over taps also fc, the layer that they make.  "
              "[default: all; for heads over taps they must be named]")  # fmt: skip
@click.option("--head", type=click.Choice(_HEADS), default="rnn",
              show_default=True, help="rnn: recurrent layers. mean: the mean over a window. multimodal: an RNN for the "
              "picture, one for the sound, a layer over both. spectrogram-cnn: convolutions over log-mel rows. Over "
              f"taps: {'; '.join(f'{name}, {about}' for name, (_, about) in OVER_TAPS.items())}.")  # fmt: skip
@click.option("--landmarks", is_flag=True, help="Join the 68 landmarks to what feeds fc.")
@click.option("--landmark-units", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Units of a layer between the landmarks and fc; 0 for none.")  # fmt: skip
@click.option("--fc-tap", default="", metavar="NAME", help="The tap that feeds fc.  [default: the last one named]")
@click.option("--fc-units", type=click.IntRange(1), default=4096, show_default=True, metavar="N", help="Units of fc.")
@click.option("--joint-units", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Units of a layer over the joined RNNs; 0 for none.")  # fmt: skip
@click.option("--audio-units", type=NUMBERS, default=(), metavar="N,N,…",
              help="multimodal: units of the layers over the sound.  [default: those of --units]")  # fmt: skip
@click.option("--fusion-units", type=click.IntRange(1), default=64, show_default=True, metavar="N",
              help="multimodal: units of the layer over picture and sound.")  # fmt: skip
@click.option("--channels", type=NUMBERS, default=(), metavar="N,N,…",
              help="spectrogram-cnn: maps of each convolution.  [default: 16,32,64,96]")  # fmt: skip
@click.option("--pooling", type=click.Choice(["mean-max", "gru"]), default="mean-max", show_default=True,
              help="spectrogram-cnn: how the steps behind the convolutions become one.")  # fmt: skip
@click.option("--augment/--no-augment", default=True, show_default=True,
              help="spectrogram-cnn: show every spectrogram another way each time.")  # fmt: skip
@click.option("--standardise/--no-standardise", default=None,
              help="Bring features to the mean 0 and the variance 1 of the training rows.  [default: no; for "
              "spectrogram-cnn yes]")  # fmt: skip
@click.option("--output-activation", type=click.Choice(["linear", "tanh", "sigmoid"]), default="linear",
              show_default=True,
              help="Of a head that predicts numbers; sigmoid for intensities in [0, 1].")  # fmt: skip
@click.option("--end-to-end", is_flag=True, help="Train the CNN that made the features too, on cached crops.")
@click.option("--init", "init", type=click.Path(path_type=Path, file_okay=False), default=None, metavar="RUN",
              help="Begin with the weights of this run.  [default: random ones]")  # fmt: skip
@click.option("--reduce", type=click.Choice(["median", "mean"]), default="median", show_default=True,
              help="How frames become one value where clips have one label each.")  # fmt: skip
@click.option("--cells", type=click.Choice(["simple", "gru", "lstm"]), default=None,
              help="Kind of the recurrent cells.  [default: gru; for multimodal lstm]")  # fmt: skip
@click.option("--layers", type=click.IntRange(1), default=3, show_default=True, metavar="N",
              help="Number of recurrent layers; other numbers than 1 and 3 need --units.")  # fmt: skip
@click.option("--units", type=NUMBERS, default=(), metavar="N,N,…",
              help="Units of each recurrent layer.  [default: 100 for one layer, 100,100,50 for three; 128,128 over "
              "taps; 64 for multimodal and the GRU of spectrogram-cnn]")  # fmt: skip
@click.option("--bidirectional", is_flag=True, help="Let every layer also read backwards.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=None, metavar="P",
              help="Share of a recurrent layer's outputs that training drops.  [default: 0; for heads over taps 0.8 "
              "after the first of two; for multimodal 0.5 and for spectrogram-cnn 0.4 of what feeds the "
              "output]")  # fmt: skip
@click.option("--window", type=click.IntRange(1), default=100, show_default=True, metavar="N",
              help="Frames of a window, or rows of sound.")  # fmt: skip
@click.option("--stride", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Frames from one window to the next; with 1 they overlap by all frames but one.")  # fmt: skip
@click.option("--gaps", type=click.Choice(["drop", "hold"]), default=None,
              help="drop: no window reaches across a missing face; hold: the last face stands in.  [default: drop; for "
              "heads over taps hold]")  # fmt: skip
@click.option("--target", type=click.Choice(["last", "next", "every", "clip"]), default=None,
              help="A window gives the label of its last frame, of the next one, of every frame, or of the clip as a "
              "whole.  [default: last; for heads over taps every, the only one they know]")  # fmt: skip
@click.option("--sampling", type=click.Choice(["uniform", "all", "random", "motion"]), default="uniform",
              show_default=True, help="Which frames of a clip are its window, for --target clip: evenly spaced, the "
              "first ones, random ones, or as far apart as the face moves.")  # fmt: skip
@task_option
@fold_options
@targets_option
@click.option("--loss", type=click.Choice(["ccc", "mse", "crossentropy"]), default=None,
              help="What training makes small: 1 - CCC, the squared error, or for classes the cross-entropy.  "
              "[default: ccc; for classes crossentropy]")  # fmt: skip
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=0.0, show_default=True,
              metavar="P", help="For classes: share of a class's probability that is dealt out to all.")  # fmt: skip
@click.option("--schedule", type=click.Choice(["inverse", "cosine"]), default="inverse", show_default=True,
              help="How the learning rate falls: a little with every step, or along a cosine to 0.")  # fmt: skip
@click.option("--select", type=click.Choice(["ccc", "pearson", "macro_f1", "uar"]), default=None,
              help="The score on dev that picks the best epoch.  [default: ccc; for classes macro_f1; for three and "
              "more numbers per clip learned by mse pearson]")  # fmt: skip
@optimiser_option("sgd")
@learning_rate_option(0.01)
@batch_option(256)
@balance_option
@epochs_option
@patience_option
@click.option("--clip-value", type=click.FloatRange(0, min_open=True), default=None, metavar="V",
              help="Largest part of a gradient.  [default: no limit]")  # fmt: skip
@click.option("--device-resident", is_flag=True,
              help="Hold all features on the accelerator; changes nothing but the speed.")  # fmt: skip
@seed_option
@json_option
def train_rnn(
    dataset: str | None, root: Path | None, cache: Path | None, run: Path, features: str, units: Any, targets: str,
    head: str, taps: tuple[str, ...], dropout: float | None, landmarks: bool, landmark_units: int, fc_tap: str,
    fc_units: int, joint_units: int, audio_units: Any, fusion_units: int, channels: Any, pooling: Any, augment: bool,
    cells: Any, init: Path | None, window: int, stride: int, gaps: Any, target: Any, sampling: Any, select: Any,
    as_json: bool,
    num_folds: int | None, fold: int | None, fold_rule: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Train a recurrent head on cached features.

    The best epoch on the dev split, by the CCC over all of its windows (for classes by macro-F1; over clips where each
    has one label; or by --select), is kept. A training that was stopped goes on with the same command.
    """
    from emopipe.models.windows import WindowConfig
    from emopipe.stages.rnn_config import TrainRnnConfig
    from emopipe.stages.train_rnn import train_rnn as train

    _check_options(head, taps, landmarks, target, pooling, units)
    over_taps = head in OVER_TAPS
    if head in _HEADS_OF_SOUND:
        settings |= {"taps": taps} | _head_of_sound(
            head, cells, units, dropout, audio_units, fusion_units, channels, pooling, augment,
        )  # fmt: skip
    elif over_taps:
        chosen: dict[str, Any] = {"gru_dropout": dropout} if dropout is not None else {}
        if units:
            chosen["units"] = units
        settings["tap_head"] = TapHeadConfig(
            streams=taps, rnns=OVER_TAPS[head][0], fc_tap=fc_tap, fc_units=fc_units, landmarks=landmarks,
            landmark_units=landmark_units, joint_units=joint_units, **chosen,
        )  # fmt: skip
    else:
        settings |= {"head": head, "taps": taps, "units": units, "dropout": dropout or 0.0}
        settings |= {"cells": cells} if cells else {}
    config = TrainRnnConfig(
        window=WindowConfig(
            window,
            stride,
            gaps or ("hold" if over_taps else "drop"),
            target or ("every" if over_taps else "last"),
            sampling=sampling,
        ),
        select=select or "",
        targets=names_of(targets),
        folds=folds_of(num_folds, fold, fold_rule),
        init="" if init is None else str(init),
        **settings,
    )
    say_on_terminal("Reading the cache, then loading keras …")
    with EpochLines() as progress:
        report = train(
            config,
            cache=resolve_cache(cache, must_exist=True),
            run=run,
            dataset=dataset,
            root=root,
            features=features,
            progress=progress,
        )
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())
    if not as_json:
        say_next("evaluate", run)


def _head_of_sound(
    head: str, cells: Any, units: tuple[int, ...], dropout: float | None, audio_units: tuple[int, ...],
    fusion_units: int, channels: tuple[int, ...], pooling: Any, augment: bool,
) -> dict[str, Any]:  # fmt: skip
    """The settings of the heads that read sound; what is not given stays at their defaults."""
    from emopipe.models.multimodal import MultimodalHeadConfig
    from emopipe.models.spectrogram_head import SpectrogramHeadConfig

    chosen: dict[str, Any] = {} if dropout is None else {"dropout": dropout}
    if head == "multimodal":
        chosen |= {"cells": cells} if cells else {}
        chosen |= {"units": units} if units else {}
        return {"multimodal": MultimodalHeadConfig(audio_units=audio_units, fusion_units=fusion_units, **chosen)}
    if len(units) > 1:
        raise click.UsageError("--units: --head spectrogram-cnn has one GRU. Expected one number.")
    chosen |= {"units": units[0]} if units else {}
    chosen |= {"channels": channels} if channels else {}
    return {"spectrogram_head": SpectrogramHeadConfig(pooling=pooling, augment=augment, **chosen)}


def _check_options(
    head: str, taps: tuple[str, ...], landmarks: bool, target: str | None, pooling: str, units: tuple[int, ...]
) -> None:
    """Refuse options that this head would not look at."""
    context = click.get_current_context()
    given = [name for name in _OF_HEADS if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    for name in given:
        option = f"--{name.replace('_', '-')}"
        if name not in _read_by(head):
            readers = ", ".join(each for each in _HEADS if name in _read_by(each))
            raise click.UsageError(f"{option}: is for --head {readers}. Received: --head {head}.")
        if name in _FOR_FC and "fc" not in taps:
            raise click.UsageError(f"{option}: is for the layer fc. Expected --tap fc too.")
        if name == "landmark_units" and not landmarks:
            raise click.UsageError(f"{option}: is for the landmarks. Expected --landmarks too.")
        if name == "layers" and units and context.params["layers"] != len(units):
            raise click.UsageError(f"--layers {context.params['layers']}: --units has {len(units)} of them.")
        if name in ("stride", "reduce") and target == "clip":
            raise click.UsageError(f"{option}: a clip is one window under --target clip.")
        if name == "units" and head == "spectrogram-cnn" and pooling != "gru":
            raise click.UsageError("--units: are those of a GRU. Expected --pooling gru too.")
    if context.get_parameter_source("sampling") is ParameterSource.COMMANDLINE and target != "clip":
        raise click.UsageError("--sampling: chooses the frames of a clip. Expected --target clip too.")


def _read_by(head: str) -> set[str]:
    """The options of a head: the fields of its configuration, and what is done around it."""
    registered: Head = HEADS.load("taps" if head in OVER_TAPS else head)
    read = {field.name for field in fields(registered.config)} | {"reduce"}
    if head in OVER_TAPS:
        return read - {"units"} if head == "cnn" else read | {"dropout"}
    if head not in _HEADS_OF_SOUND and "units" in read:
        read.add("layers")
    return read | {"stride"} | ({"standardise"} if registered.standardises else set())
