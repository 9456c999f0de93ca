"""Scores and predictions of clips that have one label each, as the utterances of OMG-Emotion."""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emopipe.bootstrap import RAW, Score
from emopipe.class_metrics import classification_scores, confusion_matrix
from emopipe.datasets.omg_lists import source_disjoint
from emopipe.metrics import region_scores, regression_scores
from emopipe.records import VA_TARGETS, Split
from emopipe.stages.clip_values import clip_labels, clip_values, frame_values
from emopipe.stages.evaluation import Evaluation, SplitPredictions, predictions_file
from emopipe.stages.predictions import cells_of, columns_of
from emopipe.stages.trained import Trained
from emopipe.stages.utterance_scores import omg_scores
from emopipe.typing import Bools, Floats, Ints


@dataclass(frozen=True)
class ClipPredictions:
    """What a run says of every clip of a split.

    Attributes:
        trained: the run; of a fusion, its first member in the fusion's folder.
        dataset, split, root: the corpus.
        clip_ids, subjects: of the C clips.
        num_frames, num_valid: (C,) frames, and those with a face; of sound alone, windows and those with sound; of
            ready-made features, rows and those without a gap.
        labels: (C, K), NaN where there is none.
        values: (C, K) predictions, or (C, classes) probabilities; NaN where no frame has a prediction.
        raw: the same before post-processing; None where there is none.
        notes: what the user is to be told.
    """

    trained: Trained
    dataset: str
    split: str
    root: Path
    clip_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    num_frames: Ints
    num_valid: Ints
    labels: Floats
    values: Floats
    raw: Floats | None
    notes: tuple[str, ...]

    @property
    def scored(self) -> Bools:
        """(C,) whether a clip has a label and a prediction."""
        scored: Bools = np.isfinite(np.concatenate([self.labels, self.values], axis=1)).all(axis=1)
        return scored

    @property
    def file(self) -> Path:
        """As `SplitPredictions.file`."""
        return predictions_file(self.trained, self.dataset, self.split)


def clip_predictions(found: SplitPredictions) -> ClipPredictions:
    """The predictions of frames as predictions of clips; of classes, the mean probabilities."""
    trained, rows = found.trained, found.rows
    frames = frame_values(rows, found.values, found.how, trained.window, trained.outputs)
    reduce = "mean" if trained.classes else trained.reduce
    raw = clip_values(frames, reduce)
    values = raw if trained.postprocessing is None else clip_values(frames, reduce, trained.postprocessing)
    starts = rows.clip_starts
    num_valid = np.diff(np.concatenate([[0], np.cumsum(rows.valid)])[starts])
    notes = list(found.split.notes)
    silent = [name for name, row in zip(rows.clip_ids, values, strict=True) if not np.isfinite(row).all()]
    if silent:
        lacking = "sound" if trained.reads == "audio" else "face" if trained.ready_made is None else "features"
        notes.append(
            f"{len(silent)} of {len(rows.clip_ids)} clips have no {lacking} and no prediction: {_some(silent)}."
        )
    return ClipPredictions(
        trained=trained,
        dataset=found.split.dataset,
        split=found.split.split,
        root=found.root,
        clip_ids=rows.clip_ids,
        subjects=tuple(clip.clip.subject for clip in found.split.clips),
        num_frames=np.diff(starts),
        num_valid=num_valid,
        labels=clip_labels(rows),
        values=values,
        raw=None if trained.postprocessing is None else raw,
        notes=tuple(notes),
    )


def clip_evaluation(found: ClipPredictions, num_bootstrap: int) -> Evaluation:
    """The scores over the clips that have a label and a prediction; none where there is no such clip.

    Numbers have every metric of `regression_scores` over all clips, the mean squared error in the regions of the
    valence-arousal plane, the scores of `omg_scores` where the corpus is OMG-Emotion, and as `ccc_raw` the CCC of the
    predictions before post-processing.

    Args:
        found: what is scored.
        num_bootstrap: draws of subjects for the intervals.
    """
    trained, keep = found.trained, found.scored
    scores: list[Score] = []
    notes, confusion = list(found.notes), None
    groups = np.array(found.subjects)[keep]
    if keep.any() and trained.classes:
        truth, guess = found.labels[keep, 0].astype(np.int64), found.values[keep].argmax(axis=1)
        scores = classification_scores(truth, guess, trained.classes, groups, num_bootstrap=num_bootstrap)
        confusion = confusion_matrix(truth, guess, len(trained.classes))
    elif keep.any():
        truth, guess, targets = found.labels[keep], found.values[keep], trained.targets
        scores = regression_scores(truth, guess, targets, groups, num_bootstrap=num_bootstrap)
        if found.raw is not None:
            raw = regression_scores(truth, found.raw[keep], targets, groups, num_bootstrap=num_bootstrap)
            scores += [replace(score, metric=f"ccc{RAW}") for score in raw if score.metric == "ccc"]
        if set(VA_TARGETS) <= set(targets):
            scores += region_scores(truth, guess, targets, groups, num_bootstrap=num_bootstrap)
        if found.dataset == "omg":
            scores += _omg_extras(found, truth, guess, num_bootstrap, notes)
    return Evaluation(
        run=trained.run.folder,
        dataset=found.dataset,
        split=found.split,
        scores=tuple(scores),
        clips={},
        classes=trained.classes,
        confusion=confusion,
        unit="clips",
        num_units=len(found.clip_ids),
        num_scored=int(keep.sum()),
        predictions=found.file,
        notes=tuple(notes),
        over_subjects=True,
    )


def clip_table(found: ClipPredictions) -> str:
    """predictions/<split>.csv: one row per clip.

    clip, frames, valid (those with a face), the prediction, where something is done to it <target>_raw, <target>_label;
    empty where there is none.
    """
    trained, text = found.trained, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = columns_of(trained.targets, trained.classes)
    raw_columns = [] if found.raw is None else [f"{target}{RAW}" for target in trained.targets]
    labels = [f"{target}_label" for target in trained.targets]
    writer.writerow(["clip", "frames", "valid", *columns, *raw_columns, *labels])
    for number, clip_id in enumerate(found.clip_ids):
        cells = cells_of(found.values[number], trained.classes)
        raw = [] if found.raw is None else cells_of(found.raw[number], ())
        given = [label_cell(value, trained.classes) for value in found.labels[number]]
        writer.writerow([clip_id, found.num_frames[number], found.num_valid[number], *cells, *raw, *given])
    return text.getvalue()


def label_cell(value: float, classes: tuple[str, ...]) -> str:
    """A label as text, a class by its name; empty where there is none."""
    if not np.isfinite(value):
        return ""
    return classes[int(value)] if classes else f"{value:.6f}"


def _omg_extras(
    found: ClipPredictions, truth: Floats, guess: Floats, num_bootstrap: int, notes: list[str]
) -> list[Score]:
    """The older official score, and the official one over clips of sources that no earlier split has."""
    clip_ids = [name for name, keep in zip(found.clip_ids, found.scored, strict=True) if keep]
    subjects = [name for name, keep in zip(found.subjects, found.scored, strict=True) if keep]
    known: dict[str, Split] = {"train": "train", "dev": "dev", "test": "test"}
    split = known.get(found.split)
    extra = omg_scores(
        truth,
        guess,
        found.trained.targets,
        clip_ids,
        disjoint=None if split in (None, "train") else source_disjoint(found.root, split),
        subjects=subjects,
        num_bootstrap=num_bootstrap,
    )
    notes += extra.notes
    return [score for score in extra.scores if score.metric.startswith("ccc_")]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
