"""Stage configurations: frozen dataclasses, read from and written to JSON, with a fingerprint."""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from emopipe.errors import ConfigError

ConfigType = TypeVar("ConfigType")

# Raised whenever a step computes something else from the same inputs; old shards then no longer match.
FACES_VERSION = 1
FEATURES_VERSION = 1
AUDIO_VERSION = 1
READY_MADE_VERSION = 1

Alignment = Literal["procrustes5", "box", "given"]


@dataclass(frozen=True)
class FacesConfig:
    """How a frame becomes a face row. Every field is part of the fingerprint.

    Attributes:
        detector: a registered detector; "none" with alignment "given".
        min_score: detections below it are dropped.
        working_size_px: long side of the picture that the detector sees.
        retry_size_px: long side of a second look at frames in which nothing was found; 0 for none.
        detect_every: detect on every k-th frame and follow the landmarks between.
        alignment: "procrustes5" (similarity to the frontal template), "box" (the detector's box, no rotation) or
            "given" (an official crop, resized only).
        resize: filter with which a given crop is resized: "area", "bilinear", "bicubic" or "nearest".
        fps: frame rate stated for image sequences whose source video is absent; None to use the video's own.
    """

    detector: str = "retinaface"
    min_score: float = 0.5
    working_size_px: int = 320  # retinaface: 517 frames/s on two cores at 320, 128 at 640
    retry_size_px: int = 640  # a face of 5 % of the width is below the smallest anchor at 320
    detect_every: int = 1
    alignment: Alignment = "procrustes5"
    resize: Literal["area", "bilinear", "bicubic", "nearest"] = "area"
    fps: float | None = None

    def __post_init__(self) -> None:
        _choice("FacesConfig.alignment", self.alignment, get_args(Alignment))
        _at_least("FacesConfig.detect_every", self.detect_every, 1)
        _at_least("FacesConfig.working_size_px", self.working_size_px, 64)
        if not 0 <= self.min_score <= 1:
            raise ConfigError(f"FacesConfig.min_score: expected a number in [0, 1]. Received: {self.min_score}.")
        if self.fps is not None and not self.fps > 0:
            raise ConfigError(f"FacesConfig.fps: expected frames per second above 0. Received: {self.fps}.")


@dataclass(frozen=True)
class FeaturesConfig:
    """How a crop becomes feature vectors. Every field is part of the fingerprint.

    Attributes:
        backbone: a registered backbone, or the name "file" for a `.keras` file.
        weights: "imagenet", "none" or the digest of a file; the digest itself is kept beside the config.
        taps: names of the taps, each "layer:flat", "layer:gap" or "layer:gridN".
        input_range: "-1..1", "0..1", "0..255", "caffe" or "imagenet"; what the network expects its numbers in.
        input_size_px: side of the square that the network takes.
        engine: "keras" or "onnxruntime"; the two differ by less than 1e-3 relative.
    """

    backbone: str
    weights: str
    taps: tuple[str, ...]
    input_range: str
    input_size_px: int
    engine: Literal["keras", "onnxruntime"]


@dataclass(frozen=True)
class AudioConfig:
    """How the windows of a sound become feature vectors. Every field is part of the fingerprint.

    Attributes:
        backbone: "log-mel" for the numbers of the spectrogram themselves; else a registered backbone, or "file".
        taps: names of the taps; ("log-mel",) without a network.
        weights: as in `FeaturesConfig`; this and what follows is empty, or 0, without a network.
        scaling: "preprocess" for the numbers that the network was trained on, "raw" for 0 to 255.
        input_range: the numbers that the network is given, as in `FeaturesConfig`.
        channels: "rgb" or "bgr", the order in which the picture is handed to `input_range`.
        input_size_px: side of the square that the network takes.
        resize: filter with which a picture of another size is brought to it.
        engine: as in `FeaturesConfig`.
    """

    backbone: str
    taps: tuple[str, ...]
    weights: str = ""
    scaling: Literal["preprocess", "raw", ""] = ""
    input_range: str = ""
    channels: Literal["rgb", "bgr", ""] = ""
    input_size_px: int = 0
    resize: Literal["bicubic", ""] = ""
    engine: Literal["keras", "onnxruntime", ""] = ""


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as JSON-ready values."""
    return dataclasses.asdict(config)


def from_dict(cls: type[ConfigType], content: Mapping[str, Any]) -> ConfigType:
    """A configuration from JSON values; a key that the class does not have is an error.

    Examples:
        >>> from_dict(FacesConfig, {"detect_evry": 2})
        Traceback (most recent call last):
        emopipe.errors.ConfigError: FacesConfig has no field 'detect_evry'. Did you mean 'detect_every'?
    """
    hints = get_type_hints(cls)
    for key in content:
        if key not in hints:
            nearest = difflib.get_close_matches(key, hints, n=1)
            hint = f" Did you mean '{nearest[0]}'?" if nearest else f" Known: {', '.join(hints)}."
            raise ConfigError(f"{cls.__name__} has no field '{key}'.{hint}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in content.items()})


def fingerprint(*parts: Any) -> str:
    """Hex SHA-256 over JSON-ready values, configurations among them; the same on every machine.

    Examples:
        >>> fingerprint(FacesConfig()) == fingerprint(FacesConfig(detect_every=1))
        True
        >>> fingerprint(FacesConfig()) == fingerprint(FacesConfig(detect_every=2))
        False
    """
    plain = [to_dict(part) if dataclasses.is_dataclass(part) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}: expected one of {', '.join(map(str, allowed))}. Received: {value!r}.")


def _at_least(name: str, value: int, smallest: int) -> None:
    if value < smallest:
        raise ConfigError(f"{name}: expected at least {smallest}. Received: {value}.")
