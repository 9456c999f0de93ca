"""emopipe extract"""

import json
from pathlib import Path
from typing import Any

import click

from .options import (
    cache_option,
    dataset_option,
    json_option,
    resolve_cache,
    root_option,
    split_option,
    workers_option,
)


@click.command()
@dataset_option
@root_option
@cache_option
@split_option
@click.option("--limit", type=click.IntRange(1), default=None, metavar="N", help="Only the first N clips.")
@click.option("--only", type=click.Choice(["faces", "features"]), default=None, help="Only this kind.")
@click.option("--detector", default="retinaface", show_default=True, metavar="NAME", help="Face detector.")
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
    help="How a face becomes a crop; given takes the official crops and only resizes them.",
)
@click.option(
    "--fps", type=float, default=None, metavar="F", help="Frame rate of image sequences whose video is not there."
)
@click.option(
    "--backbone",
    default="resnet50",
    show_default=True,
    metavar="NAME|FILE.keras",
    help="Network that turns crops into features.",
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
    help="Numbers a FILE.keras backbone expects, unless the file says so itself.",
)
@click.option("--input-size", type=click.IntRange(8), default=None, metavar="PX", help="Likewise its input size.")
@workers_option
@click.option("--device", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", show_default=True)
@click.option("--retry-failed", is_flag=True, help="Try clips again that failed under the same settings.")
@click.option("--dry-run", is_flag=True, help="Say what would be made, reused and needed, and make nothing.")
@json_option
def extract(as_json: bool, dry_run: bool, **options: Any) -> None:
    """Make faces and features of a corpus, into verified shards.

    Finished clips are recognised and reused, so the same command goes on where it was stopped. A clip that fails is
    noted in the ledger and never stops the others; the exit code is then 1.
    """
    from emopipe.stages.dry_run import estimate
    from emopipe.stages.extract import extract as run

    from .progress import Bar

    spec = _spec(**options)
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


def _spec(
    dataset: str, root: Path | None, cache: Path | None, splits: tuple[str, ...], limit: int | None, only: str | None,
    detector: str, detector_weights: Path | None, detect_every: int, working_size: int, alignment: Any,
    fps: float | None, backbone: str, weights: str, taps: tuple[str, ...], input_range: str | None,
    input_size: int | None, workers: int, device: Any, retry_failed: bool,
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
    )
