"""`emopipe train-rnn` and `emopipe evaluate` on a small cache of features that say what the label is."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from feature_corpus import (
    CLASSES,
    CLIPS,
    GAP,
    NUM_FEATURES,
    NUM_FRAMES,
    classes_of,
    labels_of,
    make_corpus,
    write_annotation,
    write_classes,
    write_features,
)

from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError, EmopipeError, ManifestError, RecordError, RunError
from emopipe.metrics import concordance
from emopipe.models.bundle import open_run
from emopipe.models.windows import WindowConfig
from emopipe.stages.fusion import evaluate
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_rnn import train_rnn

WINDOW = 8
SMALL = TrainRnnConfig(
    units=(8,), window=WindowConfig(WINDOW), epochs=12, patience=None, batch_size=32, learning_rate=0.05
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the small head, its cache and its corpus."""
    folder = tmp_path_factory.mktemp("trained")
    root = make_corpus(folder)
    write_features(root, folder / "cache", "tiny")
    report = train_rnn(SMALL, cache=folder / "cache", run=folder / "run")
    return folder, report


def test_the_head_learns_what_the_features_say(trained):
    folder, report = trained
    assert report.best["dev_ccc"] > 0.7
    history = list(csv.DictReader((folder / "run" / "history.csv").open()))
    assert len(history) == SMALL.epochs
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    assert int(report.best["epoch"]) == 1 + int(np.argmax([float(row["dev_ccc"]) for row in history]))


def test_windows_stay_clear_of_the_gap(trained):
    _, report = trained
    per_clip = (GAP - WINDOW + 1) + (NUM_FRAMES - GAP - 1 - WINDOW + 1)
    assert report.counts["train"] == CLIPS["train"] * per_clip
    assert report.counts["dev"] == CLIPS["dev"] * per_clip


def test_the_run_says_what_made_it(trained):
    folder, _ = trained
    content = open_run(folder / "run").content
    assert content["finished"]
    assert content["settings"]["window"]["length"] == WINDOW
    assert content["targets"] == ["valence", "arousal"]
    assert len(content["settings"]["clips"]["train"]) == CLIPS["train"]


def test_evaluate_scores_what_it_wrote(trained):
    folder, _ = trained
    found = evaluate(folder / "run", split="dev", cache=folder / "cache", num_bootstrap=200)
    rows = list(csv.DictReader(found.predictions.open()))
    assert len(rows) == CLIPS["dev"] * NUM_FRAMES
    assert {row["how"] for row in rows} == {"none", "short", "window"}
    assert [row["valence"] for row in rows if row["how"] == "none"] == [""] * CLIPS["dev"]
    scored = [row for row in rows if row["valence"] and row["valence_label"]]
    assert len(scored) == found.num_scored == CLIPS["dev"] * (NUM_FRAMES - 1)
    ccc = concordance(*(np.array([float(row[name]) for row in scored]) for name in ("valence_label", "valence")))
    value = next(score for score in found.scores if (score.metric, score.target) == ("ccc", "valence"))
    assert value.value == pytest.approx(ccc, abs=1e-4)  # the file holds six digits
    assert value.low <= value.value <= value.high
    assert set(found.clips) == {"dev0", "dev1", "dev2"}
    assert "ccc" in found.to_text()
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_first_frames_of_a_clip_are_predicted_too(trained):
    folder, _ = trained
    found = evaluate(folder / "run", split="dev", cache=folder / "cache", num_bootstrap=0)
    rows = [row for row in csv.DictReader(found.predictions.open()) if row["clip"] == "dev0"]
    assert [row["how"] for row in rows[: WINDOW - 1]] == ["short"] * (WINDOW - 1)
    assert rows[WINDOW - 1]["how"] == "window"
    assert all(row["valence"] for row in rows[:GAP])


def test_same_seed_same_weights_and_another_seed_others(trained, tmp_path):
    folder, report = trained
    again = train_rnn(SMALL, cache=folder / "cache", run=tmp_path / "again")
    assert dict(again.best) | {"train_s": 0} == dict(report.best) | {"train_s": 0}
    other = train_rnn(replace(SMALL, seed=1, epochs=1), cache=folder / "cache", run=tmp_path / "other")
    assert other.best["dev_ccc"] != report.best["dev_ccc"]


