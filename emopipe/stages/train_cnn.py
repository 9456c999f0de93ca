"""`emopipe train-cnn`: from cached faces to a trained CNN that `extract` takes as its backbone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emopipe.config import to_dict
from emopipe.errors import ConfigError
from emopipe.models.augment import augmentation
from emopipe.models.bundle import Run, begin_run
from emopipe.models.engines import load_keras
from emopipe.models.keras_files import write_metadata
from emopipe.models.losses import get_loss
from emopipe.models.trainable import CNNS, TrainableCnn
from emopipe.models.weights import ResolvedWeights, initialise
from emopipe.plots.scores import histogram_figure, save_figure
from emopipe.provenance import num_cores
from emopipe.stages import training
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.crop_source import CropReaders, ordered_batches, shuffled_batches
from emopipe.stages.pipeline import Prefetch
from emopipe.stages.progress import Progress
from emopipe.stages.start_weights import RANDOM, resolve_start, start_from
from emopipe.stages.trained import carry
from emopipe.stages.training_frames import TrainingFrames, load_frames
from emopipe.stages.training_targets import class_scores, number_scores, suited_loss
from emopipe.store.cache import Cache
from emopipe.typing import Floats

if TYPE_CHECKING:
    import keras

_MAX_READERS = 4  # each reads some 4,000 crops a second
BATCHES_AHEAD = 2
# Settings that came later, as a run had them that was begun without: such a run may go on.
_LATER: Mapping[str, Any] = {"width": 1.0, "optimiser": "sgd", "weights": RANDOM}


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
        listed = ", ".join(f"{name} {value:z.3f}" for name, value in scores.items())
        before, train, dev = (self.counts[name] for name in ("train_before_balancing", "train", "dev"))
        thinned = f" of {before:,}" if train < before else ""
        return (
            f"{self.run}: trained on {train:,}{thinned} frames, judged on {dev:,}.\n"
            f"best epoch {self.best['epoch']} of {self.num_epochs}: {listed}"
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
    progress: Progress | None = None,
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
    progress = progress or Progress()
    cnn: TrainableCnn = CNNS.load(config.backbone)
    if config.width != 1 and not cnn.scalable:
        raise ConfigError(f"{config.backbone}: comes in width 1 only. Received: width {config.width}.")
    start = resolve_start(config.backbone, cnn, config.weights, config.width)
    data = load_frames(config, Cache(cache), dataset, root, faces)
    loss = suited_loss(config.loss, data.task, data.classes)
    for note in data.notes:
        progress.say(note)
    settings = _settings(config, loss, data, start)
    opened = begin_run(run, "cnn", settings)
    if data.planes:
        save_figure(histogram_figure(data.planes), run / "histogram.png")
    readers = num_readers if num_readers is not None else max(1, min(_MAX_READERS, num_cores() // 4))
    with CropReaders(readers) as crops:
        history, notes, about, num_parameters = _train(opened, config, cnn, loss, data, start, crops, progress)
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
        width=config.width,
        optimiser=config.optimiser,
        start=about,
        num_parameters=num_parameters,
    )
    return TrainReport(
        run, data.targets, history.select, history.best, len(history.rows), data.counts, (*data.notes, *notes)
    )


def _settings(config: TrainCnnConfig, loss: str, data: TrainingFrames, start: ResolvedWeights | None) -> dict[str, Any]:
    """What decides the result; weights count by their content, wherever they lie."""
    chosen = to_dict(config) | {"weights": start.digest if start else RANDOM}
    kept = {name: value for name, value in chosen.items() if name not in _LATER or value != _LATER[name]}
    return {**kept, "loss": loss, "task": data.task, "targets": data.targets, **data.identity}


def _train(
    run: Run,
    config: TrainCnnConfig,
    cnn: TrainableCnn,
    loss: str,
    data: TrainingFrames,
    start: ResolvedWeights | None,
    readers: CropReaders,
    progress: Progress,
) -> tuple[training.History, tuple[str, ...], Mapping[str, Any] | None, int]:
    """The history, what the user was told of the start, what the run keeps of it, and the network's size."""
    load_keras()
    network = build_initial(config, cnn, data)
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] | None = None
    if start is not None:
        sentence, about = start_from(network, cnn, start)
        notes = (sentence,)
        progress.say(sentence)
    network, learner, model = build_training(config, cnn, loss, data, network)
    limit = None if config.steps_per_epoch is None else config.steps_per_epoch * config.batch_size

    def batches(epoch: int) -> Prefetch[tuple[Floats, Floats]]:
        order = shuffled_batches(
            data.train, readers, cnn.input, config.batch_size, seed=config.seed, epoch=epoch, num_frames=limit
        )
        return Prefetch(order, BATCHES_AHEAD, "crops")

    def evaluate() -> dict[str, float]:
        if learner is not network:
            network.set_weights(learner.get_weights())
        crops = ordered_batches(data.dev, readers, cnn.input, config.batch_size)
        prediction = training.predict(network, Prefetch(crops, BATCHES_AHEAD, "dev crops"))
        training.check_finite(run, "prediction", prediction)
        if data.classes:
            return class_scores(data.dev.targets, prediction)
        return number_scores(data.dev.targets, prediction, data.targets, config.batch_size)

    def finish_network(path: Path) -> None:
        if learner is not network:
            network.save(path)
        write_metadata(path, cnn.input, cnn.taps)

    select = "macro_f1" if data.classes else "ccc"
    history = training.train(
        run,
        model,
        learner,
        batches=batches,
        evaluate=evaluate,
        finish_network=finish_network,
        schedule=training.Schedule(config.epochs, config.patience, select),
        seed=config.seed,
        progress=progress,
    )
    return history, notes, about, network.count_params()


def build_initial(config: TrainCnnConfig, cnn: TrainableCnn, data: TrainingFrames) -> "keras.Model":
    """The network with random weights."""
    network = cnn.build(data.num_outputs, _activation(data), config.width)
    initialise(network, config.seed)
    return network


def build_training(
    config: TrainCnnConfig,
    cnn: TrainableCnn,
    loss: str,
    data: TrainingFrames,
    network: "keras.Model | None" = None,
) -> tuple["keras.Model", "keras.Model", "keras.Model"]:
    """The network that is kept, the one that learns (the same in float32), and the compiled model around that one.

    Args:
        config, cnn, loss, data: what is trained, how, on what.
        network: what learning begins with; None for `build_initial`.
    """
    import keras

    network = learner = network or build_initial(config, cnn, data)
    if config.precision == "bfloat16":
        usual = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            learner = cnn.build(data.num_outputs, _activation(data), config.width)
        finally:
            keras.config.set_dtype_policy(usual)
        learner.set_weights(network.get_weights())
    image = keras.Input(cnn.input.shape, name="image")
    shown = augmentation(config.seed, cnn.input.value_range)(image) if config.augment else image
    model = keras.Model(image, keras.layers.Activation("linear", dtype="float32")(learner(shown)))
    training.seed_generators(model, config.seed)
    optimiser = training.optimiser(config.optimiser, config.learning_rate, config.momentum, config.decay)
    training.compile_model(model, optimiser, get_loss(loss))
    return network, learner, model


def _activation(data: TrainingFrames) -> str:
    return "softmax" if data.classes else "linear"
