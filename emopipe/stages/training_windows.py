"""Which windows a head is trained and judged on: cut from cached features, labelled, balanced, fit to learn from."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emopipe.datasets.splits import require_splits
from emopipe.errors import ConfigError, ManifestError
from emopipe.models.balance import balance
from emopipe.models.rows import Rows
from emopipe.models.windows import DensePlan, clips_without_window, make_plan
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.feature_rows import crop_rows, feature_rows, tap_columns
from emopipe.stages.labelled import Kind, LabelledSplit, labelled_clips
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.spec import Plan
from emopipe.stages.trained import trainable_backbone
from emopipe.stages.training_targets import check_targets, check_task, one_hot
from emopipe.store.cache import Cache
from emopipe.typing import Floats

_PLANE = ("valence", "arousal")


@dataclass(frozen=True)
class Split:
    """The windows of one split.

    Attributes:
        rows, plan: the table and the windows cut from it.
        targets: (N, K) float32, one row per window; one-hot for classes. For windows that predict every step, one row
            per step that counts.
    """

    rows: Rows
    plan: DensePlan
    targets: Floats


@dataclass(frozen=True)
class TrainingWindows:
    """The windows of both splits.

    Attributes:
        plan: the corpus and the settings its features were made with.
        train, dev: the windows.
        task: of the labels.
        targets: names of what is predicted; for classes, of the one column that holds them.
        classes: their names; () for numbers.
        of_clips: whether labels are of clips as a whole, so that clips are what is judged.
        columns: tap -> numbers per frame, in the order of the table; {} where the columns are pixels.
        clips, clip_ids: split -> keys of its clips in the cache, and their names.
        counts: windows of both splits, and of the training split before balancing.
        notes: what the user is to be told.
    """

    plan: Plan
    train: Split
    dev: Split
    task: str
    targets: tuple[str, ...]
    classes: tuple[str, ...]
    of_clips: bool
    columns: dict[str, int]
    clips: dict[str, list[str]]
    clip_ids: dict[str, list[str]]
    counts: dict[str, int]
    notes: tuple[str, ...]

    @property
    def num_outputs(self) -> int:
        """Outputs of the head."""
        return len(self.classes or self.targets)


def load_windows(
    config: TrainRnnConfig, cache: Cache, dataset: str | None, root: Path | None, features: str = ""
) -> TrainingWindows:
    """Load the features, cut the windows, drop those that balancing does, and refuse what nothing can be learned from.

    Args:
        config: splits, task, targets, windows and balancing.
        cache: holds the features.
        dataset, root, features: see `cached_plan`.

    Raises:
        ManifestError: a split is empty or too short, labels are missing or not finite, a target is constant, a class
            has no window.
        ConfigError: nothing is cached, or a name is unknown.
        RecordError: a valid row of features is not finite.
    """
    plan = cached_plan(cache, "features", dataset, root, features, config.folds)
    require_splits(plan.manifest)
    kind: Kind = "faces" if config.end_to_end else "features"
    train, dev = (labelled_clips(plan, cache, kind, name, config.task)
                  for name in (config.train_split, config.dev_split))  # fmt: skip
    check_task(train, dev, config.targets)
    targets = config.targets or train.targets
    notes = [*(plan.manifest.notes if config.folds else ()), *train.notes, *dev.notes]
    head = config.tap_head
    if head is not None and train.classes:
        raise ConfigError(f"task '{train.task}': heads over taps predict numbers. Expected such a task.")
    landmarks = plan if head is not None and head.reads_landmarks else None
    crops = trainable_backbone(config, plan, cache).input if config.end_to_end else None

    def windows(split: LabelledSplit) -> Split:
        if crops is not None:
            rows = crop_rows(split, cache, crops, config.targets, landmarks)
        else:
            rows = feature_rows(split, cache, config.table_taps, config.targets, landmarks)
        return _windows(split, rows, config, notes)

    everything, judged = windows(train), windows(dev)
    kept = _balanced(everything, targets, config)
    check_targets(kept.targets, train, targets, "window", needs_every_class=True)
    check_targets(judged.targets, dev, targets, "window", needs_every_class=False)
    return TrainingWindows(
        plan=plan,
        train=kept,
        dev=judged,
        task=train.task,
        targets=targets,
        classes=train.classes,
        of_clips=train.of_clips and dev.of_clips,
        columns={} if config.end_to_end else tap_columns(train, cache, config.table_taps),
        clips={split.split: [clip.entry.key for clip in split.clips] for split in (train, dev)},
        clip_ids={split.split: [clip.clip.clip_id for clip in split.clips] for split in (train, dev)},
        counts={"train": len(kept.plan), "train_before_balancing": len(everything.plan), "dev": len(judged.plan)},
        notes=tuple(notes),
    )


def _windows(split: LabelledSplit, rows: Rows, config: TrainRnnConfig, notes: list[str]) -> Split:
    if not isinstance(rows.features, np.ndarray):
        size = rows.features.nbytes / 1e9
        notes.append(f"split '{split.split}': {size:.0f} GB do not fit into memory and are read from disk.")
    plan = make_plan(rows, config.window)
    short = clips_without_window(rows, plan)
    if len(short):
        what = "frame" if config.window.target == "every" else f"{config.window.length} frames in a row"
        notes.append(
            f"{len(short)} of {len(rows.clip_ids)} clips of split '{split.split}' have no {what} with a face and a "
            f"label (the first: '{rows.clip_ids[short[0]]}')."
        )
    if not len(plan):
        raise ManifestError(
            f"split '{split.split}': no window of {config.window.length} frames can be cut from its "
            f"{len(rows.clip_ids)} clips.\nExpected longer stretches with a face and a label; give a smaller --window."
        )
    if config.window.target == "every":
        return Split(rows, plan, rows.labels[rows.valid & rows.label_valid])
    targets = rows.labels[plan.target_rows]
    return Split(rows, plan, one_hot(targets[:, 0], len(split.classes)) if split.classes else targets)


def _balanced(split: Split, targets: tuple[str, ...], config: TrainRnnConfig) -> Split:
    """The training windows without those that balancing drops."""
    if config.balance == "none":
        return split
    if set(targets) != set(_PLANE):
        raise ConfigError(
            f"balance: expected the targets valence and arousal. Received: {', '.join(targets)}.\n"
            "Give --balance none for others."
        )
    valence, arousal = (split.targets[:, targets.index(name)] for name in _PLANE)
    keep = balance(valence, arousal, config.balance, np.random.default_rng(config.seed)).keep
    plan = replace(split.plan, starts=split.plan.starts[keep], target_rows=split.plan.target_rows[keep])
    return Split(split.rows, plan, split.targets[keep])
