"""Reading a shard."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers the filters that crops are stored with
import numpy as np

from emopipe.errors import CorruptShardError, ShardError, ShardVersionError
from emopipe.store.layout import ENCODING_VERSION, ClipEntry, ShardHeader, clip_sha256, field_names, group_name
from emopipe.typing import Array


class ShardReader:
    """Reads one committed shard. A context manager; keep few open at a time.

    Raises:
        CorruptShardError: the file cannot be opened as HDF5, or (all methods) what is asked for cannot be read.
        ShardVersionError: its format is newer than this program.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise CorruptShardError(
                f"{path}: not a readable HDF5 file ({error}).\nRun: emopipe cache repair", path=path
            ) from error
        try:
            with self._guarded():
                version = str(self._file.attrs.get("encoding-version", "none"))
        except CorruptShardError:
            self._file.close()
            raise
        if version != ENCODING_VERSION:
            self._file.close()
            raise ShardVersionError(
                f"{path}: expected encoding-version {ENCODING_VERSION}. Received: {version}.\n"
                "Update emopipe, or extract again into another --cache.",
                path=path,
            )

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def config(self) -> dict[str, Any]:
        """The settings the shard was made with."""
        with self._guarded():
            return dict(json.loads(self._file.attrs["config"]))

    @property
    def header(self) -> ShardHeader:
        """Kind, name, settings and fingerprint, from the file itself."""
        with self._guarded():
            attributes = self._file.attrs
            kind = str(attributes["encoding-type"]).removeprefix("emopipe-")
            return ShardHeader(kind, str(attributes["what"]), self.config, str(attributes["fingerprint"]))

    @property
    def request(self) -> dict[str, Any]:
        """What was asked for when the shard was made."""
        with self._guarded():
            return dict(json.loads(self._file.attrs["request"]))

    def entries(self) -> list[ClipEntry]:
        """The clips as the shard itself describes them, sorted by id."""
        entries = []
        with self._guarded():
            for group in self._file.values():
                about = json.loads(group.attrs["clip"])
                about["notes"] = tuple(about["notes"])
                entries.append(ClipEntry(**about, key=group.attrs["key"], sha256=group.attrs["sha256"]))
        return sorted(entries, key=lambda entry: entry.clip_id)

    def clip_ids(self) -> list[str]:
        """Ids of the clips, sorted."""
        return [entry.clip_id for entry in self.entries()]

    def fields(self, clip_id: str) -> list[str]:
        """Names of a clip's datasets, taps as ``taps/<name>``."""
        with self._guarded(clip_id):
            return field_names(self._group(clip_id))

    def num_rows(self, clip_id: str) -> int:
        """Rows of a clip."""
        with self._guarded(clip_id):
            return int(self._group(clip_id)["valid"].shape[0])

    def read(self, clip_id: str, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Rows `start` to `stop` of one field.

        Args:
            clip_id: of the T rows of this clip.
            name: one of `fields`: "frame_index" (T,) int64 from 0; "time_s" (T,) float64 seconds; "valid" (T,) bool; of
                faces also "box" (T, 4), "landmarks" (T, 68, 2), both pixels of the frame, "score", "transform" (T, 2,
                3) and others, NaN without a face; of features "taps/<tap>" (T, D).
            start, stop: which rows; all unless said.

        Raises:
            ShardError: crops are asked for; they are handed out by `crops` alone, which says what is a face.
            CorruptShardError: there is no such clip or field, or its bytes cannot be read.
        """
        if name == "crop":
            raise ShardError(
                f"{self.path}: crops of rows without a face are zeros. Use crops(), which gives valid too."
            )
        with self._guarded(clip_id):
            return np.asarray(self._group(clip_id)[name][start:stop])

    def crops(self, clip_id: str, start: int = 0, stop: int | None = None) -> tuple[Array, Array]:
        """Crops with the flags that say which of them are faces.

        Returns:
            (N, 96, 96, 3) uint8 RGB and (N,) bool; a crop whose flag is False is zeros and stands for no face.
        """
        with self._guarded(clip_id):
            group = self._group(clip_id)
            return np.asarray(group["crop"][start:stop]), np.asarray(group["valid"][start:stop])

    def rows(self, clip_id: str, start: int = 0, stop: int | None = None) -> dict[str, Array]:
        """All fields of the rows `start` to `stop`, `valid` among them."""
        with self._guarded(clip_id):
            group = self._group(clip_id)
            return {name: np.asarray(group[name][start:stop]) for name in field_names(group)}

    def sha256(self, clip_id: str) -> str:
        """Digest of a clip's arrays as they are on disk now."""
        with self._guarded(clip_id):
            return clip_sha256(self._group(clip_id))

    def _group(self, clip_id: str) -> h5py.Group:
        return self._file[group_name(clip_id)]

    @contextmanager
    def _guarded(self, clip_id: str | None = None) -> Iterator[None]:
        """Damaged bytes come out of h5py as one of many exceptions; all of them mean that the shard cannot be read."""
        try:
            yield
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            where = f"{self.path}, clip '{clip_id}'" if clip_id is not None else str(self.path)
            raise CorruptShardError(
                f"{where}: expected what was written there. Received: {error}.\nRun: emopipe cache repair",
                path=self.path,
                clip_id=clip_id,
            ) from error
