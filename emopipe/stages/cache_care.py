"""Looking after a cache: what it holds, whether its bytes are sound, making lost clips again, freeing space."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emopipe.errors import ConfigError
from emopipe.stages.extract import extract, tidy
from emopipe.stages.extract_report import ExtractReport
from emopipe.stages.progress import Progress
from emopipe.stages.spec import ExtractSpec
from emopipe.store.cache import Cache, Damage, ShardRecord


@dataclass(frozen=True)
class CachedSet:
    """All shards of one kind that were made with the same settings.

    Attributes:
        kind, what, fingerprint: see `ShardHeader`.
        num_shards, num_clips, num_frames, num_valid, num_bytes: what they hold.
    """

    kind: str
    what: str
    fingerprint: str
    num_shards: int
    num_clips: int
    num_frames: int
    num_valid: int
    num_bytes: int


def list_sets(cache: Cache) -> list[CachedSet]:
    """What a cache holds, by kind, name and settings."""
    groups: dict[tuple[str, str, str], list[ShardRecord]] = defaultdict(list)
    for record in cache.records():
        groups[record.header.kind, record.header.what, record.header.fingerprint].append(record)
    sets = []
    for (kind, what, fingerprint), records in sorted(groups.items()):
        entries = [entry for record in records for entry in record.entries]
        sets.append(
            CachedSet(
                kind,
                what,
                fingerprint,
                len(records),
                len(entries),
                sum(entry.num_frames for entry in entries),
                sum(entry.num_valid for entry in entries),
                sum(record.size for record in records),
            )
        )
    return sets


def find_damage(cache: Cache, on_shard: Callable[[int, int], None] | None = None) -> list[Damage]:
    """Hash every shard again; what is wrong with each that is not sound.

    Args:
        cache: the cache.
        on_shard: called with (shards done, shards in all).
    """
    records, found = cache.records(), []
    for done, (_, damage) in enumerate(cache.verify(records), start=1):
        if damage is not None:
            found.append(damage)
        if on_shard:
            on_shard(done, len(records))
    return found


def repair(cache: Cache, progress: Progress, on_shard: Callable[[int, int], None] | None = None) -> list[ExtractReport]:
    """Drop the clips whose bytes are not sound, and make just those again from their videos.

    Args:
        cache: the cache.
        progress: told what is made again.
        on_shard: as of `find_damage`.

    Raises:
        EmopipeError: the corpus that they came from is not where it was.
    """
    damaged = find_damage(cache, on_shard)
    lost: dict[str, set[str]] = defaultdict(set)
    for damage in damaged:
        if damage.lost:
            lost[json.dumps(damage.record.request, sort_keys=True)] |= {entry.clip_id for entry in damage.lost}
        progress.say(f"{damage.record.path.name}: {damage.reason}.")
        cache.drop(damage)
    tidy(cache)
    specs = [
        replace(
            ExtractSpec.from_request(json.loads(request)),
            cache=cache.folder,
            clip_ids=tuple(sorted(clip_ids)),
            splits=(),
            limit=None,
        )
        for request, clip_ids in sorted(lost.items())
    ]
    # Features alone are made from cached faces, and those may be among what was lost.
    return [extract(spec, progress) for spec in sorted(specs, key=lambda spec: spec.only == "features")]


def prune(cache: Cache, fingerprints: Sequence[str], *, delete: bool) -> list[Path]:
    """Shards of the named settings, and leftovers of dead processes; deleted when `delete` is True.

    Args:
        fingerprints: beginnings of fingerprints as `emopipe cache list` shows them.

    Raises:
        ConfigError: a beginning fits no shard.
    """
    doomed: list[Path] = []
    for beginning in fingerprints:
        records = [record for record in cache.records() if record.header.fingerprint.startswith(beginning)]
        if not records or not beginning:
            known = ", ".join(sorted({record.header.fingerprint[:10] for record in cache.records()})) or "none"
            raise ConfigError(f"{cache.folder}: no shard has a fingerprint beginning '{beginning}'. Known: {known}.")
        doomed += [path for record in records for path in (record.path.with_suffix(".json"), record.path)]
    if delete:
        for path in doomed:
            path.unlink(missing_ok=True)
        doomed += cache.remove_partials()
    return doomed