@pytest.mark.parametrize(
    ("settings", "num_parameters"),
    [({"cells": "gru", "layers": 1}, 300), ({"cells": "simple", "layers": 1}, 130), ({"head": "mean"}, 14)],
)
def test_options_choose_the_network(trained, tmp_path, settings, num_parameters):
    folder, _ = trained
    config = TrainRnnConfig(**{"units": (8,), "window": WindowConfig(WINDOW), "epochs": 1, **settings})
    report = train_rnn(config, cache=folder / "cache", run=tmp_path / "run")
    gates = {"gru": 3, "simple": 1}
    if "cells" in settings:
        recurrent = gates[settings["cells"]] * (8 * NUM_FEATURES + 8 * 8 + 8 * (2 if settings["cells"] == "gru" else 1))
        assert report.num_parameters == recurrent + 8 * 2 + 2
    else:
        assert report.num_parameters == num_parameters


def test_one_target_gives_one_output(trained, tmp_path):
    folder, _ = trained
    config = TrainRnnConfig(units=(8,), window=WindowConfig(WINDOW), epochs=1, targets=("arousal",))
    report = train_rnn(config, cache=folder / "cache", run=tmp_path / "run")
    assert report.targets == ("arousal",)
    assert "dev_ccc_valence" not in report.best


def test_balancing_drops_windows(trained, tmp_path):
    folder, report = trained
    config = TrainRnnConfig(units=(8,), window=WindowConfig(WINDOW), epochs=1, balance="max")
    thinned = train_rnn(config, cache=folder / "cache", run=tmp_path / "run")
    assert 0 < thinned.counts["train"] < thinned.counts["train_before_balancing"] == report.counts["train"]


def test_a_moved_corpus_is_found_by_its_new_root(trained, tmp_path):
    folder, _ = trained
    moved = tmp_path / "moved"
    shutil.copytree(folder / "corpus", moved)
    found = evaluate(folder / "run", split="dev", cache=folder / "cache", root=moved, num_bootstrap=0)
    assert found.num_scored == CLIPS["dev"] * (NUM_FRAMES - 1)


def test_a_window_longer_than_every_stretch_is_refused(cache, tmp_path):
    with pytest.raises(ManifestError, match="smaller --window"):
        train_rnn(TrainRnnConfig(window=WindowConfig(50)), cache=cache, run=tmp_path / "run")


def test_a_constant_label_is_refused(corpus, cache, tmp_path):
    for number in range(CLIPS["train"]):
        labels = labels_of("train", number)
        labels[:, 1] = 0.25
        write_annotation(corpus, "train", f"train{number}", labels)
    with pytest.raises(ManifestError, match=r"split 'train', task 'va': arousal is 0\.25 in all 180 windows"):
        train_rnn(SMALL, cache=cache, run=tmp_path / "run")


def test_an_empty_split_is_refused(corpus, cache, tmp_path):
    shutil.rmtree(corpus / "annotations" / "VA_Set" / "Validation_Set")
    with pytest.raises(ManifestError, match="dev"):
        train_rnn(SMALL, cache=cache, run=tmp_path / "run")


def test_a_valid_row_that_is_not_finite_is_named(corpus, tmp_path):
    write_features(corpus, tmp_path / "bad", "tiny", poison=np.nan)
    with pytest.raises(RecordError, match="clip 'dev0', frame 3"):
        train_rnn(SMALL, cache=tmp_path / "bad", run=tmp_path / "run")


def test_evaluate_refuses_what_is_no_run_of_a_head(tmp_path, cache):
    with pytest.raises(RunError, match=r"run\.json"):
        evaluate(tmp_path / "nothing", split="dev", cache=cache)


def test_a_run_of_a_newer_version_is_refused(trained, tmp_path):
    folder, _ = trained
    newer = tmp_path / "newer"
    newer.mkdir()
    content = json.loads((folder / "run" / "run.json").read_text())
    (newer / "run.json").write_text(json.dumps({**content, "encoding-version": 99}))
    with pytest.raises(RunError, match="Update emopipe"):
        evaluate(newer, split="dev", cache=folder / "cache")


def test_other_settings_do_not_go_into_a_begun_run(trained, tmp_path):
    folder, _ = trained
    with pytest.raises(ConfigError, match="finished run"):
        train_rnn(SMALL, cache=folder / "cache", run=folder / "run")


