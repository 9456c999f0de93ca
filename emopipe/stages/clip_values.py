"""From frames to clips: what a run says of a clip as a whole, as OMG-Emotion's utterances are labelled.

The frames of a clip fall into sequences. The frames of a sequence become one value, the sequences of a clip their mean.

Source:
    Kollias and Zafeiriou, arXiv:1910.01417, sections 5.1, 6.3 and 7.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from scipy.ndimage import median_filter

from emopipe.metrics import concordance
from emopipe.models.rows import Rows
from emopipe.models.windows import NONE, WindowConfig, prediction_plan
from emopipe.typing import Bools, Floats, Ints

Reduce = Literal["median", "mean"]

# Odd, so that a filter has a middle; 81 covers a whole sequence of 80 frames, as the paper's does for valence.
MEDIAN_SIZES = (3, 5, 9, 15, 21, 41, 61, 81)
SMOOTHING_SIZES = (3, 5, 7)  # utterances; the paper gives none


@dataclass(frozen=True)
class PostProcessing:
    """What is done to the predictions of each target; a size of 1 does nothing.

    Attributes:
        median: target -> frames of the median filter within a sequence.
        smoothing: target -> clips of the moving average over the clips of one video.
    """

    median: Mapping[str, int] = field(default_factory=dict)
    smoothing: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [
            f"{what} {target} {size}"
            for what, sizes in (("median", self.median), ("smoothing", self.smoothing))
            for target, size in sizes.items()
            if size > 1
        ]
        return ", ".join(parts) or "none"


@dataclass(frozen=True)
class FrameValues:
    """Predictions of the frames of many clips.

    Attributes:
        values: (R, K) predictions, NaN where there is none.
        sequence: (R,) int64, number of the sequence that each row counts in, -1 for rows that do not count: without a
            prediction, or without a face of their own.
        clip_starts: (C + 1,) as in `Rows`.
        clip_ids: the C names.
        targets: the K names.
    """

    values: Floats
    sequence: Ints
    clip_starts: Ints
    clip_ids: tuple[str, ...]
    targets: tuple[str, ...]


def frame_values(
    rows: Rows, values: Floats, how: Ints, window: WindowConfig | None, targets: Sequence[str]
) -> FrameValues:
    """Sort predicted rows into sequences: those of the windows where they lie end to end, else one per clip.

    Args:
        rows: the table.
        values, how: as `emopipe.stages.predictions` gives them.
        window: of the head; None for a CNN.
        targets: the K names.
    """
    sequence = np.repeat(np.arange(len(rows.clip_ids)), np.diff(rows.clip_starts))
    if window is not None and window.target == "every":
        plan = prediction_plan(rows, window).plan
        numbers: Ints = np.arange(len(plan))
        steps = plan.own_rows(numbers)
        sequence = np.full(len(rows), -1)
        sequence[steps[steps >= 0]] = np.broadcast_to(numbers[:, None], steps.shape)[steps >= 0]
    counts = rows.valid & (how != NONE)
    return FrameValues(
        values, np.where(counts, sequence, -1), rows.clip_starts, rows.clip_ids, tuple(targets)
    )  # fmt: skip


def clip_values(found: FrameValues, reduce: Reduce, chain: PostProcessing | None = None) -> Floats:
    """One prediction per clip.

    Args:
        found: the frames.
        reduce: how the frames of a sequence become one value; the sequences of a clip become their mean.
        chain: what else is done; None for nothing.

    Returns:
        (C, K), NaN for a clip in which no frame counts.
    """
    chain = chain or PostProcessing()
    columns = []
    for number, target in enumerate(found.targets):
        column = _reduced(found, number, reduce, chain.median.get(target, 1))
        columns.append(smoothed(column, found.clip_ids, chain.smoothing.get(target, 1)))
    return np.stack(columns, axis=1)


def fit_postprocessing(found: FrameValues, truth: Floats, reduce: Reduce) -> PostProcessing:
    """The sizes that raise the CCC over the clips of a dev split; a step that does not raise it is left out.

    Args:
        found: predictions of the dev split.
        truth: (C, K) its labels, NaN where a clip has none.
        reduce: as in `clip_values`.
    """
    median, smoothing = {}, {}
    for number, target in enumerate(found.targets):
        plain = _reduced(found, number, reduce, 1)
        known = np.isfinite(plain) & np.isfinite(truth[:, number])

        def score(column: Floats, known: Bools = known, number: int = number) -> float:
            return concordance(truth[known, number], column[known]) if known.sum() > 1 else 0.0

        filtered = {size: _reduced(found, number, reduce, size) for size in (1, *MEDIAN_SIZES)}
        median[target] = max(filtered, key=lambda size: score(filtered[size]))  # the first of equals, so 1
        column = filtered[median[target]]
        averaged = {size: smoothed(column, found.clip_ids, size) for size in (1, *SMOOTHING_SIZES)}
        smoothing[target] = max(averaged, key=lambda size: score(averaged[size]))
    return PostProcessing(median, smoothing)


def clip_labels(rows: Rows) -> Floats:
    """(C, K) label of each clip, NaN where it has none; for splits whose clips have one label each."""
    first = rows.clip_starts[:-1]
    labels = np.full((len(first), rows.labels.shape[1]), np.nan)
    filled = np.diff(rows.clip_starts) > 0
    labels[filled] = rows.labels[first[filled]]
    return labels


def smoothed(column: Floats, clip_ids: Sequence[str], size: int) -> Floats:
    """The moving average over so many clips of one video, in their order; clips without a prediction stay without.

    A clip id is "<video>/<clip>"; clips that have no video above them are left as they are. At the ends of a video the
    average is over those that there are.
    """
    if size == 1:
        return column
    result, half = column.copy(), size // 2
    for members in _videos(clip_ids).values():
        known = [member for member in members if np.isfinite(column[member])]
        for place, member in enumerate(known):
            result[member] = column[known[max(0, place - half) : place + half + 1]].mean()
    return result


def from_settings(content: Mapping[str, Any] | None) -> PostProcessing | None:
    """As it stands in run.json."""
    return None if not content else PostProcessing(dict(content["median"]), dict(content["smoothing"]))


def _reduced(found: FrameValues, number: int, reduce: Reduce, median_size: int) -> Floats:
    """(C,) value of each clip for one target."""
    result = np.full(len(found.clip_ids), np.nan)
    rows = np.flatnonzero(found.sequence >= 0)
    if not len(rows):
        return result
    cuts = np.flatnonzero(np.diff(found.sequence[rows])) + 1
    pieces, starts = np.split(found.values[rows, number], cuts), rows[np.concatenate([[0], cuts])]
    clip_of_piece = np.searchsorted(found.clip_starts, starts, side="right") - 1
    whole = np.median if reduce == "median" else np.mean
    values = np.array([whole(_filtered(piece, median_size)) for piece in pieces])
    counts = np.bincount(clip_of_piece, minlength=len(result))
    sums = np.bincount(clip_of_piece, weights=values, minlength=len(result))
    result[counts > 0] = sums[counts > 0] / counts[counts > 0]
    return result


def _filtered(piece: Floats, size: int) -> Floats:
    filtered: Floats = piece if size == 1 else median_filter(piece, size=size, mode="nearest")
    return filtered


def _videos(clip_ids: Sequence[str]) -> dict[str, list[int]]:
    """Video -> its clips in natural order, utterance_9 before utterance_10."""
    videos: dict[str, list[int]] = {}
    for number, clip_id in enumerate(clip_ids):
        parent = str(PurePosixPath(clip_id).parent)
        if parent != ".":
            videos.setdefault(parent, []).append(number)
    for members in videos.values():
        members.sort(key=lambda member: _natural(clip_ids[member]))
    return videos


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
