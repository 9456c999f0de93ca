"""A CNN and a head as one network that learns as a whole, from crops to predictions."""

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
    from keras import layers

    num_pixels = spec.size_px * spec.size_px * spec.channels
    features = keras.Input((None, num_pixels + num_extra), name="features")
    mask = keras.Input((None,), dtype="bool", name="mask", optional=True)
    crop = keras.Input((num_pixels,), name="pixels")
    taps = cnn(layers.Reshape(spec.shape, name="crop")(crop))
    vector = taps if not isinstance(taps, list) else layers.Concatenate(name="vector")(taps)
    cnn_of_steps = layers.TimeDistributed(keras.Model(crop, vector, name="cnn"), name="steps")
    parts: list[Any] = [cnn_of_steps(features[:, :, :num_pixels])]
    if num_extra:
        parts.append(features[:, :, num_pixels:])
    x = parts[0] if len(parts) == 1 else layers.Concatenate(name="columns")(parts)
    return keras.Model({"features": features, "mask": mask}, head({"features": x, "mask": mask}), name="end_to_end")
