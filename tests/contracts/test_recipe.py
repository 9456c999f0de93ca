"""What every registered recipe keeps: the printed numbers, settings that can be written down, and a smoke run.

All smoke runs of a paper share a folder of generated corpora, a cache and a folder of runs, as a user's recipes do.
"""

import csv
import dataclasses
import json
import math
import shutil
import tempfile

import pytest

from emopipe.config import from_dict, to_dict
from emopipe.datasets.adapter import DATASETS
from emopipe.files import sha256_of_file
from emopipe.recipes.experiments import FoldsExperiment, FrameExperiment, TransferExperiment
from emopipe.recipes.recipe import RECIPES, find_recipe, published_key
from emopipe.recipes.reproduce import run_recipe
from emopipe.recipes.steps import Bench, cached_faces, cached_features, cnn_folder, trained_rnn
from emopipe.recipes.table import COLUMNS
from emopipe.stages.progress import Progress
from emopipe.store.cache import Cache

PAPER = "rangulov2020/"
# arXiv:2006.11168, Table III: RMSE and CCC of valence and arousal, best epoch.
TABLE_III = {
    "cnn-whole": (0.47, 0.30, 0.20, 0.23, 2),
    "cnn-subset3": (0.43, 0.30, 0.22, 0.22, 1),
    "cnn-rnn1": (0.49, 0.37, 0.21, 0.22, 4),
    "cnn-gru1": (0.51, 0.32, 0.20, 0.35, 8),
    "cnn-gru3": (0.45, 0.29, 0.23, 0.39, 17),
}
TABLE_I = {"cnn-ckplus": 0.95, "cnn-jaffe": 0.50}
SHRUNK = {
    "epochs", "steps_per_epoch", "batch_size", "length", "num_trained", "num_folds", "width", "weights", "units",
    "fc_units", "landmark_units", "joint_units",
}  # fmt: skip
KOLLIAS = "kollias2020/"
# One recipe of every shape; `make reproduce-omg SMOKE=1` runs all of them.
KOLLIAS_SMOKED = (
    "vggface",
    "densenet-rnn",
    "cnn3rnn-pool2-pool5-fc",
    "cnn3rnn-pool2-pool5-fc@end-to-end",
    "cnn1rnn-scratch",
    "cnn3rnn-conv3-conv7-fc",
    "fusion-decision",
    "fusion-model-rnn",
    "single-task",
    "ten-fold",
    "submission-2",
)
ELSEWHERE = ("hume2023/", "ravdess/")  # their smoke runs are in test_hume2023 and test_ravdess_recipes
NUM_UTTERANCES = 4  # of the test part of the generated OMG corpus

NAMES = pytest.mark.parametrize("name", list(RECIPES))
SMOKED = pytest.mark.parametrize(
    "name",
    [
        *(name for name in RECIPES if not name.startswith((KOLLIAS, *ELSEWHERE))),
        *(f"{KOLLIAS}{name}" for name in KOLLIAS_SMOKED),
    ],
)


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """The folder in which every paper has one that all smoke runs of its recipes share."""
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture(scope="module")
def places(papers):
    """The folder of Rangulov and Fahim (2020)."""
    return papers / PAPER


def root_of(places, recipe):
    data = places / "data"
    return data if len(recipe.experiment.datasets) > 1 else data / recipe.dataset


@pytest.fixture(scope="module")
def smoke(papers):
    """``smoke("paper/name")`` -> its result and what was said, from the first smoke run of that name."""
    done = {}

    def run(name):
        if name not in done:
            recipe, heard = find_recipe(name).smoke(), Heard()
            folder = papers / name.partition("/")[0]
            where = {part: folder / part for part in ("cache", "runs", "results")}
            result = run_recipe(recipe, root=root_of(folder, recipe), progress=heard, **where)
            done[name] = result, heard.sentences
        return done[name]

    return run


def rebuilt(original, content):
    """An object like `original` from JSON."""
    if dataclasses.is_dataclass(original):
        return from_dict(type(original), {key: rebuilt(getattr(original, key), part) for key, part in content.items()})
    if isinstance(original, tuple):
        assert len(original) == len(content)
        return tuple(rebuilt(*pair) for pair in zip(original, content, strict=True))
    return content


