"""Windows: index plans over one table of rows, so that overlapping windows are never copied whole.

1.5 million windows of 100 steps and 300 numbers are 1.8 GB held once, and 180 GB copied. So the features of all clips
are one matrix, and a window is a row of a plan: a start (`DensePlan`), or the rows themselves (`SparsePlan`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from emopipe.errors import ConfigError, RecordError
from emopipe.models.clip_windows import Sampling, clip_table
from emopipe.models.rows import Rows
from emopipe.typing import Bools, Floats, Ints

GapPolicy = Literal["drop", "hold"]
Target = Literal["next", "last", "every", "clip"]
Labelled = Literal["every_step", "target"]

ABSENT = -1  # in a table of rows: no row, the step is zeros
NONE, WINDOW, SHORT, FRAME, INTERPOLATED = range(5)  # how a row came by its prediction
HOW_NAMES = ("none", "window", "short", "frame", "interpolated")


@dataclass(frozen=True)
class WindowConfig:
    """Which rows make a window, and whose label it is to give.

    Attributes:
        length: steps of a window.
        stride: rows from one window to the next, counted from the first row of a clip or, after a gap, behind it.
        gaps: "drop" makes no window across an invalid row; "hold" lets an invalid row repeat the clip's last valid one,
            zeros where there is none yet.
        target: the label of the window's "last" row, or of the row "next" to it, which the window does not see; or of
            "every" row. Windows of the last kind lie end to end, and the last one of a stretch has what is left: they
            leave no row out, whatever the length of a clip. Stride and `labelled` have no say in them. Or the label of
            the "clip" as a whole: one window per clip, of rows that `sampling` chooses, under "drop" among its valid
            rows, under "hold" among all. Stride and `labelled` have no say in it either.
        labelled: which rows need a label: "every_step" and the target's, or only the "target"'s.
        sampling: which rows of a clip are its window, under the target "clip"; see `emopipe.models.clip_windows`.
    """

    length: int = 100  # the best of Khorrami et al. 2016; arXiv:2006.11168, section IV-B
    stride: int = 1  # code published with arXiv:2006.11168: 1,496,928 windows
    gaps: GapPolicy = "drop"  # arXiv:2006.11168, section IV-B
    target: Target = "last"  # its code takes "next", which the recipe states
    labelled: Labelled = "every_step"  # its code: a frame counts when it has a crop and both labels
    sampling: Sampling = "uniform"

    def __post_init__(self) -> None:
        for name in ("length", "stride"):
            if getattr(self, name) < 1:
                raise ConfigError(f"WindowConfig.{name}: expected at least 1. Received: {getattr(self, name)}.")
        choices_of = {"gaps": GapPolicy, "target": Target, "labelled": Labelled, "sampling": Sampling}
        for name, choices in choices_of.items():
            if (value := getattr(self, name)) not in get_args(choices):
                known = ", ".join(get_args(choices))
                raise ConfigError(f"WindowConfig.{name}: expected one of {known}. Received: {value!r}.")

    @property
    def wants_motion(self) -> bool:
        """Whether windows are chosen by how far the face moves."""
        return self.target == "clip" and self.sampling == "motion"

    @property
    def span(self) -> int:
        """Rows from a window's first to the one with its label."""
        return self.length + (self.target == "next")


class _WindowPlan(ABC):
    """What both kinds of plan share: windows as rows of the table, with gaps filled by `hold_index`."""

    hold_index: Ints | None

    @abstractmethod
    def own_rows(self, indices: Ints) -> Ints:
        """(B,) window numbers -> (B, L) int32, the row of each step whether it is valid or not; -1 for padding."""

    def rows(self, indices: Ints) -> Ints:
        """(B,) window numbers -> (B, L) int32, the row whose features each step takes; -1 for zeros."""
        own = self.own_rows(indices)
        return own if self.hold_index is None else np.where(own < 0, np.int32(ABSENT), self.hold_index[own])

    @property
    @abstractmethod
    def padded(self) -> bool:
        """Whether a window has padding, so that a head needs `mask`."""

    def mask(self, indices: Ints) -> Bools:
        """(B,) window numbers -> (B, L) bool, False for padding, which is at the right.

        Held steps are True: they are part of the sequence, and recurrent kernels refuse masks with holes.
        """
        return self.own_rows(indices) >= 0

    def weights(self, indices: Ints) -> Floats:
        """(B,) window numbers -> (B, L) float32, 1 for steps that count, 0 for padding and for held steps."""
        own = self.own_rows(indices)
        counts = own >= 0
        if self.hold_index is not None:
            counts &= self.hold_index[own] == own
        return counts.astype(np.float32)


