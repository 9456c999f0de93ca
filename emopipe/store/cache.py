"""A cache: a folder of shards with their commit records, claims, ledger, kept weights and remembered media identities.

What lies where:

    <cache>/<kind>-<what>-<fingerprint>-<clips>.h5     a shard
    <cache>/<kind>-<what>-<fingerprint>-<clips>.json   its commit record
    <cache>/claims/<key>.claim     <cache>/ledger/*.jsonl
    <cache>/weights/<digest>.keras <cache>/media.jsonl
"""

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emopipe.errors import CorruptShardError, ShardError, ShardMismatchError, ShardVersionError, StorageError
from emopipe.files import is_abandoned, media_identity, sha256_of_file, storage_error, write_json
from emopipe.store.claims import Claims
from emopipe.store.layout import ClipEntry, ShardHeader, is_shard_name
from emopipe.store.ledger import Ledger
from emopipe.store.reader import ShardReader
from emopipe.store.writer import ShardWriter, write_record


@dataclass(frozen=True)
class ShardRecord:
    """The commit record of one shard.

    Attributes:
        path: the shard.
        header: kind, name, settings and fingerprint.
        size, mtime_ns: of the shard when it was committed.
        sha256: of the whole file, "" when it was not noted.
        request: what was asked for when it was made.
        entries: its clips.
    """

    path: Path
    header: ShardHeader
    size: int
    mtime_ns: int
    sha256: str
    request: Mapping[str, Any]
    entries: tuple[ClipEntry, ...]

    @property
    def is_as_committed(self) -> bool:
        """Whether the shard still has the size and time of its record; if not, its bytes must be hashed again."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True)
class Damage:
    """What is wrong with a shard, and which of its clips must be made again; none when only the file around them is."""

    record: ShardRecord
    lost: tuple[ClipEntry, ...]
    reason: str


class Cache:
    """Reads what a cache holds. Writing goes through `ShardWriter`.

    Args:
        folder: the cache; it is created by the first write.

    Examples:
        >>> from pathlib import Path
        >>> from emopipe import Cache
        >>> cache = Cache(Path("cache"))
        >>> for record in cache.records("faces"):
        ...     with cache.open(record) as shard:
        ...         for clip_id in shard.clip_ids():
        ...             time_s = shard.read(clip_id, "time_s")
        ...             crops, valid = shard.crops(clip_id)
        ...             print(clip_id, time_s.shape, crops.shape, valid.dtype)
        2-25-320x240 (50,) (50, 96, 96, 3) bool
        video3_2 (50,) (50, 96, 96, 3) bool
        >>> [record] = cache.records("features")
        >>> with cache.open(record) as shard:
        ...     shard.read("video3_2", "taps/dense").shape
        (50, 300)
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.ledger = Ledger(folder / "ledger")
        self._records: dict[str, ShardRecord] = {}
        self._identities: dict[str, tuple[list[int], str]] | None = None

    @property
    def weights_folder(self) -> Path:
        """Where the networks that made features are kept."""
        return self.folder / "weights"

    def claims(self) -> Claims:
        """A new holder of claims on this cache."""
        return Claims(self.folder / "claims")

    def records(self, kind: str | None = None, fingerprint: str | None = None) -> list[ShardRecord]:
        """Commit records, sorted by name. Only files that appeared since the last call are read.

        Args:
            kind: "faces", "features" or "audio"; None for all.
            fingerprint: of the settings, whole; None for all.

        Raises:
            ShardError: a commit record is damaged.
        """
        names = {entry.name for entry in os.scandir(self.folder)} if self.folder.is_dir() else set()
        for name in names - self._records.keys():
            if name.endswith(".json") and not name.startswith("."):
                with suppress(FileNotFoundError):  # another process dropped it in this moment
                    self._records[name] = _read_record(self.folder / name)
        for name in self._records.keys() - names:
            del self._records[name]
        return [
            record
            for _, record in sorted(self._records.items())
            if kind in (None, record.header.kind) and fingerprint in (None, record.header.fingerprint)
        ]

    def find(self, kind: str, fingerprint: str) -> dict[str, tuple[ShardRecord, ClipEntry]]:
        """Clip key -> where the clip lies, over all shards made with these settings."""
        return {entry.key: (record, entry) for record in self.records(kind, fingerprint) for entry in record.entries}

    def open(self, record: ShardRecord) -> ShardReader:
        """Open a shard whose settings are those of its record.

        Raises:
            ShardMismatchError: the file was made with other settings than its record says.
            CorruptShardError: the file cannot be read.
            ShardVersionError: its format is newer than this program.
        """
        reader = ShardReader(record.path)
        if reader.config != record.header.config:
            reader.close()
            raise ShardMismatchError(
                f"{record.path}: its settings differ from its commit record.\nRun: emopipe cache repair",
                path=record.path,
            )
        return reader

    def changed(self) -> list[ShardRecord]:
        """Records whose shard has another size or time than when it was committed, or is gone."""
        return [record for record in self.records() if not record.is_as_committed]

    def verify(self, records: Iterable[ShardRecord]) -> Iterator[tuple[ShardRecord, Damage | None]]:
        """Hash the given shards again; yields each with what is wrong with it, or None."""
        for record in records:
            yield record, _damage(record)

    def drop(self, damage: Damage) -> None:
        """Take a damaged shard out of the cache, keeping its sound clips in a new one."""
        record, committed = damage.record, None
        sound = [entry for entry in record.entries if entry not in damage.lost]
        if sound:
            writer = ShardWriter(self.folder, record.header, record.request)
            with ShardReader(record.path) as reader:
                for entry in sound:
                    _copy_clip(reader, writer, entry)
            committed = writer.commit()
        self._records.pop(record.path.with_suffix(".json").name, None)
        if committed != record.path:  # the same clips have the same name, and then it is replaced already
            record.path.with_suffix(".json").unlink(missing_ok=True)
            record.path.unlink(missing_ok=True)

    def adopt(self) -> list[Path]:
        """Write the commit records of sound shards that have none, because a kill came between the two files.

        A shard without a record whose bytes can be read and are not sound is deleted: nothing can refer to it. Files
        of other names, of newer formats, and what cannot be read now, are left alone. Returns the adopted shards.
        """
        adopted = []
        for path in sorted(self.folder.glob("*.h5")):
            if path.with_suffix(".json").exists() or not is_shard_name(path.name):
                continue
            try:
                with ShardReader(path) as reader:
                    header, request, entries = reader.header, reader.request, reader.entries()
                    is_sound = all(reader.sha256(entry.clip_id) == entry.sha256 for entry in entries)
            except ShardVersionError:
                continue
            except CorruptShardError:
                if not _is_readable(path):
                    continue
                is_sound = False
            if is_sound:
                write_record(path, header, entries, request, sha256_of_file(path))
                adopted.append(path)
            else:
                path.unlink(missing_ok=True)
        return adopted

    def trust_again(self, record: ShardRecord) -> None:
        """Note the new size and time of a shard whose bytes were hashed and found sound (after a copy, for example)."""
        stat = record.path.stat()
        path = record.path.with_suffix(".json")
        write_json(path, {**json.loads(path.read_text()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns})
        self._records[path.name] = replace(record, size=stat.st_size, mtime_ns=stat.st_mtime_ns)

    def remove_partials(self) -> list[Path]:
        """Delete partial files that nobody writes any more; returns what was deleted."""
        gone = [path for path in sorted(self.folder.glob(".*.partial")) if is_abandoned(path)]
        for path in gone:
            path.unlink(missing_ok=True)
        return gone

    def media_identity(self, path: Path, *, remember: bool = True) -> str:
        """`emopipe.files.media_identity`, remembered as long as the file's size, time and inode stay the same.

        Without the memory a corpus of 10,000 videos would cost 30 GB of reading on every start.
        """
        if path.is_dir():
            return media_identity(path)
        stat = path.stat()
        seal = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        name = str(path.absolute())
        known = self._known_identities().get(name)
        if known and known[0] == seal:
            return known[1]
        identity = media_identity(path)
        self._known_identities()[name] = (seal, identity)
        if remember:
            self._append_identity(name, seal, identity)
        return identity

    def _known_identities(self) -> dict[str, tuple[list[int], str]]:
        if self._identities is None:
            self._identities = {}
            path = self.folder / "media.jsonl"
            for line in path.read_text().splitlines() if path.exists() else ():
                try:
                    name, seal, identity = json.loads(line)
                except ValueError:
                    continue  # cut off by a kill
                self._identities[name] = (seal, identity)
        return self._identities

    def _append_identity(self, name: str, seal: list[int], identity: str) -> None:
        path = self.folder / "media.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(json.dumps([name, seal, identity]) + "\n")
        except OSError as error:
            raise storage_error(path, error) from error


def _read_record(path: Path) -> ShardRecord:
    try:
        content = json.loads(path.read_text())
        header = ShardHeader(content["kind"], content["what"], content["config"], content["fingerprint"])
        entries = tuple(ClipEntry(**{**entry, "notes": tuple(entry["notes"])}) for entry in content["clips"])
        return ShardRecord(
            path=path.with_suffix(".h5"),
            header=header,
            size=content["size"],
            mtime_ns=content["mtime_ns"],
            sha256=content.get("sha256", ""),
            request=content["request"],
            entries=entries,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ShardError(
            f"{path}: not a commit record ({type(error).__name__}: {error}).\n"
            "Remove it; the next run writes it again from its shard.",
            path=path,
        ) from error


def _damage(record: ShardRecord) -> Damage | None:
    try:
        if record.sha256 and sha256_of_file(record.path) == record.sha256:
            return None
    except FileNotFoundError:
        return Damage(record, record.entries, "the file is gone")
    except OSError as error:
        if error.errno == errno.EIO:
            return Damage(record, record.entries, f"it cannot be read ({error.strerror})")
        # No right to it, too many open files, a server that is away: nothing is known of its bytes.
        raise StorageError(
            f"{record.path}: cannot be read ({error.strerror}). Expected a readable shard; nothing was changed.",
            path=record.path,
        ) from error
    lost, reasons = [], []
    try:
        with ShardReader(record.path) as reader:
            for entry in record.entries:
                try:
                    is_sound = reader.sha256(entry.clip_id) == entry.sha256
                    reason = "its bytes changed"
                except CorruptShardError:
                    is_sound, reason = False, "it cannot be read"
                if not is_sound:
                    lost.append(entry)
                    reasons.append(f"clip '{entry.clip_id}': {reason}")
    except (CorruptShardError, ShardVersionError) as error:
        return Damage(record, record.entries, str(error).splitlines()[0])
    if record.sha256 and not lost:
        reasons = ["bytes outside the arrays of its clips changed"]
    return Damage(record, tuple(lost), "; ".join(reasons)) if reasons else None


def _is_readable(path: Path) -> bool:
    """Whether every byte of a file can be read, so that what is wrong with it is its content."""
    try:
        sha256_of_file(path)
    except OSError:
        return False
    return True


def _copy_clip(reader: ShardReader, writer: ShardWriter, entry: ClipEntry) -> None:
    step = 1024
    for start in range(0, max(1, entry.num_frames), step):
        writer.append(entry.clip_id, reader.rows(entry.clip_id, start, start + step))
    writer.finish_clip(entry)
