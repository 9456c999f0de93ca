"""Putting labels and sound on frames: by frame number or by time, never by row order."""

import numpy as np

from emopipe.errors import RecordError
from emopipe.records import Labels
from emopipe.typing import Array, Bools, Floats, Ints

COUNT_TOLERANCE = 2  # decoders, image folders and annotation files of the same Aff-Wild2 clip differ by up to 2 rows
TIME_SLACK_S = 1e-6  # containers round their timestamps to a tick; 1 us is below every tick in use


def join_labels(
    labels: Labels, frame_index: Ints, time_s: Floats, *, tolerance_s: float | None = None
) -> tuple[Floats, Bools]:
    """Give every frame row its label.

    Labels with frame numbers meet the row of the same number. Labels with times meet the rows nearest in time, at most
    `tolerance_s` away; of two labels equally near, the earlier. A label of the whole clip goes to every row.

    Args:
        labels: N label rows of K targets, in any order.
        frame_index: (T,) int, 0-based frame of each row.
        time_s: (T,) float, seconds of each row in the media; a row with NaN meets no label placed by time.
        tolerance_s: seconds; None for half the label period (half the frame period when there is one label only).

    Returns:
        values (T, K) float64, NaN where there is no valid label, and valid (T,) bool.

    Raises:
        RecordError: several label rows and neither frame numbers nor times to place them by.

    Examples:
        >>> labels = Labels(("valence",), np.array([[0.1], [0.3]]), np.array([True, True]), np.array([2, 0]))
        >>> values, valid = join_labels(labels, np.arange(3), np.arange(3) / 25)
        >>> values[:, 0], valid
        (array([0.3, nan, 0.1]), array([ True, False,  True]))
    """
    num_labels = len(labels.values)
    if labels.frame_index is not None:
        nearest, reached = _equal_rows(labels.frame_index, frame_index)
    elif labels.time_s is not None:
        nearest, reached = _nearest_rows(labels.time_s, time_s, tolerance_s)
    elif num_labels == 1:
        nearest, reached = np.zeros(len(frame_index), np.int64), np.ones(len(frame_index), bool)
    else:
        raise RecordError(f"Labels: expected one row per clip, or frame_index or time_s. Received: {num_labels} rows.")
    values = np.full((len(frame_index), len(labels.targets)), np.nan)
    values[reached] = labels.values[nearest[reached]]
    valid = np.zeros(len(frame_index), bool)
    valid[reached] = labels.valid[nearest[reached]]
    values[~valid] = np.nan
    return values, valid


def labels_behind(labels: Labels, frame_index: Ints, time_s: Floats) -> int:
    """How many label rows lie behind the last of the rows, T of them, and so meet none; arguments as of `join_labels`.

    Examples:
        >>> milliseconds = Labels(("valence",), np.zeros((3, 1)), np.ones(3, bool), time_s=np.array([0.0, 40.0, 80.0]))
        >>> labels_behind(milliseconds, np.arange(3), np.arange(3) / 25)
        2
    """
    if not len(frame_index):
        return 0
    if labels.frame_index is not None:
        return int((labels.frame_index > frame_index.max()).sum())
    if labels.time_s is None or not np.isfinite(time_s).any():
        return 0
    reach = _half_period(labels.time_s) if len(labels.time_s) > 1 else _half_period(time_s)
    return int((labels.time_s > np.nanmax(time_s) + reach).sum())


