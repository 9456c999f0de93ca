"""emopipe: from affect-recognition corpora to verified feature caches, and from caches to trained heads.

What scripts and notebooks need is here, by name; everything else is imported from its own module. A name loads its
module when it is first used, so that `import emopipe` is quick and starts no engine.
"""

import importlib
from typing import TYPE_CHECKING, Any

from emopipe.version import __version__ as __version__

if TYPE_CHECKING:
    from emopipe.datasets.adapter import load_adapter
    from emopipe.errors import EmopipeError
    from emopipe.metrics import concordance
    from emopipe.stages.extract import extract
    from emopipe.stages.fusion import evaluate
    from emopipe.stages.predict import load_predictor
    from emopipe.stages.rnn_config import TrainRnnConfig
    from emopipe.stages.spec import ExtractSpec
    from emopipe.stages.train_rnn import train_rnn
    from emopipe.store.cache import Cache

__all__ = [
    "Cache",
    "EmopipeError",
    "ExtractSpec",
    "TrainRnnConfig",
    "concordance",
    "evaluate",
    "extract",
    "load_adapter",
    "load_predictor",
    "train_rnn",
]

_MODULES = {
    "Cache": "emopipe.store.cache",
    "EmopipeError": "emopipe.errors",
    "ExtractSpec": "emopipe.stages.spec",
    "TrainRnnConfig": "emopipe.stages.rnn_config",
    "concordance": "emopipe.metrics",
    "evaluate": "emopipe.stages.fusion",
    "extract": "emopipe.stages.extract",
    "load_adapter": "emopipe.datasets.adapter",
    "load_predictor": "emopipe.stages.predict",
    "train_rnn": "emopipe.stages.train_rnn",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'emopipe' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
