"""Claims: how several processes share one cache without doing a clip twice.

A claim is a file that can be created only once (`O_EXCL`), named after the key it stands for. A thread touches the
claims of its process every few seconds; a claim that was not touched for a minute, or whose process on this machine is
gone, is stale and may be taken over.
"""

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from emopipe.errors import StorageError
from emopipe.files import storage_error

HEARTBEAT_S = 10.0
STALE_AFTER_S = 60.0


class Claims:
    """The claims that this process holds in one cache. A context manager: leaving it releases them all.

    Args:
        folder: the cache's folder of claim files.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="claims", daemon=True)

    def __enter__(self) -> "Claims":
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(self._folder, error) from error
        self._heart.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._heart.join()
        self.release(list(self._held))

    def acquire(self, keys: Iterable[str]) -> bool:
        """Claim all of `keys`, or none of them when another process holds one."""
        taken: list[str] = []
        for key in keys:
            if not (self._create(key) or (self._remove_stale(key) and self._create(key))):
                self.release(taken)
                return False
            taken.append(key)
        return True

    def remove_stale(self) -> None:
        """Remove the claims that dead processes left, those of clips that nobody asks for again among them."""
        for path in sorted(self._folder.glob("*.claim")):
            self._remove_stale(path.stem)

    def release(self, keys: Iterable[str]) -> None:
        """Give claims back; keys that are not held are ignored."""
        for key in keys:
            if key in self._held:
                self._held.discard(key)
                with self._lock(), contextlib.suppress(FileNotFoundError):
                    # After this process was suspended for a minute it may be another's.
                    if self._path(key).read_text() == _owner():
                        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.claim"

    def _create(self, key: str) -> bool:
        try:
            descriptor = os.open(self._path(key), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        except OSError as error:
            raise storage_error(self._path(key), error) from error
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(_owner())
        except OSError as error:
            self._path(key).unlink(missing_ok=True)
            raise storage_error(self._path(key), error) from error
        self._held.add(key)
        return True

    def _remove_stale(self, key: str) -> bool:
        """Whether the way is free, after a stale claim was removed.

        Judging and removing happen under a lock, so that of several processes one removes. A claim that is gone is left
        alone: what has the name by then may be somebody's fresh one, which is made without the lock.
        """
        with self._lock():
            try:
                if not _is_stale(self._path(key)):
                    return False
            except FileNotFoundError:
                return True
            self._path(key).unlink(missing_ok=True)
            return True

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        path = self._folder / ".lock"
        try:
            file = path.open("w")
        except OSError as error:
            raise storage_error(path, error) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            for key in list(self._held):
                try:
                    os.utime(self._path(key))
                except OSError:
                    continue  # released, or taken over after this process was suspended for a minute


def _owner() -> str:
    """This process, as its claims name it."""
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": _process_start(os.getpid())})


def _is_stale(path: Path) -> bool:
    try:
        with path.open() as file:  # age and owner of one and the same file, whatever gets its name meanwhile
            age_s = time.time() - os.fstat(file.fileno()).st_mtime
            content = file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}).", path=path) from error
    if age_s > STALE_AFTER_S:
        return True
    try:
        owner = json.loads(content)
    except ValueError:
        return False  # its owner is between creating and writing it, or died there: the age decides
    if owner["host"] != socket.gethostname():
        return False
    return bool(_process_start(owner["pid"]) != owner["start"])


def _process_start(pid: int) -> str | None:
    """When a process of this machine started, in clock ticks since boot; None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else "unknown"  # without /proc only the age decides
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else fields[19]  # a zombie does no work
