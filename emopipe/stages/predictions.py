"""Predictions frame by frame: by the windows of a head or by a CNN, with the gaps left open or filled."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from emopipe.models.gather import predict_windows
from emopipe.models.rows import Rows
from emopipe.models.windows import FRAME, INTERPOLATED, NONE, SHORT, WindowConfig, prediction_plan
from emopipe.typing import Array, Bools, Floats, Ints

if TYPE_CHECKING:
    import keras

Fill = Literal["short", "linear"]


@dataclass(frozen=True)
class Prediction:
    """What a run says of one video, frame by frame, or of one sound, window by window.

    Attributes:
        media: the video, or the sound file.
        columns: names of the K outputs: the targets, or the classes.
        frame_index: (T,) int64, 0-based, of the frame or the window.
        time_s: (T,) float64, the container's timestamps, or the middles of the windows on the same clock.
        valid: (T,) bool, whether the frame has a face, or the window enough sound.
        values: (T, K) float64, NaN where there is no prediction.
        how: (T,) uint8, codes of `HOW_NAMES`.
        box: (T, 4) and landmarks: (T, 68, 2), pixels, NaN without a face.
        notes: what the user is to be told.
        whole: (K,) what it says of the video as a whole, NaN without a face; None where frames were learned from.
        of_sound: whether rows are windows of sound.
    """

    media: Path
    columns: tuple[str, ...]
    frame_index: Ints
    time_s: Floats
    valid: Bools
    values: Floats
    how: Ints
    box: Floats
    landmarks: Floats
    notes: tuple[str, ...]
    whole: Floats | None = None
    of_sound: bool = False

    def __len__(self) -> int:
        return len(self.frame_index)


def window_predictions(head: "keras.Model", rows: Rows, window: WindowConfig, fill: Fill) -> tuple[Floats, Ints]:
    """What a head says of every row.

    Args:
        head: a trained head.
        rows: the clips; labels are not looked at.
        window: as in training.
        fill: "short" lets the first rows of a stretch take a shorter window and leaves rows without a face open;
            "linear" takes full windows only and draws lines between them, with the nearest one before the first and
            behind the last, as the code of Rangulov and Fahim (2020) does. It has no say where a window is a clip.

    Returns:
        values (R, K) float64, NaN where there is none, and how (R,) uint8, a code of `HOW_NAMES`.
    """
    wanted = prediction_plan(rows, window)
    values = np.full((len(rows), head.output_shape[-1]), np.nan)
    if len(wanted.plan):
        predicted = predict_windows(head, rows.features, wanted.plan)
        if window.target == "every":
            steps = wanted.plan.own_rows(np.arange(len(wanted.plan)))
            values[steps[steps >= 0]] = predicted[steps >= 0]
        else:
            values[wanted.plan.target_rows] = predicted
    if fill == "short" or window.target == "clip":
        return values, wanted.how
    return interpolated(values, np.where(wanted.how == SHORT, NONE, wanted.how), rows.clip_starts)


def frame_predictions(rows: Rows, fill: Fill) -> tuple[Floats, Ints]:
    """What a CNN says of every row, from a table whose features are its outputs; as `window_predictions`."""
    values = np.where(rows.valid[:, None], rows.features.astype(np.float64), np.nan)
    how = np.where(rows.valid, FRAME, NONE).astype(np.uint8)
    return (values, how) if fill == "short" else interpolated(values, how, rows.clip_starts)


def interpolated(values: Floats, how: Ints, clip_starts: Ints) -> tuple[Floats, Ints]:
    """Give rows without a prediction one on the line between the nearest two of their clip, or the nearest at its ends.

    Args:
        values: (R, K); looked at where `how` is not NONE.
        how: (R,) codes.
        clip_starts: (C + 1,) as in `Rows`; a clip without any prediction stays without.

    Returns:
        Both with the gaps filled; `how` says INTERPOLATED there.

    Examples:
        >>> values, how = interpolated(np.array([[np.nan], [0.0], [np.nan], [1.0]]), np.array([0, 1, 0, 1]), [0, 4])
        >>> values[:, 0], how
        (array([0. , 0. , 0.5, 1. ]), array([4, 1, 4, 1], dtype=uint8))
    """
    filled, codes = values.copy(), np.asarray(how, np.uint8).copy()
    for start, stop in zip(clip_starts[:-1], clip_starts[1:], strict=True):
        known = np.flatnonzero(codes[start:stop] != NONE)
        open_rows = np.flatnonzero(codes[start:stop] == NONE)
        if not len(known):
            filled[start:stop] = np.nan
            continue
        for column in range(values.shape[1]):
            filled[start + open_rows, column] = np.interp(open_rows, known, values[start + known, column])
        codes[start + open_rows] = INTERPOLATED
    return filled, codes


def columns_of(targets: tuple[str, ...], classes: tuple[str, ...]) -> list[str]:
    """Names of the columns that hold a prediction: one per target, or one per class and `label`, the likeliest."""
    return [*classes, "label"] if classes else list(targets)


def cells_of(values: Array, classes: tuple[str, ...]) -> list[str]:
    """One row of predictions as text for these columns; empty where there is none."""
    if not np.isfinite(values).all():
        return [""] * (len(values) + bool(classes))
    return [*(f"{value:.6f}" for value in values), *((classes[int(values.argmax())],) if classes else ())]
