"""The plan under which what a cache holds was made, from the cache itself: no weights and no detector are needed."""

from collections.abc import Mapping
from pathlib import Path

from emopipe.config import FacesConfig, fingerprint
from emopipe.datasets.adapter import load_adapter, resolve_root
from emopipe.datasets.splits import Folds, with_folds
from emopipe.errors import ConfigError
from emopipe.stages.spec import ExtractSpec, Plan, planned_clip, ready_made_name, scan
from emopipe.store.cache import Cache, ShardRecord
from emopipe.store.layout import ShardHeader

_OPTIONS = {"faces": " --only faces", "features": "", "audio": " --only audio --audio-backbone NAME"}


def cached_plan(
    cache: Cache, kind: str, dataset: str | None, root: Path | None, wanted: str = "", folds: Folds | None = None
) -> Plan:
    """The corpus and the keys of its clips, for the one set of a kind that a cache holds.

    Args:
        cache: where to look.
        kind: "faces", "features" or "audio"; a plan of audio, or of ready-made features, has no faces.
        dataset: the corpus; None for the one that the set was made from.
        root: its folder now; None for where it was.
        wanted: beginning of the set's fingerprint, where the cache holds several.
        folds: how a corpus without splits is divided; None to leave it as it is.

    Raises:
        ConfigError: the cache holds no such set, or several, or one of several roots and `root` is None; the message
            lists them.
        ManifestError: the corpus is not where it should be.
    """
    record = _only_set(cache, kind, dataset, wanted)
    if root is None:
        _require_one_root(cache, record)
    spec = ExtractSpec.from_request(record.request)
    faces, features, audio = _headers(record.header)
    config = spec.faces if faces is None else FacesConfig(**faces.config["faces"])
    is_given = faces is not None and config.alignment == "given"
    adapter = load_adapter(spec.dataset)
    folder = resolve_root(spec.dataset, root if root is not None else spec.root)
    ready_made = None if features is None else ready_made_name(features)
    manifest = scan(adapter, folder, ready_made, wants_crops=is_given)
    if folds is not None:
        manifest = with_folds(manifest, folds)
    return Plan(
        adapter=adapter,
        manifest=manifest,
        clips=tuple(planned_clip(clip, cache, faces, features, audio=audio) for clip in manifest.clips),
        faces_config=config,
        faces_header=faces,
        backbone=None,
        features=features,
        device="cpu",
        notes=(),
        detector_weights=spec.detector_weights,
        audio=audio,
    )


def _headers(header: ShardHeader) -> tuple[ShardHeader | None, ShardHeader | None, ShardHeader | None]:
    """Headers of faces, features and audio; that of the faces which features were made from is in their settings."""
    if header.kind == "audio":
        return None, None, header
    if header.kind == "faces":
        return header, None, None
    if ready_made_name(header) is not None:
        return None, header, None
    settings = header.config["faces"]
    return ShardHeader("faces", "", settings, fingerprint(settings)), header, None


def _listed(sets: Mapping[tuple[str, str], ShardRecord]) -> str:
    return ", ".join(
        f"{name} {record.header.what} {mark[:10]}" for (name, mark), record in sorted(sets.items(), key=str)
    )


def _require_one_root(cache: Cache, record: ShardRecord) -> None:
    """Refuse to guess between corpora of one name and the same settings that were cached from several folders."""
    roots = {
        str(Path(other.request["root"]).resolve())
        for other in cache.records(record.header.kind, record.header.fingerprint)
        if other.request.get("dataset") == record.request.get("dataset") and other.request.get("root")
    }
    if len(roots) > 1:
        raise ConfigError(
            f"{cache.folder}: holds '{record.request.get('dataset')}' from several folders: {', '.join(sorted(roots))}."
            "\nSay which is meant with --root."
        )


def _only_set(cache: Cache, kind: str, dataset: str | None, wanted: str) -> ShardRecord:
    found: dict[tuple[str, str], ShardRecord] = {}
    for record in cache.records(kind):
        name = str(record.request.get("dataset"))
        if dataset in (None, name) and record.header.fingerprint.startswith(wanted):
            found.setdefault((name, record.header.fingerprint), record)
    what = f"{kind} '{wanted[:10]}'" if wanted else kind
    if not found:
        of = f" of dataset '{dataset}'" if dataset else ""
        name = dataset or "NAME"
        others = {
            (str(record.request.get("dataset")), record.header.fingerprint): record for record in cache.records(kind)
        }
        raise ConfigError(
            f"{cache.folder}: no {what}{of} are cached.{f' Received: {_listed(others)}.' if others else ''}\n"
            f"Run: emopipe extract --dataset {name} --cache {cache.folder}{_OPTIONS[kind]}"
            f"{', with the settings that are wanted' if wanted else ''}"
        )
    if len(found) > 1:
        corpus = "" if len({name for name, _ in found}) == 1 else "the corpus with --dataset, or "
        raise ConfigError(
            f"{cache.folder}: holds several sets of {kind}: {_listed(found)}.\n"
            f"Name {corpus}the set with --{kind} and the beginning of its fingerprint. "
            f"How they differ: emopipe cache list --cache {cache.folder}"
        )
    return next(iter(found.values()))
