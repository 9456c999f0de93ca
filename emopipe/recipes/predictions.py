"""What a recipe predicted, row by row, kept beside its results so that two recipes can be compared pair by pair.

results/predictions/<recipe>.csv, with "_" for the "/" and "@" of the name, has one row per scored clip and seed:

    dataset, split          what was scored; "phantom <layout>" for a generated corpus
    seed                    of the training
    clip                    id of the clip; in OMG-Emotion, of the utterance
    group                   what the bootstrap draws: the source video, or the clip itself
    <target>                one column per target: the prediction
    <target>_label          one column per target: what annotators gave
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emopipe.errors import ConfigError, RecordError
from emopipe.recipes.seed_rows import expect_columns, read_table, write_seed
from emopipe.typing import Floats

FOLDER = "predictions"  # below that of the results
_KEYS = ("dataset", "split", "seed", "clip", "group")
_LABEL = "_label"


@dataclass(frozen=True)
class Predictions:
    """The scored rows of an experiment, one per clip.

    Attributes:
        clip_ids: N names, no two alike; the utterance's where utterances are scored.
        groups: N names of what the bootstrap draws as a whole: the source video of each row, or its clip.
        targets: names of the K columns.
        truth, prediction: (N, K) float, finite; in the unit of the labels.

    Raises:
        RecordError: the lengths differ, there are no rows, a clip is there twice, or a number is not finite.
    """

    clip_ids: tuple[str, ...]
    groups: tuple[str, ...]
    targets: tuple[str, ...]
    truth: Floats
    prediction: Floats

    def __post_init__(self) -> None:
        num_rows = len(self.clip_ids)
        if num_rows == 0 or len(self.groups) != num_rows:
            raise RecordError(
                f"Predictions.groups: expected one per clip, of at least one clip. "
                f"Received: {len(self.groups)} for {num_rows} clips."
            )
        if len(set(self.clip_ids)) != num_rows:
            twice = next(name for number, name in enumerate(self.clip_ids) if name in self.clip_ids[:number])
            raise RecordError(f"Predictions.clip_ids: expected each clip once. Received: '{twice}' twice.")
        for name in ("truth", "prediction"):
            array = getattr(self, name)
            if np.shape(array) != (num_rows, len(self.targets)):
                raise RecordError(
                    f"Predictions.{name}: expected shape {(num_rows, len(self.targets))}. Received: {np.shape(array)}."
                )
            if not np.isfinite(array).all():
                row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
                raise RecordError(
                    f"Predictions.{name}, clip '{self.clip_ids[row]}': expected finite numbers. Received: {array[row]}."
                )

    def __len__(self) -> int:
        return len(self.clip_ids)

    def columns(self, targets: Sequence[str]) -> tuple[Floats, Floats]:
        """Truth and prediction (N, len(targets)) of some targets, in their order."""
        chosen = [self.targets.index(target) for target in targets]
        return self.truth[:, chosen], self.prediction[:, chosen]

    def sorted(self) -> "Predictions":
        """The same rows in the order of their clip ids."""
        order = sorted(range(len(self)), key=self.clip_ids.__getitem__)
        return Predictions(
            tuple(self.clip_ids[row] for row in order),
            tuple(self.groups[row] for row in order),
            self.targets,
            self.truth[order],
            self.prediction[order],
        )


def predictions_path(results: Path, recipe: str) -> Path:
    """Where the predictions of a recipe lie below the folder of the results.

    Examples:
        >>> predictions_path(Path("results"), "kollias2020/cnn1rnn@scratch").as_posix()
        'results/predictions/kollias2020_cnn1rnn_scratch.csv'
    """
    return results / FOLDER / f"{recipe.replace('/', '_').replace('@', '_')}.csv"


def write_predictions(path: Path, predictions: Predictions, *, dataset: str, split: str, seed: int) -> None:
    """Write the predictions of one run; those of other seeds that are there already stay.

    Args:
        path: see `predictions_path`.
        predictions: of one run.
        dataset, split, seed: as in the table of the results; see `emopipe.recipes.table.ResultRow`.

    Raises:
        ConfigError: the file is of other targets, or holds measured rows where these are of a generated corpus.
        StorageError: it cannot be written.
    """
    rows = []
    for number, (clip, group) in enumerate(zip(predictions.clip_ids, predictions.groups, strict=True)):
        row: dict[str, object] = dict(zip(_KEYS, (dataset, split, seed, clip, group), strict=True))
        for array, end in ((predictions.prediction, ""), (predictions.truth, _LABEL)):
            cells = (f"{value:.9g}" for value in array[number])  # nine digits carry a float32
            row |= zip((f"{target}{end}" for target in predictions.targets), cells, strict=True)
        rows.append(row)
    write_seed(path, rows)


def read_predictions(path: Path) -> Mapping[tuple[str, int], Predictions]:
    """(dataset, seed) -> what was predicted, rows in the order of their clip ids; {} where there is no file.

    Raises:
        ConfigError: a column is missing, a cell holds no number, or a clip is there twice.
    """
    columns, rows = read_table(path)
    targets = columns[len(_KEYS) : len(_KEYS) + (len(columns) - len(_KEYS)) // 2]
    if columns:
        expect_columns(path, (*_KEYS, *targets, *(f"{target}{_LABEL}" for target in targets)), columns)
    try:
        numbers = np.array([[float(row[name]) for name in columns[len(_KEYS) :]] for row in rows])
        runs: dict[tuple[str, int], list[int]] = {}
        for number, row in enumerate(rows):
            runs.setdefault((row["dataset"], int(row["seed"])), []).append(number)
        return {
            run: Predictions(
                tuple(rows[number]["clip"] for number in chosen),
                tuple(rows[number]["group"] for number in chosen),
                targets,
                numbers[chosen, len(targets) :],
                numbers[chosen, : len(targets)],
            ).sorted()
            for run, chosen in runs.items()
        }
    except ValueError as error:  # a RecordError is one
        raise ConfigError(f"{path}: {error}\nMove the file away and run: emopipe reproduce") from error
