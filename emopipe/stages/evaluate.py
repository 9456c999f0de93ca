"""`emopipe evaluate`: scores of a run, with intervals, and its predictions frame by frame."""

import csv
import io
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emopipe.bootstrap import Score, UndefinedMetricWarning
from emopipe.class_metrics import classification_scores, confusion_matrix
from emopipe.errors import ConfigError, ManifestError
from emopipe.files import write_whole
from emopipe.metrics import per_clip_scores, regression_scores
from emopipe.models.engines import load_keras
from emopipe.models.rows import Rows
from emopipe.models.weights import load_network
from emopipe.models.windows import HOW_NAMES
from emopipe.plots.scores import confusion_figure, save_figure
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.feature_rows import feature_rows, output_rows
from emopipe.stages.labelled import LabelledSplit, has_labels, labelled_clips, unlabelled_clips
from emopipe.stages.predictions import Fill, cells_of, columns_of, frame_predictions, window_predictions
from emopipe.stages.trained import Trained, open_trained
from emopipe.store.cache import Cache
from emopipe.typing import Bools, Floats, Ints


@dataclass(frozen=True)
class Evaluation:
    """How good a run is on one split.

    Attributes:
        run, dataset, split: what was scored, on what.
        scores: over all scored frames, with 95 % bootstrap intervals over clips (over subjects where clips are
            pictures); () where the split has no labels.
        clips: clip id -> the same scores of that clip, without intervals; {} for classes.
        classes: names of the classes; () for numbers.
        confusion: (C, C) counts, row = the class that annotators gave; None for numbers.
        num_frames, num_scored: frames of the split, and those with a label and a prediction.
        predictions: where the predictions lie.
        notes: what the user is to be told.
    """

    run: Path
    dataset: str
    split: str
    scores: tuple[Score, ...]
    clips: dict[str, tuple[Score, ...]]
    classes: tuple[str, ...]
    confusion: Ints | None
    num_frames: int
    num_scored: int
    predictions: Path
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; an interval that cannot be had is null."""
        return {
            "run": str(self.run),
            "dataset": self.dataset,
            "split": self.split,
            "scores": [_plain(score) for score in self.scores],
            "clips": {clip_id: [_plain(score) for score in scores] for clip_id, scores in self.clips.items()},
            "classes": list(self.classes),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "num_frames": self.num_frames,
            "num_scored": self.num_scored,
            "predictions": str(self.predictions),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """A table for people."""
        lines = []
        if self.scores:
            over = f"95 % interval over {self.scores[0].num_clips} {'subjects' if self._of_pictures else 'clips'}"
            lines.append(f"{'metric':<26}{'target':<12}{'value':>8}   {over}")
        for score in self.scores:
            interval = f"{score.low:.3f} to {score.high:.3f}" if np.isfinite(score.low) else "none"
            lines.append(f"{score.metric:<26}{score.target:<12}{score.value:>8.3f}   {interval}")
        lines.append(f"{self.num_scored} of {self.num_frames} frames of split '{self.split}' are scored.")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, f"predictions: {self.predictions}"])

    _of_pictures: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class SplitPredictions:
    """What a run says of every frame of a split.

    Attributes:
        trained: the run.
        split: the clips.
        rows: their table, with labels.
        values: (R, K) predictions, NaN where there is none.
        how: (R,) uint8, a code of `HOW_NAMES`.
    """

    trained: Trained
    split: LabelledSplit
    rows: Rows
    values: Floats
    how: Ints


def evaluate(
    run: Path,
    *,
    split: str,
    cache: Path,
    root: Path | None = None,
    dataset: str | None = None,
    fill: Fill = "short",
    num_bootstrap: int = 1000,
) -> Evaluation:
    """Predict every frame of a split that can be predicted, write the predictions, and score the labelled ones.

    Args:
        run: a run of `train-cnn` or `train-rnn`.
        split: "train", "dev", "test", "none" for clips without one, or "all" for every clip.
        cache: holds faces or features made with the settings that the run was trained on.
        root: the corpus; None for where it was at extraction.
        dataset: another corpus than the one it was trained on.
        fill: what becomes of frames without a full window; see `window_predictions`.
        num_bootstrap: resamples of the clips for the intervals.

    Raises:
        RunError: no run, an unfinished one, or one of a newer version.
        ConfigError: the cache lacks its input, or the corpus has other classes.
        ManifestError: no frame has both a label and a prediction.
    """
    found = predict_split(open_trained(run), split=split, cache=cache, root=root, dataset=dataset, fill=fill)
    return score(found, num_bootstrap=num_bootstrap)


def predict_split(
    trained: Trained,
    *,
    split: str,
    cache: Path,
    root: Path | None = None,
    dataset: str | None = None,
    fill: Fill = "short",
) -> SplitPredictions:
    """What a run says of every frame of a split, from the cache; as `evaluate`."""
    store = Cache(cache)
    folds = trained.folds if dataset in (None, trained.dataset) else None
    plan = cached_plan(store, trained.reads, dataset or trained.dataset, root, trained.fingerprint, folds)
    if has_labels(plan, split, trained.task):
        clips = labelled_clips(plan, store, trained.reads, split, trained.task)
        _check_columns(trained, clips)
    else:
        clips = unlabelled_clips(plan, store, trained.reads, split, trained.task, trained.targets)
    load_keras()
    if trained.window is None:
        rows = output_rows(clips, store, trained.feature_network(), trained.targets)
        values, how = frame_predictions(rows, fill)
    else:
        rows = feature_rows(clips, store, trained.taps, trained.targets)
        values, how = window_predictions(load_network(trained.run.network), rows, trained.window, fill)
    return SplitPredictions(trained, clips, rows, values, how)


def score(found: SplitPredictions, *, num_bootstrap: int = 1000) -> Evaluation:
    """Write predictions/<split>.csv into the run, and score them; as `evaluate`."""
    trained, split, rows = found.trained, found.split, found.rows
    dataset = split.dataset
    name = split.split if dataset == trained.dataset else f"{dataset}_{split.split}"
    path = trained.run.folder / "predictions" / f"{name}.csv"
    write_whole(path, _table(found).encode("utf-8", "surrogateescape"))
    scored = rows.label_valid & (found.how > 0)
    of_pictures = all(clip.clip.kind == "picture" for clip in split.clips)
    result = Evaluation(
        trained.run.folder, dataset, split.split, (), {}, trained.classes, None, len(rows), int(scored.sum()), path,
        split.notes, of_pictures,
    )  # fmt: skip
    if not rows.label_valid.any():
        return result
    if not scored.any():
        raise ManifestError(f"split '{split.split}': no frame has both a label and a prediction. Look at {path}.")
    return _scored(found, result, scored, num_bootstrap)


def _scored(found: SplitPredictions, result: Evaluation, scored: Bools, num_bootstrap: int) -> Evaluation:
    """The result with its scores; what is undefined, as the recall of a class that nobody shows, becomes a note."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UndefinedMetricWarning)
        result = _with_scores(found, result, scored, num_bootstrap)
    undefined = [str(each.message) for each in caught if issubclass(each.category, UndefinedMetricWarning)]
    return replace(result, notes=(*result.notes, *undefined))


