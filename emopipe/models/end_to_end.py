"""A CNN and a head as one network that learns as a whole, from crops to predictions."""

import math
from typing import TYPE_CHECKING, Any

from emopipe.faces.normalisation import InputSpec

if TYPE_CHECKING:
    import keras


def join(cnn: "keras.Model", spec: InputSpec, head: "keras.Model", num_extra: int) -> "keras.Model":
    """The head behind the CNN; both learn, and both are the models that were given.

    Args:
        cnn: crop -> the vectors of its taps, see `emopipe.models.taps.attach`.
        spec: what the CNN takes.
        head: reads the taps side by side, and `num_extra` columns behind them.
        num_extra: numbers per step that go past the CNN, as the landmarks do.

    Returns:
        A model with the inputs and outputs of a head, whose features are the pixels of a crop in the order H, W, C and
        the extra columns.
    """
    import keras
    from keras import layers, ops

    outputs = cnn.output if isinstance(cnn.output, list) else [cnn.output]
    width = sum(output.shape[1] for output in outputs)

    class Frames(layers.Layer):  # type: ignore[misc]
        """All steps of all windows as one batch; `TimeDistributed` makes a copy of the network for every step."""

        def __init__(self) -> None:
            super().__init__(name="frames")
            self.cnn = cnn

        def call(self, pixels: Any, training: Any = None) -> Any:
            taps = self.cnn(ops.reshape(pixels, (-1, *spec.shape)), training=training)
            vector = ops.concatenate(taps, axis=-1) if isinstance(taps, list) else taps
            return ops.reshape(vector, (-1, ops.shape(pixels)[1], width))

        def compute_output_spec(self, pixels: Any, training: Any = None) -> Any:
            return keras.KerasTensor((*pixels.shape[:2], width), "float32")

    num_pixels = math.prod(spec.shape)
    features = keras.Input((None, num_pixels + num_extra), name="features")
    mask = keras.Input((None,), dtype="bool", name="mask", optional=True)
    x = Frames()(features[:, :, :num_pixels])
    if num_extra:
        x = layers.Concatenate(name="columns")([x, features[:, :, num_pixels:]])
    return keras.Model({"features": features, "mask": mask}, head({"features": x, "mask": mask}), name="end_to_end")
