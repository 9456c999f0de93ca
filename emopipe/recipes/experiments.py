"""The shapes of experiments: frames through a CNN and a head, folds of a corpus, a CNN on a corpus unknown to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emopipe.bootstrap import Score
from emopipe.class_metrics import classification_scores, confusion_matrix
from emopipe.config import FacesConfig
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError
from emopipe.models.bundle import open_run
from emopipe.recipes.recipe import Outcome
from emopipe.recipes.steps import Bench, cached_faces, cached_features, trained_cnn, trained_rnn
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.evaluate import predict_split, score
from emopipe.stages.evaluation import Evaluation, SplitPredictions
from emopipe.stages.predictions import Fill
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.trained import open_trained
from emopipe.typing import Array, Ints

# What a minute holds on two cores, where a training step of the Khorrami CNN on 16 frames takes half a second.
_SMOKE_BATCH = 16
_SMOKE_STEPS = 2
_SMOKE_WINDOW = 10
_SMOKE_FOLDS = 5


@dataclass(frozen=True)
class FrameExperiment:
    """A CNN on frames, or a head on windows of what that CNN makes of them; both learn from one corpus with splits.

    Attributes:
        dataset: the corpus.
        faces: how frames become crops.
        cnn: how the CNN is trained.
        rnn: how the head is trained; None to score the CNN itself.
        taps: layers of the CNN that the head takes.
        split: what is scored.
        fill: what becomes of frames without a full window; see `emopipe.stages.predictions`.
    """

    dataset: str
    faces: FacesConfig
    cnn: TrainCnnConfig
    rnn: TrainRnnConfig | None = None
    taps: tuple[str, ...] = ("dense",)
    split: str = "dev"
    fill: Fill = "short"

    @property
    def datasets(self) -> tuple[str, ...]:
        """As `Experiment.datasets`."""
        return (self.dataset,)

    def smoke(self) -> "FrameExperiment":
        """One epoch of two steps each, and windows that fit into clips of a few seconds."""
        rnn = self.rnn
        if rnn is not None:
            window = replace(rnn.window, length=_SMOKE_WINDOW)
            rnn = replace(rnn, window=window, epochs=1, batch_size=4 * _SMOKE_BATCH)
        return replace(self, cnn=_smoke_cnn(self.cnn), rnn=rnn)

    def run(self, bench: Bench) -> Outcome:
        """As `Experiment.run`."""
        faces = cached_faces(bench, self.dataset, self.faces)
        run = trained_cnn(bench, self.dataset, faces, self.cnn)
        if self.rnn is not None:
            features = cached_features(bench, self.dataset, self.faces, run, self.taps)
            run = trained_rnn(bench, self.dataset, self.rnn, features)
        bench.progress.say(f"Scoring {run} on split '{self.split}' of {self.dataset}.")
        found = _predictions(bench, run, self.dataset, self.split, self.fill)
        return _outcome(run, score(found))


@dataclass(frozen=True)
class FoldsExperiment:
    """A CNN for classes on a corpus without splits: one training per fold, and their test predictions put together.

    Attributes:
        dataset, faces: as in `FrameExperiment`.
        cnn: how the CNN of fold 0 is trained; its `folds` says how many there are and by which rule.
        num_trained: so many folds are trained and scored, from the first one on; None for all.

    Raises:
        ConfigError: `cnn` has no folds.
    """

    dataset: str
    faces: FacesConfig
    cnn: TrainCnnConfig
    num_trained: int | None = None

    def __post_init__(self) -> None:
        if self.cnn.folds is None:
            raise ConfigError("FoldsExperiment.cnn: expected folds. Received: none.")

    @property
    def datasets(self) -> tuple[str, ...]:
        """As `Experiment.datasets`."""
        return (self.dataset,)

    @property
    def split(self) -> str:
        """What is scored: the test part, or by images, where there is none, the dev part."""
        return "test" if _folds(self.cnn).rule == "subjects" else "dev"

    @property
    def fold_configs(self) -> tuple[TrainCnnConfig, ...]:
        """How the CNN of each fold is trained; by images there is one fold."""
        folds = _folds(self.cnn)
        num_folds = folds.num_folds if folds.rule == "subjects" else 1
        numbers = range(min(num_folds, self.num_trained or num_folds))
        return tuple(replace(self.cnn, folds=replace(folds, fold=number)) for number in numbers)

    def smoke(self) -> "FoldsExperiment":
        """As of `FrameExperiment`, with the first two of a few folds."""
        return replace(self, cnn=_smoke_cnn(self.cnn), num_trained=2)

    def run(self, bench: Bench) -> Outcome:
        """As `Experiment.run`."""
        faces = cached_faces(bench, self.dataset, self.faces)
        runs, found = [], []
        for config in self.fold_configs:
            runs.append(trained_cnn(bench, self.dataset, faces, config))
            bench.progress.say(f"Scoring {runs[-1]} on split '{self.split}' of {self.dataset}.")
            found.append(_predictions(bench, runs[-1], self.dataset, self.split))
            score(found[-1], num_bootstrap=0)
        return _pooled(runs, found, self.split)


@dataclass(frozen=True)
class TransferExperiment:
    """A CNN for classes that learned from one corpus, scored on every picture of another.

    Attributes:
        source: the corpus that is learned from, by its first fold.
        dataset: the corpus that is scored on; nothing is trained or chosen on it.
        faces: of both.
        cnn: how the CNN is trained.
    """

    source: str
    dataset: str
    faces: FacesConfig
    cnn: TrainCnnConfig

    @property
    def datasets(self) -> tuple[str, ...]:
        """As `Experiment.datasets`."""
        return (self.source, self.dataset)

    def smoke(self) -> "TransferExperiment":
        """As of `FrameExperiment`."""
        return replace(self, cnn=_smoke_cnn(self.cnn))

    def run(self, bench: Bench) -> Outcome:
        """As `Experiment.run`."""
        run = trained_cnn(bench, self.source, cached_faces(bench, self.source, self.faces), self.cnn)
        cached_faces(bench, self.dataset, self.faces)
        bench.progress.say(f"Scoring {run} on all of {self.dataset}.")
        found = _predictions(bench, run, self.dataset, "all")
        return _outcome(run, score(found))


def _smoke_cnn(config: TrainCnnConfig) -> TrainCnnConfig:
    # The mean over 1,600 cells is below one frame in so small a corpus, and then "mean" keeps none at all.
    balance = "midpoint" if config.balance == "mean" else config.balance
    folds = None if config.folds is None else replace(config.folds, num_folds=min(_SMOKE_FOLDS, config.folds.num_folds))
    return replace(
        config, balance=balance, epochs=1, steps_per_epoch=_SMOKE_STEPS, batch_size=_SMOKE_BATCH, folds=folds
    )


def _folds(config: TrainCnnConfig) -> Folds:
    return config.folds or Folds()


def _predictions(bench: Bench, run: Path, dataset: str, split: str, fill: Fill = "short") -> SplitPredictions:
    return predict_split(
        open_trained(run), split=split, cache=bench.cache, root=bench.roots[dataset], dataset=dataset, fill=fill
    )


def _outcome(run: Path, evaluation: Evaluation) -> Outcome:
    """The scores of one run, with the mean of the batches' CCC that its best epoch logged."""
    content = open_run(run).content
    best, settings = content["best"], content["settings"]
    logged: tuple[Score, ...] = ()
    if (
        evaluation.dataset == settings.get("dataset", content.get("dataset"))
        and evaluation.split == settings["dev_split"]
    ):
        logged = tuple(
            Score("batch_ccc", name, best[f"dev_batch_ccc_{name}"], np.nan, np.nan, evaluation.num_scored, 0)
            for name in settings["targets"]
            if f"dev_batch_ccc_{name}" in best
        )
    return Outcome(
        split=evaluation.split,
        scores=(*evaluation.scores, *logged),
        num_rows=evaluation.num_scored,
        seed=settings["seed"],
        epochs=content["num_epochs"],
        best_epoch=best["epoch"],
        confusion=evaluation.confusion,
        classes=evaluation.classes,
        notes=evaluation.notes,
    )


