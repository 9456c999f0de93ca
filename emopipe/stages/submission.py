"""Predictions of a split as the files that a competition takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from emopipe.datasets.abaw import write_submission_file, write_submission_folder
from emopipe.datasets.hume_predictions import read_predictions as read_reactions
from emopipe.datasets.hume_predictions import write_predictions as write_reactions
from emopipe.datasets.hume_table import TARGETS as REACTIONS
from emopipe.datasets.hume_table import official_ids
from emopipe.datasets.listing import some
from emopipe.datasets.omg_lists import official_rows, official_table
from emopipe.datasets.omg_predictions import read_predictions, write_predictions
from emopipe.errors import ConfigError
from emopipe.records import VA_TARGETS, Split
from emopipe.stages.evaluate_clips import ClipPredictions, clip_predictions
from emopipe.stages.evaluation import SplitPredictions
from emopipe.stages.predictions import interpolated
from emopipe.typing import Floats


def write_submission(
    found: SplitPredictions | ClipPredictions, path: Path, sample: Path | None = None
) -> tuple[str, ...]:
    """Write valence and arousal of every frame or of every utterance of OMG-Emotion, or Hume-Reaction's intensities.

    Frames without a prediction take one from their neighbours, utterances without one the mean label of the training
    list, reactions without one the mean of the other predictions.

    Args:
        found: predictions of a split.
        path: a .txt for one file of all clips (ABAW since 2023), a .csv for the utterances of OMG-Emotion or the clips
            of Hume-Reaction, anything else for a folder of one file per clip (ABAW 2020 and 2021).
        sample: the official sample of the .txt, for its rows and their order.

    Returns:
        What the user is to be told: what had no prediction and what it is given.

    Raises:
        ConfigError: the run predicts something else, the form does not suit the corpus, or a sample is given for
            something else than the .txt.
        ManifestError: the sample is not one, or asks for a clip that was not predicted.
        StorageError: a file cannot be written.
    """
    trained = found.trained
    of_reactions = sorted(trained.outputs) == sorted(REACTIONS)
    if not of_reactions and sorted(trained.outputs) != sorted(VA_TARGETS):
        raise ConfigError(
            f"--submission: expected valence and arousal. This run predicts {', '.join(trained.outputs)}.\n"
            f"For Hume-Reaction expected {', '.join(REACTIONS)}."
        )
    if sample is not None and path.suffix != ".txt":
        raise ConfigError(f"--sample: is for one .txt of all clips. Received --submission {path}; name a .txt instead.")
    if path.suffix == ".csv":
        clips = found if isinstance(found, ClipPredictions) else clip_predictions(found)
        return _write_reactions(clips, path) if of_reactions else _write_utterances(clips, path)
    if of_reactions:
        raise ConfigError(f"--submission {path}: reactions are predicted for whole clips. Expected a .csv.")
    if isinstance(found, ClipPredictions):
        raise ConfigError(f"--submission {path}: this run predicts clips and no frames. Expected a .csv.")
    rows = found.rows
    columns = [trained.targets.index(target) for target in VA_TARGETS]
    filled, _ = interpolated(found.values[:, columns], found.how, rows.clip_starts)
    by_clip: dict[str, Floats] = {
        clip_id: filled[start:stop]
        for clip_id, start, stop in zip(rows.clip_ids, rows.clip_starts[:-1], rows.clip_starts[1:], strict=True)
    }
    empty = [clip_id for clip_id, values in by_clip.items() if np.isnan(values).any()]
    for clip_id in empty:
        by_clip[clip_id] = np.zeros_like(by_clip[clip_id])
    notes = tuple(f"clip '{clip_id}' has no prediction at all: it is given 0 and 0." for clip_id in empty)
    if path.suffix == ".txt":
        return (*notes, *write_submission_file(path, by_clip, sample))
    write_submission_folder(path, by_clip)
    return notes


def _write_reactions(found: ClipPredictions, path: Path) -> tuple[str, ...]:
    split = _official_split(found, "hume", "Hume-Reaction", path)
    columns = [found.trained.targets.index(target) for target in REACTIONS]
    values = dict(zip(found.clip_ids, found.values[:, columns], strict=True))
    return write_reactions(path, official_ids(found.root, split), values)


def _official_split(found: ClipPredictions, dataset: str, title: str, path: Path) -> Split:
    split: Split | None = next((known for known in get_args(Split) if known == found.split), None)
    if found.dataset != dataset or split is None:
        raise ConfigError(
            f"--submission {path}: a .csv is for one split of {title}. Received: split '{found.split}' of "
            f"{found.dataset}."
        )
    return split


def _write_utterances(found: ClipPredictions, path: Path) -> tuple[str, ...]:
    split = _official_split(found, "omg", "OMG-Emotion", path)
    train = official_table(found.root, "train")
    fallback = {
        target: float(np.mean([train.number(row, target) for row in train.rows.values()])) for target in VA_TARGETS
    }
    return write_omg_submission(
        path,
        found.root,
        split,
        clip_ids=found.clip_ids,
        values=found.values,
        targets=found.trained.targets,
        fallback=fallback,
    ).notes


@dataclass(frozen=True)
class OmgSubmission:
    """A written file of predictions for OMG-Emotion.

    Attributes:
        path, split: the file, and whose utterances it is about.
        num_rows: official rows, all of which the file has.
        filled: clip ids of those that had no prediction, in the official order.
        fallback: target -> what these were given.
    """

    path: Path
    split: str
    num_rows: int
    filled: tuple[str, ...]
    fallback: Mapping[str, float]

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user is to be told."""
        if not self.filled:
            return ()
        given = " and ".join(f"{target} {self.fallback[target]:.3f}" for target in VA_TARGETS)
        return (
            f"{len(self.filled)} of {self.num_rows} official utterances of split '{self.split}' have no prediction and "
            f"are given {given}: {some(list(self.filled))}.",
        )


