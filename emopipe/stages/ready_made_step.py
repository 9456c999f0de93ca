"""Features that a corpus brings along: its files in, rows of the features shards out; nothing is computed."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from emopipe.errors import ManifestError
from emopipe.records import Clip
from emopipe.stages.clip_queue import Job
from emopipe.stages.features_step import FeatureRows
from emopipe.stages.makers import Claimed, FeaturesMaker
from emopipe.stages.shelf import Shelf
from emopipe.stages.spec import Plan
from emopipe.store.layout import ShardHeader
from emopipe.typing import Array, Bools

_LOOKED_AT = 25  # about as many clips say how wide rows are


class ReadyMadeMaker:
    """Puts the ready-made features of claimed clips on a shelf.

    A row that lacks a number is not valid, and NaN as a whole, like a frame without a face.

    Args:
        job: the extraction.
        header: of the shards; `what` names the features.
        shelf: takes the rows.
    """

    def __init__(self, job: Job, header: ShardHeader, shelf: Shelf):
        self._job, self._tap = job, header.what
        self._features = FeaturesMaker(job, shelf)
        self._width = _usual_width(job.plan)

    def make(self, claimed: Claimed) -> None:
        """Take the features of every clip."""
        for rows in self._job.clock.step("read", self._taken, claimed):
            self._features.shelve(rows)
            if rows.error is None:
                self._job.report.rows += len(rows.rows["valid"])
                self._job.report.valid_rows += int(rows.rows["valid"].sum())

    def _taken(self, claimed: Claimed) -> Iterator[FeatureRows]:
        for planned, _ in claimed:
            try:
                taken = FeatureRows(planned, self._rows(planned.clip), is_last=True)
            except Exception as error:  # noqa: BLE001  one bad clip never stops the rest: it becomes a ledger row
                taken = FeatureRows(planned, {}, is_last=True, error=error)
            yield taken

    def _rows(self, clip: Clip) -> dict[str, Array]:
        """The rows of a clip.

        Raises:
            ManifestError: the file is not in order, no row has all numbers, or rows are not as wide as of other clips.
        """
        found = self._job.plan.adapter.read_ready_made(clip)
        length, width = found.values.shape
        valid: Bools = np.asarray(np.isfinite(found.values).all(axis=1))
        if not valid.any():
            raise ManifestError(
                f"{clip.media}: each of its {length} rows lacks a number. Expected a row that is whole.",
                path=clip.media,
            )
        self._width = self._width or width
        if width != self._width:
            raise ManifestError(
                f"{clip.media}: expected {self._width} features in each row, as most clips have. Received: {width}.",
                path=clip.media,
            )
        values = np.where(valid[:, None], found.values, np.float32(np.nan))
        return {"frame_index": np.arange(length), "time_s": found.time_s, "valid": valid, f"taps/{self._tap}": values}


def _usual_width(plan: Plan) -> int:
    """Numbers in a row of most clips, by a few of them from all over the corpus; 0 when none of these can be read."""
    widths: Counter[int] = Counter()
    for planned in plan.clips[:: max(1, len(plan.clips) // _LOOKED_AT)]:
        with suppress(ManifestError):
            widths[plan.adapter.read_ready_made(planned.clip).values.shape[1]] += 1
    return widths.most_common(1)[0][0] if widths else 0
