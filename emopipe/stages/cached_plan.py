"""The plan under which what a cache holds was made, from the cache itself: no weights and no detector are needed."""

from pathlib import Path

from emopipe.config import FacesConfig, fingerprint
from emopipe.datasets.adapter import load_adapter, resolve_root
from emopipe.datasets.splits import Folds, with_folds
from emopipe.errors import ConfigError
from emopipe.stages.spec import ExtractSpec, Plan, planned_clip
from emopipe.store.cache import Cache, ShardRecord
from emopipe.store.layout import ShardHeader


def cached_plan(
    cache: Cache, kind: str, dataset: str | None, root: Path | None, wanted: str = "", folds: Folds | None = None
) -> Plan:
    """The corpus and the keys of its clips, for the one set of a kind that a cache holds.

    Args:
        cache: where to look.
        kind: "faces" or "features".
        dataset: the corpus; None for the one that the set was made from.
        root: its folder now; None for where it was.
        wanted: beginning of the set's fingerprint, where the cache holds several.
        folds: how a corpus without splits is divided; None to leave it as it is.

    Raises:
        ConfigError: the cache holds no such set, or several; the message lists them.
        ManifestError: the corpus is not where it should be.
    """
    record = _only_set(cache, kind, dataset, wanted)
    spec = ExtractSpec.from_request(record.request)
    header = record.header
    settings = header.config if kind == "faces" else header.config["faces"]
    faces = header if kind == "faces" else ShardHeader("faces", "", settings, fingerprint(settings))
    features = header if kind == "features" else None
    is_given = settings["faces"]["alignment"] == "given"
    adapter = load_adapter(spec.dataset)
    folder = resolve_root(spec.dataset, root if root is not None else spec.root)
    manifest = adapter.scan(folder, source="images" if is_given else None)
    if folds is not None:
        manifest = with_folds(manifest, folds)
    clips = tuple(planned_clip(clip, cache, faces, features) for clip in manifest.clips)
    config = FacesConfig(**settings["faces"])
    return Plan(adapter, manifest, clips, config, faces, None, features, "cpu", (), spec.detector_weights)


def _only_set(cache: Cache, kind: str, dataset: str | None, wanted: str) -> ShardRecord:
    found: dict[tuple[str, str], ShardRecord] = {}
    for record in cache.records(kind):
        name = str(record.request.get("dataset"))
        if dataset in (None, name) and record.header.fingerprint.startswith(wanted):
            found.setdefault((name, record.header.fingerprint), record)
    what = f"{kind} '{wanted}'" if wanted else kind
    if not found:
        of = f" of dataset '{dataset}'" if dataset else ""
        name = dataset or "NAME"
        raise ConfigError(
            f"{cache.folder}: no {what}{of} are cached.\n"
            f"Run: emopipe extract --dataset {name} --cache {cache.folder}" + (" --only faces" * (kind == "faces"))
        )
    if len(found) > 1:
        listed = ", ".join(
            f"{name} {record.header.what} {mark[:10]}" for (name, mark), record in sorted(found.items(), key=str)
        )
        raise ConfigError(
            f"{cache.folder}: holds several sets of {kind}: {listed}.\n"
            f"Name the corpus with --dataset, or the set with --{kind} and the beginning of its fingerprint."
        )
    return next(iter(found.values()))
