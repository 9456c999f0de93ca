"""results/<recipe>.csv: one row per score, the published number beside ours."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from emopipe.bootstrap import Score
from emopipe.errors import ConfigError
from emopipe.provenance import utc_now
from emopipe.recipes.recipe import Outcome, Recipe, published_key
from emopipe.recipes.seed_rows import PHANTOM, expect_columns, read_table, write_seed
from emopipe.version import __version__


@dataclass(frozen=True)
class ResultRow:
    """One number of a recipe.

    Attributes:
        recipe: its name.
        dataset, split: what was scored; "phantom <layout>" for a generated corpus.
        metric, target: "ccc" of "valence"; target "label" for a score of all classes together.
        published: what the paper prints; None where it prints nothing.
        ours: over all scored rows; NaN for the error of a region without a row.
        low, high: 95 % bootstrap interval over clips, over people where clips are pictures; None where there is none.
        num_rows: rows that were scored: frames, or clips where a clip has one label.
        seed: of the training.
        epochs: that were trained, all folds together.
        date: UTC, of the scoring.
        version: of this package.
    """

    recipe: str
    dataset: str
    split: str
    metric: str
    target: str
    published: float | None
    ours: float
    low: float | None
    high: float | None
    num_rows: int
    seed: int
    epochs: int
    date: str
    version: str


COLUMNS = tuple(field.name for field in fields(ResultRow))


def result_rows(recipe: Recipe, outcome: Outcome) -> tuple[ResultRow, ...]:
    """The rows of an outcome: those with a published number first."""
    dataset = f"{PHANTOM}{recipe.dataset}" if recipe.is_smoke else recipe.dataset
    found = list(outcome.scores)
    if outcome.best_epoch is not None:
        found.append(Score("best_epoch", "", float(outcome.best_epoch), math.nan, math.nan, outcome.num_rows, 0))
    rows = [
        ResultRow(
            recipe=recipe.name,
            dataset=dataset,
            split=outcome.split,
            metric=score.metric,
            target=score.target,
            published=recipe.published.get(published_key(score.metric, score.target)),
            ours=score.value,
            low=_number(score.low),
            high=_number(score.high),
            num_rows=score.num_rows,
            seed=outcome.seed,
            epochs=outcome.epochs,
            date=utc_now()[:10],
            version=__version__,
        )
        for score in found
    ]
    return tuple(sorted(rows, key=lambda row: row.published is None))


def write_results(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write the rows of one run; rows of other seeds that are there already stay.

    Raises:
        ConfigError: the file holds something else, or measured rows where these are of a generated corpus.
        StorageError: it cannot be written.
    """
    write_seed(path, [{name: _cell(value) for name, value in asdict(row).items()} for row in rows])


def read_results(path: Path) -> tuple[ResultRow, ...]:
    """The rows of a recipe, of all seeds; () where there is no file.

    Raises:
        ConfigError: the file has other columns, or a cell holds no number.
    """
    columns, rows = read_table(path)
    if columns:
        expect_columns(path, COLUMNS, columns)
    try:
        return tuple(_parsed(row) for row in rows)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}. Move the file away and run: emopipe reproduce") from error


def text_table(rows: Sequence[ResultRow]) -> str:
    """The rows for people: metric, published, ours with interval."""
    lines = [f"{'metric':<26}{'target':<14}{'published':>9}{'ours':>9}   95 % interval"]
    for row in rows:
        published = "-" if row.published is None else f"{row.published:g}"
        interval = "" if row.low is None or row.high is None else f"   {row.low:.3f} to {row.high:.3f}"
        ours = f"{row.ours:.0f}" if row.metric == "best_epoch" else f"{row.ours:.3f}"
        lines.append(f"{row.metric:<26}{row.target:<14}{published:>9}{ours:>9}{interval}")
    return "\n".join(lines)


def _parsed(row: Mapping[str, str]) -> ResultRow:
    numbers = {name: float(row[name]) if row[name] else None for name in ("published", "low", "high")}
    counts = {name: int(row[name]) for name in ("num_rows", "seed", "epochs")}
    return ResultRow(**{**row, **numbers, **counts, "ours": float(row["ours"])})  # type: ignore[arg-type]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
