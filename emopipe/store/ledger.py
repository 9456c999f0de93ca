"""The ledger: what happened to every clip, one JSONL file per process, merged on read.

The latest row per clip key wins. A failed clip is a row here and never zeros in the data.
"""

import json
import os
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from emopipe.files import storage_error
from emopipe.provenance import utc_now


@dataclass(frozen=True)
class LedgerRow:
    """What happened to one clip under one set of settings.

    Attributes:
        key: the clip key.
        clip_id, side: the clip.
        step: the step that finished or failed ("labels", "decode", "detect", "align", "faces", "features").
        status: "done" or "failed".
        message: for a failure what was wrong; for a finished clip its notes, joined; may be empty.
        error: class name of the exception, "" when done.
        frame_index: the frame at which it failed, None when it is not about a frame.
        time: UTC, set when the row is written.
    """

    key: str
    clip_id: str
    side: str
    step: str
    status: Literal["done", "failed"]
    message: str = ""
    error: str = ""
    frame_index: int | None = None
    time: str = ""


class Ledger:
    """The ledger of one cache.

    Args:
        folder: the cache's folder of ledger files.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._seen: dict[Path, int] = {}
        self._own = folder / f"{utc_now().replace(':', '')}-{socket.gethostname()}-{os.getpid()}.jsonl"

    def write(self, rows: Iterable[LedgerRow]) -> None:
        """Append rows to this process's file; they are on disk when this returns.

        Raises:
            StorageError: the file cannot be written.
        """
        lines = "".join(json.dumps({**asdict(row), "time": utc_now()}, sort_keys=True) + "\n" for row in rows)
        if not lines:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._own.open("a") as file:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(self._own, error) from error

    def news(self) -> list[LedgerRow]:
        """Rows that other processes wrote since the last call; everything they ever wrote on the first."""
        rows = []
        for path in sorted(self._folder.glob("*.jsonl")):
            seen = self._seen.get(path, 0)
            if path == self._own or path.stat().st_size == seen:
                continue
            with path.open("rb") as file:
                file.seek(seen)
                complete = file.read().rpartition(b"\n")[0]
            self._seen[path] = seen + len(complete) + bool(complete)
            rows += [row for line in complete.splitlines() if (row := _row(line)) is not None]
        return rows

    def read(self) -> dict[str, LedgerRow]:
        """Clip key -> its latest row, over all processes. A last line that was cut off by a kill is not a row."""
        latest: dict[str, LedgerRow] = {}
        for path in sorted(self._folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                row = _row(line)
                if row is not None and (row.key not in latest or row.time >= latest[row.key].time):
                    latest[row.key] = row
        return latest


def _row(line: str | bytes) -> LedgerRow | None:
    """One row, or None where a kill cut the line off."""
    try:
        return LedgerRow(**json.loads(line))
    except (ValueError, TypeError):
        return None
