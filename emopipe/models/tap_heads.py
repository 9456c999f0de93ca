"""Heads over several taps of one CNN: a layer over the last pooled features and the landmarks, and RNNs over taps.

The head takes the taps side by side, as every head takes its features, and gives a prediction for every step. In the
words of the paper: the taps and the layer `fc` go, together or each for itself, through RNN subnets of two GRU layers,
whose outputs are joined and give valence and arousal.

Source:
    Kollias and Zafeiriou, "Exploiting multi-CNN features in CNN-RNN based dimensional emotion recognition on the OMG
    in-the-wild dataset", arXiv:1910.01417, sections 5.1 to 5.3.
"""

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from emopipe.errors import ConfigError
from emopipe.models.heads import Head, head_inputs_of, output_layer, part_seed

if TYPE_CHECKING:
    import keras

FC = "fc"  # the stream that the head makes itself
LANDMARKS = "landmarks"  # the column behind the taps
NUM_LANDMARK_NUMBERS = 136
JOINED = "joined"  # the layer whose numbers model-level fusion takes

Rnns = Literal["none", "one", "each"]
# What --head takes in the place of the head "taps" -> `TapHeadConfig.rnns`, and what that is.
OVER_TAPS: dict[str, tuple[Rnns, str]] = {
    "cnn": ("none", "frame by frame"),
    "cnn-1rnn": ("one", "one RNN for all of them"),
    "cnn-multi-rnn": ("each", "an RNN for each of them"),
}


