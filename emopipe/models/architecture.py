"""What is known of a registered backbone before any network is built; plain data, keras is not imported for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emopipe.errors import ConfigError
from emopipe.faces.normalisation import InputSpec
from emopipe.models.taps import Place

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class PublishedWeights:
    """A weights file that others publish.

    Attributes:
        url: where it lies; its last part is the file name.
        md5: as its publishers state it; "" when they state none.
    """

    url: str
    md5: str = ""

    @property
    def file_name(self) -> str:
        """Name of the file, on the server and on disk."""
        return self.url.rsplit("/", 1)[1]


@dataclass(frozen=True)
class Architecture:
    """A registered backbone.

    Attributes:
        name: its name in `BACKBONES`.
        input: what it is fed.
        places: friendly tap name -> place; the network's own layer names may be tapped as well.
        default_taps: taps when none are named.
        num_parameters: numbers in it, the test of a right build.
        build: input spec -> network with undetermined weights.
        resizable: whether it takes other input sizes than its own.
        published: its ImageNet weights; None when there are none.
        source: the paper.
        other_names: for weights that others publish under names of their own: tables of our layer -> their layer.
            Files in which no name of ours or theirs occurs are then read in the order of the convolutions.
    """

    name: str
    input: InputSpec
    places: Mapping[str, Place]
    default_taps: tuple[str, ...]
    num_parameters: int
    build: Callable[[InputSpec], "keras.Model"]
    resizable: bool
    published: PublishedWeights | None
    source: str
    other_names: tuple[Mapping[str, str], ...] = ()


def check_width(width: float) -> None:
    """Refuse a width that makes no network.

    Raises:
        ConfigError: it is not in (0, 1].
    """
    if not 0 < width <= 1:
        raise ConfigError(
            f"width: expected a share of the published channels, above 0 and at most 1. Received: {width}."
        )


def scaled(count: int, width: float) -> int:
    """Channels or units of a layer that has `count` of them at width 1; at least one.

    Examples:
        >>> scaled(64, 1.0), scaled(64, 1 / 8), scaled(1500, 1 / 8), scaled(3, 1 / 8)
        (64, 8, 188, 1)
    """
    return max(1, round(count * width))
