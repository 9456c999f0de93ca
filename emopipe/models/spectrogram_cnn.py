"""Networks that look at spectrograms, chosen and fingerprinted without importing keras."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as Pictures

from emopipe.config import AUDIO_VERSION, AudioConfig, FeaturesConfig, from_dict
from emopipe.errors import ConfigError
from emopipe.models.architecture import Architecture
from emopipe.models.backbones import BACKBONES, BackbonePlan, carried_backbone, resolve_backbone
from emopipe.models.building import Network, build_network
from emopipe.models.keras_files import KerasFile, read_keras_file
from emopipe.spectrograms import SpectrogramConfig
from emopipe.typing import Floats, Image

LOG_MEL = "log-mel"  # backbone and tap: the spectrogram's own numbers, without picture and network

# Where the form that takes whole ImageNet pictures is registered under a name of its own.
_FOR_PICTURES = {"vgg16": "vgg16-224", "mobilenetv2": "mobilenetv2-224"}
_PICTURE_SIZE_PX = 224  # of those that can be had in several sizes; their weights were trained at it
# DeepSpectrum (Amiriparian et al., Interspeech 2017) hands VGG16 its pictures in BGR and takes no mean off, and gives
# all others what they were trained on.
_RAW = ("vgg16-224",)

Scaling = Literal["preprocess", "raw"]


@dataclass(frozen=True)
class AudioRequest:
    """The audio backbone as the user names it.

    Attributes:
        backbone: "log-mel", a registered name, or the path of a `.keras` file.
        weights: "imagenet", "none" or a path; a file brings its own.
        taps: taps to cache; empty for the backbone's default.
        scaling: "preprocess" for the numbers that the network was trained on, "raw" for 0 to 255 as they are (BGR for
            VGG16, else RGB); None for "raw" with VGG16, else "preprocess".
        input_range: of a file that does not say itself which numbers it was trained on.
        spectrogram: how sound becomes windows; see `spectrogram_for`.

    Raises:
        ConfigError: log-mel numbers are asked of pictures, or pictures of log-mel numbers.
    """

    backbone: str = LOG_MEL
    weights: str = "imagenet"
    taps: tuple[str, ...] = ()
    scaling: Scaling | None = None
    input_range: str | None = None
    spectrogram: SpectrogramConfig = field(default_factory=lambda: spectrogram_for(LOG_MEL))

    def __post_init__(self) -> None:
        wanted = _render_of(self.backbone)
        if self.spectrogram.render != wanted:
            raise ConfigError(
                f"audio backbone '{self.backbone}': expected spectrograms rendered as '{wanted}'. "
                f"Received: '{self.spectrogram.render}'."
            )

    @classmethod
    def from_request(cls, content: Mapping[str, Any]) -> "AudioRequest":
        """The inverse of `dataclasses.asdict`, from JSON values."""
        spectrogram = from_dict(SpectrogramConfig, content["spectrogram"])
        return from_dict(cls, {**content, "spectrogram": spectrogram})


def spectrogram_for(backbone: str, **settings: Any) -> SpectrogramConfig:
    """The spectrogram that suits a backbone, with the given settings and the defaults of its kind for the others.

    Examples:
        >>> spectrogram_for("log-mel").render, spectrogram_for("vgg16", hop_s=0.1).hop_s
        ('log-mel', 0.1)
    """
    if backbone != LOG_MEL:
        return SpectrogramConfig(**settings)
    # A window is one frame of the transform: 50 ms resolve the pitch of a low voice, 20 ms are its syllables' slopes.
    return SpectrogramConfig(**{"window_s": 0.05, "hop_s": 0.02, **settings, "render": "log-mel"})


def _render_of(backbone: str) -> str:
    return "log-mel" if backbone == LOG_MEL else "picture"


@dataclass(frozen=True)
class AudioPlan:
    """What turns sound into features, settled before anything is decoded. Picklable; holds no network.

    Attributes:
        spectrogram: how sound becomes windows.
        config: how windows become vectors.
        network: the backbone; None for log-mel.
    """

    spectrogram: SpectrogramConfig
    config: AudioConfig
    network: BackbonePlan | None

    @property
    def name(self) -> str:
        """A short name for people ("vgg16-224-mel", "log-mel")."""
        return LOG_MEL if self.network is None else f"{self.network.name}-{self.spectrogram.kind}"

    @property
    def weights_digest(self) -> str:
        """Hex SHA-256 of the weights; "" without a network."""
        return "" if self.network is None else self.network.weights_digest

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user is to be told."""
        return () if self.network is None else self.network.notes

    @property
    def tap_sizes(self) -> dict[str, int | None]:
        """Tap -> numbers per window; None where only the network itself knows."""
        return {LOG_MEL: self.spectrogram.num_bands} if self.network is None else self.network.tap_sizes

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the numbers depend on, JSON-ready; the config of the audio shards."""
        return {
            "spectrogram": asdict(self.spectrogram),
            "audio": {**asdict(self.config), "taps": list(self.config.taps)},
            "weights": self.weights_digest,
            "version": AUDIO_VERSION,
        }


def resolve_audio(
    request: AudioRequest,
    *,
    weights_folder: Path | None = None,
    engine: Literal["auto", "keras", "onnxruntime"] = "auto",
    device: str = "auto",
) -> AudioPlan:
    """Settle everything that the keys of the audio features depend on; keras is not imported.

    Args:
        request: what is asked for.
        weights_folder, engine, device: as of `emopipe.models.backbones.resolve_backbone`.

    Raises:
        UnknownNameError, ConfigError: a name or a setting is wrong, or the input range is said nowhere.
        WeightsError: the weights are not at hand.
    """
    if request.backbone == LOG_MEL:
        _refuse_network_settings(request)
        return AudioPlan(request.spectrogram, AudioConfig(LOG_MEL, (LOG_MEL,)), None)
    if Path(request.backbone).suffix == ".keras":
        name = request.backbone
        size_px = _size_of(_checked_file(request), request.spectrogram.size_px)
    else:
        name = _FOR_PICTURES.get(request.backbone, request.backbone)
        architecture: Architecture = BACKBONES.load(name)
        size_px = _PICTURE_SIZE_PX if architecture.resizable else architecture.input.size_px
    if request.scaling == "raw" and request.input_range is not None:
        raise ConfigError("--audio-scaling raw: gives the network 0 to 255. Leave --audio-input-range out.")
    scaling: Scaling = request.scaling or ("raw" if name in _RAW else "preprocess")
    network = resolve_backbone(
        name,
        request.weights,
        request.taps,
        input_range="0..255" if scaling == "raw" else request.input_range,
        input_size_px=size_px,
        weights_folder=weights_folder,
        engine=engine,
        device=device,
    )
    found = network.config
    config = AudioConfig(
        backbone=found.backbone,
        taps=found.taps,
        weights=found.weights,
        scaling=scaling,
        input_range=found.input_range,
        channels="bgr" if scaling == "raw" and name in _RAW else "rgb",
        input_size_px=found.input_size_px,
        resize="bicubic",
        engine=found.engine,
    )
    return AudioPlan(request.spectrogram, config, network)


def carried_audio(settings: Mapping[str, Any], weights_folder: Path, device: str = "auto") -> AudioPlan:
    """What made audio features, from their settings and the network that is kept or carried; keras is not imported.

    Args:
        settings: see `AudioPlan.settings`; the config of the shards' header.
        weights_folder: holds <digest>.keras; of a cache, or of a run.
        device: "auto", "cpu" or "gpu".

    Raises:
        ConfigError: the settings are of another version of this program.
        WeightsError: the network is not there or damaged.
    """
    if settings["version"] != AUDIO_VERSION:
        raise ConfigError(
            f"audio features: expected version {AUDIO_VERSION}. Received: {settings['version']}.\n"
            "Another version of emopipe made them; extract them again."
        )
    spectrogram = from_dict(SpectrogramConfig, settings["spectrogram"])
    config = from_dict(AudioConfig, settings["audio"])
    if config.backbone == LOG_MEL:
        return AudioPlan(spectrogram, config, None)
    features = FeaturesConfig(
        config.backbone, config.weights, config.taps, config.input_range, config.input_size_px, config.engine or "keras"
    )
    return AudioPlan(spectrogram, config, carried_backbone(features, settings["weights"], weights_folder, device))


class PictureNetwork:
    """A built audio backbone: pictures of spectrograms in, one vector per picture and tap out.

    Attributes:
        device: "cpu" or "gpu", where it really runs.
    """

    def __init__(self, network: Network, config: AudioConfig):
        self._network, self._config = network, config
        self.device = network.device

    def __call__(self, pictures: Image) -> dict[str, Floats]:
        """Features of pictures.

        Args:
            pictures: (N, S, S, 3) uint8 RGB, of any size.

        Returns:
            Name of the tap -> (N, D) float32.
        """
        resized = resize_pictures(pictures, self._config.input_size_px)
        return self._network(resized[..., ::-1] if self._config.channels == "bgr" else resized)


def build_picture_network(plan: AudioPlan, *, batch_size: int, num_threads: int) -> PictureNetwork:
    """Build a settled audio backbone; errors as of `emopipe.models.building.build_network`.

    Raises:
        ConfigError: the plan has none.
    """
    if plan.network is None:
        raise ConfigError(f"{plan.name}: has no network to build.")
    return PictureNetwork(build_network(plan.network, batch_size=batch_size, num_threads=num_threads), plan.config)


def resize_pictures(pictures: Image, size_px: int) -> Image:
    """Pictures at another size, by the bicubic filter that Pillow resizes with unless told otherwise.

    Args:
        pictures: (N, H, W, 3) uint8.
        size_px: side of the square.

    Returns:
        (N, size, size, 3) uint8; the pictures themselves where they have that size.

    Examples:
        >>> resize_pictures(np.full((1, 227, 227, 3), 7, np.uint8), 224).shape
        (1, 224, 224, 3)
    """
    if pictures.shape[1:3] == (size_px, size_px):
        return pictures
    resized = np.empty((len(pictures), size_px, size_px, 3), np.uint8)
    for source, target in zip(pictures, resized, strict=True):
        target[:] = np.asarray(Pictures.fromarray(source).resize((size_px, size_px), Pictures.Resampling.BICUBIC))
    return resized


def _refuse_network_settings(request: AudioRequest) -> None:
    given = {
        "--audio-weights": request.weights != "imagenet",  # the default, which says nothing here
        "--audio-tap": request.taps not in ((), (LOG_MEL,)),
        "--audio-scaling": request.scaling is not None,
        "--audio-input-range": request.input_range is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise ConfigError(f"--audio-backbone {LOG_MEL} has no network. Leave {option} out.")


def _checked_file(request: AudioRequest) -> KerasFile:
    """A `.keras` file of which everything is known that must be; the messages name the options of the audio backbone.

    Raises:
        ConfigError: nothing says which numbers it takes or where to tap it, or weights are named for it.
    """
    path = Path(request.backbone)
    if request.weights != "imagenet":
        raise ConfigError(f"--audio-backbone {path}: the file brings its own weights. Leave --audio-weights out.")
    file = read_keras_file(path)
    if file.metadata is None and request.input_range is None and request.scaling != "raw":
        raise ConfigError(
            f"{path}: nothing says which numbers this network expects, and the wrong ones give wrong features.\n"
            "Give --audio-input-range: -1..1, 0..1, 0..255, caffe or imagenet."
        )
    if not request.taps and not (file.metadata and file.metadata.taps):
        raise ConfigError(
            f"{path}: nothing says which layer gives the features. Name one with --audio-tap.\n"
            f"Its last layers: {', '.join(file.layers[-8:])}."
        )
    return file


def _size_of(file: KerasFile, picture_size_px: int) -> int:
    """What a file's network takes; one that takes any size is given the pictures as they are."""
    return file.size_px or (file.metadata.input.size_px if file.metadata else picture_size_px)
