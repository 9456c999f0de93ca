"""emopipe extract"""

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .options import (
    cache_option,
    dataset_option,
    device_option,
    json_option,
    resolve_cache,
    root_option,
    split_option,
    workers_option,
)
from .sections import Command

_SECTIONS = {
    "Which clips": "dataset root splits limit retry_failed",
    "What is made, and where": "cache only ready_made workers device dry_run",
    "Faces": "detector detector_weights detect_every working_size alignment fps",
    "Features of faces": "backbone weights taps input_range input_size",
    "Features of sound": "audio_backbone audio_weights audio_taps audio_scaling audio_input_range spectrogram "
    "audio_window audio_hop audio_bands audio_rate colour_map",
}
_EXAMPLES = (
    "emopipe extract --dataset folder --root my_videos --only faces",
    "emopipe extract --dataset affwild2 --backbone runs/cnn/network.keras",
    "emopipe extract --dataset affwild2 --backbone vgg16 --tap pool2:gap --tap pool5:flat",
    "emopipe extract --dataset ravdess --only audio --audio-backbone log-mel --audio-bands 64",
    "emopipe extract --dataset hume --root c2_muse_reaction --ready-made FAUs",
)

_DETECTION = ("detector", "detector_weights", "detect_every", "working_size")
_OF_FACES = (*_DETECTION, "alignment", "fps")
_OF_FEATURES = ("backbone", "weights", "taps", "input_range", "input_size")
_OF_AUDIO = tuple(_SECTIONS["Features of sound"].split())
# --only -> the options that would change nothing.
_UNREAD = {
    "faces": (*_OF_FEATURES, *_OF_AUDIO),
    "features": _OF_AUDIO,
    "audio": (*_OF_FACES, *_OF_FEATURES, "workers"),
}
# what --ready-made leaves nothing to say about: nothing is made
_OF_MAKING = (*_OF_FACES, *_OF_FEATURES, *_OF_AUDIO, "only", "workers", "device")

# What says how sound becomes features; without --audio-backbone there is nothing to say.
_AUDIO_OPTIONS = (
    click.option("--audio-backbone", default=None, metavar="NAME|FILE.keras|log-mel",
                 help="Network that turns spectrograms of the sound into features; log-mel takes their numbers as they "
                 "are and needs none.  [default: the sound is left alone]"),
    click.option("--audio-weights", default=None, metavar="SPEC", help="As --weights.  [default: imagenet]"),
    click.option("--audio-tap", "audio_taps", multiple=True, metavar="NAME",
                 help="As --tap.  [default: fc2 of vgg16, avg_pool of the others]"),
    click.option("--audio-scaling", type=click.Choice(["preprocess", "raw"]), default=None,
                 help="Numbers of a picture: those that the network was trained on, or 0 to 255 as they are (BGR for "
                 "vgg16).  [default: raw for vgg16, preprocess for the others]"),
    click.option("--audio-input-range", type=click.Choice(["-1..1", "0..1", "0..255", "caffe", "imagenet"]),
                 default=None, help="As --input-range, of a FILE.keras audio backbone."),
    click.option("--spectrogram", type=click.Choice(["mel", "linear", "chroma"]), default=None,
                 help="What the pictures show: mel bands, linear frequencies or the twelve pitch classes.  "
                 "[default: mel]"),
    click.option("--audio-window", type=float, default=None, metavar="S",
                 help="Length of a window in seconds.  [default: 1; 0.05 with log-mel]"),
    click.option("--audio-hop", type=float, default=None, metavar="S",
                 help="From one window to the next, in seconds.  [default: 0.5; 0.02 with log-mel]"),
    click.option("--audio-bands", type=click.IntRange(1), default=None, metavar="N",
                 help="Number of mel bands.  [default: 128]"),
    click.option("--audio-rate", type=click.IntRange(1), default=None, metavar="HZ",
                 help="Resample to this rate first.  [default: each recording's own]"),
    click.option("--colour-map", type=click.Choice(["viridis", "magma", "plasma", "inferno", "cividis", "gray"]),
                 default=None, help="Colours of the pictures.  [default: viridis]"),
)  # fmt: skip