def weights(run: Path) -> list[np.ndarray]:
    import keras

    return keras.saving.load_model(run / "network.keras").get_weights()


def test_a_matrix_on_the_device_changes_nothing_but_the_speed(trained, tmp_path):
    folder, _ = trained
    config = replace(SMALL, epochs=2, dropout=0.2, seed=3)
    reports = [
        train_rnn(replace(config, device_resident=resident), cache=folder / "cache", run=tmp_path / str(resident))
        for resident in (False, True)
    ]
    for host, device in zip(weights(tmp_path / "False"), weights(tmp_path / "True"), strict=True):
        assert host.tobytes() == device.tobytes()
    host, device = (dict(report.best) | {"train_s": 0} for report in reports)
    assert host == device
    contents = [open_run(tmp_path / name).content for name in ("False", "True")]
    assert contents[0]["settings"] == contents[1]["settings"]
    assert [content["device_resident"] for content in contents] == [False, True]
    assert (tmp_path / "True" / "network.keras").stat().st_size < 4 * reports[1].num_parameters + 200_000


@pytest.mark.slow
def test_a_killed_run_with_the_matrix_on_the_device_goes_on_either_way(trained, tmp_path, program):
    folder, _ = trained
    config = replace(SMALL, epochs=4, dropout=0.2, patience=10)
    train_rnn(config, cache=folder / "cache", run=tmp_path / "whole")
    options = (
        "--units",
        8,
        "--window",
        WINDOW,
        "--epochs",
        4,
        "--batch",
        32,
        "--learning-rate",
        0.05,
        "--dropout",
        0.2,
    )
    runner = (str(Path(__file__).with_name("train_runner.py")), json.dumps({"kill_after": 2}))
    where = ("--cache", folder / "cache", "--run", tmp_path / "killed")
    outcome = program("train-rnn", *where, *options, "--device-resident", runner=runner)
    assert outcome.code == -9, outcome.err
    shutil.copytree(tmp_path / "killed", tmp_path / "killed too")
    for name, resident in (("killed", True), ("killed too", False)):
        state = open_run(tmp_path / name).state / "last.npz"
        with np.load(state) as arrays:
            assert (CLIPS["train"] * NUM_FRAMES, NUM_FEATURES) not in [array.shape for array in arrays.values()]
        report = train_rnn(replace(config, device_resident=resident), cache=folder / "cache", run=tmp_path / name)
        assert report.num_epochs == 4
        for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / name), strict=True):
            assert one.tobytes() == other.tobytes()


def test_classes_get_a_softmax_and_macro_f1(trained, tmp_path):
    folder, _ = trained
    report = train_rnn(replace(SMALL, task="expr", epochs=20), cache=folder / "cache", run=tmp_path / "run")
    assert report.select == "macro_f1"
    assert report.best["dev_macro_f1"] > 0.6
    assert report.best["dev_accuracy"] > 0.6
    assert "dev_macro_f1" in report.to_text()
    assert report.to_dict()["select"] == "macro_f1"
    run = open_run(tmp_path / "run")
    assert run.content["classes"] == list(CLASSES)
    assert run.content["settings"]["loss"] == "crossentropy"
    assert run.content["settings"]["targets"] == ["expression"]
    assert weights(tmp_path / "run")[-1].shape == (3,)
    import keras

    head = keras.saving.load_model(run.network)
    given = head.predict_on_batch({"features": np.ones((1, WINDOW, NUM_FEATURES), np.float32), "mask": None})
    assert np.asarray(given).sum() == pytest.approx(1)