def _with_scores(found: SplitPredictions, result: Evaluation, scored: Bools, num_bootstrap: int) -> Evaluation:
    trained, rows = found.trained, found.rows
    truth, guess = rows.labels[scored].astype(np.float64), found.values[scored]
    # Pictures of one person are nearly as alike as frames of one clip.
    groups = [clip.clip.subject if result._of_pictures else clip.clip.clip_id for clip in found.split.clips]
    group_of_row = np.repeat(np.array(groups), np.diff(rows.clip_starts))[scored]
    if trained.classes:
        given, predicted = truth[:, 0].astype(np.int64), guess.argmax(axis=1)
        scores = classification_scores(given, predicted, trained.classes, group_of_row, num_bootstrap=num_bootstrap)
        confusion = confusion_matrix(given, predicted, len(trained.classes))
        title = f"{result.run.name}, {result.dataset} {result.split}"
        picture = result.predictions.with_name(f"{result.predictions.stem}_confusion.png")
        save_figure(confusion_figure(confusion, trained.classes, title=title), picture)
        return replace(result, scores=tuple(scores), confusion=confusion)
    scores = regression_scores(truth, guess, trained.targets, group_of_row, num_bootstrap=num_bootstrap)
    per_clip = per_clip_scores(truth, guess, trained.targets, group_of_row)
    return replace(result, scores=tuple(scores), clips={str(name): tuple(found) for name, found in per_clip.items()})


def _check_columns(trained: Trained, split: LabelledSplit) -> None:
    if split.classes != trained.classes:
        raise ConfigError(
            f"{trained.run.folder}: predicts {', '.join(trained.outputs)}.\n"
            f"Split '{split.split}' of {split.dataset} is labelled {', '.join(split.classes or split.targets)}."
        )


def _table(found: SplitPredictions) -> str:
    """predictions/<split>.csv: one row per frame; what annotators gave beside it, empty where there is none."""
    trained, rows = found.trained, found.rows
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = columns_of(trained.targets, trained.classes)
    writer.writerow(["clip", "frame", "how", *columns, *(f"{target}_label" for target in trained.targets)])
    for number, clip_id in enumerate(rows.clip_ids):
        for row in range(int(rows.clip_starts[number]), int(rows.clip_starts[number + 1])):
            cells = cells_of(found.values[row], trained.classes)
            labels = [_label(value, trained.classes) for value in rows.labels[row]]
            writer.writerow([clip_id, int(rows.frame_index[row]), HOW_NAMES[found.how[row]], *cells, *labels])
    return text.getvalue()


def _label(value: float, classes: tuple[str, ...]) -> str:
    if not np.isfinite(value):
        return ""
    return classes[int(value)] if classes else f"{value:.6f}"


def _plain(score: Score) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in asdict(score).items()}
