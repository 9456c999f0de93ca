"""`emopipe train-rnn` where a clip has one label that is a class: emotions of acted utterances, heard."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from clip_corpus import NUM_BANDS, SPECTROGRAM, predictions_of, write_cache

from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError
from emopipe.models.spectrogram_head import SpectrogramHeadConfig
from emopipe.stages.fusion import evaluate
from emopipe.stages.train_rnn import train_rnn

CLASSES = replace(
    SPECTROGRAM, loss=None, task="expr", folds=Folds(6, 0, "numbers"), epochs=10, learning_rate=0.01,
    spectrogram_head=SpectrogramHeadConfig((8, 12), dropout=0.0, augment=False),
)  # fmt: skip


@pytest.fixture(scope="module")
def emotions(tmp_path_factory):
    """Utterances of six actors, whose emotion is a pattern in the bands of the sound."""
    folder = tmp_path_factory.mktemp("emotions")
    root, cache = folder / "corpus", folder / "cache"
    root.mkdir()
    patterns = 5 * np.random.default_rng(0).normal(size=(8, NUM_BANDS)) - 50
    for actor in range(1, 7):
        for emotion in range(1, 9):
            name = f"01-01-{emotion:02}-01-01-01-{actor:02}"
            (root / f"{name}.mp4").write_bytes(name.encode())
    write_cache(root, cache, "ravdess", sound_of=lambda name: {"mel": patterns[int(name[6:8]) - 1]})
    return cache


def test_a_spectrogram_cnn_learns_eight_emotions(emotions, tmp_path):
    report = train_rnn(replace(CLASSES, select="uar"), cache=emotions, run=tmp_path / "run")
    assert report.counts == {"train": 32, "train_before_balancing": 32, "dev": 8}
    assert report.select == "uar"
    assert report.best["dev_uar"] > 0.6
    found = evaluate(tmp_path / "run", split="test", cache=emotions, num_bootstrap=0)
    assert (found.unit, found.num_scored) == ("clips", 8)
    rows = predictions_of(found)
    assert {name[-2:] for name in rows} == {"01"}  # the actor of fold 0
    recall = np.mean([row["label"] == row["expression_label"] for row in rows.values()])  # one clip for each class
    scores = {(score.metric, score.target): score.value for score in found.scores}
    assert scores["unweighted_average_recall", "label"] == pytest.approx(recall)
    assert found.confusion.sum() == 8


def test_a_cosine_ends_at_0_and_smoothing_raises_the_loss(emotions, tmp_path):
    config = replace(CLASSES, schedule="cosine", epochs=3)
    rates, losses = [], []
    for smoothing in (0.0, 0.2):
        run = tmp_path / str(smoothing)
        train_rnn(replace(config, label_smoothing=smoothing), cache=emotions, run=run)
        history = list(csv.DictReader((run / "history.csv").open()))
        rates.append([float(row["learning_rate"]) / CLASSES.learning_rate for row in history])
        losses.append(float(history[-1]["loss"]))
    np.testing.assert_allclose(rates, [[0.75, 0.25, 0]] * 2, atol=1e-6)
    assert losses[1] > losses[0]


def test_classes_select_by_macro_f1_unless_told(emotions, tmp_path):
    report = train_rnn(
        replace(CLASSES, epochs=1, spectrogram_head=None, standardise=True), cache=emotions, run=tmp_path / "run"
    )
    assert report.select == "macro_f1"
    assert {"dev_macro_f1", "dev_uar", "dev_accuracy"} <= set(report.best)


def test_settings_of_classes_are_refused_for_numbers_and_the_reverse(emotions, tmp_path):
    for change, message in (
        ({"select": "pearson"}, "select: expected macro_f1 or uar for task 'expr'"),
        ({"output_activation": "sigmoid"}, "output_activation: is for numbers; classes have a softmax"),
        ({"task": "intensity", "label_smoothing": 0.1}, "label_smoothing: is for classes"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_rnn(replace(CLASSES, **change), cache=emotions, run=tmp_path / "run")
