"""Batches of windows: in which order, gathered from the table in memory or from a copy of it on the device."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from emopipe.models.rows import Rows
from emopipe.models.windows import WindowPlan
from emopipe.processes import held_back
from emopipe.typing import Floats, Ints

if TYPE_CHECKING:
    import keras

_BATCH_SIZE = 256
_BATCH_BYTES = 1 << 28  # windows of flat convolutions are wide: 80 steps of pool2 alone are 24 MB


def epoch_order(num_windows: int, seed: int, epoch: int) -> Ints:
    """(N,) all window numbers in the random order of one epoch; the same for the same seed and epoch."""
    return np.random.default_rng([seed, epoch]).permutation(num_windows)


def batches(order: Ints, batch_size: int) -> Iterator[Ints]:
    """`order` in pieces of `batch_size`; the last one is what is left."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def head_inputs(features: Floats, plan: WindowPlan, indices: Ints) -> dict[str, Any]:
    """What a head takes: {"features": (B, L, D), "mask": (B, L) bool or, for a plan without padding, None}.

    Features keep their type: the head makes float32 of them, quicker than numpy would.
    """
    return {"features": _taken(features, plan.rows(indices)), "mask": plan.mask(indices) if plan.padded else None}


def step_targets(rows: Rows, plan: WindowPlan, indices: Ints) -> tuple[Floats, Floats]:
    """What a head that predicts every step is to give.

    Args:
        rows: the table.
        plan: its windows.
        indices: (B,) window numbers.

    Returns:
        labels (B, L, K) float32, zeros where there is none, and weights (B, L) float32: 1 for a step with a label and a
        face of its own, 0 for padding, for a held step and for one without a label.
    """
    own = plan.own_rows(indices)
    weights = plan.weights(indices) * rows.label_valid[own]
    return np.where(weights[..., None] > 0, rows.labels[own], np.float32(0)), weights


def predict_windows(head: "keras.Model", features: Floats, plan: WindowPlan, batch_size: int | None = None) -> Floats:
    """What a head says of every window.

    Full windows come first and without a mask, which is quicker; a batch that is not full is filled up with its last
    window, so that each of the two programs is compiled once.

    Args:
        head: gives (B, K), or for every step (B, L, K).
        features, plan: the windows.
        batch_size: windows in one go; None for 256, or as many as `_BATCH_BYTES` hold.

    Returns:
        (N, K) float32, in the plan's order; for a head that predicts every step (N, L, K), anything at padding.
    """
    if batch_size is None:
        batch_size = int(np.clip(_BATCH_BYTES // (4 * plan.length * features.shape[1]), 1, _BATCH_SIZE))
    numbers = np.arange(len(plan))
    every_step = len(head.output_shape) == 3
    full = np.ones(len(plan), bool)
    if plan.padded and not every_step:  # what such a head says of a step does not depend on the padding behind it
        for part in batches(numbers, 1 << 16):
            full[part] = plan.mask(part).all(axis=1)
    shape = (plan.length, head.output_shape[-1]) if every_step else (head.output_shape[-1],)
    outputs = np.empty((len(plan), *shape), np.float32)
    for group in (numbers[full], numbers[~full]):
        for part in batches(group, batch_size):
            filled = np.pad(part, (0, batch_size - len(part)), mode="edge")
            inputs = head_inputs(features, plan, filled)
            if full[part[0]]:
                inputs["mask"] = None
            with held_back():
                outputs[part] = np.asarray(head.predict_on_batch(inputs), np.float32)[: len(part)]
    return outputs


def _taken(features: Floats, table: Ints) -> Floats:
    """(B, L) rows -> (B, L, D) in the features' own type, zeros where there is no row."""
    batch = np.asarray(features[table])
    batch[table < 0] = 0
    return batch


def gather_ops(matrix: Any, table: Any) -> Any:
    """The features of `head_inputs` in keras.ops, for a matrix on the device; the same numbers bit for bit.

    Args:
        matrix: (R, D) tensor or variable.
        table: (B, L) int32 tensor, what `plan.rows` gives.

    Returns:
        (B, L, D) float32 tensor.
    """
    from keras import ops

    taken = ops.cast(ops.take(matrix, ops.maximum(table, 0), axis=0), "float32")
    return ops.where(ops.expand_dims(table >= 0, -1), taken, ops.zeros_like(taken))


def resident_model(head: "keras.Model", features: Floats, augment: "keras.layers.Layer | None" = None) -> "keras.Model":
    """A model for training only that holds the matrix on the device and takes tables of rows; save the head, not it.

    Its inputs are {"rows": (B, L) int32 of `plan.rows`, "mask": as in `head_inputs`}; its output is the head's, and so
    are its trainable weights. The matrix is one variable: a captured constant would break TensorFlow's
    limit of 2 GB for a graph and be compiled into JAX's program.

    Args:
        head: a head of `emopipe.models.heads`.
        features: (R, D), copied to the device in its own type.
        augment: a layer of training, from features (B, L, D) and ``is_real``, the mask, to features; None for none.
    """
    import keras

    class Matrix(keras.layers.Layer):  # type: ignore[misc]
        def build(self, _: Any) -> None:
            self.matrix = self.add_weight(
                shape=features.shape,
                dtype=features.dtype.name,
                initializer=lambda *_, **__: keras.ops.convert_to_tensor(np.ascontiguousarray(features)),
                trainable=False,
                name="matrix",
            )

        def call(self, table: Any) -> Any:
            return gather_ops(self.matrix, table)

        def compute_output_spec(self, table: Any) -> Any:
            return keras.KerasTensor((*table.shape, features.shape[1]), "float32")

    table = keras.Input((None,), dtype="int32", name="rows")
    mask = keras.Input((None,), dtype="bool", name="mask", optional=True)
    window = Matrix(name="gather")(table)
    if augment is not None:
        window = augment(window, is_real=mask)
    output = head({"features": window, "mask": mask})
    return keras.Model({"rows": table, "mask": mask}, output, name="resident")
