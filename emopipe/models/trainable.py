"""CNNs that `train-cnn` trains from random weights, with the outputs that the task asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emopipe.faces.normalisation import InputSpec
from emopipe.models.khorrami import KHORRAMI, build_khorrami
from emopipe.registry import Registry

if TYPE_CHECKING:
    import keras

CNNS = Registry("CNN to train", {"khorrami": "emopipe.models.trainable:KHORRAMI_CNN"})


@dataclass(frozen=True)
class TrainableCnn:
    """A CNN whose last layer follows the task.

    Attributes:
        input: what it is fed; in [0, 1], where the augmentation works.
        taps: what `extract` caches of the trained network when no tap is named.
        build: number of outputs and their activation -> network with undetermined weights.
    """

    input: InputSpec
    taps: tuple[str, ...]
    build: "Callable[[int, str], keras.Model]"


KHORRAMI_CNN = TrainableCnn(KHORRAMI.input, KHORRAMI.default_taps, build_khorrami)
