"""`emopipe train-rnn`: from cached features to a trained head."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emopipe.config import to_dict
from emopipe.errors import ConfigError
from emopipe.files import sha256_of_file
from emopipe.models.building import build_model
from emopipe.models.bundle import Run, begin_run
from emopipe.models.end_to_end import join
from emopipe.models.engines import load_keras
from emopipe.models.gather import batches, epoch_order, head_inputs, predict_windows, resident_model, step_targets
from emopipe.models.heads import OutputActivation, build_head, save_head
from emopipe.models.losses import get_loss
from emopipe.models.rows import Statistics, statistics_of
from emopipe.models.spectrogram_head import augmentation
from emopipe.models.taps import attach
from emopipe.models.weights import load_network
from emopipe.stages import training
from emopipe.stages.clip_values import clip_labels, clip_values, fit_postprocessing, frame_values
from emopipe.stages.predictions import window_predictions
from emopipe.stages.progress import Progress
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.trained import carried_cnn, carry, open_trained, replace_carried, trainable_backbone
from emopipe.stages.training_targets import class_scores, number_scores, suited_loss, suited_select
from emopipe.stages.training_windows import Split, TrainingWindows, load_windows
from emopipe.store.cache import Cache
from emopipe.typing import Bools, Floats, Ints

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class TrainReport:
    """The outcome of one training; see `emopipe.stages.train_cnn.TrainReport`. `counts` counts windows."""

    run: Path
    targets: tuple[str, ...]
    select: str
    best: Mapping[str, float]
    num_epochs: int
    num_parameters: int
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**to_dict(self), "run": str(self.run), "best": dict(self.best)}

    def to_text(self) -> str:
        """A few lines for people."""
        scores = {name: value for name, value in self.best.items() if name.startswith(f"dev_{self.select}")}
        listed = ", ".join(f"{name} {value:z.3f}" for name, value in scores.items())
        return (
            f"{self.run}: {self.num_parameters:,} weights, trained on {self.counts['train']:,} windows, "
            f"judged on {self.counts['dev']:,}.\n"
            f"best epoch {self.best['epoch']} of {self.num_epochs}: {listed}"
        )


def train_rnn(
    config: TrainRnnConfig,
    *,
    cache: Path,
    run: Path,
    dataset: str | None = None,
    root: Path | None = None,
    features: str = "",
    progress: Progress | None = None,
) -> TrainReport:
    """Train a head on cached features; a killed training goes on where its last epoch ended.

    Args:
        config: how.
        cache: holds the features.
        run: the run folder; new, or one that an interrupted call with the same settings left.
        dataset: which corpus; None for the only one with features in the cache.
        root: where it is now; None for where it was at extraction.
        features: beginning of a features fingerprint, where the cache holds several.
        progress: told what happens.

    Returns:
        What is predicted, the best epoch's scores on the dev split, and how much was learned from.

    Raises:
        EmopipeError: a split is empty or too short, nothing is cached, a label is constant or not finite, a class has
            no window, or the run folder holds something else; these are found before keras is imported. Later: the
            loss diverges, the state of an interrupted training is damaged or of another backend.
        StorageError: the run folder cannot be written; the same command goes on.

    Examples:
        >>> from pathlib import Path
        >>> from emopipe import TrainRnnConfig, train_rnn
        >>> from emopipe.models.windows import WindowConfig
        >>> config = TrainRnnConfig(cells="gru", units=(8,), window=WindowConfig(10), epochs=1)
        >>> report = train_rnn(config, cache=Path("cache"), run=Path("runs/gru8"))
        >>> report.targets, report.num_epochs, report.num_parameters
        (('valence', 'arousal'), 1, 7458)
        >>> -1 <= report.best["dev_ccc"] <= 1
        True
    """
    progress = progress or Progress()
    store = Cache(cache)
    data = load_windows(config, store, dataset, root, features)
    loss = suited_loss(config.loss, data.task, data.classes)
    for note in data.notes:
        progress.say(note)
    opened = begin_run(run, "rnn", settings_of(config, loss, data))
    carry(opened, data.plan, store, backbone=not config.end_to_end)
    load_keras()
    learner = new_learner(config, data, opened, store)
    return fit_head(opened, config, learner, loss, data, progress)


@dataclass(frozen=True)
class Learner:
    """What is trained.

    Attributes:
        network: takes the table's rows; its weights are the state of the run.
        finish_network: what becomes of its saved file, see `training.train`; None when the file is what is kept.
        best: loads the best network so far, as `network` is.
        augment: a layer that stands before the network in training; None for none.
    """

    network: "keras.Model"
    best: "Callable[[], keras.Model]"
    finish_network: Callable[[Path], None] | None = None
    augment: "keras.layers.Layer | None" = None


def new_learner(config: TrainRnnConfig, data: TrainingWindows, run: Run, cache: Cache) -> Learner:
    """The head, or the CNN and the head, with fresh weights or those of `config.init`.

    Raises:
        ConfigError: the run to begin with has other layers.
        WeightsError: the CNN that made the features is not at hand.
    """
    if config.end_to_end:
        return _end_to_end(config, data, run, cache)
    augments = config.spectrogram_head is not None and config.spectrogram_head.augment
    statistics = statistics_of(data.train.rows) if config.standardises or augments else None
    head = new_head(config, data, data.columns, statistics)
    augment = augmentation(statistics, config.seed) if augments and statistics is not None else None
    return Learner(head, lambda: load_network(run.network), augment=augment)


def new_head(
    config: TrainRnnConfig, data: TrainingWindows, columns: dict[str, int], statistics: Statistics | None = None
) -> "keras.Model":
    """A head for a table whose taps are so wide, and whose training rows are so distributed."""
    activation: OutputActivation = "softmax" if data.classes else config.output_activation
    head_config: Any = config.head_config(data.num_outputs, activation, columns)
    read = columns.items() if config.tap_head is None else head_config.columns  # the landmarks among them
    width = sum(size for _, size in read)
    own = statistics if config.standardises else None
    head = build_head(config.head_name, head_config, width, config.seed, own)
    if config.init:
        start_from(head, Path(config.init))
    return head


def start_from(head: "keras.Model", run: Path) -> None:
    """Give a head the weights of a run's head.

    Raises:
        RunError: there is no such finished run.
        ConfigError: its head has other layers.
    """
    other = load_network(open_trained(run).run.network)
    own, given = ({weight.path: weight for weight in each.weights} for each in (head, other))
    for path in {**own, **given}:
        shapes = [str(tuple(each[path].shape)) if path in each else "none" for each in (own, given)]
        if shapes[0] != shapes[1]:
            raise ConfigError(f"--init {run}: '{path}' is {shapes[1]} there. Expected {shapes[0]}, as in this head.")
    for path, weight in own.items():
        weight.assign(given[path].value)


def _end_to_end(config: TrainRnnConfig, data: TrainingWindows, run: Run, cache: Cache) -> Learner:
    """The CNN and the head behind it; what is kept are two files, as of any head: the head, and what makes features."""
    backbone = trainable_backbone(config, data.plan, cache)
    spec, extra = backbone.input, data.train.rows.features.shape[1] - math.prod(backbone.input.shape)

    def joined(base: "keras.Model", head: "keras.Model | None") -> "tuple[keras.Model, keras.Model]":
        cnn = attach(base, backbone.taps, backbone.name)
        outputs = cnn.output if isinstance(cnn.output, list) else [cnn.output]
        sizes = {tap.name: int(output.shape[1]) for tap, output in zip(backbone.taps, outputs, strict=True)}
        head = head or new_head(config, data, sizes)
        return join(cnn, spec, head, extra), head

    base = build_model(backbone)
    network, head = joined(base, None)

    def finish_network(path: Path) -> None:
        base.save(run.state / "cnn.keras")
        replace_carried(run, run.state / "cnn.keras")
        save_head(head, path)

    return Learner(
        network, lambda: joined(load_network(carried_cnn(run)), load_network(run.network))[0], finish_network
    )


def fit_head(
    run: Run,
    config: TrainRnnConfig,
    learner: Learner,
    loss: str,
    data: TrainingWindows,
    progress: Progress,
) -> TrainReport:
    """Train, keep the best epoch, fit what is done to its predictions, and mark the run as finished."""
    network, dev = learner.network, data.dev
    plan = data.train.plan
    model = compiled_model(
        config, network, data.train.rows.features, loss, masked=config.masks_padding and plan.padded,
        augment=learner.augment, num_steps=config.epochs * -(-len(plan) // config.batch_size),
    )  # fmt: skip

    def evaluate() -> dict[str, float]:
        if config.window.target == "every":
            values, how = window_predictions(network, dev.rows, config.window, "short")
            return step_scores(config, data, values, how, run)
        predicted = predict_windows(network, dev.rows.features, dev.plan)
        training.check_finite(run, "prediction", predicted)
        if data.classes:
            return class_scores(dev.targets, predicted)
        return number_scores(dev.targets, predicted, data.targets, config.batch_size)

    history = training.train(
        run,
        model,
        network,
        batches=lambda epoch: epoch_batches(config, data.train, epoch),
        evaluate=evaluate,
        schedule=training.Schedule(config.epochs, config.patience, _select(config, loss, data)),
        seed=config.seed,
        progress=progress,
        finish_network=learner.finish_network,
    )
    num_parameters = network.count_params()
    training.finish(
        run,
        history,
        targets=data.targets,
        classes=data.classes,
        of_clips=data.of_clips,
        windows=data.counts,
        num_parameters=num_parameters,
        device_resident=config.device_resident,
        postprocessing=_postprocessing(config, learner, data),
        carried=carried_cnn(run).stem if config.end_to_end else None,
    )
    return TrainReport(
        run.folder, data.targets, history.select, history.best, len(history.rows), num_parameters, data.counts,
        data.notes,
    )  # fmt: skip


def step_scores(config: TrainRnnConfig, data: TrainingWindows, values: Floats, how: Ints, run: Run) -> dict[str, float]:
    """The dev split's scores from the predictions of its frames: over clips where clips are labelled, else frames."""
    rows = data.dev.rows
    training.check_finite(run, "prediction", values[how > 0])
    if not data.of_clips:
        known = rows.valid & rows.label_valid & (how > 0)
        return number_scores(rows.labels[known], values[known], data.targets, config.batch_size)
    guess = clip_values(frame_values(rows, values, how, config.window, data.targets), config.reduce)
    truth = clip_labels(rows)
    has_both: Bools = np.isfinite(np.concatenate([guess, truth], axis=1)).all(axis=1)
    return number_scores(truth[has_both], guess[has_both], data.targets, config.batch_size)


