"""The two engines that run a tapped network: Keras, and onnxruntime on the exported graph."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from emopipe.errors import DeviceError, WeightsError
from emopipe.processes import held_back
from emopipe.typing import Floats

if TYPE_CHECKING:
    import keras

PARITY_TOLERANCE = 1e-3  # relative to the largest number of the tap; float32 sums in another order stay below 1e-5
_CUDA_PROVIDER = "CUDAExecutionProvider"


class Engine(Protocol):
    """What both engines do.

    Attributes:
        name: "keras" or "onnxruntime".
        device: "cpu" or "gpu", where the network runs.
    """

    name: str
    device: str

    def __call__(self, batch: Floats) -> list[Floats]:
        """(N, S, S, C) float32 of the network's range -> one (N, D) float32 per tap, in order."""
        ...


class KerasEngine:
    """Runs a network with Keras. Every call has the same shape, so that the graph is compiled once.

    Args:
        network: a network whose outputs are the taps.
        batch_size: pictures per call; a smaller batch is filled up with zeros, whose results are dropped.
        device: "cpu" or "gpu".

    Raises:
        DeviceError: "gpu" is asked for and Keras sees none.
    """

    name = "keras"

    def __init__(self, network: "keras.Model", batch_size: int, device: str = "cpu"):
        if device == "gpu":
            require_gpu()
        self.device = device
        self._network, self._batch_size = network, batch_size

    def __call__(self, batch: Floats) -> list[Floats]:
        import keras

        count = len(batch)
        if count < self._batch_size:
            filled = np.zeros((self._batch_size, *batch.shape[1:]), np.float32)
            filled[:count] = batch
            batch = filled
        with held_back(), keras.device(f"{self.device}:0"):
            outputs = self._network.predict_on_batch(batch)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        return [np.asarray(output, np.float32)[:count] for output in outputs]


class OnnxEngine:
    """Runs an exported network with onnxruntime; keras is not imported.

    Args:
        path: the ONNX file.
        num_threads: threads of one call.
        device: "cpu" or "gpu".

    Raises:
        WeightsError: the file is damaged.
        DeviceError: "gpu" is asked for and onnxruntime has none.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, num_threads: int, device: str = "cpu"):
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as failures

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        # Idle threads that spin would take the cores from decoding and detection.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = [_CUDA_PROVIDER] if device == "gpu" else ["CPUExecutionProvider"]
        if device == "gpu" and _CUDA_PROVIDER not in onnxruntime.get_available_providers():
            raise DeviceError("--device gpu: onnxruntime has no CUDA here. Run: pip install emopipe[cuda]")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers)
        except (
            failures.Fail,
            failures.InvalidGraph,
            failures.InvalidProtobuf,
            failures.NoSuchFile,
            failures.NotImplemented,
            failures.RuntimeException,
        ) as error:
            raise WeightsError(f"{path}: onnxruntime cannot load it ({error}). Delete it and run again.") from error
        if device == "gpu" and _CUDA_PROVIDER not in self._session.get_providers():
            raise DeviceError("--device gpu: onnxruntime found no usable CUDA device. Check the driver and cuDNN.")
        self.device = device
        inputs = [entry.name for entry in self._session.get_inputs()]
        if len(inputs) != 1:
            raise WeightsError(f"{path}: expected a graph with one input. Received: {', '.join(inputs)}.")
        self._input = inputs[0]

    def __call__(self, batch: Floats) -> list[Floats]:
        outputs: list[Floats] = self._session.run(None, {self._input: batch})
        return outputs


def load_keras() -> None:
    """Import keras with the settings that this package relies on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow otherwise takes the whole accelerator, and the detector needs its share.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # Its start-up banner is not for the user, and no setting reaches the first lines of it.
    with held_back(), quiet_stderr():
        import keras

    keras.config.set_image_data_format("channels_last")  # a user's keras.json may say otherwise
    # TensorFlow warns where several networks predict in one process, as those of an experiment do.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def require_gpu() -> None:
    """Raise DeviceError unless Keras sees an accelerator."""
    import keras

    try:
        found = keras.distribution.list_devices("gpu")
    except RuntimeError:  # what JAX says where there is none
        found = []
    if not found:
        raise DeviceError(
            f"--device gpu: keras ({keras.backend.backend()}) sees no GPU on this machine.\n"
            "Expected one with its driver; run: pip install emopipe[cuda], or use --device cpu."
        )


def export_onnx(network: "keras.Model", path: Path) -> None:
    """Write a network as an ONNX graph with an open batch size.

    Raises:
        WeightsError: a layer of it cannot be expressed in ONNX.
    """
    _inline_constants(network)
    with _silence(), _without_optimiser():
        network(np.zeros((1, *network.inputs[0].shape[1:]), np.float32))  # the export wants a network that has run
        try:
            network.export(path, format="onnx", verbose=False)
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            raise WeightsError(
                f"{network.name}: cannot be exported to ONNX ({error}).\nRun it with Keras instead: --device gpu, "
                "or KERAS_BACKEND=jax."
            ) from error


def _inline_constants(network: "keras.Model") -> None:
    """Normalization layers hold eager tensors, which tf2onnx takes for inputs of the graph; arrays become constants."""
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
        elif isinstance(layer, keras.Model):
            _inline_constants(layer)


def check_parity(expected: Sequence[Floats], received: Sequence[Floats], taps: Sequence[str]) -> None:
    """Refuse an exported network whose numbers are not the network's.

    Raises:
        WeightsError: a tap's largest difference is 1e-3 of its largest number or more.
    """
    for tap, wanted, given in zip(taps, expected, received, strict=True):
        if (difference := relative_difference(wanted, given)) >= PARITY_TOLERANCE:
            raise WeightsError(
                f"tap '{tap}': the exported network differs from Keras by {difference:.1e} of its largest number.\n"
                f"Expected less than {PARITY_TOLERANCE}."
            )


def relative_difference(expected: Floats, received: Floats) -> float:
    """Largest difference by the largest number expected; infinite when the shapes differ or a number is not finite."""
    if expected.shape != received.shape or not (np.isfinite(expected).all() and np.isfinite(received).all()):
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    return float(np.abs(expected - received).max(initial=0.0)) / scale


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """tf2onnx and keras report their progress and each other's deprecations; none of it is for the user."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _without_optimiser() -> Iterator[None]:
    """Leave out tf2onnx's optimiser: 4.5 GB and 8 s for ResNet50, and onnxruntime optimises the graph itself.

    Measured on two cores: 7.4 against 2.9 GB and 17 against 9 s, the same CPU-milliseconds per crop afterwards.
    """
    from tf2onnx import optimizer

    original = optimizer.optimize_graph
    optimizer.optimize_graph = lambda graph, *_, **__: graph
    try:
        yield
    finally:
        optimizer.optimize_graph = original


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what C++ libraries write to stderr nowhere; for a process whose failures come back as exceptions."""
    saved = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
