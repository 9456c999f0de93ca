"""Files that the ABAW competitions take predictions of valence and arousal in.

2020 and 2021: one text file per clip, a header ``valence,arousal``, then one line per frame. Since 2023: one text file
for the whole test set, a header ``image_location,valence,arousal``, then rows like ``2-30-640x360/00001.jpg,0.1,-0.2``
in the order of the official sample.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emopipe.errors import ManifestError
from emopipe.files import write_whole
from emopipe.records import VA_TARGETS
from emopipe.typing import Floats

HEADER = "image_location,valence,arousal"


def write_submission_folder(folder: Path, clips: Mapping[str, Floats]) -> None:
    """Write one file per clip, as in 2020 and 2021.

    Args:
        folder: made when it is not there.
        clips: clip id -> (T, 2) valence and arousal of every frame, finite; clipped to [-1, 1].

    Raises:
        StorageError: a file cannot be written.
    """
    for clip_id, values in clips.items():
        lines = [",".join(VA_TARGETS), *(_cells(row) for row in values)]
        write_whole(folder / f"{clip_id}.txt", ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


def write_submission_file(path: Path, clips: Mapping[str, Floats], sample: Path | None = None) -> tuple[str, ...]:
    """Write one file for all clips, as since 2023.

    Args:
        path: the file.
        clips: as in `write_submission_folder`.
        sample: the official sample or example file, whose rows and order are kept; None for every frame of every clip,
            sorted by clip.

    Returns:
        Sentences about rows of the sample behind the last frame of a clip, which take the clip's last values.

    Raises:
        ManifestError: the sample is not readable, or names a clip that `clips` lacks.
        StorageError: the file cannot be written.
    """
    if sample is None:
        rows = [(clip_id, frame) for clip_id in sorted(clips) for frame in range(len(clips[clip_id]))]
    else:
        rows = _rows_of(sample)
    lines, beyond = [HEADER], set()
    for clip_id, frame in rows:
        if clip_id not in clips:
            raise ManifestError(
                f"{sample}: asks for clip '{clip_id}', which has no predictions. Received: {len(clips)} clips.\n"
                "Extract all clips of the split, then evaluate again.", path=sample,
            )  # fmt: skip
        values = clips[clip_id]
        if frame >= len(values):
            beyond.add(clip_id)
        lines.append(f"{clip_id}/{frame + 1:05d}.jpg,{_cells(values[min(frame, len(values) - 1)])}")
    write_whole(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    return tuple(f"clip '{name}': the sample asks for frames behind its last one." for name in sorted(beyond))


def _rows_of(sample: Path) -> list[tuple[str, int]]:
    """(clip id, 0-based frame) of every row of an official sample."""
    try:
        lines = sample.read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise ManifestError(f"{sample}: cannot be read ({error.strerror}).", path=sample) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        location = line.split(",")[0].strip()
        clip_id, slash, name = location.rpartition("/")
        if number == 1 and not slash:
            continue  # the header
        stem = name.partition(".")[0]
        if not (slash and stem.isdecimal() and int(stem) > 0):
            raise ManifestError(
                f"{sample}, line {number}: expected a row like '2-30-640x360/00001.jpg,'. Received: '{line}'.",
                path=sample, row=number,
            )  # fmt: skip
        rows.append((clip_id, int(stem) - 1))
    return rows


def _cells(row: Floats) -> str:
    valence, arousal = np.clip(row, -1, 1)
    return f"{valence:.6f},{arousal:.6f}"