def _pooled(runs: Sequence[Path], found: Sequence[SplitPredictions], split: str) -> Outcome:
    """One score over the test frames of all folds, with intervals over subjects."""
    truth, guess, subjects = (np.concatenate(parts) for parts in zip(*map(_class_rows, found), strict=True))
    classes = found[0].trained.classes
    contents = [open_run(run).content for run in runs]
    return Outcome(
        split=split,
        scores=tuple(classification_scores(truth, guess, classes, subjects)),
        num_rows=len(truth),
        seed=contents[0]["settings"]["seed"],
        epochs=sum(content["num_epochs"] for content in contents),
        best_epoch=contents[0]["best"]["epoch"] if len(contents) == 1 else None,
        confusion=confusion_matrix(truth, guess, len(classes)),
        classes=classes,
        notes=tuple(dict.fromkeys(note for each in found for note in each.split.notes)),
    )


def _class_rows(found: SplitPredictions) -> tuple[Ints, Ints, Array]:
    """(N,) true class, predicted class and subject of the scored frames."""
    rows = found.rows
    scored = rows.label_valid & (found.how > 0)
    subjects = np.array([clip.clip.subject for clip in found.split.clips])
    return (
        rows.labels[scored, 0].astype(np.int64),
        found.values[scored].argmax(axis=1),
        np.repeat(subjects, np.diff(rows.clip_starts))[scored],
    )