def differing(one, other):
    """Names of the fields in which two configurations differ, those inside of them too."""
    found = set()
    for field in dataclasses.fields(one):
        pair = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(pair[0]) and dataclasses.is_dataclass(pair[1]):
            found |= differing(*pair)
        elif field.name == "members":
            found = found.union(*(differing(*members) for members in zip(*pair, strict=True)))
        elif pair[0] != pair[1]:
            found.add(field.name)
    return found


@NAMES
def test_a_recipe_is_complete(name):
    recipe = find_recipe(name)
    assert recipe.name == name
    assert recipe.paper.identifier.startswith(("arXiv:", "doi:"))
    assert recipe.paper.citation and recipe.row and recipe.published
    assert set(recipe.experiment.datasets) == set(recipe.phantoms) <= set(DATASETS)
    assert all(settings.layout == dataset for dataset, settings in recipe.phantoms.items())
    assert recipe.deviations
    for sentence in recipe.deviations:
        assert sentence.endswith(".")
        assert len(sentence) > 20
    for variant in recipe.variants:
        assert any(f"Variant: {variant}." in sentence for sentence in recipe.deviations)
        assert find_recipe(f"{name}@{variant}").experiment != recipe.experiment


@NAMES
def test_settings_survive_json(name):
    recipe = find_recipe(name)
    for experiment in (recipe.experiment, recipe.smoke().experiment, *recipe.variants.values()):
        content = json.loads(json.dumps(to_dict(experiment)))
        assert rebuilt(experiment, content) == experiment
    assert json.loads(json.dumps(recipe.to_dict()))["published"] == recipe.published


@NAMES
def test_a_smoke_run_only_shrinks(name):
    recipe = find_recipe(name)
    allowed = SHRUNK | ({"balance"} if name.endswith("subset2") else set())
    assert differing(recipe.experiment, recipe.smoke().experiment) <= allowed
    assert recipe.smoke().published == recipe.published


def test_the_printed_numbers_are_those_of_the_paper():
    for name in TABLE_III:
        published = find_recipe(PAPER + name).published
        keys = ("rmse_valence", "rmse_arousal", "ccc_valence", "ccc_arousal", "best_epoch")
        assert tuple(published[key] for key in keys) == TABLE_III[name]
    for name, accuracy in TABLE_I.items():
        assert find_recipe(PAPER + name).published["accuracy"] == accuracy
    for name in ("cnn-subset1", "cnn-subset2", "cnn-mse", "cnn-valence-only", "cnn-arousal-only"):
        assert set(find_recipe(PAPER + name).published.values()) == {None}
    facts = find_recipe(f"{PAPER}cnn-ckplus").facts
    assert list(facts["CK+, training images per class"].values()) == [295, 129, 51, 153, 60, 186, 84, 219]
    assert sum(count or 0 for count in facts["JAFFE, images per class"].values()) == 213


def test_the_settings_are_those_of_the_published_code():
    cnns = {name: find_recipe(PAPER + name).experiment for name in TABLE_III}
    for experiment in cnns.values():
        assert isinstance(experiment, FrameExperiment)
        assert (experiment.faces.alignment, experiment.faces.resize) == ("given", "nearest")
        cnn = experiment.cnn
        assert (cnn.batch_size, cnn.steps_per_epoch, cnn.loss, cnn.augment) == (128, 1000, "ccc", True)
        assert (cnn.learning_rate, cnn.momentum, cnn.decay) == (0.01, 0.9, 1e-5)
    balances = ("cnn-whole", "cnn-subset1", "cnn-subset2", "cnn-subset3")
    assert [find_recipe(PAPER + name).experiment.cnn.balance for name in balances] == [
        "none",
        "max",
        "mean",
        "midpoint",
    ]
    heads = {name: cnns[name].rnn for name in ("cnn-rnn1", "cnn-gru1", "cnn-gru3")}
    for name, rnn in heads.items():
        window = rnn.window
        assert (window.length, window.stride, window.gaps, window.target) == (100, 1, "drop", "next")
        assert (rnn.batch_size, rnn.learning_rate, rnn.momentum) == (256, 0.01, 0.9)
        assert cnns[name].cnn == cnns["cnn-subset3"].cnn  # "We selected the CNN trained on subset 3"
        assert cnns[name].fill == "linear"
    assert [(rnn.cells, rnn.head_config(2).units) for rnn in heads.values()] == [
        ("simple", (100,)), ("gru", (100,)), ("gru", (100, 100, 50)),
    ]  # fmt: skip
    assert [(rnn.decay, rnn.clip_value) for rnn in heads.values()] == [(0.0, 100.0), (1e-5, None), (1e-5, None)]
    assert find_recipe(f"{PAPER}cnn-mse").experiment.cnn.loss == "mse"
    assert find_recipe(f"{PAPER}cnn-valence-only").experiment.cnn.targets == ("valence",)
    assert find_recipe(f"{PAPER}cnn-arousal-only").experiment.cnn.targets == ("arousal",)
    folds = find_recipe(f"{PAPER}cnn-ckplus").experiment
    assert isinstance(folds, FoldsExperiment)
    assert (folds.faces.detector, folds.faces.alignment) == ("haar", "box")
    assert (folds.cnn.batch_size, folds.cnn.epochs, folds.cnn.loss) == (64, 100, "crossentropy")
    assert [config.folds.fold for config in folds.fold_configs] == list(range(10))
    assert {config.folds.rule for config in folds.fold_configs} == {"subjects"}
    published = find_recipe(f"{PAPER}cnn-ckplus@published-split").experiment
    jaffe = find_recipe(f"{PAPER}cnn-jaffe").experiment
    assert isinstance(jaffe, TransferExperiment)
    assert published.fold_configs == (jaffe.cnn,)  # one run serves both
    assert jaffe.cnn.folds.rule == "images"


