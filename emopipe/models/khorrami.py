"""The CNN of Khorrami et al. (2016) as the CNN-RNN recipe for Aff-Wild2 uses it: grey 96 x 96 faces in [0, 1]."""

from typing import TYPE_CHECKING

from emopipe.faces.normalisation import InputSpec
from emopipe.models.architecture import Architecture
from emopipe.models.taps import Place

if TYPE_CHECKING:
    import keras

_DROPOUT = 0.5
_NUM_FEATURES = 300


def build_khorrami(
    num_outputs: int = 2, activation: str = "linear", input_spec: InputSpec | None = None
) -> "keras.Model":
    """The network: 1,333,706 numbers with two linear outputs, 1,335,512 with eight classes.

    Convolutions have no bias, only the first pads, and `dense` is linear: its 300 numbers are the features.

    Args:
        num_outputs: 2 for valence and arousal, 8 for the classes of CK+.
        activation: "linear", or "softmax" for classes.
        input_spec: 96 pixels and one channel; the last pooling allows no other size.

    Returns:
        (N, 96, 96, 1) float32 in [0, 1] -> (N, num_outputs) float32.

    Source:
        Khorrami et al., "How deep neural networks can improve emotion recognition on video data", ICIP 2016; padding,
        biases and the linear `dense` as in the code published with Rangulov and Fahim, arXiv:2006.11168, 2020.
    """
    import keras
    from keras import layers

    spec = input_spec or KHORRAMI.input
    convolution = {"kernel_size": 5, "activation": "relu", "use_bias": False}
    image = keras.Input(spec.shape, name="image")
    x = layers.BatchNormalization(name="normalisation")(image)
    x = layers.Conv2D(64, padding="same", name="conv1", **convolution)(x)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = layers.Conv2D(128, name="conv2", **convolution)(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = layers.Conv2D(256, name="conv3", **convolution)(x)
    x = layers.AveragePooling2D(9, name="pool3")(x)  # quadrants: 18 x 18 -> 2 x 2
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(_NUM_FEATURES, name="dense")(x)
    x = layers.Dropout(_DROPOUT, name="dropout")(x)
    x = layers.Dense(num_outputs, activation=activation, name="output")(x)
    return keras.Model(image, x, name="khorrami")


KHORRAMI = Architecture(
    name="khorrami",
    input=InputSpec(size_px=96, channels=1, value_range="0..1"),
    places={
        "conv1": Place("conv1", (96, 96, 64)),
        "pool1": Place("pool1", (48, 48, 64)),
        "conv2": Place("conv2", (44, 44, 128)),
        "pool2": Place("pool2", (22, 22, 128)),
        "conv3": Place("conv3", (18, 18, 256)),
        "pool3": Place("pool3", (2, 2, 256)),
        "dense": Place("dense", (_NUM_FEATURES,)),
        "output": Place("output", (2,)),
    },
    default_taps=("dense",),
    num_parameters=1_333_706,
    build=lambda spec: build_khorrami(input_spec=spec),
    resizable=False,
    published=None,
    source="Khorrami et al., ICIP 2016",
)