def _audio_options(command: Any) -> Any:
    for option in reversed(_AUDIO_OPTIONS):
        command = option(command)
    return command


@click.command(cls=Command, sections=_SECTIONS, examples=_EXAMPLES)
@dataset_option
@root_option
@cache_option
@split_option
@click.option(
    "--limit", type=click.IntRange(1), default=None, metavar="N", help="Only the first N clips.  [default: all clips]"
)
@click.option("--only", type=click.Choice(["faces", "features", "audio"]), default=None,
              help="Make only this. features: from faces that are cached.  [default: faces and features, and audio "
              "where --audio-backbone is given]")  # fmt: skip
@click.option("--ready-made", default=None, metavar="NAME",
              help="Make nothing and take these features, which the corpus brings along (hume: FAUs, DeepSpectrum "
              "and what else lies in feats).")  # fmt: skip
@click.option(
    "--detector",
    default="retinaface",
    show_default=True,
    metavar="NAME",
    help="Face detector; see: emopipe list detectors.",
)
@click.option(
    "--detector-weights",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Weights file of a detector that is not packaged with one (yunet).",
)
@click.option(
    "--detect-every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="K",
    help="Detect on every K-th frame and follow the landmarks between.",
)
@click.option(
    "--working-size",
    type=click.IntRange(64),
    default=320,
    show_default=True,
    metavar="PX",
    help="Long side of the picture the detector sees; frames without a face are looked at again at twice that size.",
)
@click.option(
    "--alignment",
    type=click.Choice(["procrustes5", "box", "given"]),
    default="procrustes5",
    show_default=True,
    help="How a face becomes a crop. procrustes5: turned and scaled by five points; box: the detector's box; given: "
    "the official crops, only resized.",
)
@click.option(
    "--fps",
    type=float,
    default=None,
    metavar="F",
    help="Frames per second of image sequences whose video is not there.",
)
@click.option(
    "--backbone",
    default="resnet50",
    show_default=True,
    metavar="NAME|FILE.keras",
    help="Network that turns crops into features; see: emopipe list backbones.",
)
@click.option(
    "--weights",
    default="imagenet",
    show_default=True,
    metavar="SPEC",
    help="imagenet, none (seeded random) or a file; a FILE.keras backbone brings its own.",
)
@click.option("--tap", "taps", multiple=True, metavar="NAME", help="Layer to cache, as layer:gap, layer:grid4 or "
              "layer:flat; repeatable, all in one forward pass.  [default: the backbone's own]")  # fmt: skip
@click.option(
    "--input-range",
    type=click.Choice(["-1..1", "0..1", "0..255", "caffe", "imagenet"]),
    default=None,
    help="Numbers that the network expects. A FILE.keras needs it unless it says so itself.",
)
@click.option("--input-size", type=click.IntRange(8), default=None, metavar="PX",
              help="Side of the picture that the network is given, where it takes several.  "
              "[default: its own]")  # fmt: skip
@_audio_options
@workers_option
@device_option
@click.option("--retry-failed", is_flag=True, help="Try clips again that failed under the same settings.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, reused and needed, and make nothing.")
@json_option
def extract(as_json: bool, dry_run: bool, **options: Any) -> None:
    """Make faces and features of a corpus, and features of its sound, into verified shards; or take features that it
    brings along.

    Finished clips are recognised and reused, so the same command goes on where it was stopped. A clip that fails is
    noted in the ledger and never stops the others; the exit code is then 1.
    """
    from emopipe.stages.dry_run import estimate
    from emopipe.stages.extract import extract as run

    from .progress import Bar, say_on_terminal

    _refuse_unread(options)
    spec = _spec(**options)
    say_on_terminal(f"Looking at the clips of {options['dataset']} …")
    if dry_run:
        outlook = estimate(spec)
        click.echo(json.dumps(outlook.to_dict()) if as_json else outlook.to_text())
        return
    bar = Bar()
    try:
        report = run(spec, bar)
    finally:
        bar.close()
    click.echo(json.dumps(report.to_dict()) if as_json else report.to_text())
    if not report.is_complete:
        raise click.exceptions.Exit(1)


