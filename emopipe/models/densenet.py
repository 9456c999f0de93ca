"""DenseNet-121 in any width; at width 1 it is the network of keras.applications, layer by layer."""

from typing import TYPE_CHECKING, Any

from emopipe.faces.normalisation import InputSpec
from emopipe.models.architecture import scaled

if TYPE_CHECKING:
    import keras

_NUM_LAYERS = {2: 6, 3: 12, 4: 24, 5: 16}  # of the dense blocks conv2 to conv5; Huang et al. 2017, table 1
_GROWTH = 32  # channels that a layer adds
_BOTTLENECK = 4  # times the growth
_EPSILON = 1.001e-5  # keras.applications, for whose weights it is


def densenet121_features(image: Any, width: float = 1.0) -> Any:
    """A picture through all dense blocks.

    Args:
        image: (N, H, W, 3) keras tensor.
        width: share of the published channels: of the first convolution and the growth, from which the others follow.

    Returns:
        The output of relu, (N, H / 32, W / 32, 1024 width).
    """
    from keras import layers

    x = layers.ZeroPadding2D(3, name="zero_padding2d")(image)
    x = layers.Conv2D(scaled(64, width), 7, strides=2, use_bias=False, name="conv1_conv")(x)
    x = _normalised(x, "conv1_bn", "conv1_relu")
    x = layers.ZeroPadding2D(1, name="zero_padding2d_1")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for block, num_layers in _NUM_LAYERS.items():
        if block > 2:
            x = _transition(x, f"pool{block - 1}")
        for number in range(1, num_layers + 1):
            x = _layer(x, scaled(_GROWTH, width), f"conv{block}_block{number}")
    return _normalised(x, "bn", "relu")


def build_densenet121(input_spec: InputSpec, width: float = 1.0) -> "keras.Model":
    """The network without a top: 7,037,504 numbers at width 1.

    Args:
        input_spec: size and range of the pictures, three channels.
        width: share of the published channels.
    """
    import keras

    image = keras.Input(input_spec.shape, name="image")
    return keras.Model(image, densenet121_features(image, width), name="densenet121")


def _layer(x: Any, growth: int, name: str) -> Any:
    from keras import layers

    y = _normalised(x, f"{name}_0_bn", f"{name}_0_relu")
    y = layers.Conv2D(_BOTTLENECK * growth, 1, use_bias=False, name=f"{name}_1_conv")(y)
    y = _normalised(y, f"{name}_1_bn", f"{name}_1_relu")
    y = layers.Conv2D(growth, 3, padding="same", use_bias=False, name=f"{name}_2_conv")(y)
    return layers.Concatenate(name=f"{name}_concat")([x, y])


def _transition(x: Any, name: str) -> Any:
    """Half the channels, half the side."""
    from keras import layers

    x = _normalised(x, f"{name}_bn", f"{name}_relu")
    x = layers.Conv2D(max(1, x.shape[-1] // 2), 1, use_bias=False, name=f"{name}_conv")(x)
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def _normalised(x: Any, name: str, activation_name: str) -> Any:
    from keras import layers

    x = layers.BatchNormalization(epsilon=_EPSILON, name=name)(x)
    return layers.Activation("relu", name=activation_name)(x)
