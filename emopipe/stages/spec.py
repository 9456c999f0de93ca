"""What `emopipe extract` is asked for, and the plan that follows from it: which clips, under which keys.

Planning imports neither keras nor any detector: recognising a finished extraction of 10,000 clips takes seconds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from emopipe.config import FACES_VERSION, FEATURES_VERSION, FacesConfig, fingerprint, from_dict
from emopipe.datasets.adapter import Adapter, load_adapter
from emopipe.datasets.manifest import Manifest
from emopipe.errors import ConfigError
from emopipe.faces.detection import detector_digest
from emopipe.faces.landmarks import landmarker_digest
from emopipe.models.backbones import BackbonePlan, resolve_backbone, resolve_device
from emopipe.records import Clip
from emopipe.store.cache import Cache
from emopipe.store.layout import ShardHeader

Only = Literal["all", "faces", "features"]


@dataclass(frozen=True)
class BackboneRequest:
    """The backbone as the user names it; see `emopipe.models.backbones.resolve_backbone`.

    Attributes:
        backbone: a registered name, or the path of a `.keras` file.
        weights: "imagenet", "none" or a path.
        taps: taps to cache; empty for the backbone's default.
        input_range, input_size_px: asked for only where a file does not say them itself.
    """

    backbone: str = "resnet50"
    weights: str = "imagenet"
    taps: tuple[str, ...] = ()
    input_range: str | None = None
    input_size_px: int | None = None


@dataclass(frozen=True)
class ExtractSpec:
    """Everything `emopipe extract` is asked for. Picklable; holds no open thing.

    Attributes:
        dataset, root: the corpus and its folder.
        cache: folder of the cache.
        faces: how frames become face rows.
        backbone: how crops become features.
        only: "faces", "features" (from cached faces), or "all".
        splits, limit, clip_ids: which clips; empty and None for all of them.
        detector_weights: weights file of a detector that is not packaged with one.
        device: "auto", "cpu" or "gpu".
        workers: processes that make faces.
        retry_failed: try clips again that failed under the same settings.
    """

    dataset: str
    root: Path
    cache: Path
    faces: FacesConfig = FacesConfig()
    backbone: BackboneRequest = BackboneRequest()
    only: Only = "all"
    splits: tuple[str, ...] = ()
    limit: int | None = None
    clip_ids: tuple[str, ...] = ()
    detector_weights: Path | None = None
    device: Literal["auto", "cpu", "gpu"] = "auto"
    workers: int = 1
    retry_failed: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers: expected at least 1. Received: {self.workers}.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit: expected at least 1 clip. Received: {self.limit}.")

    def to_request(self) -> dict[str, Any]:
        """JSON-ready form, kept in every shard so that `emopipe cache repair` can ask again."""
        content = asdict(self)
        for name in ("root", "cache", "detector_weights"):
            content[name] = None if content[name] is None else str(Path(content[name]).absolute())
        return content

    @classmethod
    def from_request(cls, content: Mapping[str, Any]) -> "ExtractSpec":
        """The inverse of `to_request`."""
        values = dict(content)
        values["faces"] = from_dict(FacesConfig, values["faces"])
        values["backbone"] = from_dict(BackboneRequest, values["backbone"])
        for name in ("root", "cache", "detector_weights"):
            values[name] = None if values[name] is None else Path(values[name])
        return from_dict(cls, values)


@dataclass(frozen=True)
class PlannedClip:
    """A clip with the keys of what is to be made from it; a key is None when that kind is not asked for."""

    clip: Clip
    faces_key: str
    features_key: str | None


@dataclass(frozen=True)
class Plan:
    """What is to be made, before anything is decoded.

    Attributes:
        adapter, manifest: the corpus.
        clips: the clips asked for, with their keys.
        faces_config: the faces settings with what the corpus decides filled in.
        faces: header of the faces shards.
        backbone: the resolved backbone; None when no features are asked for.
        features: header of the features shards, likewise.
        device: "cpu" or "gpu".
        notes: what the user is to be told.
        detector_weights: as in `ExtractSpec`.
    """

    adapter: Adapter
    manifest: Manifest
    clips: tuple[PlannedClip, ...]
    faces_config: FacesConfig
    faces: ShardHeader
    backbone: BackbonePlan | None
    features: ShardHeader | None
    device: str
    notes: tuple[str, ...]
    detector_weights: Path | None = None


def make_plan(spec: ExtractSpec, cache: Cache, *, remember: bool = True) -> Plan:
    """Resolve the weights, list the clips, compute their keys.

    Args:
        spec, cache: what is asked for, and where it goes.
        remember: whether media identities may be written into the cache.

    Raises:
        EmopipeError: the corpus is not there, a name is unknown, or weights cannot be had. Nothing was decoded.
    """
    adapter = load_adapter(spec.dataset)
    manifest = adapter.scan(spec.root, source="images" if spec.faces.alignment == "given" else None)
    manifest = manifest.select(spec.splits, spec.limit)
    backbone = None if spec.only == "faces" else resolve(spec, cache)
    if spec.clip_ids:
        manifest = replace(manifest, clips=tuple(clip for clip in manifest.clips if clip.clip_id in spec.clip_ids))
    notes = [*manifest.notes, *_missing(manifest), *(backbone.notes if backbone else ())]
    config = spec.faces
    if config.alignment != "given" and any(clip.kind == "images" for clip in manifest.clips):
        # The corpus has official crops only; there is no picture left in which a face could be aligned.
        config = replace(config, alignment="given")
        notes.append("The corpus holds official crops and no videos: the crops are taken as they are.")
    faces = _faces_header(config, spec)
    features = None if backbone is None else _features_header(faces, backbone)
    clips = tuple(planned_clip(clip, cache, faces, features, remember) for clip in manifest.clips)
    device = resolve_device(spec.device)
    return Plan(
        adapter, manifest, clips, config, faces, backbone, features, device, tuple(notes), spec.detector_weights
    )


def _missing(manifest: Manifest) -> list[str]:
    if not manifest.missing:
        return []
    first = manifest.missing[0].clip_id
    return [f"{len(manifest.missing)} annotated clips have no media below {manifest.root} (the first: '{first}')."]


def resolve(spec: ExtractSpec, cache: Cache) -> BackbonePlan:
    """The backbone with its weights at hand; raises WeightsError when they are not."""
    request = spec.backbone
    return resolve_backbone(
        request.backbone,
        request.weights,
        request.taps,
        input_range=request.input_range,
        input_size_px=request.input_size_px,
        weights_folder=cache.weights_folder,
        device=spec.device,
    )


def _faces_header(config: FacesConfig, spec: ExtractSpec) -> ShardHeader:
    settings: dict[str, Any] = {"faces": asdict(config), "version": FACES_VERSION}
    if config.alignment == "given":
        what = "given"
        settings["faces"] = {name: settings["faces"][name] for name in ("alignment", "resize", "fps")}
    else:
        what = f"{config.detector}-{config.alignment}"
        settings["detector"] = detector_digest(config.detector, spec.detector_weights)
        settings["landmarker"] = landmarker_digest()
    return ShardHeader("faces", what, settings, fingerprint(settings))


def _features_header(faces: ShardHeader, backbone: BackbonePlan) -> ShardHeader:
    config = {**asdict(backbone.config), "taps": list(backbone.config.taps)}
    weights = backbone.weights_digest
    settings = {"faces": faces.config, "features": config, "weights": weights, "version": FEATURES_VERSION}
    return ShardHeader("features", backbone.name, settings, fingerprint(settings))


def planned_clip(
    clip: Clip, cache: Cache, faces: ShardHeader, features: ShardHeader | None, remember: bool = True
) -> PlannedClip:
    """A clip with its keys under the given settings; hashes its media unless that is remembered."""
    try:
        identity = cache.media_identity(clip.media, remember=remember)
    except OSError as error:
        identity = f"unreadable: {error.strerror}"  # the decoder says what is wrong with it, in the ledger
    about = [clip.clip_id.encode("utf-8", "surrogateescape").hex(), clip.side, identity]
    faces_key = fingerprint(*about, faces.fingerprint)
    features_key = None if features is None else fingerprint(*about, features.fingerprint)
    return PlannedClip(clip, faces_key, features_key)
