"""Heads: from a window of feature vectors to targets. A head is a model of its own and the only thing that is saved.

Every head takes {"features": (B, L, D) float32, "mask": (B, L) bool or None}; False in the mask is padding, which is at
the right and changes nothing. L is open. It gives (B, num_outputs) float32, or for every step (B, L, num_outputs).
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from emopipe.errors import ConfigError
from emopipe.files import partial_path, storage_error
from emopipe.models.rows import Statistics
from emopipe.registry import Registry

if TYPE_CHECKING:
    import keras

HEADS = Registry(
    "head",
    {
        "rnn": "emopipe.models.heads:RNN",
        "mean": "emopipe.models.heads:MEAN",
        "taps": "emopipe.models.tap_heads:TAPS",
        "multimodal": "emopipe.models.multimodal:MULTIMODAL",
        "spectrogram-cnn": "emopipe.models.spectrogram_head:SPECTROGRAM_CNN",
    },
)

Cells = Literal["simple", "gru", "lstm"]
OutputActivation = Literal["linear", "tanh", "sigmoid", "softmax"]
UNITS_OF_LAYERS = {1: (100,), 3: (100, 100, 50)}  # arXiv:2006.11168, section V, after Khorrami et al. 2016


@dataclass(frozen=True)
class RnnHeadConfig:
    """Recurrent layers and one dense layer on what the last of them says at the last step.

    Attributes:
        cells: kind of recurrent cell.
        units: units of each layer; all but the last give every step to the next.
        bidirectional: whether each layer also reads backwards, which doubles what it gives.
        dropout: share of a recurrent layer's outputs that training drops, after each layer.
        num_outputs: numbers in a prediction.
        output_activation: "linear" for valence and arousal, "softmax" for classes, "sigmoid" for intensities in [0, 1].
    """

    cells: Cells = "gru"
    units: tuple[int, ...] = UNITS_OF_LAYERS[3]
    bidirectional: bool = False
    dropout: float = 0.0  # none in the code published with arXiv:2006.11168
    num_outputs: int = 2
    output_activation: OutputActivation = "linear"

    def __post_init__(self) -> None:
        if self.cells not in get_args(Cells):
            known = ", ".join(get_args(Cells))
            raise ConfigError(f"RnnHeadConfig.cells: expected one of {known}. Received: {self.cells!r}.")
        if not self.units or min(self.units) < 1:
            raise ConfigError(f"RnnHeadConfig.units: expected a number of units per layer. Received: {self.units}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"RnnHeadConfig.dropout: expected a number in [0, 1). Received: {self.dropout}.")
        check_output("RnnHeadConfig", self.num_outputs, self.output_activation)


@dataclass(frozen=True)
class MeanHeadConfig:
    """The baseline without time: one dense layer on the mean of the steps.

    Attributes:
        num_outputs, output_activation: as in `RnnHeadConfig`.
    """

    num_outputs: int = 2
    output_activation: OutputActivation = "linear"

    def __post_init__(self) -> None:
        check_output("MeanHeadConfig", self.num_outputs, self.output_activation)


@dataclass(frozen=True)
class Head:
    """A registered head.

    Attributes:
        name: its name in `HEADS`.
        config: the class of its configuration.
        build: configuration, features per step, seed and, where the head can standardise, statistics -> model.
        standardises: whether it can bring its inputs to one scale.
    """

    name: str
    config: type[Any]
    build: Callable[..., "keras.Model"]
    standardises: bool = False


def build_head(
    name: str, config: Any, num_features: int, seed: int = 0, statistics: Statistics | None = None
) -> "keras.Model":
    """A head with fresh weights.

    Args:
        name: a registered head.
        config: its configuration, `RnnHeadConfig` for "rnn".
        num_features: numbers per step.
        seed: of the weights and of what dropout drops.
        statistics: of the training rows' features, to which the head standardises what it is given; None to take
            features as they are. They are saved with the head.

    Returns:
        {"features": (B, L, num_features), "mask": (B, L) or None} -> (B, num_outputs), or (B, L, num_outputs).

    Raises:
        UnknownNameError: no head of that name.
        ConfigError: the configuration is another head's, `num_features` is below 1, the statistics are of another
            number of features, or the head does not standardise.
    """
    head: Head = HEADS.load(name)
    if not isinstance(config, head.config):
        raise ConfigError(f"head '{name}': expected a {head.config.__name__}. Received: {type(config).__name__}.")
    if num_features < 1:
        raise ConfigError(f"head '{name}': expected at least one feature per step. Received: {num_features}.")
    if statistics is None:
        return head.build(config, num_features, seed)
    if not head.standardises:
        raise ConfigError(f"head '{name}': takes features as they are. Expected no statistics of them.")
    if len(statistics.mean) != num_features:
        raise ConfigError(f"head '{name}': expected statistics of {num_features} features, not {len(statistics.mean)}.")
    return head.build(config, num_features, seed, statistics)


def units_of_layers(num_layers: int) -> tuple[int, ...]:
    """The published units for a number of recurrent layers.

    Raises:
        ConfigError: nothing is published for that number.

    Examples:
        >>> units_of_layers(3)
        (100, 100, 50)
    """
    if num_layers not in UNITS_OF_LAYERS:
        raise ConfigError(
            f"--layers {num_layers}: the units of {' or '.join(map(str, UNITS_OF_LAYERS))} layers are published.\n"
            "For another number give the units themselves: --units 100,100,50."
        )
    return UNITS_OF_LAYERS[num_layers]


def save_head(head: "keras.Model", path: Path) -> None:
    """Write a head so that its name means complete; `load_network` of emopipe.models.weights reads it in safe mode.

    Args:
        head: a head; the state of an optimiser that it was compiled with is not written.
        path: a file named .keras.

    Raises:
        StorageError: it cannot be written; what was there stays.
    """
    partial = partial_path(path).with_suffix(".keras")
    try:
        _without_optimiser(head).save(partial)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise storage_error(path, error) from error


def build_rnn(
    config: RnnHeadConfig, num_features: int, seed: int = 0, statistics: Statistics | None = None
) -> "keras.Model":
    """The recurrent head: tanh and sigmoid, Glorot kernels, orthogonal recurrent kernels, as keras has them.

    With 300 features: GRU 100-100-50 has 204,102 numbers, GRU 100 has 120,802, SimpleRNN 100 has 40,302.

    Source:
        Rangulov and Fahim, arXiv:2006.11168, 2020. The paper says Glorot for all weights; its code, and so this, takes
        keras' orthogonal recurrent kernels. GRUs reset after the product, as cuDNN does and as the published weights.
    """
    import keras
    from keras import layers

    features, mask = head_inputs_of(num_features)
    x = standardised(features, statistics)
    for number, units in enumerate(config.units, start=1):
        layer = recurrent_layer(
            config.cells, units, seed, number, f"rnn{number}", every_step=number < len(config.units)
        )  # fmt: skip
        if config.bidirectional:
            layer = layers.Bidirectional(layer, backward_layer=_backward(layer, seed, number), name=f"rnn{number}")
        x = layer(x, mask=mask)
        if config.dropout:
            x = layers.Dropout(config.dropout, seed=part_seed(seed, number, 4), name=f"dropout{number}")(x)
    output = output_layer(config.num_outputs, config.output_activation, seed)(x)
    return keras.Model({"features": features, "mask": mask}, output, name="rnn")


def build_mean(
    config: MeanHeadConfig, num_features: int, seed: int = 0, statistics: Statistics | None = None
) -> "keras.Model":
    """The mean over the steps that are not padding, and one dense layer."""
    import keras
    from keras import layers

    features, mask = head_inputs_of(num_features)
    mean = layers.GlobalAveragePooling1D(name="mean")(standardised(features, statistics), mask=mask)
    output = output_layer(config.num_outputs, config.output_activation, seed)(mean)
    return keras.Model({"features": features, "mask": mask}, output, name="mean")


def _without_optimiser(head: "keras.Model") -> "keras.Model":
    """The head as it was before it was compiled: keras would write momenta as large as the weights."""
    if not head.compiled:
        return head
    plain = type(head).from_config(head.get_config())
    plain.set_weights(head.get_weights())
    return plain


def head_inputs_of(num_features: int) -> tuple[Any, Any]:
    """The inputs of a head: features (B, L, num_features) and the mask (B, L)."""
    import keras

    features = keras.Input((None, num_features), name="features")
    return features, keras.Input((None,), dtype="bool", name="mask", optional=True)


def standardised(features: Any, statistics: Statistics | None, name: str = "standardise") -> Any:
    """Features (B, L, D) with the mean 0 and the variance 1 that the training rows have then; as they are for None.

    A step of zeros stays one: nothing is there, and the mean is the least that can be said of it.
    """
    from keras import layers, ops

    if statistics is None:
        return features
    layer = layers.Normalization(mean=statistics.mean.tolist(), variance=statistics.variance.tolist(), name=name)
    is_there = ops.any(ops.not_equal(features, 0.0), axis=-1, keepdims=True)
    return ops.where(is_there, layer(features), 0.0)


def recurrent_layer(cells: Cells, units: int, seed: int, number: int, name: str, *, every_step: bool) -> Any:
    """A recurrent layer; `number` tells its seeds from those of others in the same head."""
    from keras import initializers, layers

    recurrent = {"simple": layers.SimpleRNN, "gru": layers.GRU, "lstm": layers.LSTM}[cells]
    return recurrent(
        units,
        return_sequences=every_step,
        kernel_initializer=initializers.GlorotUniform(seed=part_seed(seed, number, 0)),
        recurrent_initializer=initializers.Orthogonal(seed=part_seed(seed, number, 1)),
        name=name,
    )


def output_layer(num_outputs: int, activation: OutputActivation, seed: int) -> Any:
    """The last layer of every head."""
    from keras import initializers, layers

    kernel = initializers.GlorotUniform(seed=part_seed(seed, 0, 0))
    return layers.Dense(num_outputs, activation, kernel_initializer=kernel, name="output")


def _backward(layer: Any, seed: int, number: int) -> Any:
    """The same layer, reading backwards, with weights of its own."""
    from keras import initializers

    config = layer.get_config() | {"go_backwards": True, "name": f"backward_{layer.name}"}
    config["kernel_initializer"] = initializers.GlorotUniform(seed=part_seed(seed, number, 2))
    config["recurrent_initializer"] = initializers.Orthogonal(seed=part_seed(seed, number, 3))
    return type(layer).from_config(config)


def part_seed(seed: int, layer: int, part: int) -> int:
    """Another seed for every array: with one for all, arrays of one shape would start equal."""
    return seed * 1000 + layer * 10 + part


def check_output(owner: str, num_outputs: int, activation: str) -> None:
    """Refuse outputs that no head has.

    Args:
        owner: the configuration that says so, for the message.
        num_outputs: of the last layer.
        activation: of the last layer.

    Raises:
        ConfigError: there are none, or the activation is unknown.
    """
    if num_outputs < 1:
        raise ConfigError(f"{owner}.num_outputs: expected at least 1. Received: {num_outputs}.")
    if activation not in get_args(OutputActivation):
        known = ", ".join(get_args(OutputActivation))
        raise ConfigError(f"{owner}.output_activation: expected one of {known}. Received: {activation!r}.")


RNN = Head("rnn", RnnHeadConfig, build_rnn, standardises=True)
MEAN = Head("mean", MeanHeadConfig, build_mean, standardises=True)