@pytest.mark.slow
@SMOKED
def test_a_smoke_run_goes_the_whole_way(name, smoke):
    result, _ = smoke(name)
    of_utterances = name.startswith(KOLLIAS)
    assert result.failed == ()
    # One generated utterance shows nobody: its failure is no failure of the run, and it is said.
    assert any("shows nobody" in note for note in result.notes) == of_utterances
    with result.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["recipe"] for row in rows} == {name}
    assert {row["dataset"] for row in rows} == {f"phantom {result.recipe.dataset}"}
    # So few utterances leave a region of the plane empty.
    regions = {"mse_positive_low", "mse_positive_high", "mse_negative_low", "mse_negative_high"}
    whole = [row for row in rows if row["metric"] not in regions]
    assert all(math.isfinite(float(row["ours"])) for row in whole)
    if of_utterances:
        assert {int(row["num_rows"]) for row in whole} == {NUM_UTTERANCES}
        assert {row["metric"] for row in rows} >= {"ccc", "ccc_raw", "ccc_per_video", "ccc_source_disjoint"}
        assert {row["target"] for row in rows if row["metric"] == "ccc"} == {"valence", "arousal", "mean"}
    else:
        assert all(int(row["num_rows"]) > 10 for row in rows)
    published = {key for key, value in result.recipe.published.items() if value is not None}
    shown = {published_key(row["metric"], row["target"]) for row in rows}
    assert published - {"best_epoch"} <= shown
    assert sum(bool(row["published"]) for row in rows) == len(published & shown)
    assert "smoke run" in result.to_text()
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["smoke"] is True
    with_interval = [row for row in rows if row["low"]]
    assert with_interval or of_utterances  # of one subject
    assert all(float(row["low"]) <= float(row["high"]) for row in with_interval)
    if result.recipe.dataset in ("ckplus", "jaffe"):
        assert [path.name for path in result.figures] == [f"{name.partition('/')[2]}_confusion.png"]
        assert result.figures[0].stat().st_size > 5000
    else:
        assert not result.figures


@pytest.mark.slow
def test_recipes_of_one_cnn_share_its_run_and_its_features(smoke, papers):
    pooled = (
        "vggface", "cnn3rnn-pool2-pool5-fc", "cnn3rnn-pool2-pool5-fc@end-to-end", "fusion-decision",
        "fusion-model-rnn", "single-task", "ten-fold",
    )  # fmt: skip
    cnns, folder = set(), papers / KOLLIAS
    for name in (*pooled, "cnn3rnn-conv3-conv7-fc"):
        _, said = smoke(KOLLIAS + name)
        cnns |= {sentence.partition(" with ")[2] for sentence in said if sentence.startswith("Features of ")}
    (cnn,) = {name.removesuffix(":") for name in cnns}
    digest = sha256_of_file(folder / "runs" / cnn / "network.keras")
    headers = {
        record.header.fingerprint: record.header.config for record in Cache(folder / "cache").records("features")
    }
    taps = [config["features"]["taps"] for config in headers.values() if config["weights"] == digest]
    assert sorted(taps) == [["conv3:grid4", "conv7:grid4", "pool5:flat"], ["pool2:grid4", "pool5:flat"]]
    again = run_recipe(
        find_recipe(f"{KOLLIAS}fusion-model-rnn").smoke(), root=folder / "data", progress=(heard := Heard()),
        **{part: folder / part for part in ("cache", "runs", "results")},
    )  # fmt: skip
    assert not [sentence for sentence in heard.sentences if sentence.startswith(("Training", "Fusing"))]
    assert [row.ours for row in again.rows] == pytest.approx(
        [row.ours for row in smoke(f"{KOLLIAS}fusion-model-rnn")[0].rows], nan_ok=True
    )


