"""From cached crops to the numbers a network expects: size, channels, range."""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from emopipe.errors import ConfigError, RecordError
from emopipe.typing import Floats, Image

ValueRange = Literal["-1..1", "0..1", "0..255", "caffe", "imagenet"]
VALUE_RANGES: tuple[str, ...] = get_args(ValueRange)

# Means and deviations of ImageNet as the published networks use them: keras.applications.imagenet_utils, modes
# "caffe" (BGR, of 255) and "torch" (RGB, of 1).
_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True)
class InputSpec:
    """What a network wants to be fed.

    Attributes:
        size_px: side of the square it takes.
        channels: 3 for RGB, 1 for grey.
        value_range: "-1..1", "0..1", "0..255"; "caffe" (BGR minus the ImageNet mean, of 255: VGG16, ResNet50) or
            "imagenet" (RGB of 1, minus the mean, by the deviation: DenseNet).
    """

    size_px: int
    channels: int
    value_range: str

    def __post_init__(self) -> None:
        if self.size_px < 1:
            raise ConfigError(f"input size: expected at least 1 pixel. Received: {self.size_px}.")
        if self.channels not in (1, 3):
            raise ConfigError(f"input channels: expected 1 (grey) or 3 (RGB). Received: {self.channels}.")
        if self.value_range not in VALUE_RANGES:
            raise ConfigError(
                f"input range: expected one of {', '.join(VALUE_RANGES)}. Received: '{self.value_range}'."
            )
        if self.channels == 1 and self.value_range in ("caffe", "imagenet"):
            raise ConfigError(f"input range '{self.value_range}' is one of three channels, this network takes one.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one picture."""
        return self.size_px, self.size_px, self.channels


def normalise(crops: Image, spec: InputSpec) -> Floats:
    """Turn crops into a network's input.

    Grey is OpenCV's luma (0.299 R + 0.587 G + 0.114 B, rounded to 8 bits), taken before the resize. Resizing is done on
    8 bits by `cv2.INTER_AREA` when the picture shrinks and `cv2.INTER_LINEAR` when it grows.

    Args:
        crops: (N, H, W, 3) uint8 RGB, H = W = 96 for cached crops.
        spec: what the network wants.

    Returns:
        (N, S, S, C) float32, S = `spec.size_px`, C = `spec.channels`.

    Raises:
        RecordError: the crops are not uint8 RGB.

    Examples:
        >>> crops = np.full((2, 96, 96, 3), 255, np.uint8)
        >>> batch = normalise(crops, InputSpec(size_px=48, channels=1, value_range="-1..1"))
        >>> batch.shape, float(batch.max())
        ((2, 48, 48, 1), 1.0)
    """
    if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
        raise RecordError(f"crops: expected (N, H, W, 3) uint8 RGB. Received: {crops.shape} {crops.dtype}.")
    if len(crops) == 0:
        return np.empty((0, *spec.shape), np.float32)
    return _to_range(_resized(_grey(crops) if spec.channels == 1 else crops, spec.size_px), spec.value_range)


def _grey(crops: Image) -> Image:
    count, height, width, _ = crops.shape
    # One tall picture: a single call costs a tenth of one call per crop.
    tall = np.ascontiguousarray(crops).reshape(count * height, width, 3)
    return np.asarray(cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY), np.uint8).reshape(count, height, width, 1)


def _resized(pictures: Image, size_px: int) -> Image:
    count, height, width, channels = pictures.shape
    if (height, width) == (size_px, size_px):
        return pictures
    interpolation = cv2.INTER_AREA if size_px < height else cv2.INTER_LINEAR
    resized = np.empty((count, size_px, size_px, channels), np.uint8)
    for source, target in zip(pictures, resized, strict=True):
        target[:] = cv2.resize(source, (size_px, size_px), interpolation=interpolation).reshape(target.shape)
    return resized


def _to_range(pictures: Image, value_range: str) -> Floats:
    if value_range == "0..255":
        return pictures.astype(np.float32)
    if value_range == "caffe":
        return np.subtract(pictures[..., ::-1], _CAFFE_MEAN_BGR, dtype=np.float32)
    if value_range == "-1..1":
        batch = np.divide(pictures, np.float32(127.5), dtype=np.float32)
        batch -= 1
        return batch
    batch = np.divide(pictures, np.float32(255), dtype=np.float32)
    if value_range == "imagenet":
        batch -= _TORCH_MEAN
        batch /= _TORCH_DEVIATION
    return batch
