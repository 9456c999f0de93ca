"""Writing files whole, and telling files apart by their content."""

import contextlib
import hashlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from emopipe.errors import ManifestError, StorageError

MEBIBYTE = 1 << 20
_DAY_S = 86400.0


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def media_identity(path: Path) -> str:
    """What makes two media the same: content, never a path or a date.

    A file is its size and the SHA-256 of its first, middle and last MiB, so a 4 GB video costs three reads.
    A folder of images is its sorted names and sizes.

    Args:
        path: a media file or a folder of images.

    Returns:
        "<size or number of files>-<hex sha256>".
    """
    digest = hashlib.sha256()
    if path.is_dir():
        entries = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(path) if entry.is_file())
        for name, size in entries:
            digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
        return f"{len(entries)}-{digest.hexdigest()}"
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        for offset in (0, max(0, size // 2 - MEBIBYTE // 2), max(0, size - MEBIBYTE)):
            file.seek(offset)
            digest.update(file.read(MEBIBYTE))
    return f"{size}-{digest.hexdigest()}"


def partial_path(path: Path) -> Path:
    """Where a file is written before it gets its name: same folder, hidden, one per process of any machine."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}.partial")


def is_abandoned(partial: Path) -> bool:
    """Whether nobody writes a partial file any more: its process on this machine is gone, or a day has passed."""
    owner = partial.name.split(".")[-2]
    host, _, pid = owner.rpartition("-")
    if not pid.isdigit():
        return False
    if host != _host():
        with contextlib.suppress(FileNotFoundError):
            return time.time() - partial.stat().st_mtime > _DAY_S
        return False
    try:
        os.kill(int(pid), 0)  # asks, and sends nothing
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # somebody else's, and alive
    return False


def _host() -> str:
    return socket.gethostname().replace(".", "_")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that its name means complete: written aside, flushed to disk, renamed.

    Raises:
        StorageError: the disk is full or the folder cannot be written; no partial file stays behind.
    """
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # gone after the renaming; the folder may not be one
            partial.unlink()


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON with `write_whole`."""
    write_whole(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def storage_error(path: Path, error: OSError) -> StorageError:
    """The StorageError that says what to do about an `OSError` from writing `path`."""
    reason = error.strerror or str(error)
    return StorageError(
        f"{path}: cannot be written ({reason}).\n"
        "Expected a writable folder with room to spare. What is finished is kept: free some space or choose another "
        "folder, then run the same command again.",
        path=path,
    )


def ensure_inside(root: Path, path: Path) -> Path:
    """Return `path` if it lies below `root` once links and ``..`` are resolved.

    Raises:
        ManifestError: it lies outside; an annotation file must not make the program read elsewhere.
    """
    resolved = path.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise ManifestError(f"{path}: leads outside the corpus root {root}. Expected a path below the root.", path=path)
    return path