def _refuse_unread(options: dict[str, Any]) -> None:
    """Refuse options that what is asked for would not look at."""
    spectrogram = options["spectrogram"]
    of_log_mel = ("colour_map",) if spectrogram == "mel" else ("colour_map", "spectrogram")
    unread = {
        f"--only {options['only']}": _UNREAD.get(options["only"], ()),
        f"--ready-made {options['ready_made']}": () if options["ready_made"] is None else _OF_MAKING,
        "--alignment given": _DETECTION if options["alignment"] == "given" else (),
        "--audio-backbone log-mel": of_log_mel if options["audio_backbone"] == "log-mel" else (),
        f"--spectrogram {spectrogram}": ("audio_bands",) if spectrogram in ("linear", "chroma") else (),
    }
    context = click.get_current_context()
    for option in context.command.params:
        if context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE:
            for reason, names in unread.items():
                if option.name in names:
                    raise click.UsageError(f"{option.opts[0]}: changes nothing with {reason}. Leave one of them out.")


def _spec(
    dataset: str, root: Path | None, cache: Path | None, splits: tuple[str, ...], limit: int | None, only: str | None,
    ready_made: str | None, detector: str, detector_weights: Path | None, detect_every: int, working_size: int,
    alignment: Any, fps: float | None, backbone: str, weights: str, taps: tuple[str, ...], input_range: str | None,
    input_size: int | None, workers: int, device: Any, retry_failed: bool, **audio: Any,
) -> Any:  # fmt: skip
    from emopipe.config import FacesConfig
    from emopipe.datasets.adapter import resolve_root
    from emopipe.stages.spec import BackboneRequest, ExtractSpec

    return ExtractSpec(
        dataset=dataset,
        root=resolve_root(dataset, root),
        cache=resolve_cache(cache),
        faces=FacesConfig(
            detector=detector,
            working_size_px=working_size,
            retry_size_px=2 * working_size,
            detect_every=detect_every,
            alignment=alignment,
            fps=fps,
        ),
        backbone=BackboneRequest(backbone, weights, taps, input_range, input_size),
        only=only or "all",  # type: ignore[arg-type]  # click.Choice
        splits=splits,
        limit=limit,
        detector_weights=detector_weights,
        device=device,
        workers=workers,
        retry_failed=retry_failed,
        audio=_audio_request(**audio),
        ready_made=ready_made,
    )


def _audio_request(
    audio_backbone: str | None, audio_weights: str | None, audio_taps: tuple[str, ...], audio_scaling: Any,
    audio_input_range: str | None, **spectrogram: Any,
) -> Any:  # fmt: skip
    """What is asked for of the sound, or None.

    Raises:
        UsageError: an option of the sound without --audio-backbone.
    """
    from emopipe.models.spectrogram_cnn import AudioRequest, spectrogram_for

    names = {"spectrogram": "kind", "audio_window": "window_s", "audio_hop": "hop_s", "audio_bands": "num_bands",
             "audio_rate": "rate_hz", "colour_map": "colour_map"}  # fmt: skip
    given = {names[option]: value for option, value in spectrogram.items() if value is not None}
    if audio_backbone is None:
        if given or audio_taps or audio_weights or audio_scaling or audio_input_range:
            raise click.UsageError("options of the sound need --audio-backbone NAME; log-mel needs no network.")
        return None
    return AudioRequest(
        audio_backbone,
        audio_weights or "imagenet",
        audio_taps,
        audio_scaling,
        audio_input_range,
        spectrogram_for(audio_backbone, **given),
    )
