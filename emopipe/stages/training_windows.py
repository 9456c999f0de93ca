"""Which windows a head is trained and judged on: cut from cached features, labelled, balanced, fit to learn from."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emopipe.datasets.splits import require_splits
from emopipe.errors import ConfigError, ManifestError
from emopipe.models.balance import balance
from emopipe.models.rows import Rows
from emopipe.models.windows import DensePlan, WindowConfig, WindowPlan, clips_without_window, plan_windows
from emopipe.records import VA_TARGETS
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.feature_rows import crop_rows, feature_rows, tap_columns
from emopipe.stages.labelled import Kind, LabelledSplit, labelled_clips
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.sound_rows import SoundColumns, joined_plan, sound_columns, split_taps, table_kind
from emopipe.stages.spec import Plan
from emopipe.stages.trained import trainable_backbone
from emopipe.stages.training_targets import check_targets, check_task, one_hot
from emopipe.store.cache import Cache
from emopipe.typing import Floats


@dataclass(frozen=True)
class Split:
    """The windows of one split.

    Attributes:
        rows, plan: the table and the windows cut from it.
        targets: (N, K) float32, one row per window; one-hot for classes. For windows that predict every step, one row
            per step that counts.
    """

    rows: Rows
    plan: WindowPlan
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
        identity: what decides, beside the settings, which rows and labels these are.
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
    identity: dict[str, str]
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
        dataset, root: see `cached_plan`.
        features: beginning of the fingerprint of features of faces, or ready-made, or of sound where there are none.

    Raises:
        ManifestError: a split is empty or too short, labels are missing or not finite, a target is constant, a class
            has no window.
        ConfigError: nothing is cached, or a name is unknown.
        RecordError: a valid row of features is not finite.
    """
    plan, kind, train, dev = _labelled(config, cache, dataset, root, features)
    check_task(train, dev, config.targets)
    _check_labels(config, train, dev)
    targets = config.targets or train.targets
    notes = [*(plan.manifest.notes if config.folds else ()), *train.notes, *dev.notes]
    head = config.tap_head
    if head is not None and train.classes:
        raise ConfigError(f"task '{train.task}': heads over taps predict numbers. Expected such a task.")
    landmarks = plan if head is not None and head.reads_landmarks else None
    sounds: dict[str, SoundColumns] = {}
    taps = config.table_taps
    if kind == "features" and plan.audio is not None:
        taps, heard = split_taps(taps)
        sounds = {split.split: sound_columns(split, plan, cache, heard) for split in (train, dev)}
        notes += [note for sound in sounds.values() for note in sound.notes]
    columns = {} if config.end_to_end else tap_columns(train, cache, taps)
    columns |= sounds[train.split].columns if sounds else {}
    if config.multimodal is not None:
        config.multimodal.with_columns(columns, 1)  # found now rather than when the run folder is there
    crops = trainable_backbone(config, plan, cache).input if config.end_to_end else None
    motion = plan if config.window.wants_motion and kind == "features" else None

    def windows(split: LabelledSplit) -> Split:
        if crops is not None:
            rows = crop_rows(split, cache, crops, config.targets, landmarks)
        else:
            rows = feature_rows(split, cache, taps, config.targets, landmarks, sounds.get(split.split), motion)
        seen = "sound" if kind == "audio" else "a face" if plan.ready_made is None else "features"
        return _windows(split, rows, config, notes, seen)

    everything, judged = windows(train), windows(dev)
    kept = _balanced(everything, targets, config)
    what = "clip" if config.window.target == "clip" else "window"
    check_targets(kept.targets, train, targets, what, needs_every_class=True)
    check_targets(judged.targets, dev, targets, what, needs_every_class=False)
    return TrainingWindows(
        plan=plan,
        train=kept,
        dev=judged,
        task=train.task,
        targets=targets,
        classes=train.classes,
        of_clips=train.of_clips and dev.of_clips,
        columns=columns,
        identity=_identity(train, dev),
        clips={split.split: [clip.entry.key for clip in split.clips] for split in (train, dev)},
        clip_ids={split.split: [clip.clip.clip_id for clip in split.clips] for split in (train, dev)},
        counts={"train": len(kept.plan), "train_before_balancing": len(everything.plan), "dev": len(judged.plan)},
        notes=tuple(notes),
    )


def windows_identity(
    config: TrainRnnConfig, cache: Cache, dataset: str | None, root: Path | None, features: str = ""
) -> dict[str, str]:
    """The `identity` of what `load_windows` would load, which takes reading the labels alone; the same errors."""
    _, _, train, dev = _labelled(config, cache, dataset, root, features)
    return _identity(train, dev)


def _identity(train: LabelledSplit, dev: LabelledSplit) -> dict[str, str]:
    return {"train_rows": train.digest(), "dev_rows": dev.digest()}


def _labelled(
    config: TrainRnnConfig, cache: Cache, dataset: str | None, root: Path | None, features: str
) -> tuple[Plan, Kind, LabelledSplit, LabelledSplit]:
    """The corpus, which rows are read, and the clips of both splits."""
    plan = _plan(config, cache, dataset, root, features)
    require_splits(plan.manifest)
    kind: Kind = "faces" if config.end_to_end else "audio" if plan.features is None else "features"
    train, dev = (labelled_clips(plan, cache, kind, name, config.task)
                  for name in (config.train_split, config.dev_split))  # fmt: skip
    return plan, kind, train, dev


