"""Pictures of what stage one made: a sheet of crops, a frame with its box and landmarks."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from emopipe.files import partial_path, storage_error
from emopipe.typing import Bools, Floats, Image

_GAP_PX = 4
_BACKGROUND = (24, 24, 28)
_BOX = (64, 200, 255)
_POINT = (255, 214, 64)
_NO_FACE = (200, 60, 60)
_PANEL = (24, 24, 28)
_TEXT = (240, 240, 240)


def contact_sheet(crops: Image, valid: Bools, *, num_columns: int = 12) -> Image:
    """Crops side by side, row by row; a crossed-out field stands for a frame without a face.

    Args:
        crops: (N, S, S, 3) uint8 RGB.
        valid: (N,) bool.
        num_columns: crops per row.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    size = crops.shape[1]
    num_rows = -(-len(crops) // num_columns)
    step = size + _GAP_PX
    sheet = PillowImage.new("RGB", (num_columns * step + _GAP_PX, num_rows * step + _GAP_PX), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for i, (crop, is_face) in enumerate(zip(crops, valid, strict=True)):
        x, y = _GAP_PX + (i % num_columns) * step, _GAP_PX + (i // num_columns) * step
        if is_face:
            sheet.paste(PillowImage.fromarray(crop), (x, y))
        else:
            edges = (x, y, x + size - 1, y + size - 1)
            draw.rectangle(edges, outline=_NO_FACE)
            draw.line(edges, fill=_NO_FACE)
            draw.line((x, y + size - 1, x + size - 1, y), fill=_NO_FACE)
    return np.asarray(sheet)


def annotate(image: Image, box: Floats, landmarks: Floats) -> Image:
    """A frame with its face's box and landmarks drawn in.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) x0, y0, x1, y1 pixels; NaN draws none.
        landmarks: (K, 2) pixels; NaN draws none.

    Returns:
        (H, W, 3) uint8 RGB, a copy.
    """
    picture = PillowImage.fromarray(image).copy()
    draw = ImageDraw.Draw(picture)
    width = max(1, round(max(image.shape[:2]) / 320))
    if np.isfinite(box).all():
        draw.rectangle([float(edge) for edge in box], outline=_BOX, width=width)
    for x, y in landmarks[np.isfinite(landmarks).all(axis=1)]:
        draw.ellipse((x - width, y - width, x + width, y + width), fill=_POINT)
    return np.asarray(picture)


def gauges(image: Image, values: Mapping[str, float], low: float = -1.0, high: float = 1.0) -> Image:
    """A frame with one bar per number in its lower left corner; a number that is NaN has an empty bar.

    Args:
        image: (H, W, 3) uint8 RGB.
        values: name -> number; one outside of `low` to `high` fills the bar to its end.
        low, high: ends of the bars. They fill from 0 on, or from `low` where that is larger.

    Returns:
        (H, W, 3) uint8 RGB, a copy.
    """
    picture = PillowImage.fromarray(image).copy()
    draw = ImageDraw.Draw(picture)
    height = max(9, round(image.shape[0] / 24))
    font = ImageFont.load_default(height)
    texts = [f"{name} {'none' if value != value else f'{value:+.2f}'}" for name, value in values.items()]
    widest = max(draw.textlength(f"{name} +0.00", font=font) for name in values)
    bar = max(24, image.shape[1] // 4)
    x, y = height // 2, image.shape[0] - (len(values) + 0.5) * 1.4 * height
    draw.rectangle((0, y - 0.3 * height, x * 3 + widest + bar, image.shape[0]), fill=_PANEL)
    place = {end: x * 2 + widest + bar * (end - low) / (high - low) for end in (low, max(low, 0.0), high)}
    for value, text in zip(values.values(), texts, strict=True):
        draw.text((x, y), text, font=font, fill=_TEXT)
        draw.rectangle((place[low], y, place[high], y + height), outline=_TEXT)
        if value == value:
            end = place[low] + bar * (min(max(value, low), high) - low) / (high - low)
            left, right = sorted((place[max(low, 0.0)], end))
            draw.rectangle((left, y, right, y + height), fill=_BOX)
        y += 1.4 * height
    return np.asarray(picture)


def save_png(image: Image, path: Path) -> None:
    """Write a picture; the name appears when it is complete.

    Raises:
        StorageError: it cannot be written.
    """
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(image).save(partial, format="PNG")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise storage_error(path, error) from error
