"""What made a file: versions of this package and of the libraries under it, the machine, the time."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime

from emopipe.version import __version__

_LIBRARIES = (
    "av",
    "dlib-bin",
    "dlib",
    "h5py",
    "jax",
    "keras",
    "librosa",
    "matplotlib",
    "mtcnn",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python",
    "opencv-python-headless",
    "scipy",
    "soxr",
    "tensorflow",
    "torch",
)


def library_versions() -> dict[str, str]:
    """Name -> version of emopipe and of every library whose version can change a number. Imports none of them."""
    versions = {"emopipe": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def utc_now() -> str:
    """The time as ISO 8601 with microseconds, in UTC; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def num_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, str | int]:
    """A few words about the computer, for result tables."""
    return {"system": platform.system(), "processor": platform.machine(), "cores": num_cores()}
