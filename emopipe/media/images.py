"""Pictures: official image sequences, cut from a video by the corpus's authors, and pictures that stand alone."""

import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image

from emopipe.errors import DecodeError
from emopipe.records import Frame
from emopipe.typing import Image

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})
_NUMBERED = re.compile(r"([0-9]+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
# What Pillow raises for pictures that are empty, cut short, damaged or absurdly large.
_PICTURE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, PIL.Image.DecompressionBombError)


def last_image_number(folder: Path) -> int:
    """The largest official number in a folder of numbered pictures; 0 when there is none.

    Raises:
        DecodeError: as for `read_images`, except that no picture is opened.
    """
    return max(_image_paths(folder), default=0)


def read_images(folder: Path, num_frames: int, frame_rate: Fraction | float) -> Iterator[Frame]:
    """The frames of an official image sequence, one at a time, gaps included.

    Pictures are found by number, never by position in a listing: ``00001.jpg`` is frame 0, whatever else is there.
    Other files are ignored, and so are pictures numbered above `num_frames`. Each picture keeps its own size; grey,
    palette and RGBA pictures become RGB, alpha is dropped. Orientation tags are not applied: crops have none.

    Args:
        folder: holds files named with digits and .jpg, .jpeg or .png, counted from 1.
        num_frames: how many frames to yield: the larger of the last number and the annotation rows.
        frame_rate: of the video that the pictures were cut from, in Hz; `time_s` is frame_index / frame_rate.

    Yields:
        Frame with (H, W, 3) uint8 RGB, or with `image` None where there is no picture of that number.

    Raises:
        DecodeError: the folder cannot be read, two pictures have one number, one is numbered 0, or one does not decode;
            the message names the file.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     PIL.Image.new("RGB", (112, 112)).save(Path(folder) / "00002.jpg")
        ...     [(frame.time_s, frame.image is None) for frame in read_images(Path(folder), 3, 25)]
        [(0.0, True), (0.04, False), (0.08, True)]
    """
    paths = _image_paths(folder)
    for frame_index in range(num_frames):
        path = paths.get(frame_index + 1)
        image = None if path is None else _read_image(path, frame_index)
        yield Frame(frame_index, float(frame_index / frame_rate), image)


def read_picture(path: Path) -> Iterator[Frame]:
    """The one frame of a picture that stands alone: number 0, at 0 s.

    Grey, palette and RGBA pictures become RGB, alpha is dropped; of several pages the first is read. Orientation tags
    are not applied.

    Args:
        path: an 8-bit PNG, TIFF, JPEG, or anything else that Pillow reads.

    Yields:
        One Frame with (H, W, 3) uint8 RGB.

    Raises:
        DecodeError: it does not decode, or has deeper samples; the message names the file.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     PIL.Image.new("L", (256, 200), 90).save(Path(folder) / "KA.NE1.26.tiff")
        ...     [frame.image.shape for frame in read_picture(Path(folder) / "KA.NE1.26.tiff")]
        [(200, 256, 3)]
    """
    yield Frame(0, 0.0, _read_image(path, 0))


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture, pixels, from its header: nothing is decoded.

    Raises:
        DecodeError: it is no picture.
    """
    try:
        with PIL.Image.open(path) as picture:
            return picture.size
    except _PICTURE_ERRORS as error:
        raise _undecodable(path, 0, error) from error


def _image_paths(folder: Path) -> dict[int, Path]:
    """Official number -> file."""
    paths: dict[int, Path] = {}
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise DecodeError(
            f"{folder}: expected a folder of numbered pictures. Received: {error.strerror}.", path=folder
        ) from error
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match is None:
            continue
        number = int(match[1])
        if number == 0:
            raise DecodeError(
                f"{folder / name}: numbered 0. Expected official numbers, which begin at 1. Renumber the pictures.",
                path=folder / name,
            )
        if number in paths:
            raise DecodeError(
                f"{folder}: '{paths[number].name}' and '{name}' have the same number. Expected one picture for each "
                "frame. Remove one.",
                path=folder,
                frame_index=number - 1,
            )
        paths[number] = folder / name
    return paths


def _read_image(path: Path, frame_index: int) -> Image:
    try:
        with PIL.Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):  # Pillow clips deeper samples at 255 instead of scaling them
                raise ValueError(f"samples of mode {picture.mode}")
            return np.array(picture.convert("RGB"))
    except _PICTURE_ERRORS as error:
        raise _undecodable(path, frame_index, error) from error


def _undecodable(path: Path, frame_index: int, error: Exception) -> DecodeError:
    return DecodeError(
        f"{path}: does not decode. Expected an 8-bit JPEG, PNG or TIFF. Received: {error}.\n"
        "Extract the archive of pictures again.",
        path=path,
        frame_index=frame_index,
    )
