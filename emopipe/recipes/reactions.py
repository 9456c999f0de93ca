"""The shape of experiments on clips with one label each: a head over what is seen and heard in a clip as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emopipe.config import FacesConfig
from emopipe.errors import ConfigError
from emopipe.models.bundle import open_run
from emopipe.models.spectrogram_cnn import LOG_MEL, AudioRequest
from emopipe.recipes.predictions import Predictions
from emopipe.recipes.recipe import Outcome
from emopipe.recipes.steps import (
    Bench,
    cached_audio,
    cached_faces,
    cached_features,
    frozen_features,
    trained_cnn,
    trained_rnn,
)
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.evaluate import predict_split, score
from emopipe.stages.evaluate_clips import ClipPredictions, clip_evaluation, clip_predictions
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.spec import BackboneRequest
from emopipe.stages.trained import open_trained

# What a minute holds on two cores.
_SMOKE_WIDTH = 1 / 16
_SMOKE_BATCH, _SMOKE_STEPS, _SMOKE_WINDOW, _SMOKE_UNITS, _SMOKE_FOLDS = 16, 2, 16, (4,), 3


@dataclass(frozen=True)
class ReactionExperiment:
    """A head over the pictures of a clip, over its sound, or over both.

    Where `rnn` has folds there is one training per fold, and what the networks say of their test parts is one score.

    Attributes:
        dataset: the corpus.
        rnn: how the head is trained; its `folds` says how many there are and by which rule, None for the splits of the
            corpus. Which sound it reads is filled in.
        faces: how frames become crops; None for sound alone.
        visual: what makes features of crops: a backbone as it is, or a CNN that is trained first, on single frames with
            the label of their clip; None for sound alone.
        taps: layers of it that the head takes.
        audio: what makes features of sound; None for pictures alone.
        split: what is scored.

    Raises:
        ConfigError: there is neither picture nor sound, faces are given without what looks at them or the other way
            round, or the head is not the one for both.
    """

    dataset: str
    rnn: TrainRnnConfig
    faces: FacesConfig | None = None
    visual: BackboneRequest | TrainCnnConfig | None = None
    taps: tuple[str, ...] = ()
    audio: AudioRequest | None = None
    split: str = "dev"

    def __post_init__(self) -> None:
        if (self.faces is None) != (self.visual is None) or (self.visual is None and self.audio is None):
            raise ConfigError(
                "ReactionExperiment: expected faces with a visual network, or an audio backbone, or both. "
                f"Received: faces {self.faces is not None}, visual {self.visual is not None}, audio "
                f"{self.audio is not None}."
            )
        has_both = self.visual is not None and self.audio is not None
        if has_both != (self.rnn.multimodal is not None):
            modalities = "picture and sound" if has_both else "one modality"
            raise ConfigError(
                f"ReactionExperiment.rnn: expected a head for {modalities}. Received: {self.rnn.head_name}."
            )

    @property
    def datasets(self) -> tuple[str, ...]:
        """As `Experiment.datasets`."""
        return (self.dataset,)

    @property
    def fold_configs(self) -> tuple[TrainRnnConfig, ...]:
        """How the head of each fold is trained; the one head where there are no folds."""
        folds = self.rnn.folds
        if folds is None:
            return (self.rnn,)
        return tuple(replace(self.rnn, folds=replace(folds, fold=number)) for number in range(folds.num_folds))

    def smoke(self) -> "ReactionExperiment":
        """Random weights, one epoch, small windows, and a few folds."""
        visual, audio = self.visual, self.audio
        if isinstance(visual, TrainCnnConfig):
            visual = replace(
                visual, width=_SMOKE_WIDTH, weights="none", epochs=1, steps_per_epoch=_SMOKE_STEPS,
                batch_size=_SMOKE_BATCH,
            )  # fmt: skip
        elif visual is not None:
            visual = replace(visual, weights="none")
        if audio is not None and audio.backbone != LOG_MEL:
            audio = replace(audio, weights="none")
        return replace(self, rnn=_smoke_head(self.rnn), visual=visual, audio=audio)

    def run(self, bench: Bench) -> Outcome:
        """As `Experiment.run`."""
        audio = "" if self.audio is None else cached_audio(bench, self.dataset, self.audio)
        frozen = ""
        if self.faces is not None and isinstance(self.visual, BackboneRequest):
            backbone = replace(self.visual, taps=self.taps)
            frozen = frozen_features(bench, self.dataset, self.faces, backbone)
        runs, found = [], []
        for rnn in self.fold_configs:
            features = frozen or self._fine_tuned_features(bench, rnn)
            runs.append(trained_rnn(bench, self.dataset, replace(rnn, audio=audio), features))
            found.append(self._predicted(bench, runs[-1]))
        bench.progress.say(f"Scoring {len(runs)} {'run' if len(runs) == 1 else 'runs'} on split '{self.split}'.")
        return _outcome(runs, found)

    def _fine_tuned_features(self, bench: Bench, rnn: TrainRnnConfig) -> str:
        """Fingerprint of what a CNN makes of the corpus that it was trained on; "" for sound alone."""
        if self.faces is None or not isinstance(self.visual, TrainCnnConfig):
            return ""
        faces = cached_faces(bench, self.dataset, self.faces)
        cnn = trained_cnn(bench, self.dataset, faces, replace(self.visual, folds=rnn.folds))
        return cached_features(bench, self.dataset, self.faces, cnn, self.taps)

    def _predicted(self, bench: Bench, run: Path) -> ClipPredictions:
        root = bench.roots[self.dataset]
        return clip_predictions(
            predict_split(open_trained(run), split=self.split, cache=bench.cache, root=root, dataset=self.dataset)
        )


def _smoke_head(rnn: TrainRnnConfig) -> TrainRnnConfig:
    multimodal, folds = rnn.multimodal, rnn.folds
    return replace(
        rnn,
        units=_SMOKE_UNITS if rnn.units else (),
        multimodal=None if multimodal is None else replace(multimodal, units=_SMOKE_UNITS),
        window=replace(rnn.window, length=min(_SMOKE_WINDOW, rnn.window.length)),
        epochs=1,
        batch_size=_SMOKE_BATCH,
        folds=None if folds is None else replace(folds, num_folds=_SMOKE_FOLDS),
    )


def _outcome(runs: Sequence[Path], found: Sequence[ClipPredictions]) -> Outcome:
    """The scores of a run, or one score over the test parts of several, with intervals over subjects."""
    if len(found) == 1:
        clips, evaluation = found[0], score(found[0])
    else:
        for part in found:
            score(part, num_bootstrap=0)  # writes what each network says
        clips = _pooled(found)
        evaluation = clip_evaluation(clips, num_bootstrap=1000)
    contents = [open_run(run).content for run in runs]
    return Outcome(
        split=evaluation.split,
        scores=evaluation.scores,
        num_rows=evaluation.num_scored,
        seed=contents[0]["settings"]["seed"],
        epochs=sum(content["num_epochs"] for content in contents),
        best_epoch=contents[0]["best"]["epoch"] if len(contents) == 1 else None,
        confusion=evaluation.confusion,
        classes=evaluation.classes,
        notes=evaluation.notes,
        predictions=_scored_rows(clips),
    )


def _pooled(found: Sequence[ClipPredictions]) -> ClipPredictions:
    """The clips of all parts as those of one."""
    return replace(
        found[0],
        clip_ids=tuple(name for part in found for name in part.clip_ids),
        subjects=tuple(name for part in found for name in part.subjects),
        num_frames=np.concatenate([part.num_frames for part in found]),
        num_valid=np.concatenate([part.num_valid for part in found]),
        labels=np.concatenate([part.labels for part in found]),
        values=np.concatenate([part.values for part in found]),
        notes=tuple(dict.fromkeys(note for part in found for note in part.notes)),
    )


def _scored_rows(clips: ClipPredictions) -> Predictions:
    """What was scored; of classes, the number of the likeliest one."""
    keep = clips.scored
    values = clips.values[keep]
    if clips.trained.classes:
        values = values.argmax(axis=1)[:, np.newaxis].astype(np.float64)
    return Predictions(
        tuple(np.array(clips.clip_ids)[keep].tolist()),
        tuple(np.array(clips.subjects)[keep].tolist()),
        clips.trained.targets,
        clips.labels[keep],
        values,
    )
