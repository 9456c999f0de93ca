"""Backbones with the ImageNet weights of `keras.applications`, without their classifiers, at 96 x 96."""

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

_SERVER = "https://storage.googleapis.com/tensorflow/keras-applications"


def _vgg16_places() -> dict[str, Place]:
    """conv1 to conv13 and pool1 to pool5, counted through as in the OMG-Emotion paper's tables."""
    return {
        layer.name: Place(f"block{layer.block}_{f'conv{layer.index}' if layer.index else 'pool'}", layer.shape)
        for layer in vgg16_layers()
    }


def _build(constructor: str, spec: InputSpec) -> "keras.Model":
    import keras

    return getattr(keras.applications, constructor)(weights=None, include_top=False, input_shape=spec.shape)


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
