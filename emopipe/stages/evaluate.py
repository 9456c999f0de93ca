"""`emopipe evaluate`: predictions of a run for a split, frame by frame, and their scores with intervals."""

import csv
import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from emopipe.bootstrap import UndefinedMetricWarning
from emopipe.class_metrics import classification_scores, confusion_matrix
from emopipe.errors import ConfigError, ManifestError
from emopipe.files import write_whole
from emopipe.metrics import per_clip_scores, regression_scores
from emopipe.models.engines import load_keras
from emopipe.models.weights import load_network
from emopipe.models.windows import HOW_NAMES
from emopipe.plots.scores import confusion_figure, save_figure
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.evaluate_clips import ClipPredictions, clip_evaluation, clip_predictions, clip_table, label_cell
from emopipe.stages.evaluation import Evaluation, SplitPredictions
from emopipe.stages.feature_rows import feature_rows, network_rows
from emopipe.stages.labelled import LabelledSplit, has_labels, labelled_clips, unlabelled_clips
from emopipe.stages.predictions import Fill, cells_of, columns_of, frame_predictions, window_predictions
from emopipe.stages.sound_rows import joined_plan, sound_columns, split_taps
from emopipe.stages.stored_evaluation import store_evaluation
from emopipe.stages.trained import Trained
from emopipe.store.cache import Cache
from emopipe.typing import Bools, Ints


def predict_split(
    trained: Trained,
    *,
    split: str,
    cache: Path,
    root: Path | None = None,
    dataset: str | None = None,
    fill: Fill = "short",
) -> SplitPredictions:
    """What a run of `train-cnn` or `train-rnn` says of every frame of a split, from the cache.

    Arguments and errors as of `emopipe.stages.fusion.evaluate`.
    """
    store = Cache(cache)
    folds = trained.folds if dataset in (None, trained.dataset) else None
    plan = cached_plan(store, trained.reads, dataset or trained.dataset, root, trained.fingerprint, folds)
    if has_both := trained.sound is not None and trained.reads != "audio":
        plan = joined_plan(plan, cached_plan(store, "audio", plan.manifest.dataset, root, trained.sound_fingerprint))
    if has_labels(plan, split, trained.task):
        clips = labelled_clips(plan, store, trained.reads, split, trained.task)
        _check_columns(trained, clips)
    else:
        clips = unlabelled_clips(plan, store, trained.reads, split, trained.task, trained.targets)
    load_keras()
    landmarks = plan if trained.landmarks else None
    if trained.reads == "faces":
        rows = network_rows(clips, store, trained.feature_network(), trained.taps, trained.targets, landmarks)
    else:
        taps, heard = split_taps(trained.taps) if has_both else (trained.taps, ())
        sound = sound_columns(clips, plan, store, heard) if has_both else None
        motion = plan if trained.window is not None and trained.window.wants_motion else None
        rows = feature_rows(clips, store, taps, trained.targets, landmarks, sound, motion)
        clips = replace(clips, notes=(*clips.notes, *(sound.notes if sound is not None else ())))
    if trained.window is None:
        values, how = frame_predictions(rows, fill)
    else:
        values, how = window_predictions(load_network(trained.run.network), rows, trained.window, fill)
    return SplitPredictions(trained, clips, rows, values, how, plan.manifest.root)


def score(found: SplitPredictions | ClipPredictions, *, num_bootstrap: int = 1000) -> Evaluation:
    """Write predictions/<split>.csv into the run, score them, and write <split>.json with the scores.

    The intervals are from so many draws of clips.

    Where clips have one label each, the file has a row per clip, and <split>_frames.csv one per frame.
    """
    result = _written_and_scored(found, num_bootstrap)
    store_evaluation(result)
    return result


