"""results/<recipe>.csv: one row per score, the published number beside ours."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from emopipe.errors import ConfigError
from emopipe.files import write_whole
from emopipe.provenance import utc_now
from emopipe.recipes.recipe import Outcome, Recipe
from emopipe.version import __version__

PHANTOM = "phantom "  # what the dataset of a smoke run's row begins with
_ALL_CLASSES = "label"  # the target of a score of all classes together


@dataclass(frozen=True)
class ResultRow:
    """One number of a recipe.

    Attributes:
        recipe: its name.
        dataset, split: what was scored; "phantom <layout>" for a generated corpus.
        metric, target: "ccc" of "valence"; target "label" for a score of all classes together.
        published: what the paper prints; None where it prints nothing.
        ours: over all scored frames.
        low, high: 95 % bootstrap interval over clips, over people where clips are pictures; None where there is none.
        num_frames: frames that were scored.
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
    num_frames: int
    seed: int
    epochs: int
    date: str
    version: str


COLUMNS = tuple(field.name for field in fields(ResultRow))


def result_rows(recipe: Recipe, outcome: Outcome) -> tuple[ResultRow, ...]:
    """The rows of an outcome: those with a published number first."""
    dataset = f"{PHANTOM}{recipe.dataset}" if recipe.is_smoke else recipe.dataset
    found = [(score.metric, score.target, score.value, score.low, score.high) for score in outcome.scores]
    if outcome.best_epoch is not None:
        found.append(("best_epoch", "", float(outcome.best_epoch), math.nan, math.nan))
    rows = [
        ResultRow(
            recipe=recipe.name,
            dataset=dataset,
            split=outcome.split,
            metric=metric,
            target=target,
            published=recipe.published.get(metric if target in ("", _ALL_CLASSES) else f"{metric}_{target}"),
            ours=value,
            low=_number(low),
            high=_number(high),
            num_frames=outcome.num_frames,
            seed=outcome.seed,
            epochs=outcome.epochs,
            date=utc_now()[:10],
            version=__version__,
        )
        for metric, target, value, low, high in found
    ]
    return tuple(sorted(rows, key=lambda row: row.published is None))


def write_results(path: Path, rows: Sequence[ResultRow]) -> None:
    """Write the rows of one run; rows of other seeds that are there already stay.

    Raises:
        ConfigError: the file holds something else, or measured rows where these are of a generated corpus.
        StorageError: it cannot be written.
    """
    kept = [row for row in _read(path) if row["seed"] != str(rows[0].seed)]
    is_smoke = rows[0].dataset.startswith(PHANTOM)
    if is_smoke != all(row["dataset"].startswith(PHANTOM) for row in _read(path)):
        if is_smoke:
            raise ConfigError(
                f"{path}: holds measured numbers, which those of a smoke run must not replace.\n"
                "Give another folder with --results."
            )
        kept = []
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *({name: _cell(value) for name, value in asdict(row).items()} for row in rows)])
    write_whole(path, text.getvalue().encode())


def text_table(rows: Sequence[ResultRow]) -> str:
    """The rows for people: metric, published, ours with interval."""
    lines = [f"{'metric':<26}{'target':<12}{'published':>9}{'ours':>9}   95 % interval"]
    for row in rows:
        published = "-" if row.published is None else f"{row.published:g}"
        interval = "" if row.low is None or row.high is None else f"   {row.low:.3f} to {row.high:.3f}"
        ours = f"{row.ours:.0f}" if row.metric == "best_epoch" else f"{row.ours:.3f}"
        lines.append(f"{row.metric:<26}{row.target:<12}{published:>9}{ours:>9}{interval}")
    return "\n".join(lines)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ConfigError(
                f"{path}: expected the columns {','.join(COLUMNS)}.\n"
                f"Received: {','.join(reader.fieldnames or ())}. Move the file away."
            )
        return list(reader)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(value: object) -> object:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