@dataclass(frozen=True)
class DensePlan(_WindowPlan):
    """N windows of evenly spaced rows; each costs two integers.

    Attributes:
        starts: (N,) int64, row of the first step.
        target_rows: (N,) int64, the row whose label belongs to the window.
        length: steps of a window.
        step: rows from one step to the next.
        num_steps: (N,) int32, steps that are there, the rest is padding at the right; None when all are.
        hold_index: (R,) int32, the row whose features each row takes, -1 for zeros; None when rows take their own.
    """

    starts: Ints
    target_rows: Ints
    length: int
    step: int = 1
    num_steps: Ints | None = None
    hold_index: Ints | None = None

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def padded(self) -> bool:
        """As `_WindowPlan.padded`."""
        return self.num_steps is not None and bool((self.num_steps < self.length).any())

    def own_rows(self, indices: Ints) -> Ints:
        """As `_WindowPlan.own_rows`."""
        steps = np.arange(self.length, dtype=np.int32)
        table = self.starts[indices, None].astype(np.int32) + steps * np.int32(self.step)
        if self.num_steps is not None:
            table[steps >= self.num_steps[indices, None]] = ABSENT
        return table


@dataclass(frozen=True)
class SparsePlan(_WindowPlan):
    """N windows of any rows, such as 32 frames spread over a clip.

    Attributes:
        table: (N, L) int32, row of each step; -1 is padding, at the right only.
        target_rows: (N,) int64, the row whose label belongs to the window.
        hold_index: as in `DensePlan`.

    Raises:
        RecordError: padding before a step, or a window without steps.
    """

    table: Ints
    target_rows: Ints
    hold_index: Ints | None = None

    def __post_init__(self) -> None:
        real = self.table >= 0
        wrong = np.flatnonzero(~real[:, 0] | (real[:, 1:] & ~real[:, :-1]).any(axis=1))
        if len(wrong):
            raise RecordError(
                f"SparsePlan, window {wrong[0]}: expected rows, then -1 for padding. "
                f"Received: {self.table[wrong[0]].tolist()}."
            )

    @property
    def length(self) -> int:
        """Steps of a window."""
        return int(self.table.shape[1])

    def __len__(self) -> int:
        return len(self.table)

    @property
    def padded(self) -> bool:
        """As `_WindowPlan.padded`."""
        return bool((self.table[:, -1:] < 0).any())

    def own_rows(self, indices: Ints) -> Ints:
        """As `_WindowPlan.own_rows`."""
        return self.table[indices].astype(np.int32)


WindowPlan = DensePlan | SparsePlan


@dataclass(frozen=True)
class PredictionPlan:
    """Windows that give rows their predictions.

    Attributes:
        plan: the windows, N of them; a row is the target of one at most, and under "every" a step of one at most.
        how: (R,) uint8 per row of the table: WINDOW when its window is full, SHORT when it has fewer real steps because
            the clip or the stretch of valid rows begins there, NONE without a prediction. Under "clip" what is said of
            a clip stands at its last valid row.
    """

    plan: WindowPlan
    how: Ints


def plan_windows(rows: Rows, config: WindowConfig) -> WindowPlan:
    """All windows that can be trained on, or scored; none crosses a clip.

    Args:
        rows: the table.
        config: what makes a window. Under "hold", a window in which no row is valid is left out.

    Returns:
        the windows, by first row; see `clips_without_window` for clips that are too short or too broken.

    Raises:
        ConfigError: sampling by motion, which the rows do not know.
    """
    if config.target == "clip":
        return _clips(rows, config, rows.label_valid)
    if config.target == "every":
        return _tiles(rows, config, rows.valid & rows.label_valid)
    starts: Ints = np.arange(max(0, len(rows) - config.span + 1))
    targets = starts + (config.span - 1)
    ends = starts + (config.length - 1)
    usable = rows.valid if config.gaps == "drop" else np.ones(len(rows), bool)
    if config.labelled == "every_step":
        usable = usable & rows.label_valid
    first = _stretch_starts(rows, usable)
    keep = (first[ends] <= starts) & ((starts - first[starts]) % config.stride == 0)
    if config.labelled == "every_step":
        keep &= first[targets] <= starts
    else:
        keep &= rows.label_valid[targets] & (_stretch_starts(rows, np.ones(len(rows), bool))[targets] <= starts)
    hold = hold_index(rows) if config.gaps == "hold" else None
    if hold is not None:
        keep &= hold[ends] >= starts
    return DensePlan(starts[keep], targets[keep], config.length, hold_index=hold)


