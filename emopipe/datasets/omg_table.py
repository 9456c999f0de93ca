"""One official list of OMG-Emotion: which utterances it holds, in which order, and what they are labelled.

    omg_TrainVideos.csv, omg_ValidationVideos.csv, omg_TestVideos_WithLabels.csv
        link,start,end,video,utterance,arousal,valence,EmotionMaxVote
    omg_TestVideos_WithoutLabels.csv
        link,start,end,video,utterance

Columns are found by name; arousal stands before valence. An utterance is known by `video` and `utterance` together.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from emopipe.datasets.csv_file import cell_of, read_csv
from emopipe.datasets.listing import cell_error, clip_name, printable, video_stem
from emopipe.errors import ManifestError
from emopipe.records import Split

LABELLED: Final[Mapping[str, Split]] = {
    "omg_TrainVideos.csv": "train",
    "omg_ValidationVideos.csv": "dev",
    "omg_TestVideos_WithLabels.csv": "test",
}
UNLABELLED: Final = "omg_TestVideos_WithoutLabels.csv"
KEY_COLUMNS: Final = ("video", "utterance")
LABEL_COLUMNS: Final = ("arousal", "valence", "EmotionMaxVote")
EMOTIONS: Final = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")  # by their codes, 0 to 6
RANGES: Final[Mapping[str, tuple[float, float]]] = {"valence": (-1.0, 1.0), "arousal": (0.0, 1.0)}


@dataclass(frozen=True)
class Utterance:
    """One row of an official list: its line, its cells, and its two names as they stand there."""

    line: int
    video: str
    utterance: str
    cells: tuple[str, ...]

    @property
    def clip_id(self) -> str:
        """ "74de88564_1/utterance_3": the video and the utterance without its extension."""
        return clip_id_of(self.video, self.utterance)


@dataclass(frozen=True)
class OmgTable:
    """One official list.

    Attributes:
        path: the file.
        columns: its header, in lower case.
        rows: clip id -> row, in the official order.
        skipped: lines of the rows that name no video.
    """

    path: Path
    columns: tuple[str, ...]
    rows: dict[str, Utterance]
    skipped: tuple[int, ...]

    def number(self, row: Utterance, column: str) -> float:
        """Valence or arousal of a row.

        Raises:
            ManifestError: the cell is not a number in the column's range; names line and column.
        """
        low, high = RANGES[column]
        value = _number(self._cell(row, column))
        if not low <= value <= high:
            raise self.error(row.line, column, f"a number in [{low:g}, {high:g}]", self._cell(row, column))
        return value

    def emotion(self, row: Utterance) -> int:
        """The code of a row's emotion, a place in `EMOTIONS`; errors as `number`."""
        column = "EmotionMaxVote"
        code = _number(self._cell(row, column))
        if code not in range(len(EMOTIONS)):
            expected = f"a code from 0 ({EMOTIONS[0]}) to {len(EMOTIONS) - 1} ({EMOTIONS[-1]})"
            raise self.error(row.line, column, expected, self._cell(row, column))
        return int(code)

    def error(self, line: int, column: str, expected: str, received: str) -> ManifestError:
        """The error for one cell."""
        return cell_error(self.path, line, column, expected, received)

    def _cell(self, row: Utterance, column: str) -> str:
        return cell_of(row.cells, self.columns, column)


def clip_id_of(video: str, utterance: str) -> str:
    """The clip id of an official row.

    Examples:
        >>> clip_id_of("74de88564_1", "utterance_3.mp4")
        '74de88564_1/utterance_3'
    """
    return f"{clip_name(video)}/{clip_name(video_stem(utterance) or utterance)}"


def read_table(path: Path) -> OmgTable:
    """Read one official list; a second call for an unchanged file costs nothing.

    Raises:
        ManifestError: it cannot be read, lacks a column, or lists an utterance twice.
    """
    stat = path.stat()
    return _read_table(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=8)
def _read_table(path: Path, mtime_ns: int, size: int) -> OmgTable:
    del mtime_ns, size  # they are there to tell a changed file from the one in memory
    needed = KEY_COLUMNS if path.name.lower() == UNLABELLED.lower() else (*KEY_COLUMNS, *LABEL_COLUMNS)
    columns, lines = read_csv(path, needed)
    rows: dict[str, Utterance] = {}
    skipped = []
    for line, cells in lines:
        video, utterance = (cell_of(cells, columns, name) for name in KEY_COLUMNS)
        if not video:
            skipped.append(line)  # one public copy ends with the means and standard deviations of the columns
            continue
        if "/" in video or "\\" in video or video in (".", ".."):
            raise cell_error(path, line, "video", "the name of a folder", video)
        if video_stem(utterance) is None or "/" in utterance or "\\" in utterance:
            raise cell_error(path, line, "utterance", "a file name like utterance_1.mp4", utterance)
        row = Utterance(line, video, utterance, cells)
        if (other := rows.setdefault(row.clip_id, row)) is not row:
            raise ManifestError(
                f"{printable(path)}, line {line}: '{video}', '{utterance}' is on line {other.line} already.\n"
                "Expected every utterance once. Remove one of the two lines.",
                path=path,
                row=line,
            )
    return OmgTable(path, columns, rows, tuple(skipped))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
