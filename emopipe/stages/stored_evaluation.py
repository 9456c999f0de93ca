"""What `evaluate` leaves of a split in a run folder, written and read back.

predictions/<split>.csv    the predictions, one row per frame or per clip
predictions/<split>.json   their scores, and the digest of that file (encoding-version 1)
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emopipe.bootstrap import Score
from emopipe.errors import RunError
from emopipe.files import sha256_of_file, write_json
from emopipe.models.windows import HOW_NAMES
from emopipe.provenance import utc_now
from emopipe.stages.evaluation import Evaluation, Unit
from emopipe.typing import Bools, Floats, Ints

STORED_VERSION = 1
_FRAMES = "_frames"  # of the file that holds the frames where clips are scored
_FIRST = ("dev", "test")  # how splits are ordered; others come behind


@dataclass(frozen=True)
class StoredEvaluation:
    """The scores of a split, as they were stored; the attributes of `Evaluation` that they share mean the same.

    Attributes:
        file: the predictions.
        over_subjects: whether the intervals are over subjects and not over clips; `clips` then has subjects for keys.
        created: when it was scored, ISO 8601 in UTC.
    """

    file: Path
    dataset: str
    split: str
    scores: tuple[Score, ...]
    clips: Mapping[str, tuple[Score, ...]]
    classes: tuple[str, ...]
    confusion: Ints | None
    unit: Unit
    num_units: int
    num_scored: int
    notes: tuple[str, ...]
    over_subjects: bool
    created: str


@dataclass(frozen=True)
class PredictionTable:
    """predictions/<split>.csv as arrays of R rows: frames clip after clip, or clips.

    Attributes:
        clip_ids: R names.
        time_s: (R,) float64, of frames; NaN for clips.
        how: (R,) uint8, a code of `HOW_NAMES`, of frames; 0 for clips.
        truth: (R, K) labels, for classes (R, 1) their numbers; NaN where there is none.
        prediction: (R, K), or (R, C) probabilities; NaN where there is none.
    """

    clip_ids: tuple[str, ...]
    time_s: Floats
    how: Ints
    truth: Floats
    prediction: Floats

    @property
    def scored(self) -> Bools:
        """(R,) whether a row has a label and a prediction."""
        scored: Bools = np.isfinite(np.concatenate([self.truth, self.prediction], axis=1)).all(axis=1)
        return scored

    def clips(self) -> Mapping[str, slice]:
        """Clip id -> its rows."""
        starts = [row for row, name in enumerate(self.clip_ids) if row == 0 or name != self.clip_ids[row - 1]]
        return {
            self.clip_ids[start]: slice(start, stop)
            for start, stop in zip(starts, [*starts[1:], len(self.clip_ids)], strict=True)
        }


def store_evaluation(found: Evaluation) -> None:
    """Write the scores of a split beside its predictions.

    Raises:
        StorageError: the run folder cannot be written.
    """
    scores = found.to_dict()
    for place in ("run", "predictions"):  # a run folder can be moved
        del scores[place]
    content = {
        "encoding-version": STORED_VERSION,
        **scores,
        "predictions_sha256": sha256_of_file(found.predictions),
        "created": utc_now(),
    }
    write_json(found.predictions.with_suffix(".json"), content)


def stored_evaluations(run: Path) -> tuple[StoredEvaluation, ...]:
    """What `evaluate` stored of a run: dev, test, then other splits and other corpora.

    Raises:
        RunError: a file is damaged, of a newer version, or its predictions are not those that were scored.
    """
    found = [_read(path) for path in sorted((run / "predictions").glob("*.json"))]
    names = [each.file.stem for each in found]
    order = sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name))
    return tuple(found[names.index(name)] for name in order)


def unscored_predictions(run: Path) -> tuple[Path, ...]:
    """Predictions without stored scores: of a version that stored none, or of an evaluation that was stopped."""
    stems = {path.stem for path in (run / "predictions").glob("*.json")}
    files = sorted((run / "predictions").glob("*.csv"))
    return tuple(path for path in files if not {path.stem, path.stem.removesuffix(_FRAMES)} & stems)


def prediction_table(stored: StoredEvaluation, targets: Sequence[str]) -> PredictionTable:
    """The predictions that scores are of.

    Args:
        stored: a split.
        targets: of the run; for classes, the name of the one column that holds them.

    Raises:
        RunError: a column is missing, or a cell holds no number.
    """
    path, classes = stored.file, stored.classes
    number_of = {name: float(number) for number, name in enumerate(classes)}
    codes = {name: code for code, name in enumerate(HOW_NAMES)}
    clip_ids, places, numbers = [], [], []
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        try:
            for row in csv.DictReader(file):
                clip_ids.append(row["clip"])
                places.append((float(row["time_s"]), codes[row["how"]]) if stored.unit == "frames" else (np.nan, 0))
                given = [row[f"{target}_label"] for target in targets]
                labels = [number_of[cell] for cell in given if cell] if classes else [_number(cell) for cell in given]
                numbers.append([*(labels or [np.nan]), *(_number(row[name]) for name in classes or targets)])
        except (KeyError, ValueError, csv.Error) as error:
            raise RunError(
                f"{path}, row {len(clip_ids)}: is not as evaluate writes it ({error}).\n{_again(path, stored.split)}"
            ) from error
    num_labels = 1 if classes else len(targets)
    table = np.array(numbers, np.float64).reshape(len(clip_ids), num_labels + len(classes or targets))
    time_s, how = np.array(places).reshape(len(clip_ids), 2).T
    return PredictionTable(
        tuple(clip_ids), time_s, how.astype(np.uint8), table[:, :num_labels], table[:, num_labels:]
    )  # fmt: skip


def _read(path: Path) -> StoredEvaluation:
    try:
        content = json.loads(path.read_text())
        version, digest = int(content["encoding-version"]), content["predictions_sha256"]
        stored = _parsed(path.with_suffix(".csv"), content) if version <= STORED_VERSION else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path}: is not readable ({type(error).__name__}: {error}).\n{_again(path, path.stem)}"
        ) from error
    if stored is None:
        raise RunError(f"{path}: has encoding-version {version}. Expected at most {STORED_VERSION}. Update emopipe.")
    if not stored.file.is_file():
        raise RunError(f"{stored.file}: is missing, and {path.name} has its scores.\n{_again(path, stored.split)}")
    if sha256_of_file(stored.file) != digest:
        raise RunError(
            f"{stored.file}: is not the file that {path.name} has the scores of; it was changed or cut off.\n"
            f"{_again(path, stored.split)}"
        )
    return stored


def _parsed(file: Path, content: Mapping[str, Any]) -> StoredEvaluation:
    confusion = content["confusion"]
    return StoredEvaluation(
        file=file,
        dataset=content["dataset"],
        split=content["split"],
        scores=_scores(content["scores"]),
        clips={name: _scores(scores) for name, scores in content["clips"].items()},
        classes=tuple(content["classes"]),
        confusion=None if confusion is None else np.array(confusion, np.int64),
        unit=content["unit"],
        num_units=content[f"num_{content['unit']}"],
        num_scored=content["num_scored"],
        notes=tuple(content["notes"]),
        over_subjects=content["over_subjects"],
        created=content["created"],
    )


def _again(path: Path, split: str) -> str:
    other = path.stem.removesuffix(split).removesuffix("_")  # another corpus than the run learned from
    options = f"--split {split} --dataset {other}" if other else f"--split {split}"
    return f"Make both again: emopipe evaluate {path.parent.parent} {options}"


def _scores(listed: Sequence[Mapping[str, Any]]) -> tuple[Score, ...]:
    """Scores from `Evaluation.to_dict`, in which what is not finite is null."""
    known: list[dict[str, Any]] = [
        {name: np.nan if value is None else value for name, value in each.items()} for each in listed
    ]
    return tuple(Score(**each) for each in known)


def _number(cell: str) -> float:
    return float(cell) if cell else np.nan
