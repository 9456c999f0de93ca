"""ResNet-50 in any width; at width 1 it is the network of keras.applications, layer by layer."""

from typing import TYPE_CHECKING, Any

from emopipe.faces.normalisation import InputSpec
from emopipe.models.architecture import scaled

if TYPE_CHECKING:
    import keras

# Stage -> (number of its blocks, inner channels), He et al. 2016, table 1; a block's output has four times as many.
_STAGES = {2: (3, 64), 3: (4, 128), 4: (6, 256), 5: (3, 512)}
_EXPANSION = 4
_EPSILON = 1.001e-5  # keras.applications, for whose weights it is


def resnet50_features(image: Any, width: float = 1.0) -> Any:
    """A picture through all residual blocks.

    Args:
        image: (N, H, W, 3) keras tensor.
        width: share of the published channels.

    Returns:
        The output of conv5_block3_out, (N, H / 32, W / 32, 2048 width).
    """
    from keras import layers

    x = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    x = _rectified(_convolved(x, scaled(64, width), 7, "conv1", strides=2), "conv1_relu")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    for stage, (num_blocks, published) in _STAGES.items():
        channels = scaled(published, width)
        for number in range(1, num_blocks + 1):
            strides = 2 if number == 1 and stage > 2 else 1
            x = _block(x, channels, f"conv{stage}_block{number}", strides, widens=number == 1)
    return x


def build_resnet50(input_spec: InputSpec, width: float = 1.0) -> "keras.Model":
    """The network without a top: 23,587,712 numbers at width 1.

    Args:
        input_spec: size and range of the pictures, three channels.
        width: share of the published channels.
    """
    import keras

    image = keras.Input(input_spec.shape, name="image")
    return keras.Model(image, resnet50_features(image, width), name="resnet50")


def _block(x: Any, channels: int, name: str, strides: int, widens: bool) -> Any:
    """Bottleneck with its stride in the first convolution: version 1, as published."""
    from keras import layers

    wide = _EXPANSION * channels
    shortcut = _convolved(x, wide, 1, f"{name}_0", strides) if widens else x
    y = _rectified(_convolved(x, channels, 1, f"{name}_1", strides), f"{name}_1_relu")
    y = _rectified(_convolved(y, channels, 3, f"{name}_2"), f"{name}_2_relu")
    y = _convolved(y, wide, 1, f"{name}_3")
    return _rectified(layers.Add(name=f"{name}_add")([shortcut, y]), f"{name}_out")


def _convolved(x: Any, channels: int, side: int, name: str, strides: int = 1) -> Any:
    from keras import layers

    padding = "same" if side == 3 else "valid"
    x = layers.Conv2D(channels, side, strides=strides, padding=padding, name=f"{name}_conv")(x)
    return layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)


def _rectified(x: Any, name: str) -> Any:
    from keras import layers

    return layers.Activation("relu", name=name)(x)
