"""Backbones with the ImageNet weights of `keras.applications`: for faces at 96 x 96, for spectrograms at 224 x 224."""

from functools import partial
from typing import TYPE_CHECKING

from emopipe.faces.normalisation import InputSpec
from emopipe.models.architecture import Architecture, PublishedWeights
from emopipe.models.densenet import build_densenet121
from emopipe.models.residual import build_resnet50
from emopipe.models.taps import Place
from emopipe.models.vggface import vgg16_layers
from emopipe.records import CROP_SIZE_PX

if TYPE_CHECKING:
    import keras

IMAGENET_SIZE_PX = 224  # of the pictures that the published weights were trained on
_SERVER = "https://storage.googleapis.com/tensorflow/keras-applications"


def _vgg16_places() -> dict[str, Place]:
    """conv1 to conv13 and pool1 to pool5, counted through as in the OMG-Emotion paper's tables."""
    return {
        layer.name: Place(f"block{layer.block}_{f'conv{layer.index}' if layer.index else 'pool'}", layer.shape)
        for layer in vgg16_layers()
    }


def _vgg16_places_at_224() -> dict[str, Place]:
    """As `_vgg16_places`, and the fully connected layers, which exist at 224 pixels only."""
    places = {}
    for name, place in _vgg16_places().items():
        side = place.shape[0] * IMAGENET_SIZE_PX // CROP_SIZE_PX
        places[name] = Place(place.layer, (side, side, place.shape[2]))
    return {**places, "fc1": Place("fc1", (4096,)), "fc2": Place("fc2", (4096,))}


def _build(constructor: str, spec: InputSpec, *, include_top: bool = False) -> "keras.Model":
    import keras

    return getattr(keras.applications, constructor)(weights=None, include_top=include_top, input_shape=spec.shape)


VGG16 = Architecture(
    name="vgg16",
    input=InputSpec(CROP_SIZE_PX, 3, "caffe"),
    places=_vgg16_places(),
    default_taps=("pool5:gap",),
    num_parameters=14_714_688,
    build=partial(_build, "VGG16"),
    resizable=True,
    published=PublishedWeights(
        f"{_SERVER}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"
    ),
    source="Simonyan and Zisserman, ICLR 2015",
)

RESNET50 = Architecture(
    name="resnet50",
    input=InputSpec(CROP_SIZE_PX, 3, "caffe"),
    places={"avg_pool": Place("conv5_block3_out", (3, 3, 2048), "gap")},
    default_taps=("avg_pool",),
    num_parameters=23_587_712,
    build=build_resnet50,
    resizable=True,
    published=PublishedWeights(
        f"{_SERVER}/resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "4d473c1dd8becc155b73f8504c6f6626"
    ),
    source="He et al., CVPR 2016",
)

DENSENET121 = Architecture(
    name="densenet121",
    input=InputSpec(CROP_SIZE_PX, 3, "imagenet"),
    places={"avg_pool": Place("relu", (3, 3, 1024), "gap")},
    default_taps=("avg_pool",),
    num_parameters=7_037_504,
    build=build_densenet121,
    resizable=True,
    published=PublishedWeights(
        f"{_SERVER}/densenet/densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "30ee3e1110167f948a6b9946edeeb738",
    ),
    source="Huang et al., CVPR 2017",
)

MOBILENETV2 = Architecture(
    name="mobilenetv2",
    input=InputSpec(CROP_SIZE_PX, 3, "-1..1"),
    places={"avg_pool": Place("out_relu", (3, 3, 1280), "gap")},
    default_taps=("avg_pool",),
    num_parameters=2_257_984,
    build=partial(_build, "MobileNetV2"),
    resizable=False,  # its weights are published per input size
    published=PublishedWeights(
        f"{_SERVER}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"
    ),
    source="Sandler et al., CVPR 2018",
)

# Classifier and all: fc2 is the tap that spectrogram features are usually taken from.
VGG16_AT_224 = Architecture(
    name="vgg16-224",
    input=InputSpec(IMAGENET_SIZE_PX, 3, "caffe"),
    places=_vgg16_places_at_224(),
    default_taps=("fc2",),
    num_parameters=138_357_544,
    build=partial(_build, "VGG16", include_top=True),
    resizable=False,  # fc1 takes the 7 x 7 map of 224 pixels
    published=PublishedWeights(
        f"{_SERVER}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5", "64373286793e3c8b2b4e3219cbf3544b"
    ),
    source="Simonyan and Zisserman, ICLR 2015",
)

MOBILENETV2_AT_224 = Architecture(
    name="mobilenetv2-224",
    input=InputSpec(IMAGENET_SIZE_PX, 3, "-1..1"),
    places={"avg_pool": Place("out_relu", (7, 7, 1280), "gap")},
    default_taps=("avg_pool",),
    num_parameters=2_257_984,
    build=partial(_build, "MobileNetV2"),
    resizable=False,
    published=PublishedWeights(
        f"{_SERVER}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    ),
    source="Sandler et al., CVPR 2018",
)
