"""Looking after a cache: what it holds, whether its bytes are sound, making lost clips again, freeing space."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emopipe.datasets.adapter import load_adapter
from emopipe.errors import ConfigError, ManifestError, StorageError
from emopipe.stages.extract import extract, tidy
from emopipe.stages.extract_report import ExtractReport
from emopipe.stages.progress import Progress
from emopipe.stages.spec import ExtractSpec, scan, settle
from emopipe.store.cache import Cache, Damage, ShardRecord

_LONGEST_VALUE = 24  # of a setting in a list; digests are longer


@dataclass(frozen=True)
class CachedSet:
    """All shards of one kind that were made with the same settings.

    Attributes:
        kind, what, fingerprint: see `ShardHeader`.
        num_shards, num_clips, num_frames, num_valid, num_bytes: what they hold.
        settings: all of them.
        differs: those in which it differs from other sets of its kind and name, as text; "" where there is no other.
    """

    kind: str
    what: str
    fingerprint: str
    num_shards: int
    num_clips: int
    num_frames: int
    num_valid: int
    num_bytes: int
    settings: Mapping[str, Any]
    differs: str = ""


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
                records[0].header.config,
            )
        )
    return [replace(one, differs=_differences(one, sets)) for one in sets]


def _differences(one: CachedSet, sets: Sequence[CachedSet]) -> str:
    """The settings that not all sets of one kind and name share, as this one has them."""
    alike = [_flat(other.settings) for other in sets if (other.kind, other.what) == (one.kind, one.what)]
    own = _flat(one.settings)
    names = sorted({name for settings in alike for name in settings})
    found = [name for name in names if len({str(settings.get(name)) for settings in alike}) > 1]
    return ", ".join(f"{name} {str(own.get(name, '-'))[:_LONGEST_VALUE]}" for name in found)


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings within settings under names with dots."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return flat


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


def repair(
    cache: Cache,
    progress: Progress,
    on_shard: Callable[[int, int], None] | None = None,
    *,
    root: Path | None = None,
) -> list[ExtractReport]:
    """Drop the clips whose bytes are not sound, and make just those again from their videos.

    Args:
        cache: the cache.
        progress: told what is made again.
        on_shard: as of `find_damage`.
        root: where the corpus is now; None for where it was.

    Raises:
        EmopipeError: the corpus that they came from is not there, or weights are not; then nothing is dropped.
        ManifestError: some of them have no media any more; raised when the others are made again.
        ConfigError: `root` is given and clips of several corpora are lost.
    """
    damaged = find_damage(cache, on_shard)
    specs = _asked_again(damaged, cache.folder, root)
    for damage in damaged:
        progress.say(f"{damage.record.path.name}: {damage.reason}.")
    gone: dict[str, Path] = {}
    possible = []
    for spec in specs:
        given = spec.faces.alignment == "given"
        manifest = scan(load_adapter(spec.dataset), spec.root, spec.ready_made, wants_crops=given)
        there = set(spec.clip_ids) & {clip.clip_id for clip in manifest.clips}
        gone |= dict.fromkeys(set(spec.clip_ids) - there, spec.root)
        if there:
            possible.append(replace(spec, clip_ids=tuple(sorted(there))))
            settle(possible[-1], cache)
    for damage in damaged:
        cache.drop(damage)
    tidy(cache)
    # Features alone are made from cached faces, and those may be among what was lost.
    reports = [extract(spec, progress) for spec in sorted(possible, key=lambda spec: spec.only == "features")]
    if gone:
        first = min(gone)
        raise ManifestError(
            f"{len(gone)} of the lost clips cannot be made again: their media are not in {gone[first]} any more (the "
            f"first: '{first}').\nThe others are made. With the media back in place extract makes these too."
        )
    return reports


def _asked_again(damaged: Sequence[Damage], folder: Path, root: Path | None) -> list[ExtractSpec]:
    """What makes the lost clips again."""
    lost: dict[str, set[str]] = defaultdict(set)
    for damage in damaged:
        if damage.lost:
            lost[json.dumps(damage.record.request, sort_keys=True)] |= {entry.clip_id for entry in damage.lost}
    specs = [
        replace(
            ExtractSpec.from_request(json.loads(request)),
            cache=folder,
            clip_ids=tuple(sorted(clip_ids)),
            splits=(),
            limit=None,
        )
        for request, clip_ids in sorted(lost.items())
    ]
    if root is None:
        return specs
    places = sorted({f"{spec.dataset} in {spec.root}" for spec in specs})
    if len(places) > 1:
        raise ConfigError(f"--root: clips of several corpora are lost: {', '.join(places)}. Expected those of one.")
    return [replace(spec, root=root) for spec in specs]


def prune(cache: Cache, fingerprints: Sequence[str], *, delete: bool) -> list[Path]:
    """Shards of the named settings, and leftovers of dead processes; deleted when `delete` is True.

    Args:
        fingerprints: beginnings of fingerprints as `emopipe cache list` shows them.

    Raises:
        ConfigError: a beginning fits no shard.
        StorageError: a file cannot be deleted.
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
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{path}: cannot be deleted ({error.strerror}).", path=path) from error
        doomed += cache.remove_partials()
    return doomed