def _written_and_scored(found: SplitPredictions | ClipPredictions, num_bootstrap: int) -> Evaluation:
    if isinstance(found, ClipPredictions):
        return _scored_clips(found, num_bootstrap)
    trained, split, rows, path = found.trained, found.split, found.rows, found.file
    if found.of_clips:
        write_whole(path.with_name(f"{path.stem}_frames.csv"), _table(found).encode("utf-8", "surrogateescape"))
        return _scored_clips(clip_predictions(found), num_bootstrap)
    write_whole(path, _table(found).encode("utf-8", "surrogateescape"))
    scored = rows.label_valid & (found.how > 0)
    of_pictures = all(clip.clip.kind == "picture" for clip in split.clips)
    result = Evaluation(
        trained.run.folder, split.dataset, split.split, (), {}, trained.classes, None, "frames", len(rows),
        int(scored.sum()), path, split.notes, of_pictures,
    )  # fmt: skip
    if not rows.label_valid.any():
        return result
    if not scored.any():
        raise ManifestError(f"split '{split.split}': no frame has both a label and a prediction. Look at {path}.")
    return _scored(found, result, scored, num_bootstrap)


def _scored_clips(found: ClipPredictions, num_bootstrap: int) -> Evaluation:
    write_whole(found.file, clip_table(found).encode("utf-8", "surrogateescape"))
    if np.isfinite(found.labels).all(axis=1).any() and not found.scored.any():
        raise ManifestError(f"split '{found.split}': no clip has both a label and a prediction. Look at {found.file}.")
    result = _noting_undefined(lambda: clip_evaluation(found, num_bootstrap))
    return result if result.confusion is None else _with_confusion(result, result.confusion)


def _scored(found: SplitPredictions, result: Evaluation, scored: Bools, num_bootstrap: int) -> Evaluation:
    return _noting_undefined(lambda: _with_scores(found, result, scored, num_bootstrap))


def _noting_undefined(compute: Callable[[], Evaluation]) -> Evaluation:
    """A result with its scores; what is undefined, as the recall of a class that nobody shows, becomes a note."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UndefinedMetricWarning)
        result = compute()
    undefined = [str(each.message) for each in caught if issubclass(each.category, UndefinedMetricWarning)]
    return replace(result, notes=(*result.notes, *undefined))


def _with_confusion(result: Evaluation, confusion: Ints) -> Evaluation:
    """The result, its confusion matrix drawn beside its predictions."""
    title = f"{result.run.name}, {result.dataset} {result.split}"
    picture = result.predictions.with_name(f"{result.predictions.stem}_confusion.png")
    save_figure(confusion_figure(confusion, result.classes, title=title), picture)
    return replace(result, confusion=confusion)


def _with_scores(found: SplitPredictions, result: Evaluation, scored: Bools, num_bootstrap: int) -> Evaluation:
    trained, rows = found.trained, found.rows
    truth, guess = rows.labels[scored].astype(np.float64), found.values[scored]
    # Pictures of one person are nearly as alike as frames of one clip.
    groups = [clip.clip.subject if result.over_subjects else clip.clip.clip_id for clip in found.split.clips]
    group_of_row = np.repeat(np.array(groups), np.diff(rows.clip_starts))[scored]
    if trained.classes:
        given, predicted = truth[:, 0].astype(np.int64), guess.argmax(axis=1)
        scores = classification_scores(given, predicted, trained.classes, group_of_row, num_bootstrap=num_bootstrap)
        confusion = confusion_matrix(given, predicted, len(trained.classes))
        return _with_confusion(replace(result, scores=tuple(scores)), confusion)
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
    writer.writerow(["clip", "frame", "time_s", "how", *columns, *(f"{target}_label" for target in trained.targets)])
    for number, (clip_id, clip) in enumerate(zip(rows.clip_ids, found.split.clips, strict=True)):
        start, stop = map(int, rows.clip_starts[number : number + 2])
        for row, time_s in zip(range(start, stop), clip.time_s, strict=True):
            cells = cells_of(found.values[row], trained.classes)
            labels = [label_cell(value, trained.classes) for value in rows.labels[row]]
            place = (clip_id, int(rows.frame_index[row]), f"{time_s:.6f}", HOW_NAMES[found.how[row]])
            writer.writerow([*place, *cells, *labels])
    return text.getvalue()
