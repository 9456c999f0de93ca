"""What a CNN that is to be trained starts from: random weights, published ones, a file, or another run's network."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emopipe.errors import ConfigError, WeightsError
from emopipe.files import sha256_of_file
from emopipe.models.trainable import FC_LAYER, OUTPUT_LAYER, TrainableCnn
from emopipe.models.weights import ResolvedWeights, published_file, resolve_file, take_weights
from emopipe.stages.trained import open_trained

if TYPE_CHECKING:
    import keras

RANDOM = "none"
VGGFACE = "vggface"
VGGFACE_VARIABLE = "EMOPIPE_VGGFACE"
_OPTIONAL = (FC_LAYER, OUTPUT_LAYER)  # they follow the task, and what is joined to the last pooling


def resolve_start(name: str, cnn: TrainableCnn, spec: str, width: float = 1.0) -> ResolvedWeights | None:
    """Find what a CNN starts from; keras is not imported.

    Args:
        name: of the CNN, for messages.
        cnn: the CNN.
        spec: "none", "imagenet", "vggface" for the file that the environment variable EMOPIPE_VGGFACE names, a `.keras`
            or `.h5` file, or the folder of a finished run of train-cnn.
        width: of the CNN.

    Returns:
        The file and its digest; None for random weights.

    Raises:
        WeightsError: it is not there, or there are no ImageNet weights of this CNN.
        ConfigError: ImageNet weights for another width than theirs, or a run that trained no CNN.
        RunError: the folder is no finished run.
    """
    if spec == RANDOM:
        return None
    if spec == VGGFACE:
        named = os.environ.get(VGGFACE_VARIABLE)
        if not named:
            raise WeightsError(
                f"--weights {VGGFACE}: expected ${VGGFACE_VARIABLE} to name a file of VGG-Face's weights.\n"
                "They are given out for research by their authors (Parkhi et al., 2015); converted .h5 files are read."
            )
        return resolve_file(named)
    if spec == "imagenet":
        if cnn.published is None:
            raise WeightsError(
                f"{name}: no ImageNet weights exist for it. Expected --weights none, a file or a run of train-cnn."
            )
        if width != 1:
            raise ConfigError(f"--weights imagenet: are of width 1. Received: --width {width}.")
        path = published_file(name, cnn.published)
        return ResolvedWeights("imagenet", sha256_of_file(path), path)
    if Path(spec).is_dir():
        run = open_trained(Path(spec)).run
        if run.kind != "cnn":
            raise ConfigError(f"--weights {spec}: expected a run of train-cnn. Received one of train-{run.kind}.")
        digest = sha256_of_file(run.network)
        return ResolvedWeights(digest, digest, run.network)
    return resolve_file(spec)


def start_from(network: "keras.Model", cnn: TrainableCnn, weights: ResolvedWeights) -> tuple[str, Mapping[str, Any]]:
    """Put the weights into a network that has random ones; only fc and output may keep these.

    Returns:
        A sentence for the user, and what is kept of it in the run: digest, file, layers taken and left at random.

    Raises:
        WeightsError: the file does not fit.
    """
    if weights.path is None:
        raise ConfigError("weights to start from without a file.")
    left = take_weights(network, weights.path, cnn.other_names, _OPTIONAL)
    taken = [layer.name for layer in network.layers if layer.weights and layer.name not in left]
    random = f"at random: {', '.join(left)}" if left else "none is at random"
    about = {"file": str(weights.path), "digest": weights.digest, "taken": taken, "random": list(left)}
    return f"Starts from {weights.path}: {len(taken)} layers are taken, {random}.", about