def prediction_plan(rows: Rows, config: WindowConfig) -> PredictionPlan:
    """One window for every row that can be predicted, labels or not.

    Under "drop" these are the valid rows, under "hold" all rows whose window has a valid step. A row that has too few
    rows before it, in its clip or behind a gap, takes those that there are: its window grows from the first row on and
    is padded at the right, so that what the head says of its last real step is what training taught it to say. Under
    the target "next" a row does not see itself; the first of a stretch has nothing else to see and takes itself.

    Args:
        rows: the table; labels are not looked at.
        config: as in training; stride and labelled have no say. Under the target "every" the windows are those of
            `plan_windows`, with or without labels, and every step of theirs is a prediction. Under "clip" they are
            those of `plan_windows`, one for every clip with a valid row.

    Raises:
        ConfigError: as `plan_windows`.
    """
    if config.target == "clip":
        clips = _clips(rows, config, np.ones(len(rows), bool))
        is_full = clips.table[:, -1] >= 0
        how = np.full(len(rows), NONE, np.uint8)
        how[clips.target_rows] = np.where(is_full, WINDOW, SHORT)
        return PredictionPlan(clips, how)
    if config.target == "every":
        plan = _tiles(rows, config, rows.valid)
        return PredictionPlan(plan, _how_of_tiles(plan, len(rows)))
    row: Ints = np.arange(len(rows))
    usable = rows.valid if config.gaps == "drop" else np.ones(len(rows), bool)
    first = _stretch_starts(rows, usable)
    ends = row - (config.target == "next")
    seen = ends - first + 1  # rows of the stretch that may be seen
    num_steps = np.clip(seen, 1, config.length)
    starts = np.maximum(ends, first) - num_steps + 1
    keep = usable
    hold = hold_index(rows) if config.gaps == "hold" else None
    if hold is not None:
        keep = hold[starts + num_steps - 1] >= starts
    how = np.where(keep, np.where(seen >= config.length, WINDOW, SHORT), NONE).astype(np.uint8)
    plan = DensePlan(
        starts[keep], row[keep], config.length, num_steps=num_steps[keep].astype(np.int32), hold_index=hold
    )
    return PredictionPlan(plan, how)


def _tiles(rows: Rows, config: WindowConfig, wanted: Bools) -> DensePlan:
    """Windows end to end through every stretch; those in which no row is wanted are left out."""
    row: Ints = np.arange(len(rows))
    usable = rows.valid if config.gaps == "drop" else np.ones(len(rows), bool)
    first = _stretch_starts(rows, usable)
    starts = np.flatnonzero(usable & ((row - first) % config.length == 0))
    ends = np.append(np.flatnonzero(first[1:] != first[:-1]), len(rows) - 1) if len(rows) else row  # of every stretch
    num_steps = np.minimum(config.length, ends[np.searchsorted(ends, starts)] - starts + 1)
    counted = np.concatenate([[0], np.cumsum(wanted)])
    keep = counted[starts + num_steps] > counted[starts]
    starts, num_steps = starts[keep], num_steps[keep]
    hold = hold_index(rows) if config.gaps == "hold" else None
    return DensePlan(
        starts, starts + num_steps - 1, config.length, num_steps=num_steps.astype(np.int32), hold_index=hold
    )


def _clips(rows: Rows, config: WindowConfig, wanted: Bools) -> SparsePlan:
    """One window per clip; clips whose last valid row is not wanted are left out, and so are those that see nothing."""
    table, targets = clip_table(rows, config.length, config.sampling, only_valid=config.gaps == "drop")
    hold = hold_index(rows) if config.gaps == "hold" else None
    keep = wanted[targets]
    if hold is not None:
        keep = keep & ((table >= 0) & (hold[table] >= 0)).any(axis=1)
    return SparsePlan(table[keep], targets[keep], hold_index=hold)


def _how_of_tiles(plan: DensePlan, num_rows: int) -> Ints:
    how = np.full(num_rows, NONE, np.uint8)
    numbers: Ints = np.arange(len(plan))
    steps = plan.own_rows(numbers)
    is_full = (steps >= 0).all(axis=1, keepdims=True)
    codes = np.broadcast_to(np.where(is_full, WINDOW, SHORT), steps.shape)
    how[steps[steps >= 0]] = codes[steps >= 0]
    return how


def hold_index(rows: Rows) -> Ints:
    """(R,) int32: for every row the nearest valid row of its clip at or before it; -1 where there is none."""
    latest = np.maximum.accumulate(np.where(rows.valid, np.arange(len(rows), dtype=np.int32), np.int32(ABSENT)))
    held: Ints = np.where(latest < _per_row(rows), np.int32(ABSENT), latest)
    return held


def clips_without_window(rows: Rows, plan: WindowPlan) -> Ints:
    """Numbers of the clips that the plan has no window of, to be reported."""
    clips = np.searchsorted(rows.clip_starts, plan.target_rows, side="right") - 1
    return np.setdiff1d(np.arange(len(rows.clip_ids)), clips)


def _per_row(rows: Rows) -> Ints:
    """(R,) first row of the clip that each row is in."""
    return np.repeat(rows.clip_starts[:-1], np.diff(rows.clip_starts))


def _stretch_starts(rows: Rows, usable: Bools) -> Ints:
    """(R,) first row of the unbroken stretch of usable rows that each row ends; the row after it where not usable."""
    breaks = np.where(usable, _per_row(rows), np.arange(1, len(rows) + 1))
    return np.maximum.accumulate(breaks)
