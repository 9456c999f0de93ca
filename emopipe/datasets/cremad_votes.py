"""The table of votes of CREMA-D: how many people took a clip for which emotion.

    "","A","D","F","H","N","S","fileName","numResponses",...
    "300004",0,0,0,9,1,0,"1001_IEO_HAP_HI",10,...

The first column has no name: 100,000 times the kind of the query (1 the voice alone, 2 the face alone, 3 both) and the
clip's number. The columns behind `numResponses`, with ties joined by colons and NA, are not used.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from emopipe.datasets.csv_file import read_csv
from emopipe.datasets.listing import cell_error, printable
from emopipe.errors import ManifestError
from emopipe.typing import Floats

EMOTION_OF_LETTER: Final = {
    "A": "anger", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sadness",
}  # fmt: skip
_NAME, _COUNT = "fileName", "numResponses"
_COLUMNS: Final = (*EMOTION_OF_LETTER, _COUNT)
_VOICE, _BOTH = 1, 3  # kinds of query; 2 is the face alone
_CLIPS_PER_KIND = 100_000


@dataclass(frozen=True)
class Votes:
    """The table: (kind of the query, clip id) -> its line and the cells of the six letters and `numResponses`."""

    path: Path
    rows: Mapping[tuple[int, str], tuple[int, tuple[str, ...]]]

    def shares(self, clip_id: str, *, is_video: bool) -> Floats:
        """(6,) float64: of those who voted on a clip, the share that took it for each emotion; their sum is 1.

        Args:
            clip_id: "1001_IEO_HAP_LO".
            is_video: whether the votes of those who saw and heard it count, or of those who only heard it.

        Raises:
            ManifestError: the clip has no such row, or a cell of it is not what it should be.
        """
        kind = _BOTH if is_video else _VOICE
        if (kind, clip_id) not in self.rows:
            raise ManifestError(
                f"{printable(self.path)}: expected a row of '{printable(clip_id)}' with a key of {kind}00001 to "
                f"{kind}99999. Received none.",
                path=self.path,
            )
        line, cells = self.rows[kind, clip_id]
        counts = np.array(
            [self._number(line, name, cell) for name, cell in zip(_COLUMNS, cells, strict=True)], np.float64
        )
        votes, num_responses = counts[:-1], counts[-1]
        if votes.sum() != num_responses or num_responses < 1:
            expected = f"at least 1, and the sum of the votes, {votes.sum():g}"
            raise cell_error(self.path, line, _COUNT, expected, cells[-1])
        return np.asarray(votes / num_responses)

    def _number(self, line: int, column: str, cell: str) -> float:
        if not cell.isdecimal():
            raise cell_error(self.path, line, column, "a whole number from 0 on", cell)
        return float(cell)


def clip_id_of(name: str) -> str:
    """The clip id of a name without its extension: one file has one X where all others have two.

    Examples:
        >>> clip_id_of("1040_ITH_SAD_X"), clip_id_of("1001_IEO_HAP_LO")
        ('1040_ITH_SAD_XX', '1001_IEO_HAP_LO')
    """
    return f"{name}X" if name.endswith("_X") else name


def read_votes(path: Path) -> Votes:
    """Read the table; a second call for an unchanged file costs nothing.

    Raises:
        ManifestError: it cannot be read, is a Git LFS pointer, lacks a column, has a key that is no such number, or
            two rows of one clip and one kind of query.
    """
    stat = path.stat()
    return _read_votes(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=2)
def _read_votes(path: Path, mtime_ns: int, size: int) -> Votes:
    del mtime_ns, size  # they are there to tell a changed file from the one in memory
    columns, lines = read_csv(path, (*EMOTION_OF_LETTER, _NAME, _COUNT))
    name_place = columns.index(_NAME.lower())
    places = [columns.index(column.lower()) for column in _COLUMNS]
    rows: dict[tuple[int, str], tuple[int, tuple[str, ...]]] = {}
    for line, cells in lines:
        if len(cells) <= max(name_place, *places):
            raise cell_error(path, line, _COUNT, f"{len(columns)} cells, as the header has", ",".join(cells)[:60])
        key = cells[0].strip()
        kind = int(key) // _CLIPS_PER_KIND if key.isdecimal() else 0
        if not _VOICE <= kind <= _BOTH:
            raise cell_error(path, line, columns[0], "a key from 100001 to 399999", key)
        clip_id = clip_id_of(cells[name_place].strip())
        if (kind, clip_id) in rows:
            other = rows[kind, clip_id][0]
            raise cell_error(path, line, _NAME, f"a name that line {other} has not, with kind {kind}", clip_id)
        rows[kind, clip_id] = (line, tuple(cells[place].strip() for place in places))
    return Votes(path, rows)