@pytest.mark.slow
def test_recipes_share_their_cnn_and_a_second_call_trains_nothing(smoke, places):
    smoke(f"{PAPER}cnn-subset3")
    (shared,) = [path for path in (places / "runs").glob("cnn-*") if _is_of_subset_3(path)]
    for name in ("cnn-rnn1", "cnn-gru1", "cnn-gru3"):
        _, said = smoke(PAPER + name)
        assert [sentence for sentence in said if "trained already" in sentence] == [f"{shared}: is trained already."]
        assert len([sentence for sentence in said if sentence.startswith("Training")]) == 1
    recipe, heard = find_recipe(f"{PAPER}cnn-gru3").smoke(), Heard()
    where = {part: places / part for part in ("cache", "runs", "results")}
    again = run_recipe(recipe, root=root_of(places, recipe), progress=heard, **where)
    assert not [sentence for sentence in heard.sentences if sentence.startswith("Training")]
    assert again.rows == smoke(f"{PAPER}cnn-gru3")[0].rows


def _is_of_subset_3(run):
    settings = json.loads((run / "run.json").read_text())["settings"]
    expected = json.loads(json.dumps(to_dict(find_recipe(f"{PAPER}cnn-subset3").smoke().experiment.cnn)))
    return all(settings.get(key, value) == value for key, value in expected.items())  # some defaults are left out


@pytest.mark.slow
def test_other_labels_are_another_run(smoke, places, tmp_path):
    result, _ = smoke(f"{PAPER}cnn-subset3")
    experiment = result.recipe.experiment
    corpus = places / "data" / "affwild2"
    shutil.copytree(corpus, tmp_path / "copy")
    smoke(f"{PAPER}cnn-gru1")
    head = find_recipe(f"{PAPER}cnn-gru1").smoke().experiment
    names, heads = [], []
    for root in (corpus, tmp_path / "copy"):
        bench = Bench({"affwild2": root}, places / "cache", places / "runs", progress=(heard := Heard()))
        faces = cached_faces(bench, "affwild2", experiment.faces)
        names.append(cnn_folder(bench, "affwild2", faces, experiment.cnn))
        features = cached_features(bench, "affwild2", head.faces, names[0], head.taps)
        heads.append(trained_rnn(bench, "affwild2", head.rnn, features))
        assert f"{heads[0]}: is trained already." in heard.sentences
    assert names[0] == names[1]  # the place of a corpus is no part of it
    assert heads[0] == heads[1]
    assert names[0].is_dir()
    file = next((tmp_path / "copy" / "annotations" / "VA_Set" / "Train_Set").glob("*.txt"))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], "0.125,0.125", *lines[3:]]) + "\n")
    assert cnn_folder(bench, "affwild2", faces, experiment.cnn) != names[0]
    assert trained_rnn(bench, "affwild2", head.rnn, features) != heads[0]


@pytest.mark.slow
def test_the_command_prints_the_table_and_leaves_results_alone(smoke, places, tmp_path, call, monkeypatch):
    smoke(f"{PAPER}cnn-gru3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spare"))
    (tmp_path / "spare").mkdir()
    options = ("--smoke", "--root", places / "data/affwild2", "--cache", places / "cache", "--runs", places / "runs")
    shown = call("reproduce", f"{PAPER}cnn-gru3", *options)
    assert shown.code == 0, shown.err
    assert "0.39" in shown.out
    assert str(tmp_path / "spare") in shown.err
    assert list((tmp_path / "spare").rglob("cnn-gru3.csv"))
    assert not (tmp_path / "results").exists()
    found = call("reproduce", f"{PAPER}cnn-gru3", *options, "--results", tmp_path / "mine", "--json").json
    assert found["table"] == str(tmp_path / "mine" / "rangulov2020" / "cnn-gru3.csv")
    assert {row["metric"] for row in found["results"]} >= {"ccc", "rmse", "best_epoch"}
