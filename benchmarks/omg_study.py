"""Tables 3 to 7 of Kollias and Zafeiriou (2020) on generated corpora, at an eighth of the paper's width.

For each seed three corpora, of people of their own, stand in for Aff-Wild, Aff-Wild2 and OMG-Emotion. The recipes of
the paper run on them with CNNs of width 1/8 and fc layers of an eighth of the units; the CNNs are trained on these
corpora, never random. Resumable: a finished recipe stays, and what recipes share (corpora, faces, CNNs, features,
heads) is made once. At the end results/phantom_omg/ holds the csv of every recipe, the utterances' predictions, the
tables as text, and how long everything took.

    python benchmarks/omg_study.py --work DIR [--seeds 0 1 2] [--recipes NAME...]
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import RESULTS_TABLES
from study_times import Lines, add_time

from emopipe.datasets.phantom import SETTINGS_FILE
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.files import write_whole
from emopipe.provenance import machine
from emopipe.recipes.compare import compare_paper
from emopipe.recipes.comparison_text import comparison_text
from emopipe.recipes.recipe import Experiment, find_recipe
from emopipe.recipes.reproduce import write_outcome
from emopipe.recipes.steps import Bench
from emopipe.recipes.table import read_results
from emopipe.recipes.utterances import FusionExperiment, UtteranceExperiment
from emopipe.stages.phantom import make_phantom
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.store.cache import Cache

PAPER, RESULTS = "kollias2020", RESULTS_TABLES / "phantom_omg"
# Every row of Tables 3 to 7, and the end-to-end column that the paper speaks of beside Table 4.
TABLE_3 = (
    "vggface",
    "densenet121",
    "resnet50",
    "affwildnet",
    "densenet-rnn",
    "cnn1rnn-pool2-pool5-fc",
    "cnn3rnn-pool2-pool5-fc",
    "fusion-decision",
    "fusion-model-fc",
    "fusion-model-rnn",
)
TABLE_4 = (
    "cnn1rnn-scratch",
    "cnn1rnn-affwild",
    "cnn3rnn-scratch",
    "cnn3rnn-affwild",
    "fusion-model-rnn-scratch",
    "fusion-model-rnn-affwild",
    "cnn1rnn-pool2-pool5-fc@end-to-end",
    "cnn3rnn-pool2-pool5-fc@end-to-end",
)
TABLE_5 = tuple(
    f"cnn3rnn-{taps}"
    for taps in (
        "conv8-pool5-fc",
        "conv5-pool5-fc",
        "conv3-conv7-fc",
        "conv13-pool5-fc",
        "conv6-conv7-conv8",
        "conv7-conv8-conv9",
        "conv3-conv4-conv5",
    )
)
TABLE_6 = ("cnn1rnn-no-landmarks", "cnn3rnn-no-landmarks", "fusion-model-rnn-no-landmarks")
RECIPES = (*TABLE_3, *TABLE_4, *TABLE_5, *TABLE_6)

WIDTH = 1 / 8
# Corpora a thousandth of the size. Tried on the corpora of seed 900, which no table reports.
CORPORA = {"affwild": (24, 5.0), "affwild2": (24, 10.0), "omg": (24, 20.0)}  # people, seconds of each
CNN: dict[str, Any] = {
    "weights": "none",
    "augment": True,
    "batch_size": 32,
    "steps_per_epoch": 100,
    "epochs": 10,
    "patience": None,
    "learning_rate": 5e-4,
}
HEAD: dict[str, Any] = {"batch_size": 16, "epochs": 30, "patience": 6}
END_TO_END: dict[str, Any] = {"epochs": 5}
END_TO_END_RATE = 1e-4
# All taps of all tables together, so that rows with the same CNN share its cache.
VGG_TAPS = (
    "pool2:grid4",
    "pool5:flat",
    *(f"conv{number}:grid4" for number in (3, 4, 5, 6, 7, 8, 9, 13)),
)


def shrunk(experiment: Experiment, seed: int) -> Experiment:
    """The experiment of a recipe as it is run here."""
    if isinstance(experiment, FusionExperiment):
        members = tuple(_shrunk_member(member, seed) for member in experiment.members)
        return replace(experiment, members=members, rnn=_shrunk_head(experiment.rnn, seed))
    if isinstance(experiment, UtteranceExperiment):
        return _shrunk_member(experiment, seed)
    raise TypeError(f"expected an experiment of a table. Received: {type(experiment).__name__}.")


def _shrunk_member(experiment: UtteranceExperiment, seed: int) -> UtteranceExperiment:
    taps = VGG_TAPS if experiment.cnn.backbone == "vggface" else experiment.cached_taps
    rnn, rate = _shrunk_head(experiment.rnn, seed), None
    if experiment.end_to_end_rate is not None:
        rnn, rate = replace(rnn, **END_TO_END), END_TO_END_RATE
    cnn = replace(experiment.cnn, width=WIDTH, seed=seed, **CNN)
    return replace(experiment, cnn=cnn, rnn=rnn, cached_taps=taps, end_to_end_rate=rate)


def _shrunk_head(rnn: TrainRnnConfig, seed: int) -> TrainRnnConfig:
    head = rnn.tap_head
    small = None if head is None else replace(head, fc_units=round(WIDTH * head.fc_units))
    return replace(rnn, tap_head=small, seed=seed, **HEAD)


def make_corpora(folder: Path, seed: int) -> dict[str, Path]:
    """The three corpora of a seed; people of one are in no other."""
    roots = {}
    for number, (layout, (people, seconds)) in enumerate(CORPORA.items()):
        roots[layout] = folder / layout
        if not (roots[layout] / SETTINGS_FILE).exists():
            settings = PhantomSettings(layout, people, seconds, 10 * seed + number)
            make_phantom(roots[layout], settings, None, num_workers=os.cpu_count() or 1)
    return roots


def run(name: str, seed: int, bench: Bench, results: Path) -> float:
    """Run one recipe and write its rows; returns the seconds it took."""
    found = find_recipe(f"{PAPER}/{name}")
    recipe = replace(found, experiment=shrunk(found.experiment, seed), is_smoke=True)
    start = time.perf_counter()
    outcome = recipe.experiment.run(bench)
    write_outcome(recipe, outcome, results)
    return time.perf_counter() - start


def write_summary(results: Path) -> None:
    """tables.txt: the paper's tables with ours beside them, and the settings behind them."""
    settings = {"width": WIDTH, "corpora": CORPORA, "cnn": CNN, "head": HEAD, "end_to_end": END_TO_END}
    text = [
        "Generated corpora, not OMG-Emotion: the printed numbers stand beside ours for the orderings only.",
        comparison_text(compare_paper(PAPER, results)),
        f"Settings: {json.dumps(settings)}",
        f"Machine: {json.dumps(machine())}",
    ]
    write_whole(results / "tables.txt", ("\n\n".join(text) + "\n").encode())


def main() -> None:
    """Run what is missing, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="corpora, caches and runs; some 3 GB per seed")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the tables go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="only these")
    arguments = parser.parse_args()
    times = arguments.results / "times.csv"
    for seed in arguments.seeds:
        folder = arguments.work / str(seed)
        start = time.perf_counter()
        bench = Bench(make_corpora(folder, seed), folder / "cache", folder / "runs", os.cpu_count() or 1, Lines())
        if (seconds := time.perf_counter() - start) > 1:
            add_time(times, str(seed), "corpora", seconds)
        for name in arguments.recipes:
            done = {row.seed for row in read_results(arguments.results / f"{PAPER}/{name}.csv")}
            if seed in done:
                continue
            seconds = run(name, seed, bench, arguments.results)
            add_time(times, str(seed), name, seconds)
            kinds = {record.header.fingerprint for record in Cache(bench.cache).records("features")}
            print(f"seed {seed}, {name}: {seconds:.0f} s; {len(kinds)} sets of features in the cache", flush=True)
            write_summary(arguments.results)


if __name__ == "__main__":
    main()
