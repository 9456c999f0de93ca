"""The recipes on RAVDESS, on all 1,440 recordings of speech: emotions and their intensity, six folds, several seeds.

Resumable: a finished recipe and seed stays, and so does every finished fold of one that was stopped. Features are
extracted once for each setting of the spectrogram; seeds, folds and tasks share them. At the end results/ravdess/ holds
the csv of every recipe, one table of all of them as tables.md, and how long everything took; results/predictions/ holds
what was said of every recording.

    python benchmarks/ravdess_study.py --root DIR --work DIR [--seeds 0 1 2] [--recipes NAME...]
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common import RESULTS_TABLES
from study_times import Lines, add_time, read_times

from emopipe.class_metrics import confusion_matrix, unweighted_average_recall
from emopipe.config import to_dict
from emopipe.datasets.ravdess import CLASSES
from emopipe.files import write_whole
from emopipe.metrics import pearson
from emopipe.provenance import machine
from emopipe.recipes.predictions import Predictions, predictions_path, read_predictions
from emopipe.recipes.ravdess import FLOOR_PEARSON, FLOOR_RECALL
from emopipe.recipes.reactions import ReactionExperiment
from emopipe.recipes.recipe import RECIPES, Recipe, find_recipe, published_key
from emopipe.recipes.reproduce import write_outcome
from emopipe.recipes.steps import Bench, cached_audio
from emopipe.recipes.table import ResultRow, read_results

PAPER = "ravdess"
NAMES = tuple(name.partition("/")[2] for name in RECIPES if name.startswith(f"{PAPER}/"))
NUM_FOLDS = 6
INTENSITY = "-intensity"  # ends the name of a recipe for the number; the one for classes has the name before it
EXTRACTION = "features"  # in times.csv, before the setting
CHOSEN_ON = (1, 4)  # folds whose actors picked the epoch while the settings of spectrogram-cnn were chosen
CELLS = ("mean", "spread", "95 % interval", "other folds", "s")  # of each of the two quantities


def experiment_of(recipe: Recipe) -> ReactionExperiment:
    """What a recipe of the study does.

    Raises:
        TypeError: it is no experiment on clips.
    """
    if not isinstance(recipe.experiment, ReactionExperiment):
        raise TypeError(f"{recipe.name}: expected an experiment on clips.")
    return recipe.experiment


def with_settings(recipe: Recipe, seed: int, epochs: int | None) -> Recipe:
    """The recipe with another seed, and for a trial with other epochs."""
    experiment = experiment_of(recipe)
    rnn = replace(experiment.rnn, seed=seed)
    if epochs is not None:
        rnn = replace(rnn, epochs=epochs)
    return replace(recipe, experiment=replace(experiment, rnn=rnn))


def extract(recipe: Recipe, bench: Bench) -> tuple[str, float]:
    """Make the features of a recipe, or find them made; what they are called, and the seconds.

    Raises:
        TypeError: the recipe needs none of sound.
    """
    audio = experiment_of(recipe).audio
    if audio is None:
        raise TypeError(f"{recipe.name}: expected an experiment on sound.")
    start = time.perf_counter()
    cached_audio(bench, PAPER, audio)
    window = audio.spectrogram
    name = f"{EXTRACTION} {audio.backbone} {window.kind} {window.window_s:g}/{window.hop_s:g}"
    return name, time.perf_counter() - start


def run(recipe: Recipe, bench: Bench, results: Path) -> float:
    """Train and score one recipe and write its rows; returns the seconds."""
    start = time.perf_counter()
    outcome = recipe.experiment.run(bench)
    write_outcome(recipe, outcome, results)
    return time.perf_counter() - start


# === The table ===


def summary(results: Path) -> str:
    """The table for people: means over the seeds."""
    times = read_times(results / PAPER / "times.csv")
    floors = [f"{floor} | {' | '.join('-' * (len(CELLS) - 1))}" for floor in (FLOOR_RECALL, FLOOR_PEARSON)]
    lines = [
        "Six folds of four actors, (actor - 1) mod 6; one is tested, the next picks the epoch. All test parts are one",
        "score: the recall of eight emotions, mean of the classes, and Pearson's r of the intensity. Spread: standard",
        "deviation over the seeds. Interval: mean over the seeds of bootstraps over actors. Other folds: the score of",
        f"all folds but {' and '.join(map(str, CHOSEN_ON))}, on whose actors settings were chosen. s: seconds for the",
        "six trainings of a seed without its features; fewer where the study was stopped in between.",
        "",
        f"| recipe | seeds | {' | '.join(f'{what}: {cell}' for what in ('recall', 'r') for cell in CELLS)} |",
        f"|---|---|{'---|' * 2 * len(CELLS)}",
        f"| floor: eGeMAPS functionals, linear model | - | {' | '.join(floors)} |",
    ]
    for name in (name for name in NAMES if not name.endswith(INTENSITY)):
        pair = (name, f"{name}{INTENSITY}")
        seeds = sorted({row.seed for each in pair for row in read_results(path_of(results, each))})
        if seeds:
            found = [cell for each in pair for cell in cells(results, each, times)]
            lines.append(f"| {' | '.join([name, ', '.join(map(str, seeds)), *found])} |")
    extracted = [f"* {what}: {seconds:.0f} s" for (_, what), seconds in times.items() if what.startswith(EXTRACTION)]
    return "\n".join([*lines, "", *extracted, ""])


def path_of(results: Path, name: str) -> Path:
    """The csv of a recipe."""
    return results / f"{PAPER}/{name}.csv"


def cells(results: Path, name: str, times: dict[tuple[str, str], float]) -> list[str]:
    """The cells of a recipe, of the metric that stands beside the floor; "-" where there is nothing."""
    recipe = find_recipe(f"{PAPER}/{name}")
    rows = [
        row for row in read_results(path_of(results, name)) if published_key(row.metric, row.target) in recipe.published
    ]
    if not rows:
        return ["-"] * len(CELLS)
    values = [row.ours for row in rows]
    spread = f"{statistics.stdev(values):.3f}" if len(values) > 1 else "-"
    seconds = [times[str(row.seed), name] for row in rows if (str(row.seed), name) in times]
    taken = f"{statistics.fmean(seconds):.0f}" if seconds else "-"
    others = [
        score_of_others(kept, is_number=name.endswith(INTENSITY))
        for kept in read_predictions(predictions_path(results, recipe.name)).values()
    ]
    return [f"{statistics.fmean(values):.3f}", spread, interval(rows), f"{statistics.fmean(others):.3f}", taken]


def score_of_others(kept: Predictions, *, is_number: bool) -> float:
    """The score of the actors in folds on which nothing was chosen."""
    rows = [(int(actor) - 1) % NUM_FOLDS not in CHOSEN_ON for actor in kept.groups]
    truth, prediction = kept.truth[rows, 0], kept.prediction[rows, 0]
    if is_number:
        return pearson(truth, prediction)
    counts = confusion_matrix(truth.astype(int), prediction.astype(int), len(CLASSES))
    return float(unweighted_average_recall(counts))


def interval(rows: Sequence[ResultRow]) -> str:
    """The mean over the seeds of the bounds."""
    bounds = [(row.low, row.high) for row in rows if row.low is not None and row.high is not None]
    if not bounds:
        return "-"
    low, high = (statistics.fmean(side) for side in zip(*bounds, strict=True))
    return f"{low:.3f} to {high:.3f}"


def write_summary(results: Path, epochs: int | None) -> None:
    """tables.md: the table, the settings behind it, and the machine."""
    done = [name for name in NAMES if path_of(results, name).exists()]
    settings = {name: to_dict(experiment_of(find_recipe(f"{PAPER}/{name}"))) for name in done}
    trial = "" if epochs is None else f"A trial with {epochs} epochs, not the recipes' own.\n\n"
    text = [
        f"{trial}{summary(results)}",
        f"Machine: {json.dumps(machine())}",
        "Settings:",
        *(f"* {name}: `{json.dumps(chosen)}`" for name, chosen in settings.items()),
    ]
    write_whole(results / PAPER / "tables.md", ("\n".join(text) + "\n").encode())


def main() -> None:
    """Run what is missing, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="the recordings: Audio_Speech_Actors_01-24, unpacked")
    parser.add_argument("--work", type=Path, required=True, help="cache and runs; some 1 GB")
    parser.add_argument("--results", type=Path, default=RESULTS_TABLES, help="where the tables go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=NAMES, choices=NAMES, metavar="NAME", help="only these")
    parser.add_argument("--epochs", type=int, default=None, help="for a trial; the recipes' own otherwise")
    arguments = parser.parse_args()
    results, times = arguments.results, arguments.results / PAPER / "times.csv"
    bench = Bench({PAPER: arguments.root}, arguments.work / "cache", arguments.work / "runs", progress=Lines())
    for seed in arguments.seeds:
        for name in arguments.recipes:
            if seed in {row.seed for row in read_results(path_of(results, name))}:
                continue
            recipe = with_settings(find_recipe(f"{PAPER}/{name}"), seed, arguments.epochs)
            what, seconds = extract(recipe, bench)
            if ("", what) not in read_times(times):
                add_time(times, "", what, seconds)
            seconds = run(recipe, bench, results)
            add_time(times, str(seed), name, seconds)
            print(f"seed {seed}, {name}: {seconds:.0f} s", flush=True)
            write_summary(results, arguments.epochs)


if __name__ == "__main__":
    main()
