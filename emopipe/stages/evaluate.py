"""`emopipe evaluate`: scores of a trained head, with intervals, and its predictions frame by frame."""

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emopipe.bootstrap import Score
from emopipe.errors import ConfigError
from emopipe.files import write_whole
from emopipe.metrics import per_clip_scores, regression_scores
from emopipe.models.bundle import Run, open_run
from emopipe.models.engines import load_keras
from emopipe.models.gather import predict_windows
from emopipe.models.rows import Rows
from emopipe.models.weights import load_network
from emopipe.models.windows import HOW_NAMES, WindowConfig, prediction_plan
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.feature_rows import feature_rows
from emopipe.stages.labelled import labelled_clips
from emopipe.store.cache import Cache
from emopipe.typing import Array, Floats


@dataclass(frozen=True)
class Evaluation:
    """How good a run is on one split.

    Attributes:
        run, split: what was scored.
        scores: over all scored frames, with 95 % bootstrap intervals over clips.
        clips: clip id -> the same scores of that clip, without intervals.
        num_frames, num_scored: frames of the split, and those with a label and a prediction.
        predictions: where the predictions lie.
        notes: what the user is to be told.
    """

    run: Path
    split: str
    scores: tuple[Score, ...]
    clips: dict[str, tuple[Score, ...]]
    num_frames: int
    num_scored: int
    predictions: Path
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; an interval that cannot be had is null."""
        return {
            "run": str(self.run),
            "split": self.split,
            "scores": [_plain(score) for score in self.scores],
            "clips": {clip_id: [_plain(score) for score in scores] for clip_id, scores in self.clips.items()},
            "num_frames": self.num_frames,
            "num_scored": self.num_scored,
            "predictions": str(self.predictions),
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """A table for people."""
        lines = [f"{'metric':<16}{'target':<12}{'value':>8}   95 % interval over {len(self.clips)} clips"]
        for score in self.scores:
            interval = f"{score.low:.3f} to {score.high:.3f}" if np.isfinite(score.low) else "none"
            lines.append(f"{score.metric:<16}{score.target:<12}{score.value:>8.3f}   {interval}")
        lines.append(f"{self.num_scored} of {self.num_frames} frames of split '{self.split}' are scored.")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, f"predictions: {self.predictions}"])


def evaluate(run: Path, *, split: str, cache: Path, root: Path | None = None, num_bootstrap: int = 1000) -> Evaluation:
    """Predict every frame of a split that can be predicted, write the predictions, and score the labelled ones.

    Args:
        run: a run of `train-rnn`.
        split: "train", "dev" or "test".
        cache: holds the features that the run was trained on.
        root: the corpus; None for where it was at extraction.
        num_bootstrap: resamples of the clips for the intervals.

    Raises:
        RunError: no run, or one of a newer version.
        ConfigError: the run is no head, or the cache lacks its features.
    """
    opened = open_run(run)
    if opened.kind != "rnn":
        raise ConfigError(f"{run}: is a run of train-{opened.kind}. Expected one of train-rnn.")
    settings = opened.content["settings"]
    store = Cache(cache)
    plan = cached_plan(store, "features", settings["dataset"], root, settings["features_fingerprint"])
    labelled = labelled_clips(plan, store, "features", split, settings["task"])
    targets = tuple(settings["targets"])
    rows = feature_rows(labelled, store, tuple(settings["taps"]), targets)
    predicted, how = _predict(opened, rows, WindowConfig(**settings["window"]))
    path = run / "predictions" / f"{split}.csv"
    write_whole(path, _table(rows, predicted, how, targets).encode("utf-8", "surrogateescape"))
    scored = rows.label_valid & (how > 0)
    if not scored.any():
        raise ConfigError(f"split '{split}': no frame has both a label and a prediction. Look at {path}.")
    clip_of_row = np.repeat(np.arange(len(rows.clip_ids)), np.diff(rows.clip_starts))[scored]
    truth, guess = rows.labels[scored].astype(np.float64), predicted[scored]
    scores = regression_scores(truth, guess, targets, clip_of_row, num_bootstrap=num_bootstrap)
    per_clip = per_clip_scores(truth, guess, targets, clip_of_row)
    clips = {rows.clip_ids[int(number)]: tuple(found) for number, found in per_clip.items()}
    return Evaluation(run, split, tuple(scores), clips, len(rows), int(scored.sum()), path, labelled.notes)


def _predict(run: Run, rows: Rows, window: WindowConfig) -> tuple[Floats, Array]:
    """(R, K) predictions, NaN where there is none, and (R,) how each was made."""
    load_keras()
    network = load_network(run.network)
    wanted = prediction_plan(rows, window)
    predicted = np.full((len(rows), rows.labels.shape[1]), np.nan)
    if len(wanted.plan):
        predicted[wanted.plan.target_rows] = predict_windows(network, rows.features, wanted.plan)
    return predicted, wanted.how


def _table(rows: Rows, predicted: Floats, how: Array, targets: tuple[str, ...]) -> str:
    """predictions/<split>.csv: one row per frame; the label beside the prediction, empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip", "frame", "how", *targets, *(f"{target}_label" for target in targets)])
    for number, clip_id in enumerate(rows.clip_ids):
        for row in range(int(rows.clip_starts[number]), int(rows.clip_starts[number + 1])):
            values = [f"{value:.6f}" if np.isfinite(value) else "" for value in (*predicted[row], *rows.labels[row])]
            writer.writerow([clip_id, int(rows.frame_index[row]), HOW_NAMES[how[row]], *values])
    return text.getvalue()


def _plain(score: Score) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in asdict(score).items()}
