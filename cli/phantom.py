"""`emopipe phantom`: generated faces whose true labels are known."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from .options import json_option
from .progress import Counter
from .sections import Command

_EXAMPLES = (
    "emopipe phantom phantoms/affwild2 --layout affwild2 --subjects 6 --seconds 8",
    "emopipe phantom phantoms/ckplus --layout ckplus --subjects 10 --seed 7",
)


class _Size(click.ParamType):
    name = "WxH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        width, cross, height = str(value).lower().partition("x")
        if not (cross and width.isdecimal() and height.isdecimal()):
            self.fail(f"expected a size like 320x240. Received: '{value}'.", param, ctx)
        return int(width), int(height)


@click.command(cls=Command, examples=_EXAMPLES)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    required=True,
    type=click.Choice(["affwild2", "affwild", "omg", "hume", "ravdess", "ckplus", "jaffe"]),
    help="The corpus whose layout it has; omg, hume and ravdess have short clips with one label each, ckplus and jaffe "
    "are still pictures.",
)
@click.option("--subjects", type=int, default=8, show_default=True, metavar="N", help="Number of people.")
@click.option("--seconds", type=float, metavar="S",
              help="Length of each video in seconds; omg, hume: of each person's.  "
              "[default: 10; ravdess: 3]")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, metavar="N",
              help="The same seed makes the same corpus.")  # fmt: skip
@click.option("--faces", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
              help="Folder of portraits, one person for each subject.  [default: one photograph, altered for each "
              "subject]")  # fmt: skip
@click.option("--size", type=_Size(), default="320x240", show_default=True, metavar="WxH",
              help="Width and height of the picture in pixels.")  # fmt: skip
@click.option("--fps", type=int, metavar="F", help="Frames per second of each video.  [default: 25]")
@click.option("--workers", type=click.IntRange(1), metavar="N",
              help="Processes that draw.  [default: half of the cores, at least one]")  # fmt: skip
@json_option
def phantom(
    folder: Path,
    layout: str,
    subjects: int,
    seconds: float | None,
    seed: int,
    faces: Path | None,
    size: tuple[int, int],
    fps: int | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Make a corpus of generated faces and voices with known valence and arousal, or known expressions, in DIR.

    Its files are those of the official corpus, so `extract` reads it as such; DIR/truth holds the true state of every
    frame.
    """
    from emopipe.datasets.phantom_layouts import STILLS, PhantomSettings
    from emopipe.stages.phantom import make_phantom

    if layout in STILLS and (seconds is not None or fps is not None):
        raise click.UsageError(f"--seconds and --fps are about videos; layout '{layout}' has still pictures.")
    default_s = 3.0 if layout == "ravdess" else 10.0  # each person says 15 sentences in it, which last 3 to 5 s in life
    length_s, frame_rate = default_s if seconds is None else seconds, 25 if fps is None else fps
    settings = PhantomSettings(layout, subjects, length_s, seed, *size, frame_rate)
    num_workers = workers or max(1, (os.cpu_count() or 2) // 2)

    counter = Counter("subjects" if layout in STILLS else "videos")
    try:
        report = make_phantom(folder, settings, faces, num_workers, counter)
    finally:
        counter.close()
    parts = [f"{report.num_clips} clips", f"{report.num_frames} {'pictures' if layout in STILLS else 'frames'}"]
    text = ", ".join(parts if layout in STILLS else [f"{report.num_videos} videos", *parts]) + f" in {folder}"
    click.echo(json.dumps(asdict(report)) if as_json else text)
