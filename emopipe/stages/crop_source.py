"""Crops for training, streamed from the faces cache: whole chunks in random order, read by other processes.

A chunk of 16 crops is what one disk access yields. An epoch visits every chunk that holds a frame of use once, in an
order drawn from seed and epoch; the frames meet in a pool, from which batches are drawn. Memory holds the pool and
two batches, whatever the corpus' size.
"""

import multiprocessing
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from emopipe.errors import CorruptShardError, EmopipeError, RunError
from emopipe.faces.normalisation import InputSpec, normalise
from emopipe.processes import deaf_children
from emopipe.records import CROP_SIZE_PX
from emopipe.stages.labelled import LabelledClip
from emopipe.store.reader import ShardReader
from emopipe.typing import Bools, Floats, Image, Ints

CHUNK_ROWS = 16  # as the store writes crops
POOL_FRAMES = 4096  # 113 MB of crops from 256 places of the corpus at a time
_MAX_OPEN_SHARDS = 64  # per process; opening one costs about as much as reading a chunk
_CROP_SHAPE = (CROP_SIZE_PX, CROP_SIZE_PX, 3)
_ORDER_STREAM = 2  # keeps these draws apart from others of the same seed


@dataclass(frozen=True)
class FrameTable:
    """The N frames that are used, clip by clip and in order of time.

    Attributes:
        places: shard and clip id of each clip.
        clip: (N,) int32, index into `places`.
        row: (N,) int32, row of the clip.
        targets: (N, K) float64.
    """

    places: tuple[tuple[Path, str], ...]
    clip: Ints
    row: Ints
    targets: Floats

    def __len__(self) -> int:
        return len(self.clip)

    @classmethod
    def of_clips(cls, clips: Sequence[LabelledClip]) -> "FrameTable":
        """The valid rows of labelled clips."""
        places = tuple((clip.record.path, clip.entry.clip_id) for clip in clips)
        rows = [np.flatnonzero(clip.valid).astype(np.int32) for clip in clips]
        return cls(
            places,
            np.repeat(np.arange(len(clips), dtype=np.int32), [len(each) for each in rows]),
            np.concatenate(rows),
            np.concatenate([clip.values[clip.valid] for clip in clips]),
        )

    def select(self, keep: Bools) -> "FrameTable":
        """The frames where `keep` (N,) is True."""
        return FrameTable(self.places, self.clip[keep], self.row[keep], self.targets[keep])

    def chunks(self) -> list[slice]:
        """Frames of each chunk that holds any, in order."""
        if not len(self):
            return []
        chunk = self.row // CHUNK_ROWS
        starts = np.flatnonzero((np.diff(self.clip) != 0) | (np.diff(chunk) != 0)) + 1
        edges = [0, *starts.tolist(), len(self)]
        return [slice(start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


class CropReaders:
    """Processes that read chunks of crops; a context manager. One pass at a time.

    Args:
        num_processes: how many; 0 reads in this process. What is read does not depend on it.
    """

    def __init__(self, num_processes: int = 1):
        self._local = _ChunkReader() if num_processes == 0 else None
        self._connections: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._owed = [0] * num_processes  # chunks that each process has still to hand over
        context = multiprocessing.get_context("spawn")  # fork would copy the locks of running threads
        for _ in range(num_processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            with deaf_children():
                process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def __enter__(self) -> "CropReaders":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.terminate()
            process.join()
        if self._local is not None:
            self._local.close()

    def read(self, table: FrameTable, chunks: Sequence[slice]) -> Iterator[Image]:
        """Read the frames of the chunks one chunk after the other.

        Yields:
            (n, 96, 96, 3) uint8 RGB of the n frames of each chunk, in order.

        Raises:
            ShardError: a shard is damaged or is not the one that was committed.
            RunError: a process died.
        """
        requests = [(*table.places[table.clip[chunk.start]], table.row[chunk]) for chunk in chunks]
        if self._local is not None:
            for request in requests:
                yield self._local.read(*request)
            return
        self._forget()
        num_readers = len(self._connections)
        for number in range(num_readers):
            share = requests[number::num_readers]
            self._owed[number] = len(share)
            try:
                self._connections[number].send(share)
            except OSError as error:
                raise self._died(number) from error
        for place in range(len(requests)):
            yield self._receive(place % num_readers)

    def _forget(self) -> None:
        """Take in what is left of a pass that was given up."""
        for number in range(len(self._owed)):
            while self._owed[number]:
                self._receive(number)

    def _receive(self, number: int) -> Image:
        connection = self._connections[number]
        try:
            answer = connection.recv()
            if isinstance(answer, EmopipeError):
                self._owed[number] = 0
                raise answer
            crops = np.empty((answer, *_CROP_SHAPE), np.uint8)
            connection.recv_bytes_into(crops.data.cast("B"))
        except (EOFError, OSError) as error:
            raise self._died(number) from error
        self._owed[number] -= 1
        return crops

    def _died(self, number: int) -> RunError:
        self._processes[number].join(1.0)
        return RunError(
            f"a process that reads crops ended by itself (exit code {self._processes[number].exitcode}).\n"
            "Expected it to live as long as the training; is there enough memory? The same command goes on."
        )


def shuffled_batches(
    table: FrameTable,
    readers: CropReaders,
    spec: InputSpec,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    num_frames: int | None = None,
    pool_frames: int = POOL_FRAMES,
) -> Iterator[tuple[Floats, Floats]]:
    """Batches of one epoch in an order that follows from seed and epoch alone.

    Args:
        table: the frames, each of which comes once.
        readers: read them.
        spec: what the network is fed; `normalise` makes it, as in stage one.
        batch_size: frames per batch; the last batch is as small as it must be.
        seed, epoch: of the order.
        num_frames: end the epoch after so many frames, reading no more than they need; None for all of them.
        pool_frames: crops among which a batch is drawn.

    Yields:
        (B, S, S, C) float32 and (B, K) float64 targets.
    """
    generator = np.random.default_rng([seed, _ORDER_STREAM, epoch])
    chunks = table.chunks()
    chunks = [chunks[place] for place in generator.permutation(len(chunks))]
    num_frames = min(num_frames or len(table), len(table))
    counts = np.cumsum([chunk.stop - chunk.start for chunk in chunks])
    chunks = chunks[: int(np.searchsorted(counts, num_frames)) + 1]
    pool = _Pool(max(pool_frames, batch_size) + CHUNK_ROWS, table.targets.shape[1])
    done = 0
    for chunk, crops in zip(chunks, readers.read(table, chunks), strict=True):
        pool.add(crops, table.targets[chunk])
        while len(pool) >= max(pool_frames, batch_size) and done < num_frames:
            pictures, targets = pool.draw(min(batch_size, num_frames - done), generator)
            done += len(pictures)
            yield normalise(pictures, spec), targets
    while done < num_frames:
        pictures, targets = pool.draw(min(batch_size, num_frames - done), generator)
        done += len(pictures)
        yield normalise(pictures, spec), targets


def ordered_batches(table: FrameTable, readers: CropReaders, spec: InputSpec, batch_size: int) -> Iterator[Floats]:
    """All frames in their order, as (B, S, S, C) float32; the last batch is as small as it must be."""
    waiting: list[Image] = []
    num_waiting = 0
    for crops in readers.read(table, table.chunks()):
        waiting.append(crops)
        num_waiting += len(crops)
        while num_waiting >= batch_size:
            together = np.concatenate(waiting)
            yield normalise(together[:batch_size], spec)
            waiting, num_waiting = [together[batch_size:]], num_waiting - batch_size
    if num_waiting:
        yield normalise(np.concatenate(waiting), spec)


class _Pool:
    """Crops and targets, from which batches are drawn without replacement; the arrays are made once."""

    def __init__(self, capacity: int, num_targets: int):
        self._crops = np.empty((capacity, *_CROP_SHAPE), np.uint8)
        self._targets = np.empty((capacity, num_targets))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, crops: Image, targets: Floats) -> None:
        stop = self._count + len(crops)
        self._crops[self._count : stop], self._targets[self._count : stop] = crops, targets
        self._count = stop

    def draw(self, size: int, generator: np.random.Generator) -> tuple[Image, Floats]:
        chosen = generator.choice(self._count, size, replace=False)
        crops, targets = self._crops[chosen], self._targets[chosen]
        # the rows at the end that were not drawn move into the holes that the drawn ones leave before them
        end = self._count - size
        holes = np.sort(chosen[chosen < end])
        rest = np.setdiff1d(np.arange(end, self._count), chosen)
        self._crops[holes], self._targets[holes] = self._crops[rest], self._targets[rest]
        self._count = end
        return crops, targets


class _ChunkReader:
    """Reads single chunks, with the shards used last kept open."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, ShardReader] = OrderedDict()

    def read(self, path: Path, clip_id: str, rows: Ints) -> Image:
        """The crops of `rows`, which lie in one chunk."""
        if path not in self._open:
            if len(self._open) >= _MAX_OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
            self._open[path] = ShardReader(path)
        self._open.move_to_end(path)
        start = int(rows[0]) // CHUNK_ROWS * CHUNK_ROWS
        crops, valid = self._open[path].crops(clip_id, start, start + CHUNK_ROWS)
        if int(rows[-1]) - start >= len(crops) or not valid[rows - start].all():
            raise CorruptShardError(
                f"{path}, clip '{clip_id}', rows {start} to {start + CHUNK_ROWS}: a face that was there is gone.\n"
                "Expected the shard that the run began with. Run: emopipe cache verify",
                path=path,
                clip_id=clip_id,
            )
        chosen: Image = np.ascontiguousarray(crops[rows - start])
        return chosen

    def close(self) -> None:
        for reader in self._open.values():
            reader.close()


def _serve(connection: Connection) -> None:
    """What a reading process does until the other end is closed."""
    reader = _ChunkReader()
    try:
        while True:
            for request in connection.recv():
                try:
                    crops = reader.read(*request)
                except EmopipeError as error:
                    connection.send(error)
                    break
                connection.send(len(crops))
                connection.send_bytes(crops.data.cast("B"))
    except (EOFError, OSError):
        return  # the training is over, or its process is gone
