"""What a shard looks like inside: names, chunks, digests.

A shard (encoding-version 1) is one HDF5 file. Root attributes: ``encoding-type`` ("emopipe-faces", "emopipe-features",
"emopipe-audio"), ``encoding-version``, ``what``, ``config`` (JSON), ``request`` (JSON), ``fingerprint``, ``libraries``
(JSON), ``created`` (UTC). One group per clip, named after the clip (`group_name`), with one dataset per field, T rows
each, and the attributes ``clip`` (JSON: the fields of `ClipEntry`), ``key`` and ``sha256`` (of all arrays, see
`ClipDigest`).
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from emopipe.typing import Array

_SHARD_NAME = re.compile(r"(faces|features|audio)-.+-[0-9a-f]{10}-[0-9a-f]{12}\.h5")

ENCODING_VERSION = "1"
LARGEST_FLOAT16 = 60_000.0  # float16 ends at 65,504; headroom so that later arithmetic in it does not overflow
_CHUNK_BYTES = 1 << 15  # small fields; a 75-frame clip must not be padded to megabytes
_TAP_CHUNK_BYTES = 1 << 18
_CROP_CHUNK_ROWS = 16  # 442 kB before compression


@dataclass(frozen=True)
class ShardHeader:
    """What a shard holds and with which settings it was made.

    Attributes:
        kind: "faces", "features" or "audio".
        what: a short name for people, part of the file name ("resnet50").
        config: JSON-ready settings.
        fingerprint: hex digest of the settings; never of the clips.
    """

    kind: str
    what: str
    config: Mapping[str, Any]
    fingerprint: str


@dataclass(frozen=True)
class ClipEntry:
    """One clip of a shard as its commit record lists it.

    Attributes:
        key: the clip key.
        clip_id, side: the clip.
        num_frames, num_valid: rows, and rows with a face.
        sha256: digest of the clip's arrays.
        notes: plain sentences on what was noticed (counts that disagree, for example).
    """

    key: str
    clip_id: str
    side: str
    num_frames: int
    num_valid: int
    sha256: str = ""
    notes: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)


def group_name(clip_id: str) -> str:
    """The HDF5 group of a clip: its id with slashes and undecodable bytes percent-encoded.

    Examples:
        >>> group_name("12ab/utterance_1.mp4")
        '12ab%2Futterance_1.mp4'
    """
    name = clip_id.replace("%", "%25").replace("/", "%2F")
    if name in (".", ""):
        name = "%2E"
    return "".join(f"%{ord(char) - 0xDC00:02X}" if 0xDC80 <= ord(char) <= 0xDCFF else char for char in name)


class ClipDigest:
    """SHA-256 over a clip's arrays, fed piece by piece, independent of how the rows were cut into pieces."""

    def __init__(self) -> None:
        self._parts: dict[str, Any] = {}

    def update(self, name: str, rows: Array) -> None:
        """Add consecutive `rows` of the field `name`."""
        if name not in self._parts:
            self._parts[name] = hashlib.sha256(f"{name} {rows.dtype.str} {rows.shape[1:]}".encode())
        self._parts[name].update(np.ascontiguousarray(rows).data)

    def restart(self, name: str) -> None:
        """Forget a field, because its dtype changes."""
        self._parts.pop(name, None)

    def hexdigest(self) -> str:
        """Digest of all fields, in the order of their names."""
        return hashlib.sha256(
            "".join(self._parts[name].hexdigest() for name in sorted(self._parts)).encode()
        ).hexdigest()


def field_names(group: h5py.Group) -> list[str]:
    """Names of a clip's datasets, taps as ``taps/<name>``, sorted."""
    names: list[str] = []
    group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(names)


def clip_sha256(group: h5py.Group) -> str:
    """`ClipDigest` of the datasets of one clip's group, read in pieces."""
    digest = ClipDigest()
    for name in field_names(group):
        dataset = group[name]
        step = max(dataset.chunks[0], (1 << 22) // max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))))
        for start in range(0, max(1, dataset.shape[0]), step):
            digest.update(name, dataset[start : start + step])
    return digest.hexdigest()


def shard_stem(header: ShardHeader, keys: tuple[str, ...]) -> str:
    """File name of a shard without its ending."""
    clips = hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()
    return f"{header.kind}-{header.what}-{header.fingerprint[:10]}-{clips[:12]}"


def is_shard_name(name: str) -> bool:
    """Whether a file is called as `shard_stem` calls shards."""
    return _SHARD_NAME.fullmatch(name) is not None


def storage_options(name: str, array: Array, *, is_whole: bool = False) -> dict[str, Any]:
    """Chunk shape, compression and checksum of a field.

    Every chunk carries a checksum of its compressed bytes, so that a damaged one is an error wherever it is read, and
    never reaches the decompressor, which trusts its input and takes the process down.

    Args:
        name: of the field.
        array: rows of it.
        is_whole: there will be no further rows. HDF5 stores whole chunks, so these then share the rows evenly.
    """
    row_bytes = max(1, array.dtype.itemsize * int(np.prod(array.shape[1:])))
    if name == "crop":
        # Bit planes, then Zstd: 0.85 of the raw size on real faces where LZ4 alone reaches 1.00; 0.12 ms per frame.
        packing = hdf5plugin.Bitshuffle(cname="zstd", clevel=1)
        return {"chunks": (_CROP_CHUNK_ROWS, *array.shape[1:]), "fletcher32": True, **packing}
    budget = _TAP_CHUNK_BYTES if name.startswith("taps/") else _CHUNK_BYTES
    rows = max(1, min(1024, budget // row_bytes))
    if is_whole and len(array):
        rows = math.ceil(len(array) / math.ceil(len(array) / rows))
    return {"chunks": (rows, *array.shape[1:]), "fletcher32": True}
