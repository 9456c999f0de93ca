"""The frames of many clips as one table: what windows are cut from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emopipe.errors import RecordError
from emopipe.typing import Bools, Floats, Ints

_CHECKED_BYTES = 1 << 24  # of features that `Rows.check` looks at in one go
_ROUNDING = 1e-12  # below this part of the squared mean, a variance is what rounding leaves of a constant


@dataclass(frozen=True)
class Rows:
    """The frames of many clips as one table, clip after clip, every frame of a clip one row.

    Attributes:
        features: (R, D) float16 or float32, in memory, memory-mapped, or anything else that is indexed by rows; rows
            that are not valid may hold anything.
        valid: (R,) bool, whether there are features.
        labels: (R, K) float32, NaN where there is none; K may be 0.
        label_valid: (R,) bool, whether all K labels of the row are there.
        clip_starts: (C + 1,) int64; clip c is the rows from clip_starts[c] up to clip_starts[c + 1].
        frame_index: (R,) int64, rising by 1 within a clip.
        clip_ids: the C names, for messages.
        motion: (R,) float, mean distance of the landmarks from where they are in the frame before, NaN where either is
            not known; None where nobody measured it.

    Raises:
        RecordError: the arrays do not fit together.
    """

    features: Floats
    valid: Bools
    labels: Floats
    label_valid: Bools
    clip_starts: Ints
    frame_index: Ints
    clip_ids: tuple[str, ...]
    motion: Floats | None = None

    def __post_init__(self) -> None:
        num_rows, starts = len(self.valid), self.clip_starts
        for name in ("features", "labels", "label_valid", "frame_index"):
            if (length := len(getattr(self, name))) != num_rows:
                raise RecordError(f"Rows.{name}: expected {num_rows} rows, as Rows.valid has. Received: {length}.")
        if self.motion is not None and self.motion.shape != (num_rows,):
            raise RecordError(f"Rows.motion: expected shape ({num_rows},). Received: {self.motion.shape}.")
        if self.features.ndim != 2 or self.labels.ndim != 2:
            received = f"{self.features.shape} and {self.labels.shape}"
            raise RecordError(f"Rows: expected features (R, D) and labels (R, K). Received: {received}.")
        if len(starts) != len(self.clip_ids) + 1 or starts[0] or starts[-1] != num_rows or (np.diff(starts) < 0).any():
            raise RecordError(
                f"Rows.clip_starts: expected {len(self.clip_ids) + 1} rising row numbers from 0 to {num_rows}. "
                f"Received: {len(starts)} from {starts[:1]} to {starts[-1:]}."
            )
        jumps = np.setdiff1d(np.flatnonzero(np.diff(self.frame_index) != 1) + 1, starts)
        if len(jumps):
            raise RecordError(f"Rows.frame_index: expected one row per frame. Jumps at {self.name_of(int(jumps[0]))}.")

    def __len__(self) -> int:
        return len(self.valid)

    def name_of(self, row: int) -> str:
        """Clip and frame of a row, for messages."""
        clip = int(np.searchsorted(self.clip_starts, row, side="right")) - 1
        return f"clip '{self.clip_ids[clip]}', frame {self.frame_index[row]}"

    def check(self) -> None:
        """Refuse features or labels that are called valid and are not finite; reads the whole matrix once.

        Raises:
            RecordError: names the clip and the frame.
        """
        step = max(1, _CHECKED_BYTES // max(1, self.features.dtype.itemsize * self.features.shape[1]))
        for start in range(0, len(self), step):
            part = slice(start, start + step)
            for what, values, valid in (
                ("features", self.features, self.valid),
                ("labels", self.labels, self.label_valid),
            ):
                bad = np.flatnonzero(valid[part] & ~np.isfinite(values[part]).all(axis=1))
                if len(bad):
                    raise RecordError(
                        f"{self.name_of(start + int(bad[0]))}: its {what} are called valid and are not finite "
                        f"({len(bad)} such rows nearby).\nExpected numbers. Make them again, or mark the rows invalid."
                    )


@dataclass(frozen=True)
class Statistics:
    """Mean and variance of every feature, with which a head brings its inputs to one scale.

    Attributes:
        mean, variance: (D,) float32; the variance is 1 where a feature never varies, so that nothing is divided by 0.
    """

    mean: Floats
    variance: Floats

    def part(self, columns: slice) -> "Statistics":
        """Those of some columns."""
        return Statistics(self.mean[columns], self.variance[columns])


def statistics_of(rows: Rows) -> Statistics:
    """Mean and population variance of the features over all valid rows; reads the whole matrix twice.

    Examples:
        >>> table = np.array([[1.0, 5.0], [3.0, 5.0], [np.nan, 0.0]], np.float32)
        >>> labels, all_there = np.empty((3, 0), np.float32), np.ones(3, bool)
        >>> valid = np.array([True, True, False])
        >>> statistics_of(Rows(table, valid, labels, all_there, np.array([0, 3]), np.arange(3), ("one",)))
        Statistics(mean=array([2., 5.], dtype=float32), variance=array([1., 1.], dtype=float32))
    """
    num_columns = rows.features.shape[1]
    count = max(1, int(rows.valid.sum()))
    step = max(1, _CHECKED_BYTES // max(1, 8 * num_columns))
    mean, variance = np.zeros(num_columns), np.zeros(num_columns)

    def parts() -> Iterator[Floats]:
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            yield np.asarray(rows.features[part])[rows.valid[part]].astype(np.float64)

    for values in parts():
        mean += values.sum(axis=0) / count
    for values in parts():  # a second time: squares of large numbers would drown a small variance
        variance += np.square(values - mean).sum(axis=0) / count
    variance[variance <= _ROUNDING * np.square(mean)] = 1.0
    variance[variance == 0] = 1.0
    return Statistics(mean.astype(np.float32), variance.astype(np.float32))