def _plan(config: TrainRnnConfig, cache: Cache, dataset: str | None, root: Path | None, features: str) -> Plan:
    """The corpus, and what a head reads: features of faces, of sound, or of both."""
    if config.multimodal is not None:
        plan = cached_plan(cache, "features", dataset, root, features, config.folds)
        _check_ready_made(config, plan)
        return joined_plan(plan, cached_plan(cache, "audio", plan.manifest.dataset, root, config.audio))
    if config.audio and (features or config.end_to_end):
        raise ConfigError("audio: is for heads on sound alone, or multimodal. Expected no features of faces beside it.")
    kind = "audio" if config.audio else "features"
    if kind == "features" and not config.end_to_end:
        kind = table_kind(cache, dataset, features, prefers_sound=config.spectrogram_head is not None)
    plan = cached_plan(cache, kind, dataset, root, config.audio or features, config.folds)
    _check_ready_made(config, plan)
    return plan


def _check_ready_made(config: TrainRnnConfig, plan: Plan) -> None:
    """Refuse what needs the clips' media where the corpus brought the features along.

    Raises:
        ConfigError: it is asked for; names the option.
    """
    if plan.ready_made is None:
        return
    needs_media = {
        "--head multimodal": config.multimodal is not None,
        "--end-to-end": config.end_to_end,
        "--landmarks": config.tap_head is not None and config.tap_head.reads_landmarks,
        "--sampling motion": config.window.wants_motion,
    }
    for option, is_given in needs_media.items():
        if is_given:
            raise ConfigError(
                f"{option}: is for features that were made from media. Received: {plan.ready_made}, which came "
                "ready-made.\nLeave it out; runs on several features are joined by: emopipe fuse"
            )


def _windows(split: LabelledSplit, rows: Rows, config: TrainRnnConfig, notes: list[str], seen: str) -> Split:
    if not isinstance(rows.features, np.ndarray):
        size = rows.features.nbytes / 1e9
        notes.append(f"split '{split.split}': {size:.0f} GB do not fit into memory and are read from disk.")
    plan = plan_windows(rows, config.window)
    short = clips_without_window(rows, plan)
    notes += _cut_clips(split, rows, plan, config.window)
    if len(short):
        single = config.window.target in ("every", "clip")
        what = "frame" if single else f"{config.window.length} frames in a row"
        notes.append(
            f"{len(short)} of {len(rows.clip_ids)} clips of split '{split.split}' have no {what} with {seen} and a "
            f"label (the first: '{rows.clip_ids[short[0]]}')."
        )
    if not len(plan):
        raise ManifestError(
            f"split '{split.split}': no window of {config.window.length} frames can be cut from its "
            f"{len(rows.clip_ids)} clips.\nExpected longer stretches with {seen} and a label; give a smaller --window."
        )
    if config.window.target == "every":
        return Split(rows, plan, rows.labels[rows.valid & rows.label_valid])
    targets = rows.labels[plan.target_rows]
    return Split(rows, plan, one_hot(targets[:, 0], len(split.classes)) if split.classes else targets)


def _check_labels(config: TrainRnnConfig, *splits: LabelledSplit) -> None:
    """Refuse labels that the configuration is not for."""
    for split in splits:
        if config.window.target == "clip" and not split.of_clips:
            raise ConfigError(
                f"window: the target 'clip' is for clips that have one label each.\nTask '{split.task}' of "
                f"{split.dataset}, split '{split.split}', labels frames. Expected the target last, next or every."
            )
        if config.reduce != "median" and not split.of_clips:
            raise ConfigError(
                f"reduce: says how the frames of a clip become its one value.\nTask '{split.task}' of {split.dataset}, "
                f"split '{split.split}', labels frames. Received: {config.reduce}; leave it out."
            )
        if config.label_smoothing and not split.classes:
            raise ConfigError(f"label_smoothing: is for classes. Received numbers, those of task '{split.task}'.")
        if split.classes and config.output_activation != "linear":
            raise ConfigError(
                f"output_activation: is for numbers; classes have a softmax. Received: {config.output_activation}, for "
                f"the classes of task '{split.task}'."
            )


def _cut_clips(split: LabelledSplit, rows: Rows, plan: WindowPlan, window: WindowConfig) -> list[str]:
    """A sentence about clips of which a window shows the beginning only."""
    if window.target != "clip" or window.sampling != "all" or not len(plan):
        return []
    usable = rows.valid if window.gaps == "drop" else np.ones(len(rows), bool)
    lengths = np.diff(np.concatenate([[0], np.cumsum(usable)])[rows.clip_starts])
    num_cut = int((lengths > window.length).sum())
    if not num_cut:
        return []
    return [
        f"{num_cut} of {len(lengths)} clips of split '{split.split}' have more than {window.length} rows, at most "
        f"{lengths.max()}; what is behind them is not seen."
    ]


def _balanced(split: Split, targets: tuple[str, ...], config: TrainRnnConfig) -> Split:
    """The training windows without those that balancing drops."""
    if config.balance == "none":
        return split
    if set(targets) != set(VA_TARGETS):
        raise ConfigError(
            f"balance: expected the targets valence and arousal. Received: {', '.join(targets)}.\n"
            "Give --balance none for others."
        )
    if not isinstance(split.plan, DensePlan):
        raise ConfigError('balance: is for windows of frames. Received the target "clip".')
    valence, arousal = (split.targets[:, targets.index(name)] for name in VA_TARGETS)
    keep = balance(valence, arousal, config.balance, np.random.default_rng(config.seed)).keep
    plan = replace(split.plan, starts=split.plan.starts[keep], target_rows=split.plan.target_rows[keep])
    return Split(split.rows, plan, split.targets[keep])
