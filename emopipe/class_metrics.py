"""How well predicted classes and action units agree with labels, all from confusion counts, with intervals over clips.

A class that no row has counts 0 in every mean over classes (scikit-learn's ``labels=`` with ``zero_division=0``), with
an `UndefinedMetricWarning`; the draws of the bootstrap follow the same rule without a warning.
"""

from collections.abc import Sequence

import numpy as np

from emopipe.bootstrap import Metric, Score, checked_pair, clip_groups, draw_clips, warn_undefined, with_intervals
from emopipe.errors import MetricError
from emopipe.typing import Array, Floats, Ints

_LABEL = "label"  # target of a score that is about all classes together
_MEAN = "mean"  # target of the mean over the units


def confusion_matrix(truth: Ints, predicted: Ints, num_classes: int) -> Ints:
    """Counts (C, C) int64: row = class that annotators gave, column = class predicted.

    Raises:
        MetricError: the shapes differ, there are no rows, or a number is no class.
    """
    counts: Ints = _clip_confusions(truth, predicted, num_classes, np.zeros(np.shape(truth), np.int64), 1)[0]
    return counts


def accuracy(confusion: Ints) -> Floats:
    """Part of the rows that are predicted right, from counts (..., C, C); in [0, 1]."""
    right = np.trace(confusion, axis1=-2, axis2=-1)
    return _ratio(right, confusion.sum(axis=(-2, -1)))


def class_recall(confusion: Ints) -> Floats:
    """Part of each class's rows that are found, (..., C); 0 for a class without a row."""
    return _ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def class_f1(confusion: Ints) -> Floats:
    """F1 of each class, (..., C): ``2 tp / (2 tp + fp + fn)``; 0 for a class neither given nor predicted."""
    found = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(2 * found, confusion.sum(axis=-1) + confusion.sum(axis=-2))


def macro_f1(confusion: Ints) -> Floats:
    """Mean of `class_f1` over all classes of the list, the absent ones counting 0."""
    return np.asarray(class_f1(confusion).mean(axis=-1))


def unweighted_average_recall(confusion: Ints) -> Floats:
    """Mean of `class_recall` over all classes of the list, the absent ones counting 0."""
    return np.asarray(class_recall(confusion).mean(axis=-1))


def expression_score_2020(confusion: Ints) -> Floats:
    """``0.67 macro-F1 + 0.33 accuracy``, the expression score of ABAW 2020 and 2021."""
    return np.asarray(0.67 * macro_f1(confusion) + 0.33 * accuracy(confusion))


CLASS_METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, True),
    "macro_f1": Metric(macro_f1, True),
    "unweighted_average_recall": Metric(unweighted_average_recall, True),
    "expression_score_2020": Metric(expression_score_2020, True),
    "f1": Metric(class_f1, True),
    "recall": Metric(class_recall, True),
}


def classification_scores(
    truth: Ints,
    predicted: Ints,
    classes: Sequence[str],
    clip_of_row: Array,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[Score]:
    """Every metric of `CLASS_METRICS`: those of all classes together (target "label"), then F1 and recall per class.

    Args:
        truth, predicted: (N,) class numbers, 0 to C - 1; whole floats are taken too.
        classes: names of the C classes.
        clip_of_row: (N,) integers or strings, which clip each row is from.
        num_bootstrap: draws of clips; 0 for no intervals.
        seed: of the draws.

    Raises:
        MetricError: the shapes differ, there are no rows, or a number is no class.
    """
    clips, group = clip_groups(clip_of_row, len(truth))
    counts = _clip_confusions(truth, predicted, len(classes), group, len(clips))  # (G, C, C)
    total, drawn = counts.sum(axis=0), draw_clips(counts, num_bootstrap, seed)
    absent = [name for name, num_rows in zip(classes, total.sum(axis=1), strict=True) if num_rows == 0]
    if absent:
        warn_undefined(
            f"no row is labelled {', '.join(absent)}: F1 and recall of these classes are undefined and count as 0."
        )
    scores = []
    for metric, (function, _) in CLASS_METRICS.items():
        value = function(total)
        names = list(classes) if value.ndim else [_LABEL]
        draws = function(drawn).reshape(num_bootstrap, len(names))
        scores += with_intervals(metric, names, value.reshape(-1), draws, len(truth), len(clips))
    return scores


def action_unit_scores(
    truth: Ints,
    probability: Floats,
    units: Sequence[str],
    clip_of_row: Array,
    *,
    threshold: float = 0.5,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[Score]:
    """F1 of the presence of each action unit, then their mean, the score of the ABAW challenges.

    Args:
        truth: (N, K) 0 or 1.
        probability: (N, K); `threshold` and above means present.
        units: names of the K columns.
        clip_of_row, num_bootstrap, seed: as for `classification_scores`.

    Raises:
        MetricError: the shapes do not fit, there are no rows, a number is not finite, or a label is neither 0 nor 1.
    """
    labels, numbers = checked_pair(truth, probability, (len(units),))
    clips, group = clip_groups(clip_of_row, len(labels))
    present = (numbers >= threshold).astype(np.int64)
    pairs = [_clip_confusions(labels[:, k], present[:, k], 2, group, len(clips)) for k in range(len(units))]
    counts = np.stack(pairs, axis=1)  # (G, K, 2, 2)
    total, drawn = counts.sum(axis=0), draw_clips(counts, num_bootstrap, seed)
    absent = [name for name, count in zip(units, total, strict=True) if count[1].sum() == 0]
    if absent:
        warn_undefined(f"no row has {', '.join(absent)}: their F1 is undefined and counts as 0.")
    value, draws = class_f1(total)[:, 1], class_f1(drawn)[:, :, 1]
    value, draws = np.append(value, value.mean()), np.column_stack([draws, draws.mean(axis=1)])
    return with_intervals("f1", [*units, _MEAN], value, draws, len(labels), len(clips))


def _clip_confusions(truth: Array, predicted: Array, num_classes: int, group: Ints, num_groups: int) -> Ints:
    """(num_groups, C, C) counts."""
    labels, answers = checked_pair(truth, predicted, ())
    for name, numbers in (("truth", labels), ("prediction", answers)):
        wrong = np.flatnonzero((numbers < 0) | (numbers >= num_classes) | (numbers != np.floor(numbers)))
        if len(wrong):
            raise MetricError(
                f"{name}, row {wrong[0]}: expected a class number from 0 to {num_classes - 1}. "
                f"Received: {numbers[wrong[0]]:g}."
            )
    cell = (group * num_classes + labels.astype(np.int64)) * num_classes + answers.astype(np.int64)
    counts: Ints = np.bincount(cell, minlength=num_groups * num_classes**2)
    return counts.reshape(num_groups, num_classes, num_classes)


def _ratio(part: Array, whole: Array) -> Floats:
    """part / whole, 0 where whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0))
