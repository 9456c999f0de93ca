"""Which frames a CNN is trained and judged on: cached, labelled, balanced, and fit to learn from."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emopipe.datasets.splits import require_splits
from emopipe.errors import ConfigError
from emopipe.models.balance import balance
from emopipe.records import VA_TARGETS
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.crop_source import FrameTable
from emopipe.stages.labelled import labelled_clips
from emopipe.stages.spec import Plan
from emopipe.stages.training_targets import check_targets, check_task, one_hot
from emopipe.store.cache import Cache
from emopipe.typing import Floats

_BALANCE_STREAM = 1  # keeps these draws apart from others of the same seed


@dataclass(frozen=True)
class TrainingFrames:
    """The frames of both splits.

    Attributes:
        plan: the corpus and the settings its faces were made with.
        train, dev: the frames; their targets are one column per target, or one-hot for classes.
        task: of the labels.
        targets: names of what is predicted; for classes, of the one column that holds them.
        classes: their names; () for numbers.
        identity: what decides, beside the settings, which frames and labels these are.
        counts: frames of both splits, and of the training split before balancing.
        planes: what balancing did: title -> (N, 2) valence and arousal of the training frames; empty without it.
        ceiling: k_max of the balancing in frames; None without it.
        notes: what the user is to be told.
    """

    plan: Plan
    train: FrameTable
    dev: FrameTable
    task: str
    targets: tuple[str, ...]
    classes: tuple[str, ...]
    identity: dict[str, str]
    counts: dict[str, int]
    planes: dict[str, Floats]
    ceiling: float | None
    notes: tuple[str, ...]

    @property
    def num_outputs(self) -> int:
        """Outputs of the network."""
        return len(self.classes or self.targets)


def load_frames(config: TrainCnnConfig, cache: Cache, dataset: str, root: Path, faces: str = "") -> TrainingFrames:
    """Find the frames, draw the balanced ones, and refuse what nothing can be learned from.

    Args:
        config: splits or folds, task, targets and balancing.
        cache, dataset, root: where faces and labels are.
        faces: beginning of a faces fingerprint, where the cache holds several sets of this dataset.

    Raises:
        ManifestError: a split is empty, labels are missing or not finite, a target is constant, a class has no frame.
        ConfigError: nothing is cached, or a name is unknown.
    """
    plan = cached_plan(cache, "faces", dataset, root, faces, config.folds)
    require_splits(plan.manifest)
    train = labelled_clips(plan, cache, "faces", config.train_split, config.task)
    dev = labelled_clips(plan, cache, "faces", config.dev_split, config.task)
    check_task(train, dev, config.targets)
    targets = tuple(name for name in train.targets if not config.targets or name in config.targets)
    columns = [train.targets.index(name) for name in targets]
    everything = FrameTable.of_clips(train.clips)
    table, planes, ceiling = _balanced(everything, train.targets, config)
    tables = [_with_targets(each, columns, len(train.classes)) for each in (table, FrameTable.of_clips(dev.clips))]
    check_targets(tables[0].targets, train, targets, "frame", needs_every_class=True)
    check_targets(tables[1].targets, dev, targets, "frame", needs_every_class=False)
    return TrainingFrames(
        plan=plan,
        train=tables[0],
        dev=tables[1],
        task=train.task,
        targets=targets,
        classes=train.classes,
        identity={"faces": plan.faces.fingerprint, "train_frames": train.digest(), "dev_frames": dev.digest()},
        counts={"train_before_balancing": len(everything), "train": len(table), "dev": len(tables[1])},
        planes=planes,
        ceiling=ceiling,
        notes=(*(plan.manifest.notes if config.folds else ()), *train.notes, *dev.notes),
    )


def _balanced(
    table: FrameTable, targets: tuple[str, ...], config: TrainCnnConfig
) -> tuple[FrameTable, dict[str, Floats], float | None]:
    if config.balance == "none":
        return table, {}, None
    if not set(VA_TARGETS) <= set(targets):
        raise ConfigError(f"balance: expected a task with valence and arousal. Received: {', '.join(targets)}.")
    plane = table.targets[:, [targets.index(name) for name in VA_TARGETS]]
    generator = np.random.default_rng([config.seed, _BALANCE_STREAM])
    drawn = balance(plane[:, 0], plane[:, 1], config.balance, generator, literal=config.literal_balance)
    planes = {"all training frames": plane, f"balanced ({config.balance})": plane[drawn.keep]}
    return table.select(drawn.keep), planes, drawn.ceiling


def _with_targets(table: FrameTable, columns: list[int], num_classes: int) -> FrameTable:
    if num_classes:
        return replace(table, targets=one_hot(table.targets[:, 0], num_classes))
    return replace(table, targets=table.targets[:, columns])
