"""`emopipe train-rnn`: from cached features to a trained head."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from emopipe.config import to_dict
from emopipe.errors import ConfigError, ManifestError
from emopipe.metrics import batch_mean_concordance, concordance, rmse
from emopipe.models.balance import CEILINGS, balance
from emopipe.models.bundle import Run, begin_run, place_file
from emopipe.models.engines import load_keras
from emopipe.models.gather import batches, epoch_order, gather, predict_windows
from emopipe.models.heads import MeanHeadConfig, RnnHeadConfig, build_head, save_head, units_of_layers
from emopipe.models.losses import get_loss
from emopipe.models.rows import Rows
from emopipe.models.windows import DensePlan, WindowConfig, clips_without_window, make_plan
from emopipe.stages import training
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.feature_rows import feature_rows
from emopipe.stages.labelled import LabelledSplit, labelled_clips
from emopipe.stages.spec import Plan
from emopipe.store.cache import Cache
from emopipe.typing import Floats, Ints

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
        loss: "ccc" or "mse".
        balance: thin out windows whose target lies in a crowded cell of the valence-arousal plane.
        epochs, patience, batch_size, learning_rate, momentum, decay, seed, train_split, dev_split: as in
            `TrainCnnConfig`.
        clip_value: largest part of a gradient; None for no limit.
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
    loss: Literal["ccc", "mse"] = "ccc"
    balance: Balance = "none"
    epochs: int = 100
    patience: int | None = 10
    batch_size: int = 256  # the paper: 128
    learning_rate: float = 0.01
    momentum: float = 0.9
    decay: float = 1e-5  # per iteration
    clip_value: float | None = None  # 100 for the SimpleRNN of the code
    seed: int = 0
    train_split: str = "train"
    dev_split: str = "dev"

    def __post_init__(self) -> None:
        if self.balance not in ("none", *CEILINGS):
            raise ConfigError(f"balance: expected none, {', '.join(CEILINGS)}. Received: {self.balance!r}.")
        if self.loss not in ("ccc", "mse"):
            raise ConfigError(f"loss: expected ccc or mse. Received: {self.loss!r}.")
        if self.batch_size < 1 or self.seed < 0:
            raise ConfigError("expected a batch size of at least 1 and a seed of at least 0.")
        training.Schedule(self.epochs, self.patience, "")

    def head_config(self, num_outputs: int) -> RnnHeadConfig | MeanHeadConfig:
        """The configuration of the head for so many targets."""
        if self.head == "mean":
            return MeanHeadConfig(num_outputs)
        units = self.units or units_of_layers(self.layers)
        return RnnHeadConfig(self.cells, units, self.bidirectional, self.dropout, num_outputs)


@dataclass(frozen=True)
class Split:
    """The windows of one split.

    Attributes:
        rows, plan: the table and the windows cut from it.
        targets: (N, K) float32, one row per window.
    """

    rows: Rows
    plan: DensePlan
    targets: Floats


@dataclass(frozen=True)
class TrainReport:
    """The outcome of one training; see `emopipe.stages.train_cnn.TrainReport`. `counts` counts windows."""

    run: Path
    targets: tuple[str, ...]
    best: Mapping[str, float]
    num_epochs: int
    num_parameters: int
    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {**to_dict(self), "run": str(self.run), "best": dict(self.best), "select": "ccc"}

    def to_text(self) -> str:
        """A few lines for people."""
        scores = {name: value for name, value in self.best.items() if name.startswith("dev_ccc")}
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
        EmopipeError: a split is empty or too short, nothing is cached, a label is constant or not finite, or the run
            folder holds something else. Found before keras is imported.
    """
    progress = progress or training.Silent()
    opened_cache = Cache(cache)
    plan = cached_plan(opened_cache, "features", dataset, root, features)
    labelled = [labelled_clips(plan, opened_cache, "features", name, config.task)
                for name in (config.train_split, config.dev_split)]  # fmt: skip
    notes = [note for split in labelled for note in split.notes]
    splits = [_windows(split, opened_cache, config, notes) for split in labelled]
    train = _thinned(splits[0], config)
    for note in notes:
        progress.say(note)
    targets = config.targets or labelled[0].targets
    opened = begin_run(run, "rnn", _settings(config, plan, labelled, targets))
    network, history = _train(opened, config, train, splits[1], targets, progress)
    kept = opened_cache.weights_folder / f"{plan.features.config['weights']}.keras" if plan.features else None
    if kept is not None and kept.exists():
        place_file(kept, opened.backbone)
    counts = {"train": len(train.plan), "train_before_balancing": len(splits[0].plan), "dev": len(splits[1].plan)}
    training.finish(opened, history, targets=targets, windows=counts, num_parameters=network.count_params())
    best = history.best
    return TrainReport(run, targets, best, len(history.rows), network.count_params(), counts, tuple(notes))


