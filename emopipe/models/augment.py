"""Random pictures of the same face: one affine map and one brightness per image, drawn anew for every image."""

import math
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# Rangulov and Fahim, arXiv:2006.11168, sec. III, and the code published with it. Its shear of 0.01 degrees moves no
# pixel of a 96-pixel face by more than 0.01 pixels and is left out.
MAX_ROTATION_DEGREES = 15.0
MAX_SHIFT = 0.1  # of the side
ZOOM = (0.9, 1.25)  # of the coordinates: below 1 the face grows; both axes on their own
BRIGHTNESS = (0.5, 1.5)  # factor; their code stretched every picture to the full range first, which this does not
_NUM_DRAWS = 7  # angle, two shifts, two zooms, flip, brightness


def augmentation(seed: int, name: str = "augmentation") -> "keras.layers.Layer":
    """A layer that shows every image another way each time, in training only.

    Rotation, shifts, zooms and flip are one map, so that each picture is sampled once; beyond the border the picture is
    mirrored. Then the brightness is multiplied and the result clipped to [0, 1].

    Args:
        seed: of the layer's own generator; its state is a variable of the layer.
        name: of the layer.

    Returns:
        A layer from (N, H, W, C) float32 in [0, 1] to the same.
    """
    layer: keras.layers.Layer = _layer_class()(seed=seed, name=name)
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

        def __init__(self, seed: int, **options: Any):
            super().__init__(**options)
            self.seed = seed
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
            return ops.clip(images * factor[:, None, None, None], 0.0, 1.0)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "seed": self.seed}

    return FaceAugmentation
