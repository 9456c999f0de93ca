"""Random pictures of the same face: one affine map and one brightness per image, drawn anew for every image."""

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from emopipe.errors import ConfigError

if TYPE_CHECKING:
    import keras

# Rangulov and Fahim, arXiv:2006.11168, sec. III, and the code published with it. Its shear of 0.01 degrees moves no
# pixel of a 96-pixel face by more than 0.01 pixels and is left out.
MAX_ROTATION_DEGREES = 15.0
MAX_SHIFT = 0.1  # of the side
ZOOM = (0.9, 1.25)  # of the coordinates: below 1 the face grows; both axes on their own
BRIGHTNESS = (0.5, 1.5)  # factor; their code stretched every picture to the full range first, which this does not
_NUM_DRAWS = 7  # angle, two shifts, two zooms, flip, brightness
_ENDS = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}  # black and white


def augmentation(seed: int, value_range: str = "0..1", name: str = "augmentation") -> "keras.layers.Layer":
    """A layer that shows every image another way each time, in training only.

    Rotation, shifts, zooms and flip are one map, so that each picture is sampled once; beyond the border the picture is
    mirrored. Then the brightness, which is the distance from black, is multiplied and the result clipped to the range.

    Args:
        seed: of the layer's own generator; its state is a variable of the layer.
        value_range: of the pictures: "0..1", "-1..1" or "0..255".
        name: of the layer.

    Returns:
        A layer from (N, H, W, C) float32 in the range to the same.

    Raises:
        ConfigError: the range is another, without one black and one white.
    """
    if value_range not in _ENDS:
        raise ConfigError(f"augmentation: expected pictures in {', '.join(_ENDS)}. Received: '{value_range}'.")
    low, high = _ENDS[value_range]
    layer: keras.layers.Layer = _layer_class()(seed=seed, low=low, high=high, name=name)
    return layer


def affine_maps(draws: Any, height_px: int, width_px: int) -> Any:
    """Uniform numbers -> maps from pixels of the result to pixels of the picture.

    Args:
        draws: (N, 6) tensor in [0, 1): angle, shift down, shift right, zoom down, zoom right, flip.
        height_px, width_px: of the pictures.

    Returns:
        (N, 8), rows of `keras.ops.image.affine_transform`: x' = a0 x + a1 y + a2, y' = a3 x + a4 y + a5.
    """
    from keras import ops

    angle = math.radians(MAX_ROTATION_DEGREES) * (2 * draws[:, 0] - 1)
    down = MAX_SHIFT * height_px * (2 * draws[:, 1] - 1)
    right = MAX_SHIFT * width_px * (2 * draws[:, 2] - 1)
    zoom_y = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * draws[:, 3]
    zoom_x = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * draws[:, 4]
    zoom_x = ops.where(draws[:, 5] < 0.5, zoom_x, -zoom_x)  # a mirror image
    cos, sin = ops.cos(angle), ops.sin(angle)
    a0, a1 = cos * zoom_x, -sin * zoom_y
    a3, a4 = sin * zoom_x, cos * zoom_y
    # around the middle, then shifted
    x, y = (width_px - 1) / 2, (height_px - 1) / 2
    a2 = x + right - a0 * x - a1 * y
    a5 = y + down - a3 * x - a4 * y
    zeros = ops.zeros_like(a0)
    return ops.stack([a0, a1, a2, a3, a4, a5, zeros, zeros], axis=1)


@cache
def _layer_class() -> Any:
    """The class is made on first use, for its base is keras'."""
    import keras
    from keras import ops

    @keras.saving.register_keras_serializable(package="emopipe")
    class FaceAugmentation(keras.layers.Layer):  # type: ignore[misc]  # keras has no annotations
        """See `augmentation`."""

        def __init__(self, seed: int, low: float = 0.0, high: float = 1.0, **options: Any):
            super().__init__(**options)
            self.seed, self.low, self.high = seed, low, high
            self.generator = keras.random.SeedGenerator(seed)
            if keras.backend.backend() == "tensorflow":
                self.supports_jit = False  # XLA lacks the operation under affine_transform

        def call(self, images: Any, training: bool = False) -> Any:
            if not training:
                return images
            _, height_px, width_px, _ = images.shape
            draws = keras.random.uniform((ops.shape(images)[0], _NUM_DRAWS), seed=self.generator)
            maps = affine_maps(draws[:, :-1], height_px, width_px)
            images = ops.image.affine_transform(images, maps, interpolation="bilinear", fill_mode="reflect")
            factor = BRIGHTNESS[0] + (BRIGHTNESS[1] - BRIGHTNESS[0]) * draws[:, -1]
            brightness = (images - self.low) * factor[:, None, None, None]
            return self.low + ops.clip(brightness, 0.0, self.high - self.low)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "seed": self.seed, "low": self.low, "high": self.high}

    return FaceAugmentation
