"""What training asks of labels: a loss that suits them, targets fit to learn from, and the scores that select."""

from typing import Literal, get_args

import numpy as np

from emopipe.class_metrics import accuracy, confusion_matrix, macro_f1, unweighted_average_recall
from emopipe.errors import ConfigError, ManifestError
from emopipe.metrics import batch_mean_concordance, concordance, pearson, rmse
from emopipe.stages.labelled import LabelledSplit
from emopipe.typing import Floats

Loss = Literal["ccc", "mse", "crossentropy"]
Select = Literal["", "ccc", "pearson", "macro_f1", "uar"]
_FOR_CLASSES = ("macro_f1", "uar")
_MANY_TARGETS = 3  # fewer are valence and arousal, or one of them, which are published with their CCC


def check_loss(loss: Loss | None) -> None:
    """Refuse a loss that is not known.

    Raises:
        ConfigError: it is none of `Loss`.
    """
    if loss not in (None, *get_args(Loss)):
        raise ConfigError(f"loss: expected one of {', '.join(get_args(Loss))}. Received: {loss!r}.")


def suited_loss(loss: Loss | None, task: str, classes: tuple[str, ...]) -> str:
    """The loss, which for None is the one that suits the task: cross-entropy for classes, CCC for numbers.

    Raises:
        ConfigError: it is for the other kind of task.
    """
    if loss is not None and (loss == "crossentropy") != bool(classes):
        suits = "crossentropy" if classes else "ccc or mse"
        raise ConfigError(f"loss: expected {suits} for task '{task}'. Received: {loss}.")
    return loss or ("crossentropy" if classes else "ccc")


def check_select(select: str) -> None:
    """Refuse a score to select by that is not known.

    Raises:
        ConfigError: it is none of `Select`.
    """
    if select not in get_args(Select):
        raise ConfigError(f"select: expected one of {', '.join(get_args(Select)[1:])}. Received: {select!r}.")


def suited_select(
    select: str, loss: str, task: str, targets: tuple[str, ...], classes: tuple[str, ...], *, of_clips: bool
) -> str:
    """The score that picks the best epoch, which for "" is the one that suits the task.

    That is macro-F1 for classes and CCC for numbers, but Pearson's r for many intensities of clips that are learned
    by squared error, as emotional reactions are scored.

    Raises:
        ConfigError: it is for the other kind of task.

    Examples:
        >>> suited_select("", "mse", "reactions", ("joy", "fear", "awe"), (), of_clips=True)
        'pearson'
    """
    if select and (select in _FOR_CLASSES) != bool(classes):
        suits = "macro_f1 or uar" if classes else "ccc or pearson"
        raise ConfigError(f"select: expected {suits} for task '{task}'. Received: {select}.")
    if select or classes:
        return select or "macro_f1"
    return "pearson" if of_clips and loss == "mse" and len(targets) >= _MANY_TARGETS else "ccc"


def check_task(train: LabelledSplit, dev: LabelledSplit, targets: tuple[str, ...]) -> None:
    """Refuse a task that is not trained, splits that differ in what is labelled, and targets that are not there.

    Raises:
        ConfigError: the task is action units, or a target is none of the task's.
        ManifestError: the splits differ.
    """
    if (train.targets, train.classes) != (dev.targets, dev.classes):
        raise ManifestError(
            f"task '{train.task}': splits '{train.split}' and '{dev.split}' are not labelled for the same targets.\n"
            f"Expected {', '.join(train.classes or train.targets)}. "
            f"Received: {', '.join(dev.classes or dev.targets)}."
        )
    if train.task == "au":
        raise ConfigError("task 'au': action units are not trained. Expected a task of numbers or of classes.")
    for name in targets:
        if name not in train.targets:
            raise ConfigError(f"targets: expected some of {', '.join(train.targets)}. Received: '{name}'.")


def one_hot(numbers: Floats, num_classes: int) -> Floats:
    """(N,) class numbers -> (N, C) of the same type."""
    return np.eye(num_classes, dtype=numbers.dtype)[numbers.astype(np.int64)]


def check_targets(
    values: Floats, split: LabelledSplit, targets: tuple[str, ...], what: str, *, needs_every_class: bool
) -> None:
    """Refuse targets from which nothing can be learned or on which nothing can be scored.

    Args:
        values: (N, K) numbers, or one-hot classes.
        split: where they are from.
        targets: names of the K numbers.
        what: what a row is: "frame", "window" or "clip".
        needs_every_class: for training. A dev split without a class still has a score, in which that class counts as 0.

    Raises:
        ManifestError: a number is the same everywhere, or a class has no row.
    """
    if split.classes:
        absent = [name for name, count in zip(split.classes, values.sum(axis=0), strict=True) if count == 0]
        if absent and needs_every_class:
            raise ManifestError(
                f"split '{split.split}', task '{split.task}': no {what} of class {', '.join(absent)}.\n"
                "Expected every class in training. Are all clips extracted? Look with: emopipe datasets check"
            )
        return
    for name, column in zip(targets, values.T, strict=True):
        if np.ptp(column) == 0:
            raise ManifestError(
                f"split '{split.split}', task '{split.task}': {name} is {column[0]:g} in all {len(column)} {what}s.\n"
                "Expected labels that vary: a constant can neither be learned nor scored."
            )


def number_scores(truth: Floats, predicted: Floats, targets: tuple[str, ...], batch_size: int) -> dict[str, float]:
    """CCC, Pearson's r and RMSE over all rows, and the mean CCC of shuffled batches that published curves show."""
    order = np.random.default_rng(0).permutation(len(truth))  # neighbours in one batch would hardly vary
    truth, predicted = truth[order].astype(np.float64), predicted[order].astype(np.float64)
    columns = [(name, truth[:, number], predicted[:, number]) for number, name in enumerate(targets)]
    agreement = {f"ccc_{name}": concordance(one, other) for name, one, other in columns}
    correlation = {f"pearson_{name}": pearson(one, other) for name, one, other in columns}
    return {
        "ccc": float(np.mean(list(agreement.values()))),
        **agreement,
        "pearson": float(np.mean(list(correlation.values()))),
        **correlation,
        **{f"rmse_{name}": rmse(one, other) for name, one, other in columns},
        **{f"batch_ccc_{name}": batch_mean_concordance(one, other, batch_size) for name, one, other in columns},
    }


def class_scores(truth: Floats, predicted: Floats) -> dict[str, float]:
    """Macro-F1, accuracy and unweighted average recall over all rows, from one-hot truth and probabilities.

    A class without a row counts as 0.
    """
    counts = confusion_matrix(truth.argmax(1), predicted.argmax(1), truth.shape[1])
    return {
        "macro_f1": float(macro_f1(counts)),
        "accuracy": float(accuracy(counts)),
        "uar": float(unweighted_average_recall(counts)),
    }
