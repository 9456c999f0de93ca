"""A trained run as what uses it needs it: what it predicts, from what, made how, and the files that make it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from emopipe.config import FacesConfig, FeaturesConfig, fingerprint, from_dict
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError, RunError, WeightsError
from emopipe.faces.detection import detector_digest, users_weights
from emopipe.faces.landmarks import landmarker_digest
from emopipe.faces.normalisation import InputSpec
from emopipe.files import sha256_of_file, storage_error
from emopipe.models.backbones import FILE, BackbonePlan, carried_backbone, resolve_device
from emopipe.models.building import Network, build_network
from emopipe.models.bundle import Run, open_run, place_file
from emopipe.models.keras_files import read_keras_file
from emopipe.models.spectrogram_cnn import carried_audio
from emopipe.models.taps import Tap
from emopipe.models.weights import ResolvedWeights, keep
from emopipe.models.windows import WindowConfig
from emopipe.provenance import num_cores
from emopipe.stages.audio_step import AudioEngine, load_audio_engine
from emopipe.stages.clip_values import PostProcessing, Reduce
from emopipe.stages.clip_values import from_settings as postprocessing_of
from emopipe.stages.faces_step import FaceEngines, load_engines
from emopipe.stages.features_step import BATCH_SIZE
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.sound_rows import split_taps
from emopipe.stages.spec import Plan
from emopipe.store.cache import Cache

Reads = Literal["faces", "features", "audio"]


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        run: the folder.
        dataset, task: what it learned from.
        targets: names of what it predicts; for classes, of the one column that holds them.
        classes: their names; () for numbers.
        reads: which cache its input lies in: "faces" for a CNN, "features" or "audio" for a head.
        fingerprint: of that input.
        faces: the settings of the faces, as their shards' header has them; None for a run on sound alone, or on
            ready-made features.
        window: of a head; None for a CNN, which sees one frame.
        taps: of the features that a head takes, side by side; () for all.
        folds: how a corpus without splits was divided; None for the corpus's own splits.
        landmarks: whether the head takes the landmarks behind the taps.
        of_clips: whether it learned labels of clips as a whole, so that clips are what it predicts.
        reduce: how the frames of a sequence become one value then.
        postprocessing: what is done to its predictions then; None for nothing.
        sound: the settings of the sound, as its shards' header has them, alone or beside the features of faces; None
            for a run on faces alone.
        sound_fingerprint: of these settings.
        ready_made: name of the features that it learned from, where the corpus brought them along; else None.
    """

    run: Run
    dataset: str
    task: str
    targets: tuple[str, ...]
    classes: tuple[str, ...]
    reads: Reads
    fingerprint: str
    faces: Mapping[str, Any] | None
    window: WindowConfig | None
    taps: tuple[str, ...]
    folds: Folds | None
    landmarks: bool = False
    of_clips: bool = False
    reduce: Reduce = "median"
    postprocessing: PostProcessing | None = None
    sound: Mapping[str, Any] | None = None
    sound_fingerprint: str = ""
    ready_made: str | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs: the classes, or the targets."""
        return self.classes or self.targets

    @property
    def faces_config(self) -> FacesConfig:
        """How frames become faces.

        Raises:
            RunError: the run learned from no faces.
        """
        return from_dict(FacesConfig, self._faces_settings["faces"])

    @property
    def _faces_settings(self) -> Mapping[str, Any]:
        if self.faces is None:
            source = "sound" if self.ready_made is None else "ready-made features"
            raise RunError(f"{self.run.folder}: learned from {source} alone. Expected a run that looks at faces.")
        return self.faces

    def feature_network(self, device: str = "auto") -> Network:
        """What turns crops into the features of a head, or, for a CNN, into its outputs.

        Raises:
            WeightsError: the run lacks the file, or it is damaged.
            DeviceError: a GPU is asked for and not there.
        """
        plan = self._own_network(device) if self.window is None else self._backbone(device)
        return build_network(plan, batch_size=BATCH_SIZE, num_threads=num_cores())

    def face_engines(self, device: str = "auto") -> FaceEngines:
        """The detector and the landmarker that made the faces which the run learned from.

        Raises:
            WeightsError: the one that is installed is another, or its file is missing.
            MissingDependencyError: it is not installed.
        """
        config = self.faces_config
        weights = self.run.detector_weights if self.run.detector_weights.exists() else None
        if config.alignment != "given":
            found = {"detector": detector_digest(config.detector, weights), "landmarker": landmarker_digest()}
            for name, digest in found.items():
                if digest != (expected := self._faces_settings[name]):
                    raise WeightsError(
                        f"{self.run.folder}: its faces were made by the {name} {expected}.\n"
                        f"Received: {digest}. Install that version, or train on faces of this one."
                    )
        return load_engines(config, device=resolve_device(device), weights=weights, num_threads=num_cores())

    def audio_engine(self, device: str = "auto") -> AudioEngine:
        """What turns recordings into the sound that the run learned from.

        Raises:
            RunError: it learned from faces alone.
            WeightsError: the run lacks the file, or it is damaged.
            DeviceError: a GPU is asked for and not there.
        """
        if self.sound is None:
            raise RunError(f"{self.run.folder}: learned from faces alone. Expected a run that listens.")
        digest, folder = self.sound["weights"], self.run.weights_folder
        if digest and not (folder / f"{digest}.keras").exists():
            raise WeightsError(
                f"{folder}: lacks the network that made this run's features of sound.\n"
                f"Expected {digest[:10]}….keras, which training puts there. Copy the whole run folder again; where the "
                "original lacks it too, extract the sound again and train again."
            )
        return load_audio_engine(carried_audio(self.sound, folder, device), num_threads=num_cores())

    def _backbone(self, device: str) -> BackbonePlan:
        settings = self.run.content["settings"]["features"]
        folder, digest = self.run.weights_folder, self.run.content.get("carried") or settings["weights"]
        if not (folder / f"{digest}.keras").exists():
            raise WeightsError(
                f"{folder}: lacks the network that made this run's features.\n"
                f"Expected {digest[:10]}….keras, which training puts there. Copy the whole run folder again; where the "
                "original lacks it too, extract the features again and train again."
            )
        found = carried_backbone(from_dict(FeaturesConfig, settings["features"]), digest, folder, device)
        visual, _ = split_taps(self.taps)
        taps = tuple(tap for tap in found.taps if not visual or tap.name in visual)
        return replace(found, config=replace(found.config, taps=tuple(tap.name for tap in taps)), taps=taps)

    def _own_network(self, device: str) -> BackbonePlan:
        file = read_keras_file(self.run.network)
        spec = from_dict(InputSpec, self.run.content["input"])
        name = file.layers[-1]
        config = FeaturesConfig(FILE, "", (name,), spec.value_range, spec.size_px, "keras")
        tap = Tap(name, name, "")
        return BackbonePlan(
            FILE, config, "", spec, (tap,), ResolvedWeights("", "", file.path), None, resolve_device(device)
        )


def open_trained(folder: Path) -> Trained:
    """Open a finished run of `train-cnn`, `train-rnn` or model-level `fuse`.

    Raises:
        RunError: there is none, it is of a newer version, or its training is not over.
    """
    run = open_run(folder)
    content, settings = run.content, run.content["settings"]
    if run.kind == "fusion":
        raise RunError(f"{folder}: is an average of other runs. Expected a run that was trained.")
    if not content.get("finished"):
        command = "fuse" if settings.get("fusion") else f"train-{run.kind}"
        raise RunError(f"{folder}: its training is not over. Run its {command} command again; it goes on.")
    if not run.network.is_file():
        raise RunError(f"{folder}: has no network.keras. Expected a whole run folder; copy it again, or train again.")
    is_head = run.kind == "rnn"
    folds = settings.get("folds")
    end_to_end = bool(settings.get("end_to_end"))
    sound = settings.get("audio") or ""  # runs from before there was sound say nothing of it
    of_sound_alone = bool(sound) and not settings["features_fingerprint"]
    ready_made = settings["features"].get("ready_made") if is_head else None
    fingerprint_read = (settings["features_fingerprint"] or sound) if is_head else settings["faces"]
    if end_to_end:
        fingerprint_read = fingerprint(settings["features"]["faces"])
    reads: Reads = "features" if is_head and not end_to_end else "faces"
    return Trained(
        run=run,
        dataset=(settings if is_head else content)["dataset"],
        task=settings["task"],
        targets=tuple(settings["targets"]),
        classes=tuple(content.get("classes", ())),
        reads="audio" if of_sound_alone else reads,
        fingerprint=fingerprint_read,
        faces=None if of_sound_alone or ready_made else settings["features"]["faces"] if is_head else content["faces"],
        window=from_dict(WindowConfig, settings["window"]) if is_head else None,
        taps=tuple(settings["taps"]) if is_head else (),
        folds=from_dict(Folds, folds) if folds else None,
        landmarks=bool(settings.get("landmarks")),
        of_clips=bool(content.get("of_clips")),
        reduce=settings.get("reduce", "median"),
        postprocessing=postprocessing_of(content.get("postprocessing")),
        sound=settings["audio_settings"] if sound else None,
        sound_fingerprint=sound,
        ready_made=ready_made,
    )


def trainable_backbone(config: TrainRnnConfig, plan: Plan, cache: Cache) -> BackbonePlan:
    """The CNN that training end to end begins with: the one that made the features, or that of the run to begin with.

    Raises:
        WeightsError: its file is not at hand.
        ConfigError: a tap is not among those that are cached.
    """
    if plan.features is None:
        raise ConfigError("end_to_end: expected features, whose CNN learns on. Received none.")
    settings, folder = plan.features.config, cache.weights_folder
    digest = settings["weights"]
    if config.init and (begun := open_trained(Path(config.init)).run).content.get("carried"):
        folder, digest = begun.weights_folder, begun.content["carried"]
    found = carried_backbone(from_dict(FeaturesConfig, settings["features"]), digest, folder)
    by_name = {tap.name: tap for tap in found.taps}
    for name in config.table_taps:
        if name not in by_name:
            raise ConfigError(f"end_to_end: has no tap '{name}'. Expected some of {', '.join(by_name)}, as cached.")
    return replace(found, taps=tuple(by_name[name] for name in config.table_taps))


def carried_cnn(run: Run) -> Path:
    """The CNN of a run that was trained end to end.

    Raises:
        RunError: it is not there.
    """
    for path in sorted(run.weights_folder.glob("*.keras")):
        return path
    raise RunError(f"{run.folder}: lacks the CNN that it trained. Delete the run and train it again.")


def replace_carried(run: Run, path: Path) -> None:
    """Make a file the CNN that the run carries, under its digest; the one of an earlier epoch goes.

    Raises:
        StorageError: the run folder cannot be written.
    """
    place = run.weights_folder / f"{sha256_of_file(path)}.keras"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
        for other in place.parent.glob("*.keras"):
            if other != place:
                other.unlink()
    except OSError as error:
        raise storage_error(place, error) from error


def carry(run: Run, plan: Plan, cache: Cache, *, backbone: bool = True) -> None:
    """Put what made a run's input into the run, so that `predict` needs neither the cache nor the corpus.

    Args:
        run: the folder.
        plan, cache: what its input was made with.
        backbone: whether that includes the network that made the features of faces.

    Raises:
        StorageError: the run folder cannot be written.
        WeightsError: the file of a detector that comes without one is not at hand.
    """
    if plan.faces_header is not None and plan.faces_config.alignment != "given":
        named = plan.detector_weights
        # Where it lay at extraction it may be gone; whichever file is found, its bytes are the known ones.
        weights = users_weights(plan.faces_config.detector, named if named is not None and named.exists() else None)
        if weights is not None:
            keep(weights, run.detector_weights)
    headers = (plan.features if backbone else None, plan.audio)
    for digest in {header.config["weights"] for header in headers if header is not None} - {""}:
        for path in sorted(cache.weights_folder.glob(f"{digest}*")):
            if path.suffix in (".keras", ".onnx"):
                place_file(path, run.weights_folder / path.name)
