"""`emopipe reproduce`: run a recipe from a corpus folder to a table with the published numbers beside ours."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emopipe.datasets.adapter import resolve_root
from emopipe.datasets.phantom import SETTINGS_FILE, faceless_clips
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.errors import ConfigError
from emopipe.plots.scores import confusion_figure, save_figure
from emopipe.recipes.predictions import predictions_path, write_predictions
from emopipe.recipes.recipe import Outcome, Recipe
from emopipe.recipes.steps import Bench
from emopipe.recipes.table import ResultRow, result_rows, text_table, write_results
from emopipe.stages.phantom import make_phantom
from emopipe.stages.progress import Progress


@dataclass(frozen=True)
class RecipeResult:
    """What came of a recipe.

    Attributes:
        recipe: as it was run; shrunk after a smoke run.
        rows: of the table, those with a published number first.
        table: the csv file.
        figures: pictures beside it.
        failed: clips that stage one could not make, but for generated ones that show nobody; the scores are without
            them.
        notes: what the user is to be told.
        predictions: the csv file of the scored rows; None where the experiment keeps none.
    """

    recipe: Recipe
    rows: tuple[ResultRow, ...]
    table: Path
    figures: tuple[Path, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]
    predictions: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "recipe": self.recipe.name,
            "row": self.recipe.row,
            "smoke": self.recipe.is_smoke,
            "results": [{**asdict(row), "ours": row.ours if math.isfinite(row.ours) else None} for row in self.rows],
            "table": str(self.table),
            "predictions": None if self.predictions is None else str(self.predictions),
            "figures": [str(path) for path in self.figures],
            "failed": list(self.failed),
            "notes": list(self.notes),
            "deviations": list(self.recipe.deviations),
            "facts": dict(self.recipe.facts),
        }

    def to_text(self) -> str:
        """A table for people."""
        row, paper = self.rows[0], self.recipe.paper
        num_rows = max(each.num_rows for each in self.rows)  # the error of a region has fewer
        lines = [
            f"{self.recipe.name}: {paper.citation} ({paper.identifier}), {self.recipe.row}",
            f"{row.dataset}, split '{row.split}', {num_rows} rows, {row.epochs} epochs, seed {row.seed}",
            text_table(self.rows),
            *(f"known besides: {name}: {_listed(value)}" for name, value in self.recipe.facts.items()),
            *(f"differs: {sentence}" for sentence in self.recipe.deviations),
            *(f"note: {sentence}" for sentence in self.notes),
        ]
        if self.failed:
            lines.append(f"failed: {len(self.failed)} clips have no faces or features (the first: '{self.failed[0]}').")
        if self.recipe.is_smoke:
            lines.append("A smoke run on a generated corpus: these numbers say that the code runs, nothing else.")
        lines += [f"figure: {path}" for path in self.figures]
        if self.predictions is not None:
            lines.append(f"predictions: {self.predictions}")
        return "\n".join([*lines, f"table: {self.table}"])


def _listed(value: Any) -> str:
    """A fact in a line: names and their numbers, or numbers."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {'-' if number is None else number}" for name, number in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def recipe_roots(recipe: Recipe, root: Path | None) -> dict[str, Path]:
    """Folder of each corpus of a recipe.

    Args:
        recipe: the recipe.
        root: the corpus folder; for a recipe of several corpora the folder that holds them, each under its dataset's
            name. None for `$EMOPIPE_DATA/<dataset>`.

    Raises:
        ConfigError: neither is given.

    Examples:
        >>> from emopipe.recipes.recipe import find_recipe
        >>> recipe_roots(find_recipe("rangulov2020/cnn-jaffe"), Path("corpora"))["jaffe"].as_posix()
        'corpora/jaffe'
    """
    datasets = recipe.experiment.datasets
    if root is not None and len(datasets) > 1:
        return {name: root.expanduser() / name for name in datasets}
    return {name: resolve_root(name, root) for name in datasets}


def run_recipe(
    recipe: Recipe,
    *,
    root: Path | None,
    cache: Path,
    runs: Path,
    results: Path,
    workers: int = 1,
    progress: Progress | None = None,
) -> RecipeResult:
    """Run a recipe and write results/<recipe>.csv; what an earlier call finished is reused.

    Where the experiment keeps its scored rows, they go beside it; see `emopipe.recipes.predictions`.

    Args:
        recipe: of the registry, or its `smoke()`, for which the generated corpora are made where they are not there.
        root: see `recipe_roots`.
        cache, runs, results: folders of the cache, the run folders and the tables.
        workers: processes that make faces.
        progress: told what happens.

    Raises:
        EmopipeError: a corpus is not there, nothing can be learned from it, or training diverges.
        ConfigError: a smoke run would replace measured numbers, or write into a corpus.
    """
    progress = progress or Progress()
    roots = recipe_roots(recipe, root)
    faceless: set[str] = set()
    if recipe.is_smoke:
        for dataset, settings in recipe.phantoms.items():
            progress.say(f"Generated corpus in {roots[dataset]}:")
            _phantom(roots[dataset], settings, workers)
            faceless |= faceless_clips(roots[dataset])
    bench = Bench(roots, cache, runs, workers, progress)
    outcome = recipe.experiment.run(bench)
    rows, table, predictions = write_outcome(recipe, outcome, results)
    figures = []
    if outcome.confusion is not None:
        figures.append(table.with_name(f"{table.stem}_confusion.png"))
        title = f"{recipe.name}, {rows[0].dataset}"
        save_figure(confusion_figure(outcome.confusion, outcome.classes, title=title), figures[0])
    failed, notes = tuple(sorted(bench.failed - faceless)), outcome.notes
    if bench.failed & faceless:
        notes += (f"{', '.join(sorted(bench.failed & faceless))}: shows nobody, as the generated corpus has it.",)
    return RecipeResult(recipe, rows, table, tuple(figures), failed, notes, predictions)


def write_outcome(recipe: Recipe, outcome: Outcome, results: Path) -> tuple[tuple[ResultRow, ...], Path, Path | None]:
    """Write results/<recipe>.csv and, where the experiment keeps its scored rows, those.

    Returns:
        the rows, and both files; None for the second where nothing is kept.
    """
    rows = result_rows(recipe, outcome)
    table = results / f"{recipe.name}.csv"
    write_results(table, rows)
    if outcome.predictions is None:
        return rows, table, None
    predictions, row = predictions_path(results, recipe.name), rows[0]
    write_predictions(predictions, outcome.predictions, dataset=row.dataset, split=row.split, seed=row.seed)
    return rows, table, predictions


def _phantom(folder: Path, settings: PhantomSettings, workers: int) -> None:
    """Make a generated corpus, or find it made; anything else in the folder is refused."""
    record = folder / SETTINGS_FILE
    if not record.exists():
        make_phantom(folder, settings, num_workers=workers)
        return
    made: Mapping[str, Any] = json.loads(record.read_text())["settings"]
    if made != asdict(settings):
        raise ConfigError(
            f"{folder}: holds a generated corpus of other settings.\n"
            "Give another folder with --root, or delete this one."
        )
