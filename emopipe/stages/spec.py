"""What `emopipe extract` is asked for, and the plan that follows from it: which clips, under which keys.

Planning imports neither keras nor any detector: recognising a finished extraction of 10,000 clips takes seconds.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from emopipe.config import FACES_VERSION, FEATURES_VERSION, READY_MADE_VERSION, FacesConfig, fingerprint, from_dict
from emopipe.datasets.adapter import Adapter, load_adapter
from emopipe.datasets.manifest import Manifest
from emopipe.errors import ConfigError
from emopipe.faces.detection import DETECTORS, detector_digest, users_weights
from emopipe.faces.landmarks import landmarker_digest
from emopipe.models.backbones import BackbonePlan, resolve_backbone, resolve_device
from emopipe.models.spectrogram_cnn import AudioPlan, AudioRequest, resolve_audio
from emopipe.records import Clip
from emopipe.store.cache import Cache
from emopipe.store.layout import ShardHeader

Only = Literal["all", "faces", "features", "audio"]

_WITHOUT_SOUND = ("images", "picture", "features")


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
        only: "faces", "features" (from cached faces), "audio", or "all".
        splits, limit, clip_ids: which clips; empty and None for all of them.
        detector_weights: weights file of a detector that is not packaged with one.
        device: "auto", "cpu" or "gpu".
        workers: processes that make faces.
        retry_failed: try clips again that failed under the same settings.
        audio: how sound becomes features; None to leave the sound alone.
        ready_made: name of features that the corpus brings along, which are taken instead of making any; None for none.

    Raises:
        ConfigError: a number is out of range, only sound is asked for and nothing says what is made of it, or something
            is to be made beside ready-made features.

    Examples:
        >>> from pathlib import Path
        >>> from emopipe import ExtractSpec
        >>> from emopipe.config import FacesConfig
        >>> spec = ExtractSpec("folder", Path("my_videos"), Path("cache"), faces=FacesConfig(detector="mtcnn"))
        >>> spec.faces.alignment, spec.backbone.backbone, spec.backbone.weights
        ('procrustes5', 'resnet50', 'imagenet')
        >>> ExtractSpec("folder", Path("my_videos"), Path("cache"), workers=0)
        Traceback (most recent call last):
        emopipe.errors.ConfigError: workers: expected at least 1. Received: 0.
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
    audio: AudioRequest | None = None
    ready_made: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers: expected at least 1. Received: {self.workers}.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit: expected at least 1 clip. Received: {self.limit}.")
        if self.only == "audio" and self.audio is None:
            raise ConfigError(
                "--only audio: expected the name of what makes features of sound.\n"
                "Give --audio-backbone; log-mel needs no network."
            )
        if self.ready_made is not None and (self.only != "all" or self.audio is not None):
            raise ConfigError("ready_made: features are taken and none are made. Expected neither only nor audio too.")

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
        audio = values.get("audio")  # shards from before there was sound say nothing of it
        values["audio"] = None if audio is None else AudioRequest.from_request(audio)
        for name in ("root", "cache", "detector_weights"):
            values[name] = None if values[name] is None else Path(values[name])
        return from_dict(cls, values)


@dataclass(frozen=True)
class PlannedClip:
    """A clip with the keys of what is to be made from it.

    A key is None when that kind is not asked for, or when the clip has no picture or no sound to make it from.
    """

    clip: Clip
    faces_key: str | None
    features_key: str | None
    audio_key: str | None = None

    def key(self, kind: str) -> str | None:
        """The key of "faces", "features" or "audio"."""
        return {"faces": self.faces_key, "features": self.features_key, "audio": self.audio_key}[kind]


@dataclass(frozen=True)
class Plan:
    """What is to be made, before anything is decoded.

    Attributes:
        adapter, manifest: the corpus.
        clips: the clips asked for, with their keys.
        faces_config: the faces settings with what the corpus decides filled in.
        faces_header: header of the faces shards; None in a plan that is about sound only, or ready-made features.
        backbone: the resolved backbone; None when no features are made.
        features: header of the features shards, likewise.
        device: "cpu" or "gpu".
        notes: what the user is to be told.
        detector_weights: as in `ExtractSpec`.
        audio_backbone: what makes features of sound; None when they are not asked for.
        audio: header of the audio shards, likewise.
    """

    adapter: Adapter
    manifest: Manifest
    clips: tuple[PlannedClip, ...]
    faces_config: FacesConfig
    faces_header: ShardHeader | None
    backbone: BackbonePlan | None
    features: ShardHeader | None
    device: str
    notes: tuple[str, ...]
    detector_weights: Path | None = None
    audio_backbone: AudioPlan | None = None
    audio: ShardHeader | None = None

    @property
    def faces(self) -> ShardHeader:
        """Header of the faces shards.

        Raises:
            ConfigError: the plan is about sound only, or ready-made features.
        """
        if self.faces_header is None:
            about = "sound" if self.ready_made is None else "ready-made features"
            raise ConfigError(
                f"{self.manifest.root}: there are no faces in this plan, which is about {about} only.\n"
                "Expected a plan of faces, or of features made from them."
            )
        return self.faces_header

    @property
    def ready_made(self) -> str | None:
        """Name of the features that the corpus brings along; None where features are made."""
        return None if self.features is None else ready_made_name(self.features)


@dataclass(frozen=True)
class Settled:
    """A corpus and the networks for it, before any clip is looked at.

    Attributes:
        adapter, manifest: the corpus; the manifest holds the clips that are asked for.
        backbone: for faces; None when no features are asked for, or no clip has a picture.
        audio: for sound; None when none is asked for.
    """

    adapter: Adapter
    manifest: Manifest
    backbone: BackbonePlan | None
    audio: AudioPlan | None

    @property
    def has_pictures(self) -> bool:
        """Whether any clip is more than sound."""
        return any(clip.kind != "sound" for clip in self.manifest.clips) or not self.manifest.clips


def settle(spec: ExtractSpec, cache: Cache) -> Settled:
    """List the clips and resolve the weights.

    Raises:
        ManifestError: the corpus is not there.
        ConfigError, UnknownNameError: a name or a setting is wrong, or there is nothing in the clips to work on.
        WeightsError: weights are not at hand.
    """
    if spec.faces.alignment != "given":
        DETECTORS[spec.faces.detector]  # an unknown name is refused before weights are looked for
        if spec.detector_weights is not None and users_weights(spec.faces.detector, spec.detector_weights) is None:
            raise ConfigError(f"--detector-weights: detector '{spec.faces.detector}' comes with its own. Leave it out.")
    adapter = load_adapter(spec.dataset)
    manifest = scan(adapter, spec.root, spec.ready_made, wants_crops=spec.faces.alignment == "given")
    manifest = manifest.select(spec.splits, spec.limit)
    if spec.clip_ids:
        manifest = replace(manifest, clips=tuple(clip for clip in manifest.clips if clip.clip_id in spec.clip_ids))
    if spec.faces.fps is not None and manifest.clips and all(clip.kind != "images" for clip in manifest.clips):
        raise ConfigError("--fps: is for sequences of images. All clips here have times of their own; leave it out.")
    found = Settled(adapter, manifest, None, None)
    if not found.has_pictures and spec.audio is None:
        raise ConfigError(
            f"{spec.root}: all {len(manifest.clips)} clips are sound without a picture; there are no faces to look for."
            "\nGive --audio-backbone; log-mel needs no network."
        )
    wants_features = spec.only in ("all", "features") and found.has_pictures and spec.ready_made is None
    return replace(
        found,
        backbone=_resolved_backbone(spec, cache) if wants_features else None,
        audio=_resolved_audio(spec, cache) if spec.only in ("all", "audio") else None,
    )


def make_plan(spec: ExtractSpec, cache: Cache, *, remember: bool = True) -> Plan:
    """Resolve the weights, list the clips, compute their keys.

    Args:
        spec, cache: what is asked for, and where it goes.
        remember: whether media identities may be written into the cache.

    Raises:
        EmopipeError: the corpus is not there, a name is unknown, or weights cannot be had. Nothing was decoded.
    """
    settled = settle(spec, cache)
    manifest, backbone, audio = settled.manifest, settled.backbone, settled.audio
    notes = [*manifest.notes, *_missing(spec, manifest), *_left_out(spec, manifest)]
    notes += [note for network in (backbone, audio) if network is not None for note in network.notes]
    config = spec.faces
    if config.alignment != "given" and any(clip.kind == "images" for clip in manifest.clips):
        # The corpus has official crops only; there is no picture left in which a face could be aligned.
        config = replace(config, alignment="given")
        notes.append("The corpus holds official crops and no videos: the crops are taken as they are.")
    has_faces = spec.only != "audio" and settled.has_pictures and spec.ready_made is None
    faces = _faces_header(config, spec) if has_faces else None
    features = None if backbone is None or faces is None else _features_header(faces, backbone)
    if spec.ready_made is not None:
        features = _ready_made_header(spec.ready_made)
    sound = None if audio is None else _audio_header(audio)
    clips = tuple(planned_clip(clip, cache, faces, features, remember, audio=sound) for clip in manifest.clips)
    return Plan(
        adapter=settled.adapter,
        manifest=manifest,
        clips=clips,
        faces_config=config,
        faces_header=faces,
        backbone=backbone,
        features=features,
        device=resolve_device(spec.device),
        notes=tuple(notes),
        detector_weights=spec.detector_weights,
        audio_backbone=audio,
        audio=sound,
    )


def scan(adapter: Adapter, root: Path, ready_made: str | None, *, wants_crops: bool = False) -> Manifest:
    """The clips of a corpus folder, by their media or by the files of ready-made features.

    Raises:
        ManifestError: the corpus, or the features, are not there.
        ConfigError: no features of this corpus are known.
    """
    if ready_made is not None:
        return adapter.scan_ready_made(root, ready_made)
    return adapter.scan(root, source="images" if wants_crops else None)


def ready_made_name(header: ShardHeader) -> str | None:
    """Name of the features that shards hold as the corpus brought them; None where they were made."""
    name: str | None = header.config.get("ready_made")
    return name


def _missing(spec: ExtractSpec, manifest: Manifest) -> list[str]:
    if not manifest.missing:
        return []
    first, what = manifest.missing[0].clip_id, spec.ready_made or "media"
    return [f"{len(manifest.missing)} annotated clips have no {what} below {manifest.root} (the first: '{first}')."]


def _left_out(spec: ExtractSpec, manifest: Manifest) -> list[str]:
    """Sentences about clips of which a kind that is asked for cannot be made."""
    num_sounds = sum(clip.kind == "sound" for clip in manifest.clips)
    num_silent = sum(clip.kind in _WITHOUT_SOUND for clip in manifest.clips)
    notes = []
    if num_sounds and spec.only != "audio":
        verb = "clip is" if num_sounds == 1 else "clips are"
        cure = "" if spec.audio is not None else " Give --audio-backbone to make features of their sound."
        notes.append(f"{num_sounds} {verb} sound without a picture, in which no faces are looked for.{cure}")
    if num_silent and spec.audio is not None and spec.only in ("all", "audio"):
        notes.append(f"{num_silent} {'clip has' if num_silent == 1 else 'clips have'} pictures and no sound.")
    return notes


def _resolved_audio(spec: ExtractSpec, cache: Cache) -> AudioPlan | None:
    if spec.audio is None:
        return None
    return resolve_audio(spec.audio, weights_folder=cache.weights_folder, device=spec.device)


def _resolved_backbone(spec: ExtractSpec, cache: Cache) -> BackbonePlan:
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


def _ready_made_header(name: str) -> ShardHeader:
    settings = {"ready_made": name, "weights": "", "version": READY_MADE_VERSION}
    return ShardHeader("features", name, settings, fingerprint(settings))


def _audio_header(audio: AudioPlan) -> ShardHeader:
    return ShardHeader("audio", audio.name, audio.settings, fingerprint(audio.settings))


def planned_clip(
    clip: Clip,
    cache: Cache,
    faces: ShardHeader | None,
    features: ShardHeader | None,
    remember: bool = True,
    audio: ShardHeader | None = None,
) -> PlannedClip:
    """A clip with its keys under the given settings; hashes its media unless that is remembered."""
    try:
        identity = cache.media_identity(clip.media, remember=remember)
    except OSError as error:
        identity = f"unreadable: {error.strerror}"  # the decoder says what is wrong with it, in the ledger
    about = [clip.clip_id.encode("utf-8", "surrogateescape").hex(), clip.side, identity]

    def key(header: ShardHeader | None, is_possible: bool) -> str | None:
        return fingerprint(*about, header.fingerprint) if header is not None and is_possible else None

    has_picture, has_sound = clip.kind != "sound", clip.kind not in _WITHOUT_SOUND
    return PlannedClip(clip, key(faces, has_picture), key(features, has_picture), key(audio, has_sound))
