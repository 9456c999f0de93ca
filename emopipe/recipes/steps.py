"""The steps that experiments are made of; each reuses what an earlier call, or another recipe, finished.

A run folder is named after everything that decides its result. So recipes that train the same CNN on the same frames
share its run, and a killed one goes on.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emopipe.config import FacesConfig, fingerprint, to_dict
from emopipe.errors import WeightsError
from emopipe.models.bundle import open_run
from emopipe.models.spectrogram_cnn import AudioRequest
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.extract import extract
from emopipe.stages.progress import Progress
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.spec import BackboneRequest, ExtractSpec, make_plan
from emopipe.stages.train_cnn import train_cnn
from emopipe.stages.train_rnn import train_rnn
from emopipe.stages.training_frames import load_frames
from emopipe.stages.training_windows import windows_identity
from emopipe.store.cache import Cache

MOBILENETV2_VARIABLE = "EMOPIPE_MOBILENETV2"


@dataclass(frozen=True)
class Bench:
    """Where an experiment works.

    Attributes:
        roots: dataset -> folder of the corpus.
        cache, runs: folders of the cache and of the run folders.
        workers: processes that make faces.
        progress: told what happens.
        failed: ids of clips that stage one could not make; filled as it goes.
    """

    roots: Mapping[str, Path]
    cache: Path
    runs: Path
    workers: int = 1
    progress: Progress = field(default_factory=Progress)
    failed: set[str] = field(default_factory=set)


def cached_faces(bench: Bench, dataset: str, faces: FacesConfig) -> str:
    """Extract the faces of a corpus; returns the fingerprint of their settings."""
    bench.progress.say(f"Faces of {dataset}:")
    spec = ExtractSpec(dataset, bench.roots[dataset], bench.cache, faces, only="faces", workers=bench.workers)
    return _extracted(bench, spec)


def cached_features(bench: Bench, dataset: str, faces: FacesConfig, cnn: Path, taps: tuple[str, ...]) -> str:
    """Extract what a trained CNN makes of a corpus; returns the fingerprint of its settings."""
    bench.progress.say(f"Features of {dataset} with {cnn.name}:")
    return _features(bench, dataset, faces, BackboneRequest(str(cnn / "network.keras"), taps=taps))


def frozen_features(bench: Bench, dataset: str, faces: FacesConfig, backbone: BackboneRequest) -> str:
    """Extract what a backbone that nobody trains makes of a corpus; returns the fingerprint of its settings."""
    bench.progress.say(f"Features of {dataset} with {backbone.backbone}, weights {backbone.weights}:")
    return _features(bench, dataset, faces, backbone)


def _features(bench: Bench, dataset: str, faces: FacesConfig, backbone: BackboneRequest) -> str:
    spec = ExtractSpec(dataset, bench.roots[dataset], bench.cache, faces, backbone, workers=bench.workers)
    return _extracted(bench, spec)


def cached_audio(bench: Bench, dataset: str, audio: AudioRequest) -> str:
    """Extract the features of the sound of a corpus; returns the fingerprint of their settings."""
    spectrogram = audio.spectrogram
    axis = f"windows of {spectrogram.window_s:g} s every {spectrogram.hop_s:g} s"
    bench.progress.say(f"Sound of {dataset} with {audio.backbone}, {spectrogram.kind}, {axis}:")
    spec = ExtractSpec(dataset, bench.roots[dataset], bench.cache, only="audio", audio=audio_at_hand(audio))
    return _extracted(bench, spec)


def audio_at_hand(audio: AudioRequest) -> AudioRequest:
    """The request with the file that $EMOPIPE_MOBILENETV2 names in the place of weights that would be downloaded.

    Raises:
        WeightsError: MobileNetV2 with ImageNet weights is asked for, and the variable names something else than a
            `.keras` file.
    """
    named = os.environ.get(MOBILENETV2_VARIABLE)
    if (audio.backbone, audio.weights) != ("mobilenetv2", "imagenet") or not named:
        return audio
    if Path(named).suffix != ".keras":
        raise WeightsError(
            f"${MOBILENETV2_VARIABLE}: expected a .keras file with MobileNetV2 on RGB in [0, 1], whose layer 'features'"
            f" has 1280 numbers.\nReceived: {named}. Without the variable keras' own weights are downloaded."
        )
    return AudioRequest(named, taps=("features",), input_range="0..1", spectrogram=audio.spectrogram)


def _extracted(bench: Bench, spec: ExtractSpec) -> str:
    report = extract(spec, bench.progress)
    bench.failed.update(report.failed)
    bench.progress.say(f"{len(report.done)} clips made, {len(report.reused)} reused, {len(report.failed)} failed.")
    if report.failures:
        bench.progress.say(f"The first that failed, {report.failures[0].clip_id}: {report.failures[0].message}")
    plan = make_plan(spec, Cache(spec.cache))
    return (plan.audio or plan.features or plan.faces).fingerprint


def cnn_folder(bench: Bench, dataset: str, faces: str, config: TrainCnnConfig) -> Path:
    """The run folder of a CNN, named after its settings, the frames and their labels."""
    frames = load_frames(config, Cache(bench.cache), dataset, bench.roots[dataset], faces)
    return bench.runs / f"cnn-{fingerprint(dataset, config, frames.identity)[:12]}"


def trained_cnn(bench: Bench, dataset: str, faces: str, config: TrainCnnConfig) -> Path:
    """Train a CNN on the faces of that fingerprint, or find it trained; returns its run folder."""
    run = cnn_folder(bench, dataset, faces, config)
    if is_finished(run):
        bench.progress.say(f"{run}: is trained already.")
        return run
    bench.progress.say(f"Training {run}:")
    train_cnn(
        config,
        dataset=dataset,
        root=bench.roots[dataset],
        cache=bench.cache,
        run=run,
        faces=faces,
        progress=bench.progress,
    )
    return run


def trained_rnn(bench: Bench, dataset: str, config: TrainRnnConfig, features: str = "") -> Path:
    """Train a head, or find it trained; returns its run folder, named after its settings, the rows and their labels.

    Args:
        bench, dataset: where, on what.
        config: how; its `audio` is the fingerprint of features of sound, for a head that reads them.
        features: fingerprint of features of faces; "" for a head on sound alone.
    """
    identity = windows_identity(config, Cache(bench.cache), dataset, bench.roots[dataset], features)
    # A run to begin with is named after all that decides it.
    named = {**to_dict(config), "init": Path(config.init).name}
    run = bench.runs / f"rnn-{fingerprint(dataset, named, features, identity)[:12]}"
    if is_finished(run):
        bench.progress.say(f"{run}: is trained already.")
        return run
    bench.progress.say(f"Training {run}:")
    train_rnn(
        config,
        cache=bench.cache,
        run=run,
        dataset=dataset,
        root=bench.roots[dataset],
        features=features,
        progress=bench.progress,
    )
    return run


def is_finished(run: Path) -> bool:
    """Whether a run folder holds a finished run."""
    return (run / "run.json").is_file() and bool(open_run(run).content.get("finished"))
