"""What an evaluation works on and what comes of it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emopipe.bootstrap import Score
from emopipe.models.rows import Rows
from emopipe.stages.labelled import LabelledSplit
from emopipe.stages.trained import Trained
from emopipe.typing import Floats, Ints

Unit = Literal["frames", "clips"]


@dataclass(frozen=True)
class Evaluation:
    """How good a run is on one split.

    Attributes:
        run, dataset, split: what was scored, on what.
        scores: over all scored frames, with 95 % bootstrap intervals over clips (over subjects where clips are pictures
            or have one label each); () where the split has no labels.
        clips: clip id -> the same scores of that clip, without intervals; {} for classes, and for clips with one label.
        classes: names of the classes; () for numbers.
        confusion: (C, C) counts, row = the class that annotators gave; None for numbers.
        unit: what is scored: "frames", or "clips" where each has one label.
        num_units, num_scored: how many the split has, and those with a label and a prediction.
        predictions: where the predictions lie.
        notes: what the user is to be told.
        over_subjects: whether the intervals are over subjects; `clips` then has subjects for keys.
    """

    run: Path
    dataset: str
    split: str
    scores: tuple[Score, ...]
    clips: dict[str, tuple[Score, ...]]
    classes: tuple[str, ...]
    confusion: Ints | None
    unit: Unit
    num_units: int
    num_scored: int
    predictions: Path
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; an interval that cannot be had is null."""
        return {
            "run": str(self.run),
            "dataset": self.dataset,
            "split": self.split,
            "scores": [_plain(score) for score in self.scores],
            "clips": {clip_id: [_plain(score) for score in scores] for clip_id, scores in self.clips.items()},
            "classes": list(self.classes),
            "confusion": None if self.confusion is None else self.confusion.tolist(),
            "unit": self.unit,
            f"num_{self.unit}": self.num_units,
            "num_scored": self.num_scored,
            "predictions": str(self.predictions),
            "notes": list(self.notes),
            "over_subjects": self.over_subjects,
        }

    def to_text(self) -> str:
        """A table for people."""
        lines = []
        if self.scores:
            count, what = self.scores[0].num_clips, "subject" if self.over_subjects else "clip"
            over = f"95 % interval over {count} {what if count == 1 else f'{what}s'}"
            if count == 1:
                over += f": none, which takes two {what}s"
            lines.append(f"{'metric':<26}{'target':<14}{'value':>8}   {over}")
        for score in self.scores:
            interval = f"{score.low:z.3f} to {score.high:z.3f}" if np.isfinite(score.low) else "-"
            lines.append(f"{score.metric:<26}{score.target:<14}{score.value:>z8.3f}   {interval}")
        lines.append(f"{self.num_scored} of {self.num_units} {self.unit} of split '{self.split}' are scored.")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, f"predictions: {self.predictions}"])

    over_subjects: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class SplitPredictions:
    """What a run says of every frame of a split.

    Attributes:
        trained: the run.
        split: the clips.
        rows: their table, with labels.
        values: (R, K) predictions, NaN where there is none.
        how: (R,) uint8, a code of `HOW_NAMES`.
        root: of the corpus.
    """

    trained: Trained
    split: LabelledSplit
    rows: Rows
    values: Floats
    how: Ints
    root: Path

    @property
    def of_clips(self) -> bool:
        """Whether clips as a whole are what is predicted."""
        return self.split.of_clips if self.rows.label_valid.any() else self.trained.of_clips

    @property
    def file(self) -> Path:
        """Where its predictions are written."""
        return predictions_file(self.trained, self.split.dataset, self.split.split)


def predictions_file(trained: Trained, dataset: str, split: str) -> Path:
    """predictions/<split>.csv in the run, with the name of the corpus before it where the run learned from another."""
    name = split if dataset == trained.dataset else f"{dataset}_{split}"
    return trained.run.folder / "predictions" / f"{name}.csv"


def _plain(score: Score) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in asdict(score).items()}
