"""What arXiv:2303.10741 prints, which settings are defaults, and that the recipes run."""

import csv
import math

import pytest

from emopipe.errors import ConfigError
from emopipe.models.trainable import CNNS
from emopipe.recipes.hume2023 import PAPER
from emopipe.recipes.reactions import ReactionExperiment
from emopipe.recipes.recipe import RECIPES, find_recipe
from emopipe.recipes.reproduce import run_recipe
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.spec import BackboneRequest

# Mean Pearson on the test set.
PRINTED = {
    "eri-vgg16": None,
    "eri-resnet50": 0.4080,
    "eri-audio": None,
    "eri-multimodal": 0.2980,
    "eri-frames-16": None,
}
SEEN = {"eri-vgg16": ("vgg16", "pool5:gap"), "eri-resnet50": ("resnet50", "avg_pool")}
TARGETS = {"adoration", "amusement", "anxiety", "disgust", "empathic_pain", "fear", "surprise"}


def recipe_of(name):
    return find_recipe(f"hume2023/{name}")


def experiment_of(name):
    return recipe_of(name).experiment


def test_the_recipes_are_those_of_the_paper_with_its_numbers():
    assert [name.partition("/")[2] for name in RECIPES if name.startswith("hume2023/")] == list(PRINTED)
    for name, value in PRINTED.items():
        assert recipe_of(name).published == {"pearson_mean": value}
        unpublished = any("No number is printed" in sentence for sentence in recipe_of(name).deviations)
        assert unpublished == (value is None)
    assert {place.table for name in PRINTED for place in recipe_of(name).places} == {each.name for each in PAPER.tables}


def test_the_validation_set_is_scored_and_every_recipe_says_so():
    for name in PRINTED:
        assert experiment_of(name).split == "dev"
        assert any("test set are not given out" in sentence for sentence in recipe_of(name).deviations)


def test_what_the_paper_says_is_what_is_done():
    for name in PRINTED:
        experiment = experiment_of(name)
        rnn, window = experiment.rnn, experiment.rnn.window
        assert (rnn.loss, rnn.select, rnn.task, rnn.folds) == ("mse", "pearson", "reactions", None)
        assert (window.target, window.sampling, window.gaps) == ("clip", "uniform", "hold")
        assert window.length == (16 if name == "eri-frames-16" else 32)
        assert (rnn.multimodal or rnn).cells == "lstm"
        assert (experiment.faces is not None) == (name != "eri-audio")
        if experiment.faces is not None:
            assert (experiment.faces.detector, experiment.faces.alignment) == ("retinaface", "box")
            assert experiment.visual.weights == "imagenet"
        assert (experiment.audio is not None) == (name in ("eri-audio", "eri-multimodal"))
        if experiment.audio is not None:
            spectrogram = experiment.audio.spectrogram
            assert (spectrogram.kind, spectrogram.render, spectrogram.num_bands) == ("mel", "picture", 128)
            assert (spectrogram.window_s, spectrogram.hop_s) == (1.0, 0.5)


def test_sizes_are_those_of_the_baseline_of_muse_2022():
    for name in PRINTED:
        rnn = experiment_of(name).rnn
        assert (rnn.multimodal or rnn).units == (64,)
        assert (rnn.multimodal or rnn).dropout == 0.5
        assert (rnn.optimiser, rnn.learning_rate, rnn.decay, rnn.batch_size) == ("adam", 1e-4, 0.0, 64)
        assert (rnn.epochs, rnn.patience) == (30, 15)
        assert (rnn.standardise, rnn.output_activation) == (True, "sigmoid")
        assert any("MuSe 2022 baseline" in sentence for sentence in recipe_of(name).deviations)


def test_fine_tuned_and_frozen_differ_in_the_network_only():
    for name in PRINTED:
        assert set(recipe_of(name).variants) == ({"fine-tuned"} if name in SEEN else set())
    for name, (backbone, tap) in SEEN.items():
        frozen, tuned = experiment_of(name), experiment_of(f"{name}@fine-tuned")
        assert isinstance(frozen.visual, BackboneRequest)
        assert isinstance(tuned.visual, TrainCnnConfig)
        assert frozen.visual.backbone == tuned.visual.backbone == backbone
        assert backbone in CNNS
        assert frozen.taps == tuned.taps == (tap,)
        assert (frozen.rnn, frozen.faces) == (tuned.rnn, tuned.faces)
        cnn = tuned.visual
        assert (cnn.weights, cnn.task, cnn.loss, cnn.dev_split) == ("imagenet", "reactions", "mse", "dev")


def test_recipes_of_one_backbone_share_its_features():
    seen = {name: experiment_of(name) for name in ("eri-resnet50", "eri-multimodal", "eri-frames-16")}
    assert len({(each.faces, each.visual, each.taps) for each in seen.values()}) == 1
    assert experiment_of("eri-audio").audio == experiment_of("eri-multimodal").audio


def test_an_experiment_that_fits_nothing_is_refused():
    both, alone = experiment_of("eri-multimodal"), experiment_of("eri-resnet50")
    with pytest.raises(ConfigError, match="faces with a visual network"):
        ReactionExperiment("hume", TrainRnnConfig())
    with pytest.raises(ConfigError, match="faces with a visual network"):
        ReactionExperiment("hume", alone.rnn, faces=alone.faces, audio=both.audio)
    with pytest.raises(ConfigError, match="a head for picture and sound"):
        ReactionExperiment("hume", alone.rnn, both.faces, both.visual, both.taps, both.audio)
    with pytest.raises(ConfigError, match="a head for one modality"):
        ReactionExperiment("hume", both.rnn, both.faces, both.visual, both.taps)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eri-multimodal", "eri-resnet50@fine-tuned"])
def test_a_smoke_run_goes_the_whole_way(name, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "hume2023"  # all share corpus, faces and features
    where = {part: folder / part for part in ("cache", "runs", "results")}
    recipe = recipe_of(name).smoke()
    result = run_recipe(recipe, root=folder / "data", **where)
    assert not result.failed
    with result.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["dataset"] for row in rows} == {"phantom hume"}
    assert {row["split"] for row in rows} == {"dev"}
    assert {row["target"] for row in rows if row["metric"] == "pearson"} == {*TARGETS, "mean"}
    (mean,) = (row for row in rows if (row["metric"], row["target"]) == ("pearson", "mean"))
    assert math.isfinite(float(mean["ours"]))
    assert float(mean["published"]) == recipe.published["pearson_mean"]
    with result.predictions.open(newline="") as file:
        kept = list(csv.DictReader(file))
    assert len(kept) == int(mean["num_rows"]) >= 3
    assert all(0 <= float(row[target]) <= 1 for row in kept for target in TARGETS)  # sigmoids
