"""Model-level fusion: what several heads know, joined and learned on together.

Source:
    Kollias and Zafeiriou, arXiv:1910.01417, section 5.4.1.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Literal

from emopipe.models.heads import head_inputs_of, output_layer, part_seed
from emopipe.models.tap_heads import JOINED

if TYPE_CHECKING:
    import keras

FusionLayer = Literal["fc", "rnn"]
NUM_UNITS = 128


def join_heads(
    heads: "Sequence[keras.Model]",
    columns_of_head: Sequence[Sequence[str]],
    columns: Sequence[tuple[str, int]],
    layer: FusionLayer,
    num_outputs: int,
    seed: int = 0,
) -> "keras.Model":
    """One head over the joined outputs of the RNNs of several; all of them learn on, their last layers fall away.

    Args:
        heads: heads over taps.
        columns_of_head: names of the columns that each of them reads, in its order.
        columns: name and size of the columns of the table that they read together.
        layer: "rnn" for one GRU layer of 128 units over the joined numbers, "fc" for a dense layer of 128.
        num_outputs: numbers in a prediction.
        seed: of the new layers.

    Returns:
        {"features": (B, L, D), "mask": (B, L) or None} -> (B, L, num_outputs).
    """
    import keras
    from keras import initializers, layers

    features, mask = head_inputs_of(sum(size for _, size in columns))
    edges = pairwise(accumulate((size for _, size in columns), initial=0))
    column = {name: features[:, :, a:b] for (name, _), (a, b) in zip(columns, edges, strict=True)}
    parts: list[Any] = []
    for number, (head, names) in enumerate(zip(heads, columns_of_head, strict=True), start=1):
        taken = [column[name] for name in names]
        x = taken[0] if len(taken) == 1 else layers.Concatenate(name=f"columns{number}")(taken)
        member = keras.Model(head.input, head.get_layer(JOINED).output, name=f"member{number}")
        parts.append(member({"features": x, "mask": mask}))
    x = layers.Concatenate(name="members")(parts)
    kernel = initializers.GlorotUniform(seed=part_seed(seed, 93, 0))
    if layer == "rnn":
        recurrent = initializers.Orthogonal(seed=part_seed(seed, 93, 1))
        gru = layers.GRU(
            NUM_UNITS,
            return_sequences=True,
            kernel_initializer=kernel,
            recurrent_initializer=recurrent,
            name="fusion",
        )
        x = gru(x, mask=mask)
    else:
        x = layers.Dense(NUM_UNITS, "relu", kernel_initializer=kernel, name="fusion")(x)
    output = output_layer(num_outputs, "linear", seed)(x)
    return keras.Model({"features": features, "mask": mask}, output, name="fusion_head")
