"""emopipe predict"""

import json
from pathlib import Path
from typing import Any

import click

from .options import device_option, fill_option, json_option
from .progress import Bar, say_on_terminal
from .sections import Command

_EXAMPLES = (
    "emopipe predict runs/gru3 my_videos/*.mp4 --out predictions --overlay",
    "emopipe predict runs/gru3 interview.mp4 --out predictions --side left",
)


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("media", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR",
              help="Folder that <stem>.csv is written to; made when it is not there.")  # fmt: skip
@click.option(
    "--overlay", is_flag=True, help="Also write <stem>_overlay.mp4, without sound, with face and predictions drawn in."
)
@click.option("--side", type=click.Choice(["left", "right"]), default=None,
              help="Which of two people is meant.  [default: the one who is seen most]")  # fmt: skip
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), default=None, metavar="RATE",
              help="Frames per second of folders of official crops.  [default: that given in training]")  # fmt: skip
@fill_option
@device_option
@json_option
def predict(
    run: Path, media: tuple[Path, ...], out: Path, overlay: bool, side: Any, fps: float | None, fill: Any, device: Any,
    as_json: bool,
) -> None:  # fmt: skip
    """Predict videos or sound files (MEDIA...) with a RUN of train-rnn, train-cnn or fuse, from their own faces and
    sound on.

    DIR/<stem>.csv has one row per frame: frame (from 0), time_s, valid (1 with a face), one column per target, and how
    the row came by its prediction (window, short, frame, interpolated, none). For a run on sound alone a row is a
    window of sound, and time_s its middle. Neither cache nor corpus is needed.

    A run that learned one label per clip gives one row per recording (clip, frames, valid, the targets), and the rows
    of its frames or windows are in DIR/<stem>_frames.csv.
    """
    from emopipe.stages.predict import check_names, load_predictor, predict_files

    check_names(media, out)
    say_on_terminal("Loading the networks of the run …")
    bar = Bar()
    try:
        predictor = load_predictor(run, device=device, fps=fps)
        files = predict_files(predictor, media, out, side=side or "", fill=fill, overlay=overlay, progress=bar)
        outcomes = list(files)
    finally:
        bar.close()
    if as_json:
        click.echo(json.dumps({"recordings": [outcome.to_dict() for outcome in outcomes]}))
    else:
        click.echo("\n".join(outcome.to_text() for outcome in outcomes))
    if any(outcome.error for outcome in outcomes):
        raise click.exceptions.Exit(1)
