"""Taps: named places in a network from which feature vectors are taken, all of them in one forward pass."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emopipe.errors import ConfigError

if TYPE_CHECKING:
    import keras

_POOLING = re.compile(r"flat|gap|grid[1-9]\d*")
_NUM_SUGGESTIONS = 12


@dataclass(frozen=True)
class Tap:
    """One tap as it is asked for.

    Attributes:
        name: as written; the name of its dataset in a shard ("pool2:grid4").
        layer: the network's layer, or a friendly name of one.
        pooling: "flat" (everything, in the order H, W, C), "gap" (mean over H and W), "gridN" (means of an N x N grid,
            in the order H, W, C); "" when a layer is named without one, which does for a vector.
    """

    name: str
    layer: str
    pooling: str


@dataclass(frozen=True)
class Place:
    """Where a friendly tap name leads.

    Attributes:
        layer: the network's own name of the layer.
        shape: shape of the layer's output without the batch, at the backbone's default input size.
        pooling: set when the friendly name says how to pool ("avg_pool"); it is then used without a suffix.
    """

    layer: str
    shape: tuple[int, ...]
    pooling: str = ""


def parse_tap(text: str) -> Tap:
    """Read "layer", "layer:flat", "layer:gap" or "layer:gridN".

    Raises:
        ConfigError: the part behind the colon is none of these.

    Examples:
        >>> parse_tap("pool2:grid4")
        Tap(name='pool2:grid4', layer='pool2', pooling='grid4')
    """
    layer, colon, pooling = text.partition(":")
    if not layer or (colon and not _POOLING.fullmatch(pooling)):
        raise ConfigError(
            f"tap '{text}': expected 'layer', 'layer:flat', 'layer:gap' or 'layer:gridN' with N of 1 or more."
        )
    return Tap(text, layer, pooling)


def parse_taps(texts: Sequence[str]) -> tuple[Tap, ...]:
    """Read several taps; refuses none at all and the same one twice."""
    taps = tuple(parse_tap(text) for text in texts)
    if not taps:
        raise ConfigError("taps: expected at least one. Received none; name one with --tap.")
    if len(set(texts)) != len(texts):
        raise ConfigError(f"taps: each may be named once. Received: {', '.join(texts)}.")
    return taps


def pooled_size(tap: Tap, shape: Sequence[int | None]) -> int | None:
    """Length of a tap's vector.

    Args:
        tap: the tap.
        shape: its layer's output without the batch, (D,) or (H, W, C); None where it is open.

    Returns:
        The length; None when it depends on an open side.

    Raises:
        ConfigError: the pooling does not suit the shape.
    """
    asked = tap.name.partition(":")[0]  # the friendly name, where the tap has been located
    sides = " x ".join("?" if side is None else str(side) for side in shape)
    if len(shape) == 1 and tap.pooling in ("", "flat"):
        return shape[0]
    if tap.pooling == "flat":
        known = [side for side in shape if side is not None]
        return math.prod(known) if len(known) == len(shape) else None
    if len(shape) != 3:
        cure = f"{asked}:flat" if len(shape) != 1 else asked
        raise ConfigError(f"tap '{tap.name}': pooling needs a map of H x W x C, the layer gives {sides}. Use '{cure}'.")
    if not tap.pooling:
        raise ConfigError(
            f"tap '{tap.name}': the layer gives a map of {sides}, so say how it becomes a vector.\n"
            f"Expected '{asked}:gap', '{asked}:flat' or '{asked}:gridN'."
        )
    grid = _grid_side(tap)
    if any(side is not None and side < grid for side in shape[:2]):
        raise ConfigError(f"tap '{tap.name}': a {grid} x {grid} grid does not fit on a map of {sides}.")
    return None if shape[2] is None else grid * grid * shape[2]


def locate(tap: Tap, places: Mapping[str, Place]) -> Tap:
    """The tap with a friendly name replaced by the network's layer; other names pass unchanged.

    Raises:
        ConfigError: a suffix on a name that says itself how it is pooled.
    """
    place = places.get(tap.layer)
    if place is None:
        return tap
    if place.pooling and tap.pooling:
        raise ConfigError(f"tap '{tap.name}': '{tap.layer}' is pooled already. Use '{tap.layer}'.")
    return Tap(tap.name, place.layer, place.pooling or tap.pooling)


def check_layer(tap: Tap, layers: Iterable[str], network: str) -> None:
    """Refuse a tap on a layer that is not there; the message lists the names, nearest first.

    Raises:
        ConfigError: there is no such layer.
    """
    names = list(layers)
    if tap.layer in names:
        return
    nearest = difflib.get_close_matches(tap.layer, names, n=_NUM_SUGGESTIONS, cutoff=0)
    rest = len(names) - len(nearest)
    more = f" and {rest} more" if rest else ""
    inner = " Layers of a network inside the network cannot be tapped." if "/" in tap.layer else ""
    raise ConfigError(
        f"tap '{tap.name}': {network} has no layer '{tap.layer}'.{inner}\n"
        f"Expected one of its layers, nearest first: {', '.join(nearest)}{more}."
    )


def attach(model: "keras.Model", taps: Sequence[Tap], network: str) -> "keras.Model":
    """A network with the same input whose outputs are the taps' vectors, in order; a lone one comes without a list.

    The pooling is part of the graph: it runs where the network runs, and a large map never leaves it unpooled.

    Args:
        model: a network with one input.
        taps: located taps.
        network: what the network is called in messages.

    Raises:
        ConfigError: a layer is not there or a pooling does not suit it.
    """
    import keras

    layers = {layer.name: layer for layer in model.layers}
    outputs = []
    for index, tap in enumerate(taps):
        check_layer(tap, layers, network)
        try:
            output = layers[tap.layer].output
        except (AttributeError, ValueError) as error:  # Keras gives no output of a layer outside the graph
            raise ConfigError(f"tap '{tap.name}': layer '{tap.layer}' of {network} has no single output.") from error
        if not hasattr(output, "shape"):
            raise ConfigError(f"tap '{tap.name}': layer '{tap.layer}' of {network} has several outputs.")
        pooled_size(tap, output.shape[1:])
        # A model of its own, because names that keras makes up ("flatten") may be taken in the network.
        entry = keras.Input(output.shape[1:])
        pooling = keras.Model(entry, _pool(entry, tap), name=f"emopipe_tap_{index}")
        outputs.append(pooling(output))
    return keras.Model(model.inputs[0], outputs, name="taps")


def _pool(output: Any, tap: Tap) -> Any:
    from keras import layers, ops

    if len(output.shape) == 2:
        # A tap on the network's input or on another tap's output must still be an output of its own.
        return layers.Activation("linear")(output)
    if tap.pooling == "flat":
        return layers.Flatten()(output)
    if tap.pooling == "gap":
        return layers.GlobalAveragePooling2D()(output)
    grid, (height, width) = _grid_side(tap), output.shape[1:3]
    if height % grid == 0 and width % grid == 0:
        return layers.Flatten()(layers.AveragePooling2D((height // grid, width // grid))(output))
    rows = [ops.mean(output[:, top:bottom], axis=1) for top, bottom in _cells(height, grid)]
    cells = [ops.mean(row[:, left:right], axis=1) for row in rows for left, right in _cells(width, grid)]
    return ops.concatenate(cells, axis=1)


def _cells(side: int, grid: int) -> list[tuple[int, int]]:
    """Borders of `grid` cells that cover `side` pixels; they overlap by a pixel where the division leaves a rest.

    Examples:
        >>> _cells(6, 4)
        [(0, 2), (1, 3), (3, 5), (4, 6)]
    """
    return [(cell * side // grid, -(-(cell + 1) * side // grid)) for cell in range(grid)]


def _grid_side(tap: Tap) -> int:
    return 1 if tap.pooling == "gap" else int(tap.pooling.removeprefix("grid"))
