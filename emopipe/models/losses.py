"""The losses of the heads and the CNNs: concordance, squared error and cross-entropy, all with weights per row.

A weight of 0 takes a row out entirely: whatever stands in it, NaN included, reaches neither the loss nor its gradient.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emopipe.registry import Registry

if TYPE_CHECKING:
    import keras

Tensor = Any  # of whichever backend keras runs on

PACKAGE = "emopipe"  # under which keras finds the class when it loads a compiled model
_EPSILON = 1e-8  # keeps a batch of constants finite; labels in [-1, 1] have variances a million times as large

LOSSES = Registry(
    "loss",
    {
        "ccc": "emopipe.models.losses:ccc_loss",
        "mse": "emopipe.models.losses:mse_loss",
        "crossentropy": "emopipe.models.losses:crossentropy_loss",
    },
)


def get_loss(name: str) -> "keras.losses.Loss":
    """The loss of this name as a Keras loss, for ``model.compile``.

    Call it, with any name, before `keras.saving.load_model` reads a model that was compiled with one: it registers the
    class. A model that is loaded with ``compile=False`` needs neither.

    Args:
        name: "ccc", "mse" or "crossentropy".

    Returns:
        A loss of truth and prediction (..., K) and ``sample_weight`` (...), one number for the whole batch. Keras masks
        are not read: what a mask hides has a weight of 0.

    Raises:
        UnknownNameError: there is no such loss.
    """
    return _row_loss_class()(name)


def ccc_loss(truth: Tensor, prediction: Tensor, weight: Tensor | None = None) -> Tensor:
    """``1 - mean_k CCC_k`` over the rows of a batch; in [0, 2], 0 is best.

    The moments are those of the population and of `emopipe.metrics.concordance`, computed from deviations in float32.
    The denominator has an epsilon: a batch of constants, one row, and no row at all give 1 with a gradient of 0.

    Args:
        truth, prediction: (..., K); the leading axes together are the rows.
        weight: (...) how much each row counts; None for all alike. Only their ratios matter.

    Returns:
        float32 scalar.

    Source:
        Lin, Biometrics 45(1), 1989; as a loss over a mini-batch in Rangulov and Fahim, arXiv:2006.11168, sec. III.
    """
    from keras import ops

    truth, prediction, share = _rows(truth, prediction, weight)
    truth_mean = ops.sum(share * truth, axis=0)
    prediction_mean = ops.sum(share * prediction, axis=0)
    # A row without weight keeps its deviation from the mean, times 0.
    truth_deviation, prediction_deviation = truth - truth_mean, prediction - prediction_mean
    covariance = ops.sum(share * truth_deviation * prediction_deviation, axis=0)
    variances = ops.sum(share * (ops.square(truth_deviation) + ops.square(prediction_deviation)), axis=0)
    distance = ops.square(truth_mean - prediction_mean)
    return 1.0 - ops.mean(2.0 * covariance / (variances + distance + _EPSILON))


def mse_loss(truth: Tensor, prediction: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over rows and targets of the squared error. Arguments as for `ccc_loss`; no row at all gives 0."""
    from keras import ops

    truth, prediction, share = _rows(truth, prediction, weight)
    return ops.sum(share * ops.mean(ops.square(truth - prediction), axis=-1, keepdims=True))


def crossentropy_loss(truth: Tensor, prediction: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over rows of the categorical cross-entropy, in nats; no row at all gives 0.

    Args:
        truth: (..., C) probability of each class, one-hot for a label.
        prediction: (..., C) probabilities, the output of a softmax.
        weight: (...) as for `ccc_loss`.
    """
    from keras import ops

    truth, prediction, share = _rows(truth, prediction, weight, filler=1.0)
    return ops.sum(share[:, 0] * ops.categorical_crossentropy(truth, prediction))


def _rows(
    truth: Tensor, prediction: Tensor, weight: Tensor | None, filler: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Truth and prediction (R, K) with `filler` in the rows of no weight, and each row's share (R, 1) of the weight."""
    from keras import ops

    prediction = ops.cast(prediction, "float32")
    truth = ops.reshape(ops.cast(truth, "float32"), ops.shape(prediction))
    num_targets = prediction.shape[-1]
    truth, prediction = ops.reshape(truth, (-1, num_targets)), ops.reshape(prediction, (-1, num_targets))
    if weight is None:
        weight = ops.ones_like(prediction[:, :1])
    else:
        weight = ops.reshape(ops.cast(weight, "float32"), (-1, 1))
        # Chosen before any arithmetic: 0 * NaN is NaN, in the gradient too.
        truth, prediction = (ops.where(weight > 0, numbers, filler) for numbers in (truth, prediction))
    total = ops.sum(weight)
    return truth, prediction, weight / ops.where(total > 0, total, 1.0)


@functools.cache
def _row_loss_class() -> "Callable[[str], keras.losses.Loss]":
    """The Keras class around the functions above; made on the first call, because keras loads late."""
    import keras

    @keras.saving.register_keras_serializable(package=PACKAGE)
    class RowLoss(keras.losses.Loss):  # type: ignore[misc]
        """A loss by name that takes its weights itself: Keras would only multiply its one number by them."""

        def __init__(self, loss: str, name: str | None = None):
            super().__init__(name=name or f"{loss}_loss")
            self.loss = loss
            self._function = LOSSES.load(loss)

        def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
            with keras.name_scope(self.name):
                return self._function(y_true, y_pred, sample_weight)

        def get_config(self) -> dict[str, Any]:
            return {"loss": self.loss, "name": self.name}

    return RowLoss
