"""A small CNN over the log-mel rows of a clip: trained from nothing, on two cores, in minutes.

The steps of a window are rows of a spectrogram, the features of a step its bands. Convolutions over both see how the
voice moves; the mean and the maximum over time, or a GRU, make one prediction of a clip of any length. What lies in
the padding reaches nothing: behind every convolution it is set to zero, and the mean, the maximum, the GRU and the
statistics of the batch leave it out.

In training, `augmentation` shows every clip another way each time. It is no part of the head.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from emopipe.errors import ConfigError
from emopipe.models.heads import (
    Head,
    OutputActivation,
    check_output,
    head_inputs_of,
    output_layer,
    part_seed,
    recurrent_layer,
    standardised,
)
from emopipe.models.rows import Statistics

if TYPE_CHECKING:
    import keras

Pooling = Literal["mean-max", "gru"]

NUM_MASKS = 2  # of each kind; Park et al., "SpecAugment", Interspeech 2019
MASKED_BANDS = 1 / 8  # of all bands, by one mask at most
MASKED_STEPS = 1 / 10  # of the steps of a clip
MAX_SHIFT_BANDS = 2.0  # another voice has its formants elsewhere
MAX_GAIN_DB = 3.0  # another distance from the microphone

_FIRST_KERNEL, _KERNEL, _STRIDE = 5, 3, 2
_BATCH_MOMENTUM = 0.9  # the 0.99 of keras follows after 500 batches, which here are 15 epochs


@dataclass(frozen=True)
class SpectrogramHeadConfig:
    """Sizes of the network.

    Attributes:
        channels: maps of each convolution. The first one looks at every second row and band; all but the last are
            followed by a pooling that halves both.
        pooling: how the steps become one: the "mean-max" of each number, or what a "gru" says at the last step.
        units: units of that GRU.
        dropout: share of the pooled numbers that training drops.
        augment: whether training shows every clip another way each time.
        num_outputs, output_activation: as in `RnnHeadConfig`.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96)
    pooling: Pooling = "mean-max"
    units: int = 64
    dropout: float = 0.4
    augment: bool = True
    num_outputs: int = 2
    output_activation: OutputActivation = "linear"

    def __post_init__(self) -> None:
        if not self.channels or min(*self.channels, self.units) < 1:
            raise ConfigError(f"SpectrogramHeadConfig: expected at least 1 channel in a layer and 1 unit. Received: "
                              f"{self.channels} and {self.units}.")  # fmt: skip
        if self.pooling not in get_args(Pooling):
            known = ", ".join(get_args(Pooling))
            raise ConfigError(f"SpectrogramHeadConfig.pooling: expected one of {known}. Received: {self.pooling!r}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"SpectrogramHeadConfig.dropout: expected a number in [0, 1). Received: {self.dropout}.")
        check_output("SpectrogramHeadConfig", self.num_outputs, self.output_activation)

    def num_parameters(self, num_bands: int) -> int:
        """Numbers of the head for so many bands; those that follow the batches are counted, for they are saved."""
        total, before, bands = 0, 1, num_bands
        for number, channels in enumerate(self.channels):
            kernel = _KERNEL if number else _FIRST_KERNEL
            total += kernel**2 * before * channels + 4 * channels
            halvings = (number == 0) + (number < len(self.channels) - 1)
            bands, before = -(-bands // 2**halvings), channels
        inputs = bands * before
        if self.pooling == "gru":
            total, pooled = total + 3 * self.units * (inputs + self.units + 2), self.units
        else:
            pooled = 2 * inputs
        return total + (pooled + 1) * self.num_outputs


def build_spectrogram_cnn(
    config: SpectrogramHeadConfig, num_features: int, seed: int = 0, statistics: Statistics | None = None
) -> "keras.Model":
    """The CNN over log-mel rows: convolutions over time and bands, pooled over time, one prediction.

    Args:
        config: its sizes.
        num_features: bands of a row.
        seed: of the weights and of what dropout drops.
        statistics: as in `build_head`; log-mel rows want them.

    Returns:
        {"features": (B, L, num_features), "mask": (B, L) or None} -> (B, num_outputs).
    """
    import keras
    from keras import initializers, layers, ops

    features, mask = head_inputs_of(num_features)
    # A softmax takes the mask or None and is above 0 at real steps alone; operations could not be given None. Over two
    # axes, for over one it warns of windows of one step.
    is_real = layers.Softmax((0, 1), name="real")(ops.zeros_like(features[:, :, 0]), mask=mask) > 0
    x = ops.expand_dims(standardised(features, statistics), -1)
    x = _without_padding(x, is_real)
    for number, channels in enumerate(config.channels):
        kernel, stride = (_KERNEL, 1) if number else (_FIRST_KERNEL, _STRIDE)
        # Padded by hand: how keras would pad for a stride depends on the length, and so on the padding of a clip.
        x = layers.ZeroPadding2D(kernel // 2, name=f"border{number + 1}")(x)
        convolution = layers.Conv2D(
            channels, kernel, strides=stride, use_bias=False, name=f"conv{number + 1}",
            kernel_initializer=initializers.HeUniform(seed=part_seed(seed, number + 1, 0)),
        )  # fmt: skip
        x = convolution(x)
        is_real = is_real[:, ::stride]
        everywhere = ops.logical_and(is_real[:, :, None], ops.ones_like(x[:, :, :, 0], dtype="bool"))
        x = layers.BatchNormalization(momentum=_BATCH_MOMENTUM, name=f"batch{number + 1}")(x, mask=everywhere)
        x = _without_padding(layers.ReLU(name=f"relu{number + 1}")(x), is_real)
        if number < len(config.channels) - 1:
            x = layers.ZeroPadding2D(((0, 1), (0, x.shape[2] % 2)), name=f"edge{number + 1}")(x)
            x = layers.MaxPooling2D(2, name=f"pool{number + 1}")(x)  # of numbers above 0, so that padding adds none
            is_real = is_real[:, ::2]
    x = layers.Reshape((-1, x.shape[2] * x.shape[3]), name="steps")(x)
    if config.pooling == "gru":
        x = recurrent_layer("gru", config.units, seed, 90, "gru", every_step=False)(x, mask=is_real)
    else:
        mean = layers.GlobalAveragePooling1D(name="mean")(x, mask=is_real)
        x = layers.Concatenate(name="mean_max")([mean, ops.max(x, axis=1)])  # above 0, and 0 in the padding
    if config.dropout:
        x = layers.Dropout(config.dropout, seed=part_seed(seed, 90, 4), name="dropout")(x)
    output = output_layer(config.num_outputs, config.output_activation, seed)(x)
    return keras.Model({"features": features, "mask": mask}, output, name="spectrogram_cnn")


def _without_padding(x: Any, is_real: Any) -> Any:
    """(B, T, F, C) with zeros where a step is padding."""
    from keras import ops

    return ops.where(is_real[:, :, None, None], x, 0.0)


def augmentation(statistics: Statistics, seed: int, name: str = "augmentation") -> "keras.layers.Layer":
    """A layer that shows every clip of log-mel rows another way each time, in training only.

    All bands become louder or softer by one gain and move up or down by at most two bands, and two stretches of bands
    and two of steps are hidden behind the mean of the training rows. Steps of zeros, at which nothing is, stay.

    Args:
        statistics: of the training rows, in dB.
        seed: of the layer's own generator; its state is a variable of the layer.
        name: of the layer.

    Returns:
        A layer from features (B, L, D) and ``is_real``, (B, L) bool or None, to features.
    """
    layer: keras.layers.Layer = _layer_class()(mean=statistics.mean.tolist(), seed=seed, name=name)
    return layer


def hidden(draws: Any, places: Any, extent: Any, widest: float) -> Any:
    """Stretches of random place and width.

    Args:
        draws: (B, M, 2) tensor in [0, 1): width and place of each of M stretches.
        places: (N,) float tensor, 0 to N - 1.
        extent: (B,) float tensor, how many of the places may be hidden, from the first on.
        widest: share of the extent that a stretch hides at most; each width from 0 on is as likely as another.

    Returns:
        (B, N) bool, whether a place is hidden.
    """
    from keras import ops

    extent = extent[:, None]
    width = ops.floor(draws[:, :, 0] * (ops.floor(widest * extent) + 1))
    start = ops.floor(draws[:, :, 1] * (extent - width + 1))
    inside = ops.logical_and(places >= start[:, :, None], places < (start + width)[:, :, None])
    return ops.any(inside, axis=1)


@cache
def _layer_class() -> Any:
    """The class is made on first use, for its base is keras'."""
    import keras
    from keras import ops

    @keras.saving.register_keras_serializable(package="emopipe")
    class SpectrogramAugmentation(keras.layers.Layer):  # type: ignore[misc]  # keras has no annotations
        """See `augmentation`."""

        def __init__(self, mean: list[float], seed: int, **options: Any):
            super().__init__(**options)
            self.mean, self.seed = mean, seed
            self.generator = keras.random.SeedGenerator(seed)

        def call(self, features: Any, is_real: Any = None, training: bool = False) -> Any:
            if not training:
                return features
            num_clips, num_steps, num_bands = ops.shape(features)
            draws = keras.random.uniform((num_clips, 4 * NUM_MASKS + 2), seed=self.generator)
            gain = MAX_GAIN_DB * (2 * draws[:, -1] - 1)
            shown = shifted(features, MAX_SHIFT_BANDS * (2 * draws[:, -2] - 1)) + gain[:, None, None]
            pairs = ops.reshape(draws[:, :-2], (-1, 2 * NUM_MASKS, 2))
            all_steps = ops.ones_like(features[:, :, 0])
            lengths = ops.sum(all_steps if is_real is None else ops.cast(is_real, all_steps.dtype), axis=1)
            steps = ops.arange(num_steps, dtype=features.dtype)
            bands = ops.arange(num_bands, dtype=features.dtype)
            all_bands = ops.full((num_clips,), num_bands, dtype=features.dtype)
            is_hidden = ops.logical_or(
                hidden(pairs[:, :NUM_MASKS], steps, lengths, MASKED_STEPS)[:, :, None],
                hidden(pairs[:, NUM_MASKS:], bands, all_bands, MASKED_BANDS)[:, None, :],
            )
            shown = ops.where(is_hidden, ops.convert_to_tensor(self.mean, dtype=features.dtype), shown)
            is_there = ops.any(ops.not_equal(features, 0.0), axis=-1, keepdims=True)
            return ops.where(is_there, shown, 0.0)

        def compute_output_spec(self, features: Any, is_real: Any = None, training: bool = False) -> Any:
            return keras.KerasTensor(features.shape, features.dtype)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "mean": self.mean, "seed": self.seed}

    return SpectrogramAugmentation


def shifted(features: Any, num_bands: Any) -> Any:
    """Features (B, L, D) moved up by so many bands, (B,) with parts of one; at the ends the last band is repeated."""
    from keras import ops

    last = features.shape[-1] - 1
    # (B, D, D) weights of the bands that each band is between
    source = ops.arange(last + 1, dtype=features.dtype)[None, :] - num_bands[:, None]
    source = ops.clip(source, 0, last)
    distance = ops.abs(ops.arange(last + 1, dtype=features.dtype)[None, :, None] - source[:, None, :])
    return ops.matmul(features, ops.maximum(1.0 - distance, 0.0))


SPECTROGRAM_CNN = Head("spectrogram-cnn", SpectrogramHeadConfig, build_spectrogram_cnn, standardises=True)
