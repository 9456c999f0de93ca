"""The recipes on RAVDESS: which folds, which settings, the floor beside them, and that they run."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emopipe.datasets.manifest import Manifest
from emopipe.datasets.splits import with_folds
from emopipe.errors import WeightsError
from emopipe.recipes.predictions import read_predictions
from emopipe.recipes.ravdess import PAPER
from emopipe.recipes.recipe import RECIPES, find_recipe
from emopipe.recipes.reproduce import run_recipe
from emopipe.recipes.steps import MOBILENETV2_VARIABLE, audio_at_hand
from emopipe.records import Clip
from emopipe.stages.progress import Progress

# Name -> backbone, kind of spectrogram, window and hop in seconds.
SETTINGS = {
    "mel-gru": ("mobilenetv2", "mel", 1.0, 0.5),
    "mel-lstm": ("mobilenetv2", "mel", 1.0, 0.5),
    "mel-mean": ("mobilenetv2", "mel", 1.0, 0.5),
    "linear-gru": ("mobilenetv2", "linear", 1.0, 0.5),
    "window-05-hop-025": ("mobilenetv2", "mel", 0.5, 0.25),
    "window-2-hop-1": ("mobilenetv2", "mel", 2.0, 1.0),
    "log-mel-gru": ("log-mel", "mel", 0.05, 0.02),
    "spectrogram-cnn": ("log-mel", "mel", 0.05, 0.02),
}
NUM_ACTORS = 24
LONGEST_S = 5.28  # of the recordings of speech


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)


def recipe_of(name):
    return find_recipe(f"ravdess/{name}")


def experiment_of(name):
    return recipe_of(name).experiment


def test_there_is_a_recipe_for_emotions_and_one_for_their_intensity_of_each():
    names = [name.partition("/")[2] for name in RECIPES if name.startswith("ravdess/")]
    assert names == [each for name in SETTINGS for each in (name, f"{name}-intensity")]
    for name in SETTINGS:
        emotion, intensity = experiment_of(name), experiment_of(f"{name}-intensity")
        number = {"task": "intensity", "loss": "mse", "select": "pearson", "label_smoothing": 0.0}
        assert replace(emotion.rnn, **number) == intensity.rnn
        assert (emotion.rnn.task, emotion.rnn.loss, emotion.rnn.select) == ("expr", "crossentropy", "uar")
        assert replace(emotion, rnn=intensity.rnn) == intensity


def test_the_number_beside_ours_is_a_measured_floor_and_says_so():
    for name in SETTINGS:
        assert recipe_of(name).published == {"unweighted_average_recall": 0.497}
        assert recipe_of(f"{name}-intensity").published == {"pearson_intensity": 0.497}
        for each in (name, f"{name}-intensity"):
            assert any("no paper's: it is a floor" in sentence for sentence in recipe_of(each).deviations)
    assert all("no paper's number but a floor" in table.caption for table in PAPER.tables)


def test_the_settings_of_each_ablation():
    for name, (backbone, kind, window_s, hop_s) in SETTINGS.items():
        experiment = experiment_of(name)
        audio, window = experiment.audio, experiment.rnn.window
        assert (experiment.faces, experiment.visual, experiment.split) == (None, None, "test")
        assert (audio.backbone, audio.weights, audio.spectrogram.kind) == (backbone, "imagenet", kind)
        assert (audio.spectrogram.window_s, audio.spectrogram.hop_s) == (window_s, hop_s)
        assert audio.spectrogram.rate_hz == 16_000
        assert (window.target, window.sampling) == ("clip", "all")
        assert window.length >= int(LONGEST_S / hop_s), "every window of every recording is seen"
    heads = {name: experiment_of(name).rnn for name in SETTINGS}
    assert {name: rnn.cells for name, rnn in heads.items() if rnn.head_name == "rnn"} == {
        "mel-gru": "gru", "mel-lstm": "lstm", "linear-gru": "gru", "window-05-hop-025": "gru",
        "window-2-hop-1": "gru", "log-mel-gru": "gru",
    }  # fmt: skip
    assert heads["mel-mean"].head_name == "mean"
    assert heads["spectrogram-cnn"].head_name == "spectrogram-cnn"
    assert heads["mel-lstm"] == replace(heads["mel-gru"], cells="lstm")
    assert heads["linear-gru"] == heads["mel-gru"]


def test_fold_k_tests_the_actors_whose_number_less_one_leaves_k():
    actors = [f"{actor:02d}" for actor in range(1, NUM_ACTORS + 1)]
    clips = tuple(Clip(f"clip of {actor}", Path(actor), "sound", subject=actor) for actor in actors)
    manifest = Manifest("ravdess", Path("corpus"), clips)
    for name in SETTINGS:
        configs = experiment_of(name).fold_configs
        assert [rnn.folds.fold for rnn in configs] == list(range(6))
        for fold, rnn in enumerate(configs):
            split_of = {int(clip.subject): clip.split for clip in with_folds(manifest, rnn.folds).clips}
            for actor, split in split_of.items():
                remainder = (actor - 1) % 6
                assert split == {fold: "test", (fold + 1) % 6: "dev"}.get(remainder, "train")


def test_mobilenet_comes_from_the_file_that_the_variable_names(monkeypatch, tmp_path):
    pictures, numbers = experiment_of("mel-gru").audio, experiment_of("log-mel-gru").audio
    monkeypatch.delenv(MOBILENETV2_VARIABLE, raising=False)
    assert audio_at_hand(pictures) == pictures
    monkeypatch.setenv(MOBILENETV2_VARIABLE, str(tmp_path / "mine.keras"))
    own, random = audio_at_hand(pictures), replace(pictures, weights="none")
    assert (own.backbone, own.taps, own.input_range) == (str(tmp_path / "mine.keras"), ("features",), "0..1")
    assert own.spectrogram == pictures.spectrogram
    assert (audio_at_hand(numbers), audio_at_hand(random)) == (numbers, random)
    monkeypatch.setenv(MOBILENETV2_VARIABLE, str(tmp_path / "mine.h5"))
    with pytest.raises(WeightsError, match=MOBILENETV2_VARIABLE):
        audio_at_hand(pictures)


def smoke(name, folder):
    heard, recipe = Heard(), recipe_of(name).smoke()
    where = {part: folder / part for part in ("cache", "runs", "results")}
    return run_recipe(recipe, root=folder / "data", progress=heard, **where), heard.sentences


@pytest.mark.slow
def test_a_smoke_run_scores_every_clip_once_and_a_second_one_trains_nothing(tmp_path):
    result, _ = smoke("spectrogram-cnn", tmp_path)
    assert not result.failed
    with result.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["dataset"], row["split"], row["num_rows"]) for row in rows} == {("phantom ravdess", "test", "45")}
    (recall,) = (row for row in rows if row["metric"] == "unweighted_average_recall")
    assert recall["published"] == "0.497"
    assert float(recall["low"]) <= float(recall["ours"]) <= float(recall["high"])
    assert [path.name for path in result.figures] == ["spectrogram-cnn_confusion.png"]

    (kept,) = read_predictions(result.predictions).values()
    assert set(kept.groups) == {"01", "02", "03"}
    assert [clip_id[-2:] for clip_id in kept.clip_ids] == list(kept.groups)
    truth, guess = kept.truth[:, 0], kept.prediction[:, 0]
    np.testing.assert_array_equal(truth, [int(clip_id.split("-")[2]) - 1 for clip_id in kept.clip_ids])
    recalls = [np.mean(guess[truth == number] == number) for number in range(8)]
    assert np.mean(recalls) == pytest.approx(float(recall["ours"]), abs=1e-5)
    for file in (tmp_path / "runs").glob("*/predictions/test.csv"):
        with file.open(newline="") as lines:
            actors = {row["clip"][-2:] for row in csv.DictReader(lines)}
        assert len(actors) == 1, "a network says something of its own test part only"

    again, said = smoke("spectrogram-cnn", tmp_path)
    assert not [sentence for sentence in said if sentence.startswith("Training")]
    assert again.rows == result.rows
    intensity, said = smoke("spectrogram-cnn-intensity", tmp_path)
    assert "0 clips made, 45 reused, 0 failed." in said, "both tasks read the same features"
    (r,) = (row for row in intensity.rows if (row.metric, row.target) == ("pearson", "intensity"))
    assert (r.published, r.num_rows) == (0.497, 45)
