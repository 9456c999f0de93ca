"""The head for picture and sound: an RNN for each, a layer over what both say at their last step, one prediction.

The head takes the taps of both side by side, as every head takes its features; a tap of sound is named "audio:<tap>".
A step without sound has zeros there, and one without a picture likewise.

Source:
    "Computer vision estimation of emotion reaction intensity in the wild", arXiv:2303.10741, 2023: an LSTM for each
    modality and a multi-modal layer over both. The paper gives no sizes; those of the defaults are of the MuSe 2022
    baseline for the same corpus (Christ et al., arXiv:2207.05691), with one recurrent layer instead of three.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal, get_args

from emopipe.errors import ConfigError
from emopipe.models.heads import (
    Cells,
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

AUDIO_PREFIX = "audio:"  # of the taps of sound in a joined table
FUSED = "fused"  # the layer over both modalities

Modality = Literal["visual", "audio"]


@dataclass(frozen=True)
class MultimodalHeadConfig:
    """How both modalities are read and joined.

    Attributes:
        cells: kind of recurrent cell.
        units: units of the recurrent layers over the picture; all but the last give every step to the next.
        audio_units: of those over the sound; () for the same.
        fusion_units: units of the layer over both, with ReLU.
        dropout: share of that layer's outputs that training drops.
        columns: name and size of every tap in the table, in its order; filled in where the table is known.
        num_outputs, output_activation: as in `RnnHeadConfig`.
    """

    cells: Cells = "lstm"  # arXiv:2303.10741
    units: tuple[int, ...] = (64,)  # baseline: d_rnn 64
    audio_units: tuple[int, ...] = ()
    fusion_units: int = 64  # baseline: 64 with ReLU before the output
    dropout: float = 0.5  # baseline, of the same layer
    columns: tuple[tuple[str, int], ...] = ()
    num_outputs: int = 7
    output_activation: OutputActivation = "linear"

    def __post_init__(self) -> None:
        # from JSON they come as lists
        object.__setattr__(self, "columns", tuple((name, size) for name, size in self.columns))
        if self.cells not in get_args(Cells):
            known = ", ".join(get_args(Cells))
            raise ConfigError(f"MultimodalHeadConfig.cells: expected one of {known}. Received: {self.cells!r}.")
        if not self.units or min(*self.units, *self.audio_units, self.fusion_units) < 1:
            raise ConfigError("MultimodalHeadConfig: expected at least 1 unit in every layer.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"MultimodalHeadConfig.dropout: expected a number in [0, 1). Received: {self.dropout}.")
        check_output("MultimodalHeadConfig", self.num_outputs, self.output_activation)

    def with_columns(self, tap_sizes: Mapping[str, int], num_outputs: int) -> "MultimodalHeadConfig":
        """The configuration for a table that holds taps of these sizes.

        Raises:
            ConfigError: one of the modalities has no tap.
        """
        filled = replace(self, columns=tuple(tap_sizes.items()), num_outputs=num_outputs)
        for modality in get_args(Modality):
            filled.places_of(modality)
        return filled

    def units_of(self, modality: Modality) -> tuple[int, ...]:
        """Units of the recurrent layers of a modality."""
        return self.audio_units or self.units if modality == "audio" else self.units

    def places_of(self, modality: Modality) -> list[slice]:
        """Where the taps of a modality stand in the table.

        Raises:
            ConfigError: it has none.
        """
        edges = pairwise(accumulate((size for _, size in self.columns), initial=0))
        places = [
            slice(start, stop)
            for (name, _), (start, stop) in zip(self.columns, edges, strict=True)
            if name.startswith(AUDIO_PREFIX) == (modality == "audio")
        ]
        if not places:
            received = ", ".join(name for name, _ in self.columns) or "none"
            raise ConfigError(
                f"head 'multimodal': expected taps of picture and of sound, the latter named {AUDIO_PREFIX}<tap>.\n"
                f"Received: {received}."
            )
        return places

    @property
    def num_parameters(self) -> int:
        """Numbers that the head learns, told without building it."""
        total = 0
        for modality in get_args(Modality):
            inputs = sum(place.stop - place.start for place in self.places_of(modality))
            total += sum(_recurrent(self.cells, *pair) for pair in pairwise((inputs, *self.units_of(modality))))
        joined = sum(self.units_of(modality)[-1] for modality in get_args(Modality))
        return total + (joined + 1) * self.fusion_units + (self.fusion_units + 1) * self.num_outputs


def build_multimodal(
    config: MultimodalHeadConfig, num_features: int, seed: int = 0, statistics: Statistics | None = None
) -> "keras.Model":
    """The head for picture and sound: an RNN for each, a layer over both, one prediction.

    Args:
        config: with its columns filled in.
        num_features: numbers per step.
        seed: of the weights and of what dropout drops.
        statistics: as in `build_head`; a modality that a step lacks stays zeros.

    Returns:
        {"features": (B, L, num_features), "mask": (B, L) or None} -> (B, num_outputs).

    Raises:
        ConfigError: the columns are not `num_features` wide, or a modality has none.
    """
    import keras
    from keras import initializers, layers

    width = sum(size for _, size in config.columns)
    if width != num_features:
        raise ConfigError(f"head 'multimodal': expected columns of {num_features} numbers. Received: {config.columns}.")
    features, mask = head_inputs_of(num_features)
    read = [_rnn(config, modality, features, mask, seed, statistics) for modality in get_args(Modality)]
    x = layers.Concatenate(name="modalities")(read)
    kernel = initializers.GlorotUniform(seed=part_seed(seed, 94, 0))
    x = layers.Dense(config.fusion_units, "relu", kernel_initializer=kernel, name=FUSED)(x)
    if config.dropout:
        x = layers.Dropout(config.dropout, seed=part_seed(seed, 94, 4), name="dropout")(x)
    output = output_layer(config.num_outputs, config.output_activation, seed)(x)
    return keras.Model({"features": features, "mask": mask}, output, name="multimodal")


def _rnn(
    config: MultimodalHeadConfig, modality: Modality, features: Any, mask: Any, seed: int, statistics: Statistics | None
) -> Any:
    """(B, units) what the recurrent layers of a modality say at its last step."""
    from keras import layers

    parts = []
    for number, place in enumerate(config.places_of(modality), start=1):
        part = None if statistics is None else statistics.part(place)
        parts.append(standardised(features[:, :, place], part, f"{modality}_standardise{number}"))
    x = parts[0] if len(parts) == 1 else layers.Concatenate(name=f"{modality}_taps")(parts)
    units = config.units_of(modality)
    for number, size in enumerate(units, start=1):
        part_number = 10 * (1 + get_args(Modality).index(modality)) + number
        layer = recurrent_layer(
            config.cells, size, seed, part_number, f"{modality}_rnn{number}", every_step=number < len(units)
        )
        x = layer(x, mask=mask)
    return x


def _recurrent(cells: Cells, inputs: int, units: int) -> int:
    """Numbers of one recurrent layer; a GRU has two biases per gate, as `reset_after` has them."""
    gates = {"simple": 1, "gru": 3, "lstm": 4}[cells]
    return gates * units * (inputs + units + (2 if cells == "gru" else 1))


MULTIMODAL = Head("multimodal", MultimodalHeadConfig, build_multimodal, standardises=True)
