"""A small paper of our own, whose recipes predict labels with some noise."""

import sys
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from emopipe.metrics import region_scores, regression_scores
from emopipe.recipes.predictions import Predictions
from emopipe.recipes.recipe import RECIPES, Outcome, Paper, Place, Recipe, Table
from emopipe.recipes.reproduce import run_recipe

TARGETS = ("valence", "arousal")
CCC = ("ccc_valence", "ccc_arousal", "ccc_mean")
REGIONS = ("mse_positive_low_valence", "mse_overall_valence")
PAPER = Paper(
    "A. Author and <B>. & Co, A paper of tests",
    "arXiv:0000.00000",
    (
        Table("Table 3", "CCC on the test split.", CCC, with_raw=True),
        Table("Table 5", "CCC of other layers.", CCC),
        Table("Table 7", "Errors by region.", REGIONS),
    ),
)
SHARED = "The detector is another one than the paper's."


@dataclass(frozen=True)
class Given:
    """An experiment that predicts the labels with some noise."""

    noise: float
    seed: int = 0
    num_clips: int = 60
    raw: bool = False
    keeps: bool = True
    own_corpus: bool = False  # whether each seed is scored on people of its own
    datasets: tuple[str, ...] = ("omg",)

    def smoke(self):
        return replace(self, num_clips=40)

    def run(self, bench):
        corpus = self.seed if self.own_corpus else 100
        labels = np.random.default_rng(corpus)
        truth = np.column_stack([labels.uniform(-1, 1, self.num_clips), labels.uniform(0, 1, self.num_clips)])
        generator = np.random.default_rng([self.seed, round(1000 * self.noise)])
        prediction = truth + generator.normal(0, self.noise, truth.shape)
        clips = tuple(f"video{corpus}_{number // 3}/utterance_{number}" for number in range(self.num_clips))
        groups = tuple(clip.partition("/")[0] for clip in clips)
        scores = regression_scores(truth, prediction, TARGETS, np.array(groups), num_bootstrap=50)
        scores += region_scores(truth, prediction, TARGETS, np.array(groups), num_bootstrap=50)
        if self.raw:
            worse = regression_scores(
                truth, truth + 2 * (prediction - truth), TARGETS, np.array(groups), num_bootstrap=0
            )
            scores += [replace(score, metric=f"{score.metric}_raw") for score in worse]
        order = generator.permutation(self.num_clips)  # rows are matched by name, not by place
        kept = Predictions(
            tuple(clips[row] for row in order),
            tuple(groups[row] for row in order),
            TARGETS,
            truth[order],
            prediction[order],
        )
        return Outcome("test", tuple(scores), self.num_clips, self.seed, 3, predictions=kept if self.keeps else None)


def recipe(name, places, published, experiment, **more):
    values = dict(zip(("ccc_valence", "ccc_arousal", "ccc_mean"), published, strict=False))
    deviations = (SHARED, f"Of {name} alone: <i> & more.")
    return Recipe(f"tests2020/{name}", PAPER, places, experiment, {**values, **more}, deviations, {})


BEST = recipe(
    "best",
    (Place("Table 3", "Fusion & RNN <best>"), Place("Table 5", "2nd pool", 2), Place("Table 7", "Fusion")),
    (0.535, 0.365, 0.450),
    Given(0.1, raw=True),
    ccc_valence_raw=0.512,
    mse_positive_low_valence=0.101,
)
WEAK = recipe("weak", (Place("Table 3", "VGG-Face"),), (0.378, 0.203, 0.291), Given(0.6))
OTHER = recipe("other", (Place("Table 5", "8th conv", 1),), (0.416, 0.261), Given(0.11))
FRAMES = recipe("frames", (Place("Table 3", "frame by frame"),), (0.36, 0.19), Given(0.5, keeps=False))
VARIED = replace(WEAK, name="tests2020/varied", variants={"half": Given(0.3)})
ALL = (BEST, WEAK, OTHER, FRAMES, VARIED)


def table(comparison, name):
    (found,) = [each for each in comparison.tables if each.table.name == name]
    return found


def cells(comparison, name, recipe):
    (row,) = [row for row in table(comparison, name).rows if row.recipe == f"tests2020/{recipe}"]
    return {cell.key: cell for cell in row.cells}


def register(monkeypatch):
    """Make this paper the only one with such recipes."""
    module = ModuleType("paper_of_tests")
    entries = dict(RECIPES._entries)
    for each in ALL:
        attribute = each.name.partition("/")[2]
        setattr(module, attribute, each)
        entries[each.name] = f"paper_of_tests:{attribute}"
    monkeypatch.setitem(sys.modules, "paper_of_tests", module)
    monkeypatch.setattr(RECIPES, "_entries", entries)


def reproduce(folder, each, seed=0, **changes):
    """The result of a recipe, written below `folder`/results."""
    each = replace(each, experiment=replace(each.experiment, seed=seed, **changes))
    return run_recipe(each, root=folder, cache=folder, runs=folder, results=folder / "results")
