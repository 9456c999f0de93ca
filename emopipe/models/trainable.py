"""CNNs that `train-cnn` trains, with the outputs that the task asks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from emopipe.faces.normalisation import InputSpec
from emopipe.models.applications import DENSENET121, RESNET50, VGG16
from emopipe.models.architecture import PublishedWeights, scaled
from emopipe.models.densenet import densenet121_features
from emopipe.models.khorrami import KHORRAMI, build_khorrami
from emopipe.models.residual import resnet50_features
from emopipe.models.vggface import VGGFACE, vggface_features
from emopipe.records import CROP_SIZE_PX
from emopipe.registry import Registry

if TYPE_CHECKING:
    import keras

CNNS = Registry(
    "CNN to train",
    {
        "khorrami": "emopipe.models.trainable:KHORRAMI_CNN",
        "vggface": "emopipe.models.trainable:VGGFACE_CNN",
        "vgg16": "emopipe.models.trainable:VGG16_CNN",
        "resnet50": "emopipe.models.trainable:RESNET50_CNN",
        "densenet121": "emopipe.models.trainable:DENSENET121_CNN",
    },
)
OUTPUT_LAYER = "output"
FC_LAYER = "fc"

_DROPOUT = 0.5  # Kollias and Zafeiriou, sec. 6.1: on the fully connected layers
_INPUT = InputSpec(CROP_SIZE_PX, 3, "-1..1")  # the same, sec. 4


@dataclass(frozen=True)
class TrainableCnn:
    """A CNN whose last layer follows the task.

    Attributes:
        input: what it is fed; in a range with two ends, where the augmentation works.
        taps: what `extract` caches of the trained network when no tap is named.
        build: number of outputs, their activation and the width -> network with undetermined weights.
        scalable: whether it comes in other widths than 1.
        published: ImageNet weights that it may start from; None when there are none.
        other_names: see `Architecture.other_names`.
    """

    input: InputSpec
    taps: tuple[str, ...]
    build: "Callable[[int, str, float], keras.Model]"
    scalable: bool = False
    published: PublishedWeights | None = None
    other_names: tuple[Mapping[str, str], ...] = ()


def build_with_fc(
    features: Callable[[Any, float], Any],
    pooling: str,
    num_units: int,
    name: str,
    num_outputs: int,
    activation: str,
    width: float = 1.0,
) -> "keras.Model":
    """A backbone with one fully connected layer, named fc, between its last pooling and the outputs.

    Args:
        features: a keras tensor of pictures and a width -> the backbone's last map.
        pooling: "flatten" or "avg_pool"; also the name of that layer.
        num_units: of fc at width 1.
        name: of the network.
        num_outputs, activation: of the last layer, named output.
        width: share of the published channels and units.

    Returns:
        (N, 96, 96, 3) float32 in [-1, 1] -> (N, num_outputs) float32.

    Source:
        Kollias and Zafeiriou, "Exploiting multi-CNN features in CNN-RNN based dimensional emotion recognition on the
        OMG in-the-wild dataset", sec. 5.1. Its landmarks join the last pooling in stage two.
    """
    import keras
    from keras import layers

    image = keras.Input(_INPUT.shape, name="image")
    pool = layers.Flatten if pooling == "flatten" else layers.GlobalAveragePooling2D
    x = pool(name=pooling)(features(image, width))
    x = layers.Dense(scaled(num_units, width), activation="relu", name=FC_LAYER)(x)
    x = layers.Dropout(_DROPOUT, name="dropout")(x)
    return keras.Model(image, layers.Dense(num_outputs, activation=activation, name=OUTPUT_LAYER)(x), name=name)


def _build_khorrami(num_outputs: int, activation: str, width: float = 1.0) -> "keras.Model":
    return build_khorrami(num_outputs, activation)  # `scalable` is False: its width is 1


KHORRAMI_CNN = TrainableCnn(KHORRAMI.input, KHORRAMI.default_taps, _build_khorrami)
# What `extract` caches of the next three is the last pooling: the paper's heads learn an fc of their own behind it,
# with the landmarks beside.
VGGFACE_CNN = TrainableCnn(
    input=_INPUT,
    taps=("pool5:flat",),
    build=partial(build_with_fc, vggface_features, "flatten", 4096, "vggface"),
    scalable=True,
    other_names=VGGFACE.other_names,
)
VGG16_CNN = replace(VGGFACE_CNN, published=VGG16.published)  # the same layers, which ImageNet's weights fit
RESNET50_CNN = TrainableCnn(
    input=_INPUT,
    taps=("avg_pool",),
    build=partial(build_with_fc, resnet50_features, "avg_pool", 1500, "resnet50"),
    scalable=True,
    published=RESNET50.published,
)
DENSENET121_CNN = TrainableCnn(
    input=_INPUT,
    taps=("avg_pool",),
    build=partial(build_with_fc, densenet121_features, "avg_pool", 1500, "densenet121"),
    scalable=True,
    published=DENSENET121.published,
)
