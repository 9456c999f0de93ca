"""Predictions of a test split as the files that a competition takes."""

from pathlib import Path

import numpy as np

from emopipe.datasets.abaw import TARGETS, write_submission_file, write_submission_folder
from emopipe.errors import ConfigError
from emopipe.stages.evaluate import SplitPredictions
from emopipe.stages.predictions import interpolated
from emopipe.typing import Floats


def write_submission(found: SplitPredictions, path: Path, sample: Path | None = None) -> tuple[str, ...]:
    """Write valence and arousal of every frame; frames without a prediction take one from their neighbours.

    Args:
        found: predictions of a split.
        path: a .txt for one file of all clips (ABAW since 2023), anything else for a folder of one file per clip (2020
            and 2021).
        sample: the official sample of the one file, for its rows and their order.

    Returns:
        What the user is to be told: clips without any prediction, which are given 0 and 0.

    Raises:
        ConfigError: the run predicts something else, or a sample is given for a folder.
        ManifestError: the sample is not one, or asks for a clip that was not predicted.
        StorageError: a file cannot be written.
    """
    trained, rows = found.trained, found.rows
    if sorted(trained.outputs) != sorted(TARGETS):
        raise ConfigError(
            f"--submission: expected valence and arousal. This run predicts {', '.join(trained.outputs)}."
        )
    columns = [trained.targets.index(target) for target in TARGETS]
    filled, _ = interpolated(found.values[:, columns], found.how, rows.clip_starts)
    clips: dict[str, Floats] = {
        clip_id: filled[start:stop]
        for clip_id, start, stop in zip(rows.clip_ids, rows.clip_starts[:-1], rows.clip_starts[1:], strict=True)
    }
    empty = [clip_id for clip_id, values in clips.items() if np.isnan(values).any()]
    for clip_id in empty:
        clips[clip_id] = np.zeros_like(clips[clip_id])
    notes = tuple(f"clip '{clip_id}' has no prediction at all: it is given 0 and 0." for clip_id in empty)
    if path.suffix == ".txt":
        return (*notes, *write_submission_file(path, clips, sample))
    if sample is not None:
        raise ConfigError(f"--sample: is for one file of all clips. Received the folder {path}; name a .txt instead.")
    write_submission_folder(path, clips)
    return notes
