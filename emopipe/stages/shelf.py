"""Finished clips of one kind on their way into shards."""

import time
from collections.abc import Mapping

from emopipe.processes import held_back
from emopipe.stages.clip_queue import Job
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.ledger import LedgerRow
from emopipe.store.writer import ShardWriter
from emopipe.typing import Array

MAX_SHARD_FRAMES = 20_000  # 0.4 GB of crops: what one reader opens at a time
MAX_SHARD_S = 300.0  # a kill loses at most five minutes of work


class Shelf:
    """Collects clips in an open shard, commits it when it is full or old, then tells the ledger and frees the claims.

    Args:
        job: the extraction.
        header: of the shards.
    """

    def __init__(self, job: Job, header: ShardHeader):
        self._job, self._header = job, header
        self._request = job.spec.to_request()
        self._writer: ShardWriter | None = None
        self._entries: list[ClipEntry] = []
        self._opened = 0.0

    def append(self, clip_id: str, rows: Mapping[str, Array]) -> None:
        """Add consecutive rows of a clip."""
        start = time.perf_counter()
        with held_back():  # a new writer is known before anything is raised
            if self._writer is None:
                self._writer = ShardWriter(self._job.cache.folder, self._header, self._request)
                self._opened = start
            self._writer.append(clip_id, rows)
        self._job.clock.add("write", time.perf_counter() - start)

    def finish(self, entry: ClipEntry) -> None:
        """Mark a clip complete; the shard is committed when it is full."""
        if self._writer is None:
            raise ValueError(f"clip '{entry.clip_id}' is finished before it has rows")
        self._writer.finish_clip(entry)
        self._entries.append(entry)
        is_old = time.perf_counter() - self._opened > MAX_SHARD_S
        if is_old or self._writer.num_frames >= MAX_SHARD_FRAMES:
            self.commit()

    def discard(self, clip_id: str) -> None:
        """Drop the rows of a clip that failed."""
        if self._writer is not None:
            self._writer.discard_clip(clip_id)

    def commit(self) -> None:
        """Give the open shard its final name, if there is one."""
        if self._writer is None:
            return
        start = time.perf_counter()
        with held_back():  # shard, record, ledger and claims, or none of them
            writer, self._writer = self._writer, None
            entries, self._entries = self._entries, []
            writer.commit()
            self._job.cache.ledger.write(done_row(entry, self._header.kind) for entry in entries)
            self._job.claims.release(entry.key for entry in entries)
        self._job.clock.add("write", time.perf_counter() - start)

    def abort(self) -> None:
        """Drop the open shard; committed ones stay."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None


def done_row(entry: ClipEntry, kind: str) -> LedgerRow:
    """The ledger row of a committed clip."""
    return LedgerRow(entry.key, entry.clip_id, entry.side, kind, "done", "; ".join(entry.notes))


def reconcile(job: Job) -> None:
    """Write the done rows of the plan's clips that a kill between commit and ledger left out."""
    known = job.cache.ledger.read()
    keys = {key for planned in job.plan.clips for key in (planned.faces_key, planned.features_key, planned.audio_key)}
    job.cache.ledger.write(
        done_row(entry, record.header.kind)
        for key, (record, entry) in job.queue.committed.items()
        if key in keys and (key not in known or known[key].status != "done")
    )
