"""Steps that overlap: generators with threads between them, and a clock that knows which step is the slow one."""

import atexit
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_POLL_S = 0.1


class _End:
    def __init__(self, error: BaseException | None = None):
        self.error = error


class Prefetch(Iterator[Item]):
    """Iterates over `items` in a thread of its own, which starts now and runs at most `depth` items ahead.

    An exception of the iteration is raised by ``next``, at the place of the item it prevented. `close` ends the thread
    early, and closes `items` when that is a generator; at the latest it is called before the interpreter ends, which
    aborts the process where a thread is still inside a library of C++.

    Examples:
        >>> list(Prefetch(range(3), 2, "numbers"))
        [0, 1, 2]
    """

    def __init__(self, items: Iterable[Item], depth: int, name: str):
        self._items = items
        self._ready: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __next__(self) -> Item:
        if self._stop.is_set():
            raise StopIteration
        item = self._ready.get()
        if isinstance(item, _End):
            self.close()
            if item.error is not None:
                raise item.error
            raise StopIteration
        return item

    def close(self) -> None:
        """End the thread; what it had ready is dropped."""
        self._stop.set()
        self._thread.join()
        atexit.unregister(self.close)

    def _put(self, item: Item | _End) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def _work(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
            self._put(_End())
        except BaseException as error:  # noqa: BLE001  handed over, and raised where the items are consumed
            self._put(_End(error))
        finally:
            _close(self._items)


class StepClock:
    """Seconds that each step was busy itself, waiting for other steps left out.

    Attributes:
        seconds: step -> seconds.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def step(
        self, name: str, function: Callable[[Iterator[Item]], Iterable[Result]], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Iterate over ``function(items)``, counting the time inside `function` but not the time inside `items`.

        An exception that arises here carries the step's name as ``error.step``.
        """
        waited_s = 0.0

        def source() -> Iterator[Item]:
            nonlocal waited_s
            iterator = iter(items)
            try:
                while True:
                    start = time.perf_counter()
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                    finally:
                        waited_s += time.perf_counter() - start
                    yield item
            finally:
                _close(iterator)

        upstream = source()
        results = iter(function(upstream))
        try:
            while True:
                start, before_s = time.perf_counter(), waited_s
                try:
                    result = next(results)
                except StopIteration:
                    return
                except Exception as error:
                    if not hasattr(error, "step"):
                        error.step = name  # type: ignore[attr-defined]
                    raise
                finally:
                    self.seconds[name] += time.perf_counter() - start - (waited_s - before_s)
                yield result
        finally:
            _close(results)
            _close(upstream)

    def source(self, name: str, items: Iterable[Result]) -> Iterator[Result]:
        """Iterate over `items`, counting all of the time inside them."""
        return self.step(name, lambda _: items, ())

    def add(self, name: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self.seconds[name] += seconds


def _close(items: object) -> None:
    """Close a generator or a `Prefetch`; other iterables need nothing."""
    if close := getattr(items, "close", None):
        close()
