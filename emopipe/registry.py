"""A registry maps a name to a lazy ``"module:attribute"`` string, so that listing names imports nothing."""

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from emopipe.errors import ConfigError, MissingDependencyError, UnknownNameError

_MOST_LISTED = 20  # in a message; more would bury the rest of it


class Registry(Mapping[str, str]):
    """Names of one kind, each with the place of its implementation.

    Args:
        kind: what the names are, in the singular ("detector"); used in messages.
        entries: name -> ``"module:attribute"``.

    Examples:
        >>> numbers = Registry("number", {"pi": "math:pi"})
        >>> round(numbers.load("pi"), 2)
        3.14
        >>> numbers.load("pie")
        Traceback (most recent call last):
        emopipe.errors.UnknownNameError: Unknown number 'pie'. Did you mean 'pi'? Known: pi.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]):
        self.kind = kind
        self._entries: dict[str, str] = {}
        for name, target in entries.items():
            self.register(name, target)

    def register(self, name: str, target: str) -> None:
        """Add one name; a name that is taken is refused."""
        if name in self._entries:
            raise ConfigError(f"{self.kind} '{name}' is registered already, as {self._entries[name]}.")
        self._entries[name] = target

    def load(self, name: str) -> Any:
        """Import and return what `name` stands for.

        Raises:
            UnknownNameError: the name is not registered; the message lists the known names and the nearest.
            MissingDependencyError: a package that the implementation needs is not installed.
        """
        module_name, _, attribute = self[name].partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("emopipe"):
                raise  # a programming error of ours, not a missing package
            raise MissingDependencyError(
                f"{self.kind} '{name}' needs the package '{error.name}', which is not installed.\n"
                f"Run: pip install {error.name}"
            ) from error
        return getattr(module, attribute)

    def __getitem__(self, name: str) -> str:
        if name not in self._entries:
            nearest = difflib.get_close_matches(name, self._entries, n=1)
            hint = f"Did you mean '{nearest[0]}'? " if nearest else ""
            known = f"Known: {', '.join(sorted(self._entries))}."
            if len(self._entries) > _MOST_LISTED:
                known = f"There are {len(self._entries)}; see: emopipe list {self.kind}s"
            raise UnknownNameError(f"Unknown {self.kind} '{name}'. {hint}{known}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