def _postprocessing(config: TrainRnnConfig, learner: Learner, data: TrainingWindows) -> dict[str, Any] | None:
    """Fitted on the dev split with the best network; None where clips are not what is labelled."""
    if not data.of_clips or config.window.target != "every":
        return None
    rows = data.dev.rows
    values, how = window_predictions(learner.best(), rows, config.window, "short")
    found = frame_values(rows, values, how, config.window, data.targets)
    return to_dict(fit_postprocessing(found, clip_labels(rows), config.reduce))


def settings_of(config: TrainRnnConfig, loss: str, data: TrainingWindows) -> dict[str, Any]:
    """What decides the result."""
    chosen = to_dict(config)
    del chosen["device_resident"]
    features, sound = data.plan.features, data.plan.audio
    return {
        **chosen,
        "init": sha256_of_file(open_trained(Path(config.init)).run.network) if config.init else "",
        "loss": loss,
        "select": _select(config, loss, data),
        "standardise": config.standardises,
        "taps": list(config.table_taps),
        "landmarks": config.tap_head is not None and config.tap_head.reads_landmarks,
        "targets": list(data.targets),
        "task": data.task,
        "dataset": data.plan.manifest.dataset,
        "features": features.config if features else {},
        "features_fingerprint": features.fingerprint if features else "",
        "audio": sound.fingerprint if sound else "",
        "audio_settings": sound.config if sound else {},
        "clips": data.clips,
        "clip_ids": data.clip_ids,
        **data.identity,
    }