@dataclass(frozen=True)
class TapHeadConfig:
    """Which taps go where.

    Attributes:
        streams: the taps that are read, and "fc" for the fully connected layer, in the paper's order.
        rnns: "none" predicts from the streams frame by frame; "one" RNN reads all of them side by side; "each" gives
            every stream an RNN of its own.
        fc_tap: the tap that feeds the fully connected layer; "" for the last tap among the streams.
        fc_units: units of that layer.
        fc_dropout: share of its outputs that training drops.
        landmarks: whether the 68 landmarks are joined to what feeds the layer.
        landmark_units: units of a layer between the landmarks and that; 0 for none.
        units: units of the GRU layers of one RNN.
        gru_dropout: share of the first GRU layer's outputs that training drops.
        joint_units: units of a layer over the joined RNNs; 0 for none.
        columns: name and size of every tap in the table, in its order; filled in where the table is known.
        num_outputs: numbers in a prediction.
    """

    streams: tuple[str, ...] = (FC,)
    rnns: Rnns = "each"
    fc_tap: str = ""
    fc_units: int = 4096  # section 5.3; 1500 behind ResNet-50 and DenseNet-121
    fc_dropout: float = 0.5  # section 6.1
    landmarks: bool = True
    landmark_units: int = 0  # 512, 1024 and 2048 brought no gain, section 7
    units: tuple[int, ...] = (128, 128)  # section 5.3.1
    gru_dropout: float = 0.8  # section 6.1 says "0.8 probability"; as a probability to keep it would be 0.2 here
    joint_units: int = 0  # the networks named "-1FC"; their size is not said, 128 as in model-level fusion
    columns: tuple[tuple[str, int], ...] = ()
    num_outputs: int = 2

    def __post_init__(self) -> None:
        # from JSON they come as lists
        object.__setattr__(self, "columns", tuple((name, size) for name, size in self.columns))
        if self.rnns not in get_args(Rnns):
            raise ConfigError(f"rnns: expected one of {', '.join(get_args(Rnns))}. Received: {self.rnns!r}.")
        if not self.streams or len(set(self.streams)) < len(self.streams):
            raise ConfigError(f"streams: expected taps, each once. Received: {', '.join(self.streams) or 'none'}.")
        if FC in self.streams and not self.fc_source:
            raise ConfigError("streams: 'fc' needs the tap that feeds it. Name one in fc_tap, or among the streams.")
        for name in ("fc_dropout", "gru_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected a number in [0, 1). Received: {getattr(self, name)}.")
        if min(self.fc_units, self.num_outputs, *self.units) < 1 or min(self.joint_units, self.landmark_units) < 0:
            raise ConfigError("units: expected at least 1 in every layer that is there.")

    @property
    def fc_source(self) -> str:
        """The tap that feeds the fully connected layer; "" when there is no such layer."""
        taps = [name for name in self.streams if name != FC]
        return "" if FC not in self.streams else self.fc_tap or (taps[-1] if taps else "")

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps that the table must hold, in the order of its columns."""
        return tuple(dict.fromkeys((*(name for name in self.streams if name != FC), *filter(None, [self.fc_source]))))

    @property
    def reads_landmarks(self) -> bool:
        """Whether the table must hold the landmarks: they reach the network through the layer only."""
        return self.landmarks and FC in self.streams

    def with_columns(self, tap_sizes: dict[str, int], num_outputs: int) -> "TapHeadConfig":
        """The configuration for a table that holds taps of these sizes."""
        columns = [(tap, tap_sizes[tap]) for tap in self.taps]
        if self.reads_landmarks:
            columns.append((LANDMARKS, NUM_LANDMARK_NUMBERS))
        return replace(self, columns=tuple(columns), num_outputs=num_outputs)

    @property
    def num_parameters(self) -> int:
        """Numbers that the head learns, told without building it; some heads on flat taps have hundreds of millions."""
        sizes = dict(self.columns)
        total, layer_inputs = 0, 0
        if FC in self.streams:
            layer_inputs = sizes[self.fc_source]
            if self.reads_landmarks and self.landmark_units:
                total += _dense(sizes[LANDMARKS], self.landmark_units)
                layer_inputs += self.landmark_units
            elif self.reads_landmarks:
                layer_inputs += sizes[LANDMARKS]
            total += _dense(layer_inputs, self.fc_units)
        inputs = [self.fc_units if name == FC else sizes[name] for name in self.streams]
        if self.rnns != "each":
            inputs = [sum(inputs)]
        if self.rnns != "none":
            total += sum(_grus(size, self.units) for size in inputs)
            inputs = [self.units[-1]] * len(inputs)
        joined = sum(inputs)
        if self.joint_units:
            total, joined = total + _dense(joined, self.joint_units), self.joint_units
        return total + _dense(joined, self.num_outputs)


def build_tap_head(config: TapHeadConfig, num_features: int, seed: int = 0) -> "keras.Model":
    """The head over taps: fc with the landmarks, one RNN for all taps or one for each, every step predicted.

    Args:
        config: with its columns filled in.
        num_features: numbers per step.
        seed: of the weights and of what dropout drops.

    Returns:
        {"features": (B, L, num_features), "mask": (B, L) or None} -> (B, L, num_outputs).

    Raises:
        ConfigError: the columns are not `num_features` wide.
    """
    import keras
    from keras import layers

    width = sum(size for _, size in config.columns)
    if width != num_features:
        raise ConfigError(f"tap head: expected columns of {num_features} numbers. Received: {config.columns}.")
    features, mask = head_inputs_of(num_features)
    edges = pairwise(accumulate((size for _, size in config.columns), initial=0))
    column = {name: features[:, :, a:b] for (name, _), (a, b) in zip(config.columns, edges, strict=True)}
    if FC in config.streams:
        column[FC] = _fully_connected(config, column, seed)
    streams = [column[name] for name in config.streams]
    if config.rnns != "each":
        streams = [_side_by_side(streams, "streams")]
    if config.rnns != "none":
        streams = [_rnn(stream, mask, config, seed, number) for number, stream in enumerate(streams, start=1)]
    x = layers.Activation("linear", name=JOINED)(_side_by_side(streams, "rnns"))
    if config.joint_units:
        x = layers.Dense(config.joint_units, "relu", name="joint", kernel_initializer=_glorot(seed, 90))(x)
    output = output_layer(config.num_outputs, "linear", seed)(x)
    return keras.Model({"features": features, "mask": mask}, output, name="taps")


def _fully_connected(config: TapHeadConfig, column: dict[str, Any], seed: int) -> Any:
    from keras import layers

    parts = [column[config.fc_source]]
    if config.reads_landmarks:
        landmarks = column[LANDMARKS]
        if config.landmark_units:
            embedding = layers.Dense(
                config.landmark_units, "relu", name="landmark_embedding", kernel_initializer=_glorot(seed, 91)
            )
            landmarks = embedding(landmarks)
        parts.append(landmarks)
    x = _side_by_side(parts, "fc_input")
    x = layers.Dense(config.fc_units, "relu", name=FC, kernel_initializer=_glorot(seed, 92))(x)
    return layers.Dropout(config.fc_dropout, seed=part_seed(seed, 92, 4), name="fc_dropout")(x)


def _rnn(x: Any, mask: Any, config: TapHeadConfig, seed: int, number: int) -> Any:
    """One RNN subnet; every layer gives every step."""
    from keras import initializers, layers

    for place, units in enumerate(config.units, start=1):
        part = 10 * number + place
        layer = layers.GRU(
            units,
            return_sequences=True,
            kernel_initializer=_glorot(seed, part),
            recurrent_initializer=initializers.Orthogonal(seed=part_seed(seed, part, 1)),
            name=f"rnn{number}_gru{place}",
        )
        x = layer(x, mask=mask)
        if place == 1 and config.gru_dropout:
            x = layers.Dropout(config.gru_dropout, seed=part_seed(seed, part, 4), name=f"rnn{number}_dropout")(x)
    return x


def _side_by_side(parts: list[Any], name: str) -> Any:
    from keras import layers

    return parts[0] if len(parts) == 1 else layers.Concatenate(name=name)(parts)


def _glorot(seed: int, part: int) -> Any:
    from keras import initializers

    return initializers.GlorotUniform(seed=part_seed(seed, part, 0))


def _dense(inputs: int, units: int) -> int:
    return (inputs + 1) * units


def _grus(inputs: int, units: tuple[int, ...]) -> int:
    """GRU layers with two biases per gate, as `reset_after` has them."""
    return sum(3 * given * (before + given + 2) for before, given in pairwise((inputs, *units)))


TAPS = Head("taps", TapHeadConfig, build_tap_head)
