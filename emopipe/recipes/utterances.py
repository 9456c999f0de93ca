"""The shapes of experiments on utterances: heads over the taps of a CNN, and what is made of several of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emopipe.bootstrap import Score
from emopipe.config import FacesConfig, fingerprint, to_dict
from emopipe.datasets.splits import Folds
from emopipe.models.bundle import open_run
from emopipe.recipes.predictions import Predictions
from emopipe.recipes.recipe import Outcome
from emopipe.recipes.steps import Bench, cached_faces, cached_features, is_finished, trained_cnn, trained_rnn
from emopipe.stages.clip_values import PostProcessing
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.evaluate import predict_split, score
from emopipe.stages.evaluate_clips import ClipPredictions, clip_evaluation, clip_predictions
from emopipe.stages.fuse import Level, fuse_decisions, fuse_models
from emopipe.stages.fusion import averaged_clips, is_fusion, open_fusion
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.trained import Trained, open_trained

Steps = Literal["all", "median", "none"]  # of the post-processing

# What a minute holds on two cores.
_SMOKE_WIDTH = 1 / 16
_SMOKE_BATCH, _SMOKE_STEPS, _SMOKE_WINDOW, _SMOKE_UNITS, _SMOKE_FOLDS = 16, 2, 10, (4, 4), 2


@dataclass(frozen=True)
class UtteranceExperiment:
    """A head over taps that learns utterances, its CNN fixed or learning too.

    The CNN is trained frame by frame on the corpus that comes first, then the head on its sequences; where the two
    corpora differ, the head goes on with the utterances of the second.

    Attributes:
        dataset: the corpus of utterances.
        faces: how frames become crops.
        cnn: how the CNN is trained.
        rnn: how the head is trained.
        pretrain: the corpus that CNN and head begin with; "" to begin with the utterances themselves.
        cached_taps: taps that are cached together; () for those that the head reads. Experiments that name the same
            ones share their cache.
        end_to_end_rate: learning rate at which CNN and head then learn together; None to keep the CNN as it is.
        split: what is scored.
        steps: how much of the post-processing is applied.
        pretrain_folds: how the corpus that comes first is divided; None for its own splits.
    """

    dataset: str
    faces: FacesConfig
    cnn: TrainCnnConfig
    rnn: TrainRnnConfig
    pretrain: str = ""
    cached_taps: tuple[str, ...] = ()
    end_to_end_rate: float | None = None
    split: str = "test"
    steps: Steps = "all"
    pretrain_folds: Folds | None = None

    @property
    def datasets(self) -> tuple[str, ...]:
        """As `Experiment.datasets`."""
        return (self.pretrain, self.dataset) if self.pretrain else (self.dataset,)

    def smoke(self) -> "UtteranceExperiment":
        """A thin CNN, one epoch of a few steps, and short sequences."""
        cnn = replace(
            self.cnn, width=_SMOKE_WIDTH, weights="none", epochs=1, steps_per_epoch=_SMOKE_STEPS,
            batch_size=_SMOKE_BATCH,
        )  # fmt: skip
        folds = None if self.pretrain_folds is None else replace(self.pretrain_folds, num_folds=_SMOKE_FOLDS)
        return replace(self, cnn=cnn, rnn=_smoke_head(self.rnn), pretrain_folds=folds)

    def run(self, bench: Bench) -> Outcome:
        """As `Experiment.run`."""
        return _outcome(bench, [self.train(bench)], self.dataset, self.split, self.steps)

    def train(self, bench: Bench) -> Path:
        """The run folder of the head; what is finished is reused."""
        first = self.pretrain or self.dataset
        faces = cached_faces(bench, first, self.faces)
        cnn = trained_cnn(
            bench, first, faces, replace(self.cnn, targets=("valence", "arousal"), folds=self.pretrain_folds)
        )
        rnn, taps = self.rnn, self.cached_taps or self.rnn.table_taps
        if self.pretrain:
            cached_faces(bench, self.dataset, self.faces)
            features = cached_features(bench, self.pretrain, self.faces, cnn, taps)
            # The head's own folds divide the utterances.
            before = trained_rnn(bench, self.pretrain, replace(rnn, folds=self.pretrain_folds), features)
            rnn = replace(rnn, init=str(before))
        features = cached_features(bench, self.dataset, self.faces, cnn, taps)
        if self.end_to_end_rate is None:
            return trained_rnn(bench, self.dataset, rnn, features)
        together = replace(rnn, end_to_end=True, learning_rate=self.end_to_end_rate)
        return trained_rnn(bench, self.dataset, together, features)


@dataclass(frozen=True)
class FusionExperiment:
    """Several heads as one.

    Attributes:
        members: the experiments whose heads are fused; of one corpus.
        level: "decision", "model-fc" or "model-rnn".
        rnn: how the joined heads are trained; not read for decisions.
        steps: as of `UtteranceExperiment`; the members' post-processing where decisions are averaged.
    """

    members: tuple[UtteranceExperiment, ...]
    level: Level
    rnn: TrainRnnConfig
    steps: Steps = "all"

    @property
    def datasets(self) -> tuple[str, ...]:
        """As `Experiment.datasets`."""
        return self.members[0].datasets

    def smoke(self) -> "FusionExperiment":
        """As of `UtteranceExperiment`."""
        members = tuple(member.smoke() for member in self.members)
        return replace(self, members=members, rnn=_smoke_head(self.rnn))

    def run(self, bench: Bench) -> Outcome:
        """As `Experiment.run`."""
        first = self.members[0]
        return _outcome(bench, [self.train(bench)], first.dataset, first.split, self.steps)

    def train(self, bench: Bench) -> Path:
        """The run folder of the fusion."""
        runs = [member.train(bench) for member in self.members]
        named = [self.level, [run.name for run in runs], to_dict(self.rnn)]
        run = bench.runs / f"fusion-{fingerprint(*named)[:12]}"
        if is_finished(run):
            bench.progress.say(f"{run}: is fused already.")
            return run
        bench.progress.say(f"Fusing {run}:")
        root = bench.roots[self.members[0].dataset]
        if self.level == "decision":
            fuse_decisions(runs, run=run, cache=bench.cache, root=root)
        else:
            layer: Any = self.level.removeprefix("model-")
            fuse_models(runs, layer, self.rnn, run=run, cache=bench.cache, root=root, progress=bench.progress)
        return run


@dataclass(frozen=True)
class FoldedExperiment:
    """An experiment once per fold of its training and dev part, the networks' predictions of the test part averaged.

    Attributes:
        experiment: what is done in each fold.
        num_folds: so many.
    """

    experiment: UtteranceExperiment
    num_folds: int = 10

    @property
    def datasets(self) -> tuple[str, ...]:
        """As `Experiment.datasets`."""
        return self.experiment.datasets

    def smoke(self) -> "FoldedExperiment":
        """As of `UtteranceExperiment`, with two folds."""
        return FoldedExperiment(self.experiment.smoke(), _SMOKE_FOLDS)

    def run(self, bench: Bench) -> Outcome:
        """As `Experiment.run`."""
        runs = []
        for fold in range(self.num_folds):
            rnn = replace(self.experiment.rnn, folds=Folds(self.num_folds, fold, "keep-test"))
            runs.append(replace(self.experiment, rnn=rnn).train(bench))
        return _outcome(bench, runs, self.experiment.dataset, self.experiment.split, self.experiment.steps)


@dataclass(frozen=True)
class SingleTaskExperiment:
    """A head of its own for each target, where the others predict both together.

    Attributes:
        experiment: what is done for each target.
        targets: these.
    """

    experiment: UtteranceExperiment
    targets: tuple[str, ...] = ("valence", "arousal")

    @property
    def datasets(self) -> tuple[str, ...]:
        """As `Experiment.datasets`."""
        return self.experiment.datasets

    def smoke(self) -> "SingleTaskExperiment":
        """As of `UtteranceExperiment`."""
        return replace(self, experiment=self.experiment.smoke())

    def run(self, bench: Bench) -> Outcome:
        """As `Experiment.run`."""
        outcomes = []
        for target in self.targets:
            alone = replace(self.experiment, rnn=replace(self.experiment.rnn, targets=(target,)))
            outcomes.append(alone.run(bench))
        return _side_by_side(outcomes)


def _smoke_head(rnn: TrainRnnConfig) -> TrainRnnConfig:
    head = rnn.tap_head
    if head is not None:
        small = {name: min(getattr(head, name), _SMOKE_BATCH) for name in ("fc_units", "landmark_units", "joint_units")}
        head = replace(head, units=_SMOKE_UNITS, **small)
    return replace(
        rnn, tap_head=head, window=replace(rnn.window, length=_SMOKE_WINDOW), epochs=1, batch_size=_SMOKE_BATCH
    )


def _outcome(bench: Bench, runs: Sequence[Path], dataset: str, split: str, steps: Steps) -> Outcome:
    """The scores of a run, or of several whose predictions are averaged."""
    found = [_clips(bench, run, dataset, split, steps) for run in runs]
    clips = found[0] if len(found) == 1 else averaged_clips(found, np.full((len(found), 1), 1 / len(found)))
    bench.progress.say(f"Scoring {', '.join(run.name for run in runs)} on split '{split}' of {dataset}.")
    # What is stored in a run's folder is what `emopipe evaluate` says of it: no mean of several, no other chain.
    is_of_the_run = len(runs) == 1 and steps == "all"
    evaluation = score(clips) if is_of_the_run else clip_evaluation(clips, num_bootstrap=1000)
    keep, contents = clips.scored, [open_run(run).content for run in runs]
    trained = [content for content in contents if "best" in content]
    predictions = Predictions(
        tuple(np.array(clips.clip_ids)[keep].tolist()),
        tuple(np.array(clips.subjects)[keep].tolist()),
        clips.trained.targets,
        clips.labels[keep],
        clips.values[keep],
    )
    return Outcome(
        split=split,
        scores=evaluation.scores,
        num_rows=evaluation.num_scored,
        seed=clips.trained.run.content["settings"].get("seed", contents[0]["settings"].get("seed", 0)),
        epochs=sum(content["num_epochs"] for content in trained),
        best_epoch=trained[0]["best"]["epoch"] if len(trained) == len(runs) == 1 else None,
        notes=evaluation.notes,
        predictions=predictions,
    )


def _clips(bench: Bench, run: Path, dataset: str, split: str, steps: Steps) -> ClipPredictions:
    """What a run says of the utterances of a split, with so much of its post-processing."""

    def clips(trained: Trained) -> ClipPredictions:
        found = predict_split(trained, split=split, cache=bench.cache, root=bench.roots[dataset], dataset=dataset)
        chain = trained.postprocessing
        if chain is not None and steps != "all":
            chain = PostProcessing(chain.median if steps == "median" else {}, {})
        return clip_predictions(replace(found, trained=replace(trained, postprocessing=chain)))

    if not is_fusion(run):
        return clips(open_trained(run))
    fusion = open_fusion(run)
    averaged = averaged_clips([clips(member) for member in fusion.members], fusion.weights)
    return replace(averaged, trained=replace(averaged.trained, run=fusion.run))


def _side_by_side(outcomes: Sequence[Outcome]) -> Outcome:
    """Outcomes for one target each as one, with the mean of their CCC."""
    scores = [score for outcome in outcomes for score in outcome.scores if score.target != "mean"]
    kept = [outcome.predictions for outcome in outcomes if outcome.predictions is not None]
    means = [
        Score(metric, "mean", float(np.mean([each.value for each in found])), np.nan, np.nan, found[0].num_rows, 0)
        for metric in ("ccc", "ccc_raw")
        if (found := [score for score in scores if score.metric == metric])
    ]
    first = kept[0]
    together = Predictions(
        first.clip_ids,
        first.groups,
        tuple(target for each in kept for target in each.targets),
        np.concatenate([each.truth for each in kept], axis=1),
        np.concatenate([each.prediction for each in kept], axis=1),
    )
    return replace(
        outcomes[0],
        scores=(*scores, *means),
        epochs=sum(outcome.epochs for outcome in outcomes),
        best_epoch=None,
        notes=tuple(dict.fromkeys(note for outcome in outcomes for note in outcome.notes)),
        predictions=together,
    )