def write_omg_submission(
    path: Path,
    root: Path,
    split: Split,
    *,
    clip_ids: Sequence[str],
    values: Floats,
    targets: Sequence[str],
    fallback: Mapping[str, float],
) -> OmgSubmission:
    """Write the official prediction csv of OMG-Emotion: one line for every official row, in the official order.

    Args:
        path: the csv file.
        root: the corpus, whose official list of `split` says which rows there are.
        split: "train", "dev" or "test".
        clip_ids: N utterances, "<video>/utterance_K".
        values: (N, K) their predictions; a row that is not finite counts as none.
        targets: names of the K columns, valence and arousal in any order.
        fallback: what a row without media or without a prediction is given, target -> number; the mean label of the
            training split, for example.

    Raises:
        ConfigError: valence or arousal is not predicted or has no fallback, a clip comes twice, or is not official.
        ManifestError: there is no official list of the split.
        StorageError: the file cannot be written.
    """
    for what, names in (("predictions", targets), ("fallback", fallback)):
        if lacking := [target for target in VA_TARGETS if target not in names]:
            raise ConfigError(
                f"{path}: expected {what} of valence and arousal. Received: {', '.join(names) or 'none'}, "
                f"without {' and '.join(lacking)}."
            )
    columns = [list(targets).index(target) for target in VA_TARGETS]
    predicted: dict[str, Floats] = {}
    official = official_table(root, split).rows
    for clip_id, row in zip(clip_ids, values[:, columns], strict=True):
        if clip_id in predicted:
            raise ConfigError(f"{path}: expected one prediction for each utterance. Received two for '{clip_id}'.")
        if clip_id not in official:
            raise ConfigError(
                f"{path}: expected utterances of the official list of split '{split}'. Received: '{clip_id}'."
            )
        predicted[clip_id] = row
    filled = tuple(name for name in official if name not in predicted or not np.isfinite(predicted[name]).all())
    predicted.update(dict.fromkeys(filled, np.array([fallback[target] for target in VA_TARGETS], np.float64)))
    write_predictions(path, official_rows(root, split), predicted)
    return OmgSubmission(path, split, len(official), filled, dict(fallback))


def check_submission(path: Path, root: Path, dataset: str, split: Split) -> Floats:
    """Read a prediction csv of OMG-Emotion or Hume-Reaction and compare it with a split's official list, row by row.

    Args:
        path: the file, of any program.
        root: the corpus.
        dataset: "omg" or "hume".
        split: whose list it is held against.

    Returns:
        (N, 2) valence and arousal, or (N, 7) intensities in the order of `hume_table.TARGETS`, of the N official rows.

    Raises:
        ConfigError: another dataset.
        ManifestError: another number of rows, one that is twice, missing, not official or out of order, a missing
            column, or a cell that is no number; names the line.
    """
    if dataset == "omg":
        return read_predictions(path, official_rows(root, split))
    if dataset == "hume":
        return read_reactions(path, official_ids(root, split))
    raise ConfigError(f"prediction csv {path}: expected dataset omg or hume. Received: {dataset}.")