def _select(config: TrainRnnConfig, loss: str, data: TrainingWindows) -> str:
    return suited_select(config.select, loss, data.task, data.targets, data.classes, of_clips=data.of_clips)


def compiled_model(
    config: TrainRnnConfig,
    network: "keras.Model",
    features: Floats,
    loss: str,
    *,
    masked: bool = False,
    augment: "keras.layers.Layer | None" = None,
    num_steps: int = 1,
) -> "keras.Model":
    """The model around a network that is trained on `epoch_batches`.

    Args:
        config: how.
        network: what learns.
        features: (R, D), the table that windows are cut from.
        loss: a name in `LOSSES`; cross-entropy wants a softmax.
        masked: whether windows have padding that the network must be told of. Most have none, and where every step is
            predicted padding has no weight.
        augment: a layer before the network.
        num_steps: batches of the whole training, at the end of which a cosine is 0.
    """
    import keras

    if config.device_resident:
        model = resident_model(network, features, augment)
    else:
        window = keras.Input((config.window.length, features.shape[1]), name="features")
        mask = keras.Input((config.window.length,), dtype="bool", name="mask") if masked else None
        shown = window if augment is None else augment(window, is_real=mask)
        inputs = window if mask is None else {"features": window, "mask": mask}
        model = keras.Model(inputs, network({"features": shown, "mask": mask}))
    training.seed_generators(model, config.seed)
    rate, decay = config.learning_rate, config.decay
    if config.schedule == "cosine":
        rate, decay = keras.optimizers.schedules.CosineDecay(config.learning_rate, num_steps), 0.0
    optimiser = training.optimiser(config.optimiser, rate, config.momentum, decay, config.clip_value)
    training.compile_model(model, optimiser, get_loss(loss))
    return model


def epoch_batches(config: TrainRnnConfig, split: Split, epoch: int) -> Iterator[tuple[Any, ...]]:
    """Inputs and targets of one epoch, batch by batch: windows, or their rows for a table on the device.

    The mask of the padding comes with them where there is padding, and for heads that predict every step a weight per
    step instead.
    """
    plan, targets = split.plan, split.targets
    if config.label_smoothing:  # of one-hot classes; `load_windows` refuses it for numbers
        targets = targets * (1 - config.label_smoothing) + np.float32(config.label_smoothing / targets.shape[1])
    masked = config.masks_padding and plan.padded
    for indices in batches(epoch_order(len(plan), config.seed, epoch), config.batch_size):
        if config.device_resident:
            mask = plan.mask(indices) if masked else None
            yield {"rows": plan.rows(indices), "mask": mask}, targets[indices]
            continue
        inputs = head_inputs(split.rows.features, plan, indices)
        if config.window.target == "every":
            yield inputs["features"], *step_targets(split.rows, plan, indices)
        else:
            yield inputs if masked else inputs["features"], targets[indices]