def test_a_class_without_a_window_is_refused_in_training_only(corpus, cache, tmp_path):
    def relabel(split):
        for number in range(CLIPS[split]):
            numbers = classes_of(labels_of(split, number))
            write_classes(corpus, split, f"{split}{number}", np.where(numbers == 2, 1, numbers))

    config = replace(SMALL, task="expr", epochs=1)
    relabel("dev")
    assert train_rnn(config, cache=cache, run=tmp_path / "run").num_epochs == 1
    relabel("train")
    with pytest.raises(ManifestError, match="split 'train', task 'expr': no window of class Sadness"):
        train_rnn(config, cache=cache, run=tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "crossentropy"}, "expected ccc or mse for task 'va'"),
        ({"task": "expr", "loss": "mse"}, "expected crossentropy for task 'expr'"),
        ({"task": "expr", "balance": "max"}, "balance: expected the targets valence and arousal. Received: expression"),
        ({"targets": ("joy",)}, "targets: expected some of valence, arousal. Received: 'joy'"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_message(trained, tmp_path, change, message):
    folder, _ = trained
    with pytest.raises(EmopipeError, match=message) as caught:
        train_rnn(replace(SMALL, **change), cache=folder / "cache", run=tmp_path / "run")
    assert len(str(caught.value).splitlines()) <= 3
    assert not (tmp_path / "run").exists()


def test_recordings_without_splits_are_divided_by_people(tmp_path):
    root, cache = tmp_path / "recordings", tmp_path / "cache"
    root.mkdir()
    lines = ["clip,subject,frame,valence,arousal"]
    for number in range(8):
        (root / f"take{number}.mp4").write_bytes(b"film %d" % number)
        lines += [
            f"take{number},person{number // 2},{frame},{valence},{arousal}"
            for frame, (valence, arousal) in enumerate(labels_of("train", number))
        ]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    write_features(root, cache, "tiny", dataset="folder")
    with pytest.raises(ManifestError, match="Divide its 4 subjects with --folds N and --fold K, 4 and 0"):
        train_rnn(SMALL, cache=cache, run=tmp_path / "refused")
    runs = []
    for fold in range(4):
        config = replace(SMALL, epochs=1, folds=Folds(4, fold))
        report = train_rnn(config, cache=cache, run=tmp_path / f"run{fold}")
        found = [evaluate(report.run, split=split, cache=cache, num_bootstrap=0) for split in ("train", "dev", "test")]
        parts = [{row["clip"] for row in csv.DictReader(each.predictions.open())} for each in found]
        assert [len(part) for part in parts] == [4, 2, 2]
        people = [{int(clip[-1]) // 2 for clip in part} for part in parts]
        assert len(set.union(*people)) == 4 == sum(map(len, people))
        runs.append(parts[2])
    assert len(set.union(*runs)) == 8  # every take is tested once


def test_clips_with_one_label_each_are_scored_as_clips(tmp_path):
    root, cache, run = tmp_path / "recordings", tmp_path / "cache", tmp_path / "run"
    root.mkdir()
    means = {
        f"{split}{number}": (split, number, *labels_of(split, number).mean(axis=0).round(4))
        for split, count in CLIPS.items()
        for number in range(count)
    }
    lines = [f"{name},{split},person{number},{valence},{arousal}"
             for name, (split, number, valence, arousal) in means.items()]  # fmt: skip
    for name in means:
        (root / f"{name}.mp4").write_bytes(name.encode())
    (root / "labels.csv").write_text("\n".join(["clip,split,subject,valence,arousal", *lines]) + "\n")
    write_features(root, cache, "tiny", dataset="folder")
    train_rnn(replace(SMALL, epochs=4), cache=cache, run=run)
    assert open_run(run).content["of_clips"]
    found = evaluate(run, split="dev", cache=cache, num_bootstrap=0)
    assert (found.unit, found.num_units, found.num_scored) == ("clips", 3, 3)
    rows = list(csv.DictReader(found.predictions.open()))
    assert [row["clip"] for row in rows] == ["dev0", "dev1", "dev2"]
    assert {score.metric for score in found.scores} >= {"ccc", "mse_overall"}
    assert "ccc_raw" not in {score.metric for score in found.scores}  # a head that predicts one step has no sequences
    frames = list(csv.DictReader((run / "predictions" / "dev_frames.csv").open()))
    for row in rows:
        mine = np.array([float(each["valence"]) for each in frames if each["clip"] == row["clip"] and each["valence"]])
        assert len(mine) == NUM_FRAMES - 1 == int(row["valid"])
        assert float(row["valence"]) == pytest.approx(np.median(mine), abs=1e-5)
        assert float(row["valence_label"]) == pytest.approx(means[row["clip"]][2], abs=1e-5)
    ccc = next(score.value for score in found.scores if (score.metric, score.target) == ("ccc", "valence"))
    columns = (np.array([float(row[name]) for row in rows]) for name in ("valence_label", "valence"))
    assert ccc == pytest.approx(concordance(*columns), abs=1e-4)
