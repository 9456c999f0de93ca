"""`emopipe recipes compare`: the tables of a paper with what was measured beside what is printed.

Two recipes are compared on the same rows: a paired bootstrap over the rows' groups gives the p-value of their
difference. What was measured on a generated corpus is marked and never compared with what was measured on a real one.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emopipe.bootstrap import RAW, Paired
from emopipe.errors import ConfigError
from emopipe.metrics import METRICS, paired_bootstrap
from emopipe.recipes.comparison import Cell, ComparedRow, ComparedTable, Comparison
from emopipe.recipes.predictions import Predictions, predictions_path, read_predictions
from emopipe.recipes.recipe import RECIPES, Place, Recipe, Table, find_recipe, published_key
from emopipe.recipes.seed_rows import PHANTOM
from emopipe.recipes.table import ResultRow, read_results
from emopipe.registry import Registry
from emopipe.typing import Floats

_MEAN = "mean"  # target of a score that is the mean over the targets
_SAME_LABEL = 1e-6  # labels went through nine digits of text


@dataclass(frozen=True)
class _Measured:
    """What there is of a recipe: the rows of its table, and seed -> predictions; both may be empty."""

    recipe: Recipe
    rows: tuple[ResultRow, ...]
    predictions: Mapping[int, Predictions]

    @property
    def dataset(self) -> str:
        return self.rows[0].dataset if self.rows else ""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({row.seed for row in self.rows}))

    @property
    def is_phantom(self) -> bool:
        return self.dataset.startswith(PHANTOM)


@dataclass(frozen=True)
class _Pairing:
    """Runs of a recipe and runs of the reference that predict the same rows."""

    ours: Sequence[Predictions]
    theirs: Sequence[Predictions]

    def tables(self, targets: list[str]) -> tuple[Floats, Floats, Floats]:
        """Truth, ours and theirs, each as many columns: of 3 runs and 2, each is there twice or three times."""
        times = math.lcm(len(self.ours), len(self.theirs))

        def said(runs: Sequence[Predictions]) -> Floats:
            return np.tile(np.hstack([run.columns(targets)[1] for run in runs]), times // len(runs))

        return np.tile(self.ours[0].columns(targets)[0], times), said(self.ours), said(self.theirs)


def compare_paper(name: str, results: Path, *, against: str | None = None) -> Comparison:
    """Read the results of a paper's recipes and compare them, table by table.

    Args:
        name: the paper, as in the names of its recipes ("rangulov2020").
        results: folder that `emopipe reproduce` writes to.
        against: the recipe that all others are compared with; None for the row with the best printed mean of the CCC
            in each table.

    Raises:
        UnknownNameError: there is no such paper or recipe.
        ConfigError: nothing was run yet, a file cannot be read, or `against` is a recipe of another paper.
    """
    recipes = _recipes_of(name)
    if against is not None and not against.startswith(f"{name}/"):
        raise ConfigError(f"--against: expected a recipe of {name}. Received: {against}.")
    reference = None if against is None else _measured(find_recipe(against), results)
    measured = [found for recipe in recipes for found in _with_variants(recipe, results)]
    if not any(found.rows for found in measured):
        raise ConfigError(
            f"{results / name}: expected results of the recipes of {name}. Received: none.\n"
            f"Run: emopipe reproduce {recipes[0].name} --root DIR, or name another folder with --results."
        )
    paper = recipes[0].paper
    tables = tuple(_compared_table(table, measured, reference) for table in paper.tables)
    return Comparison(name, paper, results, tables, {found.recipe.name: found.recipe.deviations for found in measured})


def _recipes_of(name: str) -> list[Recipe]:
    names = [each for each in RECIPES if each.startswith(f"{name}/")]
    if not names:
        papers = {each.partition("/")[0]: each for each in RECIPES}
        Registry("paper", papers)[name]  # raises, with the nearest name
    return [find_recipe(each) for each in names]


def _with_variants(recipe: Recipe, results: Path) -> list[_Measured]:
    """The recipe, and those of its variants that were run."""
    variants = [_measured(recipe.variant(name), results) for name in recipe.variants]
    return [_measured(recipe, results), *(found for found in variants if found.rows)]


def _measured(recipe: Recipe, results: Path) -> _Measured:
    rows = read_results(results / f"{recipe.name}.csv")
    kept = read_predictions(predictions_path(results, recipe.name)) if rows else {}
    seeds = {row.seed for row in rows}
    # Older predictions may lie beside newer results that have none.
    predictions = {seed: each for (dataset, seed), each in kept.items() if dataset == rows[0].dataset and seed in seeds}
    return _Measured(recipe, rows, predictions if set(predictions) == seeds else {})


# === One table ===


def _compared_table(table: Table, measured: Sequence[_Measured], against: _Measured | None) -> ComparedTable:
    placed = [(place, found) for found in measured for place in found.recipe.places if place.table == table.name]
    placed.sort(key=lambda pair: pair[0].position)
    reference = against or _best_published([found for _, found in placed])
    if not any(_paired_metric(key) for key in table.metrics):
        reference = None
    notes: dict[str, list[str]] = {}
    rows = []
    for place, found in placed:
        is_reference = reference is not None and found.recipe.name == reference.recipe.name
        pairings = () if reference is None or is_reference or not found.rows else _pairings(found, reference)
        if isinstance(pairings, str):
            notes.setdefault(pairings, []).append(found.recipe.name)
            pairings = ()
        cells = (_cell(key, found, pairings) for key in table.metrics)
        label = _label(place, found.recipe)
        rows.append(ComparedRow(label, found.recipe.name, tuple(cells), found.dataset, found.seeds, is_reference))
    sentences = tuple(f"Not compared, {obstacle}: {', '.join(names)}." for obstacle, names in notes.items())
    return ComparedTable(table, tuple(rows), reference.recipe.name if reference else None, sentences)


def _label(place: Place, recipe: Recipe) -> str:
    _, at, variant = recipe.name.partition("@")
    return f"{place.label} {at}{variant}" if at else place.label


def _best_published(rows: Sequence[_Measured]) -> _Measured | None:
    """The row with the best printed mean of the CCC; None where no row has one."""
    means = []
    for found in rows:
        published = found.recipe.published
        parts = [published.get(f"ccc_{target}") for target in ("valence", "arousal")]
        mean = published.get("ccc_mean")
        if mean is None and None not in parts:
            mean = sum(part for part in parts if part is not None) / 2
        if mean is not None and "@" not in found.recipe.name:
            means.append((mean, found))
    return max(means, key=lambda pair: pair[0])[1] if means else None


def _pairings(found: _Measured, reference: _Measured) -> Sequence[_Pairing] | str:
    """What is compared with what: all seeds together, or seed by seed where each has a corpus of its own.

    A sentence's end where nothing can be compared: why not.
    """
    name = reference.recipe.name
    if not reference.rows:
        return f"for the reference has no results (run: emopipe reproduce {name})"
    if found.is_phantom != reference.is_phantom:
        return f"for generated and real corpora do not mix (the reference was scored on {reference.dataset})"
    ours, theirs = found.predictions, reference.predictions
    if not ours or not theirs:
        return "for no predictions are stored of it or of the reference"
    if all(_on_the_same_clips(runs) for runs in (ours, theirs)):
        pairings = [_Pairing([*ours.values()], [*theirs.values()])]
    elif set(ours) == set(theirs):
        pairings = [_Pairing([ours[seed]], [theirs[seed]]) for seed in sorted(ours)]
    else:
        seeds = (", ".join(map(str, sorted(each))) for each in (ours, theirs))
        return f"for each seed has clips of its own, and the seeds are not the reference's ({' and '.join(seeds)})"
    return next(filter(None, map(_mismatch, pairings)), pairings)


def _mismatch(pairing: _Pairing) -> str | None:
    """Why two sides cannot be compared row by row; None where they can."""
    first, *others = (*pairing.ours, *pairing.theirs)
    if any(set(other.clip_ids) != set(first.clip_ids) for other in others):
        return f"for it was scored on other clips than the reference ({len(first)} and {len(pairing.theirs[0])})"
    for other in others:
        shared = [target for target in first.targets if target in other.targets]
        truths = first.columns(shared)[0], other.columns(shared)[0]
        if not shared or other.groups != first.groups or not np.allclose(*truths, rtol=0, atol=_SAME_LABEL):
            return "for its rows have other labels or groups than those of the reference"
    return None


def _on_the_same_clips(runs: Mapping[int, Predictions]) -> bool:
    return len({frozenset(each.clip_ids) for each in runs.values()}) == 1


# === One row ===


def _cell(key: str, found: _Measured, pairings: Sequence[_Pairing]) -> Cell:
    published = found.recipe.published
    rows, raw = _rows_of(key, found), _rows_of(key + RAW, found)
    cell = Cell(key, published.get(key), published.get(key + RAW))
    if not rows:
        return cell
    ours = [row.ours for row in rows]
    bounds = [(row.low, row.high) for row in rows if row.low is not None and row.high is not None]
    low, high = (statistics.fmean(side) for side in zip(*bounds, strict=True)) if bounds else (None, None)
    return Cell(
        key,
        cell.published,
        cell.published_raw,
        statistics.fmean(ours),
        statistics.fmean(row.ours for row in raw) if raw else None,
        low,
        high,
        statistics.stdev(ours) if len(ours) > 1 and all(map(math.isfinite, ours)) else None,
        min(row.num_rows for row in rows),
        _difference(key, pairings) if pairings else None,
    )


def _rows_of(key: str, found: _Measured) -> list[ResultRow]:
    """The rows of a quantity, one per seed."""
    return [row for row in found.rows if published_key(row.metric, row.target) == key]


def _paired_metric(key: str) -> str | None:
    """The metric of a key that can be computed from stored predictions; None for all else."""
    metric = key.rpartition("_")[0]
    return metric if metric in METRICS else None


def _difference(key: str, pairings: Sequence[_Pairing]) -> Paired | None:
    """Mean over our seeds minus mean over their seeds, on the same draws of groups.

    Where each seed has a corpus of its own, groups are drawn in each.

    None where the key is no metric of `METRICS`, or one of the two does not predict its target.
    """
    metric, target = _paired_metric(key), key.rpartition("_")[2]
    ours, theirs = pairings[0].ours[0], pairings[0].theirs[0]
    targets = [target]
    if target == _MEAN and ours.targets == theirs.targets:
        targets = list(ours.targets)
    if metric is None or not {*targets} <= {*ours.targets} & {*theirs.targets}:
        return None
    truth, first, second = (np.concatenate(parts) for parts in zip(*(p.tables(targets) for p in pairings), strict=True))
    groups = np.concatenate([pairing.ours[0].groups for pairing in pairings])
    corpora = np.repeat(np.arange(len(pairings)), [len(pairing.ours[0]) for pairing in pairings])
    return paired_bootstrap(truth, first, second, groups, metric, corpora=corpora)
