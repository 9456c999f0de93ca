"""`emopipe fuse`: several runs as one, by averaging their decisions or by learning on from their joined RNNs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emopipe.config import from_dict
from emopipe.errors import ConfigError
from emopipe.files import sha256_of_file
from emopipe.metrics import concordance, pearson
from emopipe.models.bundle import begin_run, open_run
from emopipe.models.engines import load_keras
from emopipe.models.fusion import FusionLayer, join_heads
from emopipe.models.tap_heads import FC, LANDMARKS, NUM_LANDMARK_NUMBERS, TapHeadConfig
from emopipe.models.weights import load_network
from emopipe.models.windows import WindowConfig
from emopipe.provenance import utc_now
from emopipe.stages.evaluate import predict_split
from emopipe.stages.evaluate_clips import clip_predictions
from emopipe.stages.evaluation import SplitPredictions
from emopipe.stages.fusion import place_members
from emopipe.stages.progress import Progress
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_rnn import Learner, TrainReport, fit_head, settings_of
from emopipe.stages.trained import Trained, carry, open_trained
from emopipe.stages.training_targets import suited_loss
from emopipe.stages.training_windows import load_windows
from emopipe.store.cache import Cache
from emopipe.typing import Floats

Level = Literal["decision", "model-fc", "model-rnn"]

# score that members are weighed by -> how a message calls it, and what computes it
_METRICS = {"ccc": ("CCC", concordance), "pearson": ("r", pearson)}

# What runs must share: setting -> how a message calls it.
_SHARED = {
    "dataset": "corpus",
    "task": "task",
    "targets": "targets",
    "train_split": "training split",
    "dev_split": "dev split",
    "folds": "folds",
}


@dataclass(frozen=True)
class FuseReport:
    """A decision-level fusion.

    Attributes:
        run: its folder.
        members: the runs that were fused.
        targets: names of the K targets.
        metric: by which members are weighed, "ccc", or "pearson" where all of them were selected by it.
        dev_scores: (M, K) that score of each member on the dev split.
        weights: (M, K) its share in each target.
    """

    run: Path
    members: tuple[Path, ...]
    targets: tuple[str, ...]
    metric: str
    dev_scores: Floats
    weights: Floats

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "run": str(self.run),
            "members": [str(member) for member in self.members],
            "targets": list(self.targets),
            "metric": self.metric,
            "dev_scores": self.dev_scores.tolist(),
            "weights": self.weights.tolist(),
        }

    def to_text(self) -> str:
        """A table for people."""
        lines = [f"{'member':<40}" + "".join(f"{name:>24}" for name in self.targets)]
        name = _METRICS[self.metric][0]
        for member, scores, shares in zip(self.members, self.dev_scores, self.weights, strict=True):
            cells = [f"{name} {score:.3f}, share {share:.3f}" for score, share in zip(scores, shares, strict=True)]
            lines.append(f"{member.name:<40}" + "".join(f"{cell:>24}" for cell in cells))
        return "\n".join(lines)


def fuse_decisions(runs: Sequence[Path], *, run: Path, cache: Path, root: Path | None = None) -> FuseReport:
    """Average what several heads say, each weighed per target by its CCC on the dev split.

    Where Pearson's r selected the best epoch of every member, as for Hume-Reaction, it weighs them too. A negative
    score weighs nothing; where no member has a positive one, all weigh the same. Members that look and members that
    listen can be fused where clips have one label each.

    Args:
        runs: two or more finished runs of `train-rnn`.
        run: the new run folder; carries its members.
        cache: holds the dev split's features, and sound.
        root: the corpus; None for where it was at extraction.

    Raises:
        ConfigError: the runs differ in clips, splits or targets; the message says which run in what.
    """
    members = _members(runs)
    _check_axes(members)
    by_pearson = all(member.run.content.get("select") == "pearson" for member in members)
    metric = "pearson" if by_pearson else "ccc"
    scores = np.array([_dev_scores(member, metric, cache, root) for member in members])
    opened = begin_run(run, "fusion", _fusion_settings(members))
    place_members(opened, members)
    weights = shares(scores)
    opened.update(finished=utc_now(), weights=weights.tolist(), metric=metric, dev_scores=scores.tolist())
    return FuseReport(run, tuple(runs), members[0].targets, metric, scores, weights)


def fuse_models(
    runs: Sequence[Path],
    layer: FusionLayer,
    config: TrainRnnConfig,
    *,
    run: Path,
    cache: Path,
    root: Path | None = None,
    progress: Progress | None = None,
) -> TrainReport:
    """Train one head over the joined RNNs of several, which learn on; the result is a run like any head's.

    Args:
        runs: two or more finished runs of heads over taps, on the same features.
        layer: what is learned over the joined RNNs.
        config: how; window, targets and task are those of the runs.
        run: the new run folder.
        cache, root: as in `fuse_decisions`.
        progress: told what happens.

    Raises:
        ConfigError: as `fuse_decisions`; or the runs are no heads over taps of the same features.
    """
    progress = progress or Progress()
    members = _members(runs)
    heads = _tap_heads(members)
    store = Cache(cache)
    config = _table_config(config, members, heads)
    data = load_windows(config, store, members[0].dataset, root, members[0].fingerprint)
    loss = suited_loss(config.loss, data.task, data.classes)
    settings = {**_fusion_settings(members), **settings_of(config, loss, data), "fusion": layer}
    opened = begin_run(run, "rnn", settings)
    carry(opened, data.plan, store)
    load_keras()
    columns = [*data.columns.items()]
    if config.tap_head is not None and config.tap_head.reads_landmarks:
        columns.append((LANDMARKS, NUM_LANDMARK_NUMBERS))
    read = [(*head.taps, *((LANDMARKS,) if head.reads_landmarks else ())) for head in heads]
    networks = [load_network(member.run.network) for member in members]
    network = join_heads(networks, read, columns, layer, data.num_outputs, config.seed)
    return fit_head(opened, config, Learner(network, lambda: load_network(opened.network)), loss, data, progress)


def shares(scores: Floats) -> Floats:
    """(M, K) scores on the dev split -> (M, K) weights that sum to 1 for each target.

    Examples:
        >>> shares(np.array([[0.3, 0.0], [0.1, -0.2]]))
        array([[0.75, 0.5 ],
               [0.25, 0.5 ]])
    """
    positive = np.maximum(np.nan_to_num(scores), 0.0)
    totals = positive.sum(axis=0)
    return np.where(totals > 0, positive / np.where(totals > 0, totals, 1.0), 1.0 / len(scores))


def _members(runs: Sequence[Path]) -> list[Trained]:
    """The runs, which must have learned the same from the same.

    Raises:
        ConfigError: they differ, or there are fewer than two.
    """
    if len(runs) < 2:
        raise ConfigError(f"fuse: expected at least two runs. Received: {len(runs)}.")
    if len({run.resolve() for run in runs}) < len(runs):
        raise ConfigError(f"fuse: expected each run once. Received: {', '.join(map(str, runs))}.")
    members = []
    for run in runs:
        member = open_trained(run) if open_run(run).kind == "rnn" else None
        if member is None or member.classes:
            raise ConfigError(f"{run}: expected a run of train-rnn that predicts numbers, to be fused.")
        members.append(member)
    first = members[0]
    for member in members[1:]:
        ours, theirs = (each.run.content["settings"] for each in (first, member))
        for name, called in _SHARED.items():
            if ours.get(name) != theirs.get(name):
                raise ConfigError(
                    f"{member.run.folder}: its {called} is {theirs.get(name)}.\n"
                    f"Expected {ours.get(name)}, as in {first.run.folder}: only runs that learned the same are fused."
                )
        _check_clips(first, member)
    return members


def _check_clips(first: Trained, member: Trained) -> None:
    ours, theirs = (each.run.content["settings"].get("clip_ids", {}) for each in (first, member))
    for split in {**ours, **theirs}:
        odd = sorted(set(ours.get(split, ())) ^ set(theirs.get(split, ())))
        if odd:
            where = first if odd[0] in ours.get(split, ()) else member
            raise ConfigError(
                f"{member.run.folder} and {first.run.folder} learned from other clips: {len(odd)} of split '{split}' "
                f"differ.\nThe first: '{odd[0]}', only in {where.run.folder}. Train both on the same cache."
            )


def _check_axes(members: Sequence[Trained]) -> None:
    """Refuse members whose rows are not the same, unless clips are what they predict."""
    first = members[0]
    for member in members[1:]:
        if (member.reads == "audio") != (first.reads == "audio") and not (member.of_clips and first.of_clips):
            raise ConfigError(
                f"{member.run.folder} and {first.run.folder}: one predicts frames and the other windows of sound.\n"
                "Expected clips with one label each, or runs that all look at faces."
            )


def _tap_heads(members: Sequence[Trained]) -> list[TapHeadConfig]:
    first, heads = members[0], []
    for member in members:
        settings = member.run.content["settings"]
        if not settings.get("tap_head") or settings.get("fusion") or member.reads != "features":
            raise ConfigError(
                f"{member.run.folder}: expected a head over taps on cached features, for its RNNs are joined.\n"
                "Fuse others with --level decision."
            )
        for what in ("fingerprint", "window"):
            if getattr(member, what) != getattr(first, what):
                raise ConfigError(
                    f"{member.run.folder}: its {'features are' if what == 'fingerprint' else 'sequences are'} others "
                    f"than those of {first.run.folder}.\nFuse them with --level decision."
                )
        heads.append(from_dict(TapHeadConfig, settings["tap_head"]))
    return heads


def _table_config(config: TrainRnnConfig, members: Sequence[Trained], heads: Sequence[TapHeadConfig]) -> TrainRnnConfig:
    """The configuration with a table that holds what all members read."""
    settings = members[0].run.content["settings"]
    taps = tuple(dict.fromkeys(tap for head in heads for tap in head.taps))
    with_landmarks = any(head.reads_landmarks for head in heads)
    table = TapHeadConfig((*taps, FC), fc_tap=taps[-1]) if with_landmarks else TapHeadConfig(taps, landmarks=False)
    window = from_dict(WindowConfig, settings["window"])
    return replace(
        config,
        tap_head=table,
        window=window,
        task=members[0].task,
        targets=members[0].targets,
        reduce=members[0].reduce,
        train_split=settings["train_split"],
        dev_split=settings["dev_split"],
        folds=members[0].folds,
    )


def _fusion_settings(members: Sequence[Trained]) -> Mapping[str, Any]:
    first = members[0].run.content["settings"]
    return {
        **{name: first.get(name) for name in (*_SHARED, "seed")},
        "num_members": len(members),
        "members": [sha256_of_file(member.run.network) for member in members],
    }


def _dev_scores(member: Trained, metric: str, cache: Path, root: Path | None) -> list[float]:
    """The score of each target on the member's dev split."""
    split = member.run.content["settings"]["dev_split"]
    found = predict_split(member, split=split, cache=cache, root=root)
    truth, guess = _scored(found)
    _, score = _METRICS[metric]
    return [score(truth[:, column], guess[:, column]) for column in range(len(member.targets))]


def _scored(found: SplitPredictions) -> tuple[Floats, Floats]:
    if found.of_clips:
        clips = clip_predictions(found)
        return clips.labels[clips.scored], clips.values[clips.scored]
    known = found.rows.label_valid & (found.how > 0)
    return found.rows.labels[known].astype(np.float64), found.values[known]
