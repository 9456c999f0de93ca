"""emopipe: from affect-recognition corpora to verified feature caches, and from caches to trained heads."""

from emopipe.version import __version__

__all__ = ["__version__"]
