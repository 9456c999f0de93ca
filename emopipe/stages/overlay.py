"""A copy of a video with face, landmarks and predictions drawn in, to look at."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from emopipe.media.video import probe, read_frames, write_video
from emopipe.plots.pictures import annotate, gauges
from emopipe.stages.predictions import Prediction
from emopipe.typing import Image

_MOST_CLASSES = 3


def overlay_path(media: Path, folder: Path) -> Path:
    """Where the overlay of a video goes; never the video's own name, which may lie in the same folder."""
    return folder / f"{media.stem}_overlay.mp4"


def write_overlay(
    found: Prediction,
    folder: Path,
    classes: tuple[str, ...],
    on_frame: Callable[[int, int], None],
) -> Path | None:
    """Write <stem>_overlay.mp4: constant rate, without sound, an odd last column or row cut off.

    Args:
        found: what was predicted for the video.
        folder: where to.
        classes: names of the classes, of which the likeliest are shown; () shows every target.
        on_frame: called with (frames drawn, frames in all).

    Returns:
        The file; None for pictures, which are no video.

    Raises:
        MediaError, StorageError: it cannot be decoded again, or not be written.
    """
    if found.media.is_dir() or len(found) < 2:
        return None
    # A rate that varies is evened out: the copy lasts as long as the original.
    span_s = float(found.time_s[-1] - found.time_s[0])
    declared = probe(found.media).frame_rate
    rate = Fraction((len(found) - 1) / span_s).limit_denominator(1001) if span_s > 0 else declared or Fraction(25)
    path = overlay_path(found.media, folder)
    write_video(path, _counted(_drawn(found, classes), len(found), on_frame), rate)
    return path


def _counted(frames: Iterator[Image], of: int, on_frame: Callable[[int, int], None]) -> Iterator[Image]:
    for done, frame in enumerate(frames, start=1):
        yield frame
        on_frame(done, of)


def _drawn(found: Prediction, classes: tuple[str, ...]) -> Iterator[Image]:
    for row, frame in enumerate(read_frames(found.media)):
        if frame.image is None:
            continue
        height, width = (side - side % 2 for side in frame.image.shape[:2])
        picture = annotate(frame.image, found.box[row], found.landmarks[row])[:height, :width]
        values = dict(zip(found.columns, found.values[row], strict=True))
        if classes:
            likeliest = sorted(values, key=lambda name: -np.nan_to_num(values[name]))[:_MOST_CLASSES]
            values = {name: values[name] for name in likeliest}
        yield gauges(np.ascontiguousarray(picture), values, 0.0 if classes else -1.0)