def join_audio(
    video_time_s: Floats, audio_time_s: Floats, audio_valid: Bools, window_s: float, hop_s: float
) -> tuple[Ints, Bools]:
    """Give every frame the window of sound that is nearest to it in time, so that both are sequences of one length.

    The clocks are one: a track that begins late or early, and one that ends before the picture, keep their place. A
    frame further than half a window from every middle lies in no window and has no sound; half a window exactly is
    still inside. Of two windows equally near, the earlier.

    Args:
        video_time_s: (T,) float, seconds of the frames on the container's clock; a frame with NaN has no sound.
        audio_time_s: (A,) float, seconds of the windows' middles on the same clock, rising by `hop_s`.
        audio_valid: (A,) bool, whether a window holds enough sound.
        window_s: length of a window.
        hop_s: from one window to the next; where it is longer than a window, frames between two have no sound.

    Returns:
        row (T,) int64, the window of each frame, -1 for none, and valid (T,) bool, whether it holds enough sound.

    Raises:
        RecordError: the windows are no such axis.

    Examples:
        >>> row, valid = join_audio(np.arange(5) / 2, np.array([0.5, 1.0]), np.array([True, False]), 1.0, 0.5)
        >>> row, valid
        (array([ 0,  0,  1,  1, -1]), array([ True,  True, False, False, False]))
    """
    steps = np.diff(audio_time_s)
    if audio_time_s.shape != audio_valid.shape or (len(steps) and np.abs(steps - hop_s).max() > TIME_SLACK_S):
        raise RecordError(
            f"join_audio: expected {len(audio_valid)} windows every {hop_s:g} s. "
            f"Received: {len(audio_time_s)}, from {audio_time_s[:1]} to {audio_time_s[-1:]} s."
        )
    nearest, reached = _nearest_rows(audio_time_s, video_time_s, window_s / 2)
    valid = np.zeros(len(video_time_s), bool)
    valid[reached] = audio_valid[nearest[reached]]
    return np.where(reached, nearest, -1).astype(np.int64), valid


def compare_counts(declared: int | None, decoded: int | None, labelled: int | None) -> tuple[str, ...]:
    """What a reader should know when the counts of one clip differ; empty when they agree.

    A difference is never an error: the frames that exist and have a label are used.

    Args:
        declared: frames that the container announces, None when it does not.
        decoded: frames that came out (or number of the last official image); None when nothing was decoded.
        labelled: label rows placed by frame; None when there are none.

    Examples:
        >>> compare_counts(100, 100, 101)
        ('1 more label than decoded frames (101, 100); up to 2 is usual.',)
        >>> compare_counts(100, 40, None)
        ('60 fewer decoded frames than declared frames (40, 100): the file may be cut short.',)
    """
    lines = []
    if declared is not None and decoded is not None and declared != decoded:
        hint = ": the file may be cut short." if decoded < declared - COUNT_TOLERANCE else "."
        lines.append(_difference("decoded frame", decoded, "declared frames", declared) + hint)
    frames, what = (decoded, "decoded frames") if decoded is not None else (declared, "declared frames")
    if frames is not None and labelled is not None and frames != labelled:
        if abs(labelled - frames) <= COUNT_TOLERANCE:
            hint = f"; up to {COUNT_TOLERANCE} is usual."
        else:
            hint = ": labels without a frame are left out." if labelled > frames else ": frames without a label stay."
        lines.append(_difference("label", labelled, what, frames) + hint)
    return tuple(lines)


def _difference(noun: str, count: int, other_noun: str, other_count: int) -> str:
    difference = abs(count - other_count)
    plural = "" if difference == 1 else "s"
    word = "more" if count > other_count else "fewer"
    return f"{difference} {word} {noun}{plural} than {other_noun} ({count}, {other_count})"


def _equal_rows(label_frames: Ints, frame_index: Ints) -> tuple[Array, Bools]:
    if not len(label_frames):
        return _no_rows(len(frame_index))
    order = np.argsort(label_frames, kind="stable")
    place = np.searchsorted(label_frames[order], frame_index).clip(max=len(order) - 1)
    nearest = order[place]
    return nearest, label_frames[nearest] == frame_index


def _nearest_rows(label_times: Floats, time_s: Floats, tolerance_s: float | None) -> tuple[Array, Bools]:
    if not len(label_times):
        return _no_rows(len(time_s))
    order = np.argsort(label_times, kind="stable")
    times = label_times[order]
    if tolerance_s is None:
        tolerance_s = _half_period(times if len(times) > 1 else time_s)
    right = np.searchsorted(times, time_s).clip(max=len(times) - 1)
    left = (right - 1).clip(min=0)
    # a NaN time sorts to the end and compares false below, so such a row meets no label
    is_left_nearer = np.abs(time_s - times[left]) <= np.abs(times[right] - time_s)
    place = np.where(is_left_nearer, left, right)
    return order[place], np.abs(times[place] - time_s) <= tolerance_s + TIME_SLACK_S


def _half_period(times: Floats) -> float:
    steps = np.diff(np.sort(times[np.isfinite(times)]))
    return float(np.median(steps)) / 2 if len(steps) else 0.0


def _no_rows(num_rows: int) -> tuple[Array, Bools]:
    return np.zeros(num_rows, np.int64), np.zeros(num_rows, bool)
