"""`emopipe train-rnn`: from cached features to a trained head."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emopipe.config import from_dict, to_dict
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError
from emopipe.models.balance import CEILINGS
from emopipe.models.bundle import Run, begin_run
from emopipe.models.engines import load_keras
from emopipe.models.gather import batches, epoch_order, head_inputs, predict_windows, resident_model
from emopipe.models.heads import MeanHeadConfig, OutputActivation, RnnHeadConfig, build_head, units_of_layers
from emopipe.models.losses import get_loss
from emopipe.models.windows import WindowConfig
from emopipe.stages import training
from emopipe.stages.trained import carry
from emopipe.stages.training_targets import Loss, check_loss, class_scores, number_scores, suited_loss
from emopipe.stages.training_windows import Split, TrainingWindows, load_windows
from emopipe.store.cache import Cache
from emopipe.typing import Floats

if TYPE_CHECKING:
    import keras

Balance = Literal["none", "max", "mean", "midpoint"]


@dataclass(frozen=True)
class TrainRnnConfig:
    """How a head is trained. Defaults without another source are those of the code of Rangulov and Fahim (2020).

    Attributes:
        head: a name in `HEADS`.
        cells, layers, units, bidirectional, dropout: of the recurrent head; `units` empty for those of `layers`.
        window: which windows are learned from and scored.
        taps: taps of the features, side by side; empty for all.
        task, targets: as in `TrainCnnConfig`.
        loss: "ccc", "mse" or "crossentropy"; None for the one that suits the task.
        balance: thin out windows whose target lies in a crowded cell of the valence-arousal plane.
        epochs, patience, batch_size, learning_rate, momentum, decay, seed, folds, train_split, dev_split: as in
            `TrainCnnConfig`.
        clip_value: largest part of a gradient; None for no limit.
        device_resident: hold the features where the head is trained, once, instead of sending every window there. The
            weights come out the same, so an interrupted run may go on either way.
    """

    head: str = "rnn"
    cells: Literal["simple", "gru", "lstm"] = "gru"
    layers: int = 3
    units: tuple[int, ...] = ()
    bidirectional: bool = False
    dropout: float = 0.0
    window: WindowConfig = WindowConfig()
    taps: tuple[str, ...] = ()
    task: str | None = None
    targets: tuple[str, ...] = ()
    loss: Loss | None = None
    balance: Balance = "none"
    epochs: int = 100
    patience: int | None = 10
    batch_size: int = 256  # the paper: 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    decay: float = 1e-5  # per iteration
    clip_value: float | None = None  # 100 for the SimpleRNN of the code
    device_resident: bool = False
    seed: int = 0
    folds: Folds | None = None
    train_split: str = "train"
    dev_split: str = "dev"

    def __post_init__(self) -> None:
        if isinstance(self.folds, Mapping):  # as it stands in a run's settings
            object.__setattr__(self, "folds", from_dict(Folds, self.folds))
        if self.balance not in ("none", *CEILINGS):
            raise ConfigError(f"balance: expected none, {', '.join(CEILINGS)}. Received: {self.balance!r}.")
        check_loss(self.loss)
        if self.batch_size < 1 or self.seed < 0:
            raise ConfigError("expected a batch size of at least 1 and a seed of at least 0.")
        training.Schedule(self.epochs, self.patience, "")

    def head_config(
        self, num_outputs: int, output_activation: OutputActivation = "linear"
    ) -> RnnHeadConfig | MeanHeadConfig:
        """The configuration of the head for so many outputs."""
        if self.head == "mean":
            return MeanHeadConfig(num_outputs, output_activation)
        units = self.units or units_of_layers(self.layers)
        return RnnHeadConfig(self.cells, units, self.bidirectional, self.dropout, num_outputs, output_activation)


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
        listed = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        return (
            f"{self.run}: {self.num_parameters:,} numbers, trained on {self.counts['train']} windows, "
            f"judged on {self.counts['dev']}.\n"
            f"best epoch {self.best['epoch']} of {self.num_epochs}: {listed}\n"
            f"next: emopipe evaluate {self.run}"
        )


def train_rnn(
    config: TrainRnnConfig,
    *,
    cache: Path,
    run: Path,
    dataset: str | None = None,
    root: Path | None = None,
    features: str = "",
    progress: training.TrainingProgress | None = None,
) -> TrainReport:
    """Train a head on cached features; a killed training goes on where its last epoch ended.

    Args:
        config: how.
        cache: holds the features.
        run: the run folder; new, or one that an interrupted call with the same settings left.
        dataset, root, features: which corpus, where it is now, and the beginning of a features fingerprint; see
            `cached_plan`.
        progress: told what happens.

    Raises:
        EmopipeError: a split is empty or too short, nothing is cached, a label is constant or not finite, a class has
            no window, or the run folder holds something else. Found before keras is imported.
    """
    progress = progress or training.Silent()
    opened_cache = Cache(cache)
    data = load_windows(config, opened_cache, dataset, root, features)
    loss = suited_loss(config.loss, data.task, data.classes)
    for note in data.notes:
        progress.say(note)
    opened = begin_run(run, "rnn", _settings(config, loss, data))
    network, history = _train(opened, config, loss, data, progress)
    carry(opened, data.plan, opened_cache)
    training.finish(
        opened,
        history,
        targets=data.targets,
        classes=data.classes,
        windows=data.counts,
        num_parameters=network.count_params(),
        device_resident=config.device_resident,
    )
    return TrainReport(
        run, data.targets, history.select, history.best, len(history.rows), network.count_params(), data.counts,
        data.notes,
    )  # fmt: skip


def _settings(config: TrainRnnConfig, loss: str, data: TrainingWindows) -> dict[str, Any]:
    """What decides the result."""
    chosen = to_dict(config)
    del chosen["device_resident"]
    features = data.plan.features
    return {
        **chosen,
        "loss": loss,
        "targets": list(data.targets),
        "task": data.task,
        "dataset": data.plan.manifest.dataset,
        "features": features.config if features else {},
        "features_fingerprint": features.fingerprint if features else "",
        "clips": data.clips,
    }


def _train(
    run: Run, config: TrainRnnConfig, loss: str, data: TrainingWindows, progress: training.TrainingProgress
) -> tuple["keras.Model", training.History]:
    load_keras()
    network, model = build_training(config, data.train.rows.features, data.num_outputs, loss)
    dev = data.dev

    def evaluate() -> dict[str, float]:
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
        schedule=training.Schedule(config.epochs, config.patience, "macro_f1" if data.classes else "ccc"),
        seed=config.seed,
        progress=progress,
    )
    return network, history


def build_training(
    config: TrainRnnConfig, features: Floats, num_outputs: int, loss: str
) -> tuple["keras.Model", "keras.Model"]:
    """The head that is kept, and the compiled model around it that is trained on `epoch_batches`.

    Args:
        config: how.
        features: (R, D), the table that windows are cut from.
        num_outputs: of the head.
        loss: a name in `LOSSES`; cross-entropy wants a softmax.
    """
    import keras

    head = config.head_config(num_outputs, "softmax" if loss == "crossentropy" else "linear")
    network = build_head(config.head, head, features.shape[1], config.seed)
    if config.device_resident:
        model = resident_model(network, features)
    else:
        window = keras.Input((config.window.length, features.shape[1]), name="features")
        model = keras.Model(window, network({"features": window, "mask": None}))  # windows of training have no padding
    training.seed_generators(model, config.seed)
    optimiser = training.sgd(config.learning_rate, config.momentum, config.decay, config.clip_value)
    training.compile_model(model, optimiser, get_loss(loss))
    return network, model


def epoch_batches(config: TrainRnnConfig, split: Split, epoch: int) -> Iterator[tuple[Any, Floats]]:
    """Inputs and targets of one epoch, batch by batch: windows, or their rows for a table on the device."""
    for indices in batches(epoch_order(len(split.plan), config.seed, epoch), config.batch_size):
        if config.device_resident:
            yield {"rows": split.plan.rows(indices), "mask": None}, split.targets[indices]
        else:
            yield head_inputs(split.rows.features, split.plan, indices)["features"], split.targets[indices]
