"""VGG-Face without its top: the convolutions and poolings of VGG16, counted through as in the OMG-Emotion paper."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emopipe.faces.normalisation import InputSpec
from emopipe.models.architecture import Architecture, scaled
from emopipe.models.taps import Place
from emopipe.records import CROP_SIZE_PX

if TYPE_CHECKING:
    import keras

# Block -> (number of its convolutions, channels), Simonyan and Zisserman 2015, table 1, column D.
_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


@dataclass(frozen=True)
class VggLayer:
    """A convolution or a pooling of VGG16.

    Attributes:
        name: counted through all blocks: conv1 to conv13, pool1 to pool5.
        block: 1 to 5.
        index: number of the convolution in its block, from 1; 0 for the pooling.
        channels: at width 1.
    """

    name: str
    block: int
    index: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of its output for a 96 x 96 picture."""
        side = CROP_SIZE_PX >> (self.block if self.index == 0 else self.block - 1)
        return side, side, self.channels


def vgg16_layers() -> Iterator[VggLayer]:
    """The layers of VGG16 up to its last pooling, in order."""
    number = 0
    for block, (num_convolutions, channels) in enumerate(_BLOCKS, start=1):
        for index in range(1, num_convolutions + 1):
            number += 1
            yield VggLayer(f"conv{number}", block, index, channels)
        yield VggLayer(f"pool{block}", block, 0, channels)


def vggface_features(image: Any, width: float = 1.0) -> Any:
    """A picture through all convolutions and poolings.

    Args:
        image: (N, 96, 96, 3) keras tensor.
        width: share of the published channels.

    Returns:
        The output of pool5, (N, 3, 3, 512 width).
    """
    from keras import layers

    x = image
    for layer in vgg16_layers():
        if layer.index == 0:
            x = layers.MaxPooling2D(2, name=layer.name)(x)
        else:
            num_channels = scaled(layer.channels, width)
            x = layers.Conv2D(num_channels, 3, padding="same", activation="relu", name=layer.name)(x)
    return x


def build_vggface(input_spec: InputSpec, width: float = 1.0) -> "keras.Model":
    """The network without a top: 14,714,688 numbers at width 1.

    Args:
        input_spec: size and range of the pictures, three channels.
        width: share of the published channels.

    Returns:
        (N, S, S, 3) float32 -> (N, S / 32, S / 32, 512 width) float32.
    """
    import keras

    image = keras.Input(input_spec.shape, name="image")
    return keras.Model(image, vggface_features(image, width), name="vggface")


def _published_names() -> tuple[Mapping[str, str], ...]:
    """Our names -> those of keras-vggface (conv3_1) and of keras.applications (block3_conv1)."""
    convolutions = [layer for layer in vgg16_layers() if layer.index]
    return (
        {layer.name: f"conv{layer.block}_{layer.index}" for layer in convolutions},
        {layer.name: f"block{layer.block}_conv{layer.index}" for layer in convolutions},
    )


# VGG-Face was trained on BGR of 0 to 255 minus a mean, which the input range "caffe" comes near (its mean is that of
# ImageNet). The OMG-Emotion paper feeds it [-1, 1], and trains it so.
VGGFACE = Architecture(
    name="vggface",
    input=InputSpec(CROP_SIZE_PX, 3, "-1..1"),
    places={layer.name: Place(layer.name, layer.shape) for layer in vgg16_layers()},
    default_taps=("pool5:gap",),
    num_parameters=14_714_688,
    build=build_vggface,
    resizable=True,
    published=None,  # its authors' file is no Keras file; converted ones are given by path
    source="Parkhi, Vedaldi and Zisserman, BMVC 2015",
    other_names=_published_names(),
)
