"""Which rows of a clip stand for the whole clip, where it has one label and so is one window."""

from typing import Literal

import numpy as np

from emopipe.errors import ConfigError
from emopipe.models.rows import Rows
from emopipe.typing import Floats, Ints

Sampling = Literal["uniform", "all", "random", "motion"]


def sampled(num_rows: int, length: int, sampling: Sampling, motion: Floats | None = None) -> Ints:
    """Places of the rows that a window of one clip takes, in order.

    Args:
        num_rows: rows of the clip, at least 1.
        length: steps of the window.
        sampling: "uniform" takes rows evenly spaced, the first and the last among them; "all" takes the first `length`
            rows as they are; "random" draws rows without repetition, the same ones for every clip of as many rows, so
            that a clip is sampled alike wherever it is read; "motion" takes rows between which the face moves equally
            far, so that a lively moment has many and a still one few.
        motion: (num_rows,) how far the face moves from the row before to each; for "motion". What is not finite, as
            in a first row, is no motion. A clip that never moves is sampled evenly.

    Returns:
        (length,) int32. Of a clip with fewer rows some are repeated, except under "all", where -1 follows the last.

    Source:
        32 frames of a clip: arXiv:2303.10741, which does not say which. Evenly spaced with both ends: Vaiani et al.,
        "ViPER: Video-based perceiver for emotion recognition", MuSe 2022.

    Examples:
        >>> sampled(9, 4, "uniform").tolist(), sampled(3, 5, "uniform").tolist(), sampled(3, 5, "all").tolist()
        ([0, 3, 5, 8], [0, 0, 1, 2, 2], [0, 1, 2, -1, -1])
        >>> sampled(9, 4, "motion", np.array([0, 0, 0, 3, 3, 3, 0, 0, 0])).tolist()
        [0, 3, 4, 5]
    """
    if sampling == "all":
        places = np.arange(length)
        return np.where(places < num_rows, places, -1).astype(np.int32)
    if sampling == "random" and num_rows >= length:
        drawn = np.random.default_rng(num_rows).choice(num_rows, length, replace=False)
        return np.sort(drawn).astype(np.int32)
    if sampling == "motion" and motion is not None:
        travelled = np.cumsum(np.nan_to_num(motion, nan=0.0, posinf=0.0, neginf=0.0))
        travelled -= travelled[0]  # the way to the first row lies before the clip
        if travelled[-1] > 0:
            wanted = np.linspace(0, travelled[-1], length)
            later = np.minimum(np.searchsorted(travelled, wanted), num_rows - 1)
            earlier = np.maximum(later - 1, 0)
            is_nearer = wanted - travelled[earlier] < travelled[later] - wanted
            return np.where(is_nearer, earlier, later).astype(np.int32)
    return np.round(np.linspace(0, num_rows - 1, length)).astype(np.int32)


def clip_table(rows: Rows, length: int, sampling: Sampling, *, only_valid: bool) -> tuple[Ints, Ints]:
    """One window for every clip that has a valid row.

    Args:
        rows: the table.
        length, sampling: as in `sampled`.
        only_valid: sample among the valid rows of a clip, else among all of them.

    Returns:
        (N, length) int32 rows, -1 for padding, and (N,) int64, the last valid row of each of these clips, at which what
        is said of the clip stands.

    Raises:
        ConfigError: "motion", and the table does not know how the faces move.
    """
    if sampling == "motion" and rows.motion is None:
        raise ConfigError(
            'sampling "motion": expected rows that know how far the face moves, which features of sound do not.\n'
            'Sample "uniform", "random" or "all".'
        )
    windows, targets = [], []
    for start, stop in zip(rows.clip_starts[:-1].tolist(), rows.clip_starts[1:].tolist(), strict=True):
        valid = start + np.flatnonzero(rows.valid[start:stop])
        if not len(valid):
            continue
        candidates = valid if only_valid else np.arange(start, stop)
        motion = None if rows.motion is None else rows.motion[candidates]
        places = sampled(len(candidates), length, sampling, motion)
        windows.append(np.where(places >= 0, candidates[places], -1))
        targets.append(valid[-1])
    table = np.array(windows, np.int32).reshape(len(windows), length)
    return table, np.array(targets, np.int64)
