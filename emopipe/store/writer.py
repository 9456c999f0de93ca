"""Writing a shard: one writer, whole clips, verified, then named. The final name means complete."""

import errno
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emopipe.errors import CorruptShardError
from emopipe.files import partial_path, sha256_of_file, storage_error, write_json
from emopipe.processes import held_back
from emopipe.provenance import library_versions, utc_now
from emopipe.store.layout import (
    ENCODING_VERSION,
    LARGEST_FLOAT16,
    ClipDigest,
    ClipEntry,
    ShardHeader,
    clip_sha256,
    field_names,
    group_name,
    shard_stem,
    storage_options,
)
from emopipe.store.reader import ShardReader
from emopipe.typing import Array

_LARGEST_PADDING = 0.1  # of a field's rows
_numbers = itertools.count()  # a process may have several shards open


class ShardWriter:
    """Writes one shard; rows of a clip may come in pieces, clips one after the other or interleaved.

    Nothing has its final name before `commit`, which flushes, closes, reopens, verifies and renames. Arrays named
    ``taps/...`` are stored as float16 unless a value does not fit; that tap then becomes float32 in this shard.

    Args:
        folder: the cache.
        header: kind, name, settings.
        request: what was asked for (dataset, root, options), so that `emopipe cache repair` can ask again.

    Raises (all methods):
        StorageError: the disk is full or the folder is not writable; the partial file is removed.
    """

    def __init__(self, folder: Path, header: ShardHeader, request: Mapping[str, Any] | None = None):
        self.header = header
        self._request = dict(request or {})
        self._folder = folder
        name = f"{header.kind}-{header.what}-{header.fingerprint[:10]}-{next(_numbers)}.h5"
        self._partial = partial_path(folder / name)
        self._entries: dict[str, ClipEntry] = {}
        self._digests: dict[str, ClipDigest] = {}
        self._wide_taps: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._disk = _Disk(self._partial)
        except OSError as error:
            raise storage_error(folder, error) from error
        with self._guarded():
            self._file = h5py.File(self._disk, "w", libver="v110")
            self._file.attrs.update(
                {
                    "encoding-type": f"emopipe-{header.kind}",
                    "encoding-version": ENCODING_VERSION,
                    "what": header.what,
                    "request": json.dumps(self._request, sort_keys=True),
                    "config": json.dumps(header.config, sort_keys=True),
                    "fingerprint": header.fingerprint,
                    "libraries": json.dumps(library_versions(), sort_keys=True),
                    "created": utc_now(),
                }
            )

    @property
    def num_clips(self) -> int:
        """Clips that are complete."""
        return len(self._entries)

    @property
    def num_frames(self) -> int:
        """Rows of the clips that are complete."""
        return sum(entry.num_frames for entry in self._entries.values())

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the clips that are complete."""
        return tuple(entry.key for entry in self._entries.values())

    def append(self, clip_id: str, rows: Mapping[str, Array]) -> None:
        """Add consecutive rows to a clip's fields; every array has the same first length."""
        with self._guarded():
            group = self._file.require_group(group_name(clip_id))
            digest = self._digests.setdefault(clip_id, ClipDigest())
            for name, array in rows.items():
                self._append_field(group, digest, name, array)

    def finish_clip(self, entry: ClipEntry) -> None:
        """Mark a clip complete; its digest is computed here."""
        with self._guarded():
            sha256 = self._digests.pop(entry.clip_id).hexdigest()
            group = self._file[group_name(entry.clip_id)]
            self._fit_chunks(group)
            about = {name: value for name, value in asdict(entry).items() if name not in ("key", "sha256")}
            group.attrs.update({"clip": json.dumps(about, sort_keys=True), "key": entry.key, "sha256": sha256})
            self._entries[entry.clip_id] = replace(entry, sha256=sha256)

    def discard_clip(self, clip_id: str) -> None:
        """Drop the rows of a clip that failed."""
        with self._guarded():
            self._digests.pop(clip_id, None)
            if group_name(clip_id) in self._file:
                del self._file[group_name(clip_id)]

    def commit(self) -> Path | None:
        """Give the shard its final name, then write its commit record.

        Returns:
            The shard's path, or None when it holds no complete clip (the partial file is then removed).

        Raises:
            CorruptShardError: what was read back is not what was written.
        """
        if not self._entries:
            self.abort()
            return None
        for clip_id in list(self._digests):
            self.discard_clip(clip_id)
        with self._guarded():
            self._flush()
            self._verify()
            sha256 = sha256_of_file(self._partial)
            path = self._folder / f"{shard_stem(self.header, self.keys)}.h5"
            self._replace(path)
        write_record(path, self.header, list(self._entries.values()), self._request, sha256)
        return path

    def abort(self) -> None:
        """Remove the partial file."""
        self._disk.error = self._disk.error or OSError(errno.ECANCELED, "given up")  # what is left need not be written
        with held_back():
            # A file with holes in it may not be fit to be closed; it is deleted either way.
            with suppress(OSError, RuntimeError, ValueError):
                self._file.close()
            with suppress(OSError, ValueError):
                self._disk.close()
            self._partial.unlink(missing_ok=True)

    def _append_field(self, group: h5py.Group, digest: ClipDigest, name: str, array: Array) -> None:
        is_tap = name.startswith("taps/")
        if is_tap:
            array = self._tap_rows(group, digest, name, array)
        if name not in group:
            shape = array.shape[1:]
            options = storage_options(name, array)
            group.create_dataset(name, shape=(0, *shape), maxshape=(None, *shape), dtype=array.dtype, **options)
        dataset = group[name]
        start = dataset.shape[0]
        dataset.resize(start + len(array), axis=0)
        dataset[start:] = array
        digest.update(name, array)

    def _fit_chunks(self, group: h5py.Group) -> None:
        """Store the fields again whose last chunk pads more than a tenth of their rows, in the room of the old ones."""
        padded = {}
        for name in field_names(group):
            num_rows, chunk_rows = len(group[name]), group[name].chunks[0]
            # The padding of crops is packed to nothing.
            if name != "crop" and -num_rows % chunk_rows > _LARGEST_PADDING * num_rows:
                padded[name] = group[name][:]
                del group[name]  # all of them before the first is stored: one hole, not many
        for name, rows in padded.items():
            self._store_whole(group, name, rows)

    def _store_whole(self, group: h5py.Group, name: str, rows: Array) -> None:
        group.create_dataset(name, data=rows, **storage_options(name, rows, is_whole=True))

    def _tap_rows(self, group: h5py.Group, digest: ClipDigest, name: str, array: Array) -> Array:
        """The rows in the dtype this tap has in this shard; widens what is on disk when a value demands it."""
        if name in self._wide_taps:
            return array.astype(np.float32, copy=False)
        largest = np.nanmax(np.abs(array), initial=0.0)  # NaN marks rows without a face
        if largest <= LARGEST_FLOAT16:
            return array.astype(np.float16, copy=False)
        self._wide_taps.add(name)
        for clip_id in [*self._entries, *self._digests]:
            other = self._file[group_name(clip_id)]
            if name in other:
                self._widen(clip_id, other, name)
        return array.astype(np.float32, copy=False)

    def _widen(self, clip_id: str, group: h5py.Group, name: str) -> None:
        rows = group[name][:].astype(np.float32)
        del group[name]
        if clip_id in self._digests:
            group.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]), **storage_options(name, rows))
            self._digests[clip_id].restart(name)
            self._digests[clip_id].update(name, rows)
        else:
            self._store_whole(group, name, rows)
            sha256 = clip_sha256(group)
            group.attrs["sha256"] = sha256
            self._entries[clip_id] = replace(self._entries[clip_id], sha256=sha256)

    def _flush(self) -> None:
        self._file.close()
        self._disk.close()

    def _verify(self) -> None:
        with ShardReader(self._partial) as reader:
            for entry in self._entries.values():
                if reader.sha256(entry.clip_id) != entry.sha256:
                    raise CorruptShardError(
                        f"{self._partial}, clip '{entry.clip_id}': what was read back is not what was written.\n"
                        "The disk or the memory of this machine is at fault; the shard was not kept.",
                        path=self._partial,
                        clip_id=entry.clip_id,
                    )

    def _replace(self, path: Path) -> None:
        self._partial.replace(path)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn a failed write into a StorageError, with nothing left behind; Ctrl-C waits."""
        with held_back(), self._cleared_away():
            yield

    @contextmanager
    def _cleared_away(self) -> Iterator[None]:
        try:
            yield
            if self._disk.error is not None:
                raise self._disk.error
        except CorruptShardError:
            self.abort()
            raise
        except Exception as error:
            # After a failed write HDF5 may stumble over what it does not find again.
            cause = self._disk.error or error
            if not isinstance(cause, OSError):
                raise
            self.abort()
            raise storage_error(self._folder, cause) from error


class _Disk:
    """The partial file as HDF5 sees it: one whose writes never fail.

    HDF5 keeps what it could not write, tries again whenever something is closed, and takes the process down with it in
    the end. So it is told that all is well, and `ShardWriter` looks at `error` after every call.
    """

    def __init__(self, path: Path):
        self._file = path.open("w+b", buffering=0)
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self.error is None:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size) or b""

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer) or 0

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Have it all on disk, or raise why it is not."""
        with self._file:
            if self.error is not None:
                raise self.error
            os.fsync(self._file.fileno())


def write_record(
    path: Path, header: ShardHeader, entries: list[ClipEntry], request: Mapping[str, Any], sha256: str = ""
) -> None:
    """Write the commit record of a shard that has its final name.

    Args:
        path, header, entries, request: the shard and what it holds.
        sha256: of the whole file; without it `Cache.verify` sees only changes in the arrays of the clips.
    """
    stat = path.stat()
    write_json(
        path.with_suffix(".json"),
        {
            "kind": header.kind,
            "what": header.what,
            "fingerprint": header.fingerprint,
            "config": dict(header.config),
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "sha256": sha256,
            "request": dict(request),
            "clips": [asdict(entry) for entry in entries],
        },
    )
