"""`emopipe train-cnn`: from cached faces to a trained CNN that `extract` takes as its backbone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from emopipe.class_metrics import accuracy, confusion_matrix, macro_f1
from emopipe.config import from_dict, to_dict
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError
from emopipe.metrics import batch_mean_concordance, concordance, rmse
from emopipe.models.augment import augmentation
from emopipe.models.balance import CEILINGS
from emopipe.models.bundle import Run, begin_run
from emopipe.models.engines import load_keras
from emopipe.models.keras_files import write_metadata
from emopipe.models.losses import get_loss
from emopipe.models.trainable import CNNS, TrainableCnn
from emopipe.models.weights import initialise
from emopipe.plots.scores import histogram_figure, save_figure
from emopipe.provenance import num_cores
from emopipe.stages import training
from emopipe.stages.crop_source import CropReaders, ordered_batches, shuffled_batches
from emopipe.stages.pipeline import Prefetch
from emopipe.stages.trained import carry
from emopipe.stages.training_frames import TrainingFrames, load_frames
from emopipe.store.cache import Cache
from emopipe.typing import Floats

if TYPE_CHECKING:
    import keras

Loss = Literal["ccc", "mse", "crossentropy"]
Balance = Literal["none", "max", "mean", "midpoint"]

_MAX_READERS = 4  # each reads some 4,000 crops a second
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class TrainCnnConfig:
    """How a CNN is trained. Where no other source is named, a default is that of the code of Rangulov and Fahim (2020).

    Attributes:
        backbone: a name in `CNNS`.
        task: see `Adapter.tasks`; None for the dataset's first.
        targets: which of the task's targets; empty for all. One output each; for classes, one per class.
        loss: "ccc", "mse" or "crossentropy"; None for the one that suits the task.
        balance: thin out crowded cells of the valence-arousal plane, see `emopipe.models.balance`.
        literal_balance: by the formula as the paper prints it.
        augment: show every image another way each time.
        epochs: at most so many.
        patience: end after so many epochs without a better dev score; None for never.
        steps_per_epoch: batches after which an epoch ends; None for all frames.
        batch_size: frames.
        learning_rate, momentum: of stochastic gradient descent.
        decay: the learning rate is ``learning_rate / (1 + decay iteration)``.
        seed: of weights, balancing, order, augmentation and dropout.
        train_split, dev_split: what is learned from, and what selects the best epoch.
        folds: how a corpus without splits of its own is divided; None to take its splits.
    """

    backbone: str = "khorrami"
    task: str | None = None
    targets: tuple[str, ...] = ()
    loss: Loss | None = None
    balance: Balance = "none"
    literal_balance: bool = False  # the code's rule; the paper's Eq. 1 would keep the crowd
    augment: bool = True
    epochs: int = 100  # their CK+ notebook; on Aff-Wild2 they stopped by hand, best epochs were 1 and 2
    patience: int | None = 10  # ours; the code has no early stopping
    steps_per_epoch: int | None = None  # their "epochs" on Aff-Wild2 are 1,000 batches
    batch_size: int = 128  # the paper: 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    decay: float = 1e-5  # per iteration; the paper calls it weight decay and the rate constant
    seed: int = 0
    train_split: str = "train"
    dev_split: str = "dev"
    folds: Folds | None = None

    def __post_init__(self) -> None:
        if isinstance(self.folds, Mapping):  # as it stands in a run's settings
            object.__setattr__(self, "folds", from_dict(Folds, self.folds))
        if self.loss not in (None, *get_args(Loss)):
            raise ConfigError(f"loss: expected one of {', '.join(get_args(Loss))}. Received: {self.loss!r}.")
        if self.balance not in ("none", *CEILINGS):
            raise ConfigError(f"balance: expected none, {', '.join(CEILINGS)}. Received: {self.balance!r}.")
        if self.batch_size < 1 or (self.steps_per_epoch is not None and self.steps_per_epoch < 1):
            raise ConfigError("batch size and steps per epoch: expected at least 1.")
        if not (self.learning_rate > 0 and 0 <= self.momentum < 1 and self.decay >= 0):
            raise ConfigError("expected a learning rate above 0, a momentum in [0, 1) and a decay of at least 0.")
        if self.seed < 0:
            raise ConfigError(f"seed: expected at least 0. Received: {self.seed}.")
        training.Schedule(self.epochs, self.patience, "")


@dataclass(frozen=True)
class TrainReport:
    """The outcome of one training.

    Attributes:
        run: the run folder.
        targets: what the network predicts.
        select: the score that chose the best epoch.
        best: the best epoch's row of history.csv.
        num_epochs: epochs that were trained.
        counts: frames of both splits, and of the training split before balancing.
        notes: what the user is to be told.
    """

    run: Path
    targets: tuple[str, ...]
    select: str
    best: Mapping[str, float]
    num_epochs: int
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "run": str(self.run),
            "targets": list(self.targets),
            "select": self.select,
            "best": dict(self.best),
            "num_epochs": self.num_epochs,
            "frames": dict(self.counts),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """A few lines for people."""
        scores = {name: value for name, value in self.best.items() if name.startswith(f"dev_{self.select}")}
        listed = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        before, train, dev = (self.counts[name] for name in ("train_before_balancing", "train", "dev"))
        thinned = f" of {before}" if train < before else ""
        return (
            f"{self.run}: trained on {train}{thinned} frames, judged on {dev}.\n"
            f"best epoch {self.best['epoch']} of {self.num_epochs}: {listed}\n"
            f"next: emopipe extract --backbone {self.run / 'network.keras'}"
        )


def train_cnn(
    config: TrainCnnConfig,
    *,
    dataset: str,
    root: Path,
    cache: Path,
    run: Path,
    faces: str = "",
    num_readers: int | None = None,
    progress: training.TrainingProgress | None = None,
) -> TrainReport:
    """Train a CNN on cached faces; a killed training goes on where its last epoch ended.

    Args:
        config: how.
        dataset, root: the corpus, for its labels.
        cache: holds its faces.
        run: the run folder; new, or one that an interrupted call with the same settings left.
        faces: beginning of a faces fingerprint, where the cache holds several sets of this dataset.
        num_readers: processes that read crops; None for a quarter of the cores, at least one and at most four.
        progress: told what happens.

    Raises:
        EmopipeError: a split is empty, nothing is cached, labels are missing, constant or not finite, a class has no
            frame, the run folder holds something else, or training diverges. All but the last are found before keras
            is imported.
    """
    progress = progress or training.Silent()
    cnn: TrainableCnn = CNNS.load(config.backbone)
    data = load_frames(config, Cache(cache), dataset, root, faces)
    loss = _loss(config, data)
    for note in data.notes:
        progress.say(note)
    settings = {**to_dict(config), "loss": loss, "task": data.task, "targets": data.targets, **data.identity}
    opened = begin_run(run, "cnn", settings)
    if data.planes:
        save_figure(histogram_figure(data.planes), run / "histogram.png")
    readers = num_readers if num_readers is not None else max(1, min(_MAX_READERS, num_cores() // 4))
    with CropReaders(readers) as crops:
        history = _train(opened, config, cnn, loss, data, crops, progress)
    carry(opened, data.plan, Cache(cache))
    training.finish(
        opened,
        history,
        dataset=dataset,
        task=data.task,
        targets=data.targets,
        classes=data.classes,
        input=to_dict(cnn.input),
        taps=cnn.taps,
        faces=data.plan.faces.config,
        frames=data.counts,
        balance_ceiling=data.ceiling,
    )
    return TrainReport(run, data.targets, history.select, history.best, len(history.rows), data.counts, data.notes)


def _loss(config: TrainCnnConfig, data: TrainingFrames) -> str:
    if config.loss is not None and (config.loss == "crossentropy") != bool(data.classes):
        suits = "crossentropy" if data.classes else "ccc or mse"
        raise ConfigError(f"loss: expected {suits} for task '{data.task}'. Received: {config.loss}.")
    return config.loss or ("crossentropy" if data.classes else "ccc")


def _train(
    run: Run,
    config: TrainCnnConfig,
    cnn: TrainableCnn,
    loss: str,
    data: TrainingFrames,
    readers: CropReaders,
    progress: training.TrainingProgress,
) -> training.History:
    load_keras()
    network, model = _build(config, cnn, loss, data)
    limit = None if config.steps_per_epoch is None else config.steps_per_epoch * config.batch_size

    def batches(epoch: int) -> Prefetch[tuple[Floats, Floats]]:
        order = shuffled_batches(
            data.train, readers, cnn.input, config.batch_size, seed=config.seed, epoch=epoch, num_frames=limit
        )
        return Prefetch(order, _BATCHES_AHEAD, "crops")

    def evaluate() -> dict[str, float]:
        crops = ordered_batches(data.dev, readers, cnn.input, config.batch_size)
        prediction = training.predict(network, Prefetch(crops, _BATCHES_AHEAD, "dev crops"))
        training.check_finite(run, "prediction", prediction)
        score = _class_scores if data.classes else _number_scores
        return score(data, np.asarray(prediction, np.float64), config.batch_size)

    select = "macro_f1" if data.classes else "ccc"
    return training.train(
        run,
        model,
        network,
        batches=batches,
        evaluate=evaluate,
        finish_network=lambda path: write_metadata(path, cnn.input, cnn.taps),
        schedule=training.Schedule(config.epochs, config.patience, select),
        progress=progress,
    )


def _build(
    config: TrainCnnConfig, cnn: TrainableCnn, loss: str, data: TrainingFrames
) -> tuple["keras.Model", "keras.Model"]:
    """The network that is kept, and the compiled model around it that is trained."""
    import keras

    network = cnn.build(data.num_outputs, "softmax" if data.classes else "linear")
    initialise(network, config.seed)
    image = keras.Input(cnn.input.shape, name="image")
    shown = augmentation(config.seed)(image) if config.augment else image
    model = keras.Model(image, network(shown))
    training.seed_generators(model, config.seed)
    optimiser = training.sgd(config.learning_rate, config.momentum, config.decay)
    training.compile_model(model, optimiser, get_loss(loss))
    return network, model


def _number_scores(data: TrainingFrames, prediction: Floats, batch_size: int) -> dict[str, float]:
    """CCC and RMSE over all frames, and the mean of the batches' CCC that published curves show."""
    scores: dict[str, dict[str, float]] = {"ccc": {}, "rmse": {}, "batch_ccc": {}}
    for number, target in enumerate(data.targets):
        truth, predicted = data.dev.targets[:, number], prediction[:, number]
        scores["ccc"][target] = concordance(truth, predicted)
        scores["rmse"][target] = rmse(truth, predicted)
        scores["batch_ccc"][target] = batch_mean_concordance(truth, predicted, batch_size)
    named = {f"{name}_{target}": value for name, values in scores.items() for target, value in values.items()}
    return {"ccc": float(np.mean(list(scores["ccc"].values()))), **named}


def _class_scores(data: TrainingFrames, prediction: Floats, _: int) -> dict[str, float]:
    """Macro-F1 and accuracy over all frames; a class without a frame counts as 0."""
    counts = confusion_matrix(data.dev.targets.argmax(1), prediction.argmax(1), len(data.classes))
    return {"macro_f1": float(macro_f1(counts)), "accuracy": float(accuracy(counts))}