def number_scores(truth: Floats, predicted: Floats, targets: tuple[str, ...], batch_size: int) -> dict[str, float]:
    """CCC and RMSE over all rows, and the mean of the batches' CCC that published curves show."""
    scores: dict[str, float] = {}
    for number, target in enumerate(targets):
        one, other = truth[:, number].astype(np.float64), predicted[:, number].astype(np.float64)
        scores[f"ccc_{target}"] = concordance(one, other)
        scores[f"rmse_{target}"] = rmse(one, other)
        scores[f"batch_ccc_{target}"] = batch_mean_concordance(one, other, batch_size)
    return {"ccc": float(np.mean([scores[f"ccc_{target}"] for target in targets])), **scores}


def _windows(split: LabelledSplit, cache: Cache, config: TrainRnnConfig, notes: list[str]) -> Split:
    rows = feature_rows(split, cache, config.taps, config.targets)
    plan = make_plan(rows, config.window)
    short = clips_without_window(rows, plan)
    if len(short):
        notes.append(
            f"{len(short)} of {len(rows.clip_ids)} clips of split '{split.split}' have no {config.window.length} "
            f"frames in a row with a face and a label (the first: '{rows.clip_ids[short[0]]}')."
        )
    if not len(plan):
        raise ManifestError(
            f"split '{split.split}': no window of {config.window.length} frames can be cut from its "
            f"{len(rows.clip_ids)} clips.\nExpected longer stretches with a face and a label; give a smaller --window."
        )
    targets = rows.labels[plan.target_rows]
    for name, column in zip(config.targets or split.targets, targets.T, strict=True):
        if np.ptp(column) == 0:
            raise ManifestError(
                f"split '{split.split}': target '{name}' is {column[0]:.3f} in every window.\n"
                "Expected labels that vary. Look with: emopipe datasets check"
            )
    return Split(rows, plan, targets)


def _thinned(split: Split, config: TrainRnnConfig) -> Split:
    """The training windows without those that balancing drops."""
    if config.balance == "none":
        return split
    if split.targets.shape[1] != 2:
        raise ConfigError("balance: expected the targets valence and arousal. Give --balance none for others.")
    generator = np.random.default_rng(config.seed)
    keep = balance(split.targets[:, 0], split.targets[:, 1], config.balance, generator).keep
    plan = replace(split.plan, starts=split.plan.starts[keep], target_rows=split.plan.target_rows[keep])
    return Split(split.rows, plan, split.targets[keep])


def _settings(
    config: TrainRnnConfig, plan: Plan, labelled: list[LabelledSplit], targets: tuple[str, ...]
) -> dict[str, Any]:
    features = plan.features
    return {
        **to_dict(config),
        "targets": list(targets),
        "task": labelled[0].task,
        "dataset": plan.manifest.dataset,
        "features": features.config if features else {},
        "features_fingerprint": features.fingerprint if features else "",
        "clips": {split.split: [clip.entry.key for clip in split.clips] for split in labelled},
    }


def _train(
    run: Run,
    config: TrainRnnConfig,
    train: Split,
    dev: Split,
    targets: tuple[str, ...],
    progress: training.TrainingProgress,
) -> tuple["keras.Model", training.History]:
    load_keras()
    import keras

    num_features = train.rows.features.shape[1]
    network = build_head(config.head, config.head_config(train.targets.shape[1]), num_features, config.seed)
    features = keras.Input((config.window.length, num_features), name="features")
    model = keras.Model(features, network({"features": features, "mask": None}))  # training windows have no padding
    training.seed_generators(model, config.seed)
    optimiser = training.sgd(config.learning_rate, config.momentum, config.decay, config.clip_value)
    training.compile_model(model, optimiser, get_loss(config.loss))

    def epoch_batches(epoch: int) -> Iterator[tuple[Floats, Floats]]:
        for indices in batches(epoch_order(len(train.plan), config.seed, epoch), config.batch_size):
            yield _batch(train, indices)

    def evaluate() -> dict[str, float]:
        predicted = predict_windows(network, dev.rows.features, dev.plan).astype(np.float64)
        training.check_finite(run, "prediction", predicted)
        return number_scores(dev.targets, predicted, targets, config.batch_size)

    history = training.train(
        run,
        model,
        network,
        batches=epoch_batches,
        evaluate=evaluate,
        finish_network=lambda path: save_head(network, path),
        schedule=training.Schedule(config.epochs, config.patience, "ccc"),
        progress=progress,
    )
    return network, history


def _batch(split: Split, indices: Ints) -> tuple[Floats, Floats]:
    return gather(split.rows.features, split.plan, indices), split.targets[indices]
