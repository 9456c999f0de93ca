"""`emopipe train-rnn` and `emopipe evaluate` on a small cache of features that say what the label is."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from emopipe.errors import ConfigError, ManifestError, RecordError, RunError
from emopipe.metrics import concordance
from emopipe.models.bundle import open_run
from emopipe.models.windows import WindowConfig
from emopipe.stages.evaluate import evaluate
from emopipe.stages.spec import ExtractSpec, Plan, make_plan
from emopipe.stages.train_rnn import TrainRnnConfig, train_rnn
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.writer import ShardWriter

CLIPS = {"train": 4, "dev": 3}
NUM_FRAMES, WINDOW, NUM_FEATURES = 60, 8, 6
GAP = 20  # this frame of every clip has no face
SMALL = TrainRnnConfig(
    units=(8,), window=WindowConfig(WINDOW), epochs=12, patience=None, batch_size=32, learning_rate=0.05
)


def labels_of(split: str, clip: int) -> np.ndarray:
    """(T, 2) valence and arousal that wander over the plane."""
    t = np.arange(NUM_FRAMES) / NUM_FRAMES + 0.4 * clip + (0.2 if split == "dev" else 0)
    return np.stack([0.9 * np.sin(6 * t), 0.8 * np.cos(4 * t + clip)], axis=1).round(3)


def features_of(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(T, D): the labels through a fixed matrix, and noise."""
    mixing = np.random.default_rng(1).normal(size=(2, NUM_FEATURES))
    return (labels @ mixing + 0.3 * generator.normal(size=(NUM_FRAMES, NUM_FEATURES))).astype(np.float32)


def write_annotation(root: Path, split: str, name: str, labels: np.ndarray) -> None:
    folder = root / "annotations" / "VA_Set" / {"train": "Train_Set", "dev": "Validation_Set"}[split]
    folder.mkdir(parents=True, exist_ok=True)
    rows = "\n".join(f"{valence},{arousal}" for valence, arousal in labels)
    (folder / f"{name}.txt").write_text(f"valence,arousal\n{rows}\n")


def header_of(plan: Plan, what: str) -> ShardHeader:
    return ShardHeader("features", what, {"faces": plan.faces.config, "weights": "0" * 64}, what[0] * 64)


def write_features(root: Path, cache: Path, what: str, poison: float | None = None) -> None:
    """A features shard of all clips; `poison` replaces one number of a valid row of the first clip."""
    from emopipe.stages.spec import planned_clip

    spec = ExtractSpec("affwild2", root, cache, only="faces")
    plan = make_plan(spec, Cache(cache))
    header = header_of(plan, what)
    writer = ShardWriter(cache, header, spec.to_request())
    for number, planned in enumerate(plan.clips):
        clip = planned.clip
        key = planned_clip(clip, Cache(cache), plan.faces, header).features_key
        split, index = str(clip.split), int(clip.clip_id[-1])
        features = features_of(labels_of(split, index), np.random.default_rng(number))
        valid = np.arange(NUM_FRAMES) != GAP
        features[GAP] = np.nan
        if poison is not None and number == 0:
            features[3, 2] = poison
        rows = {"frame_index": np.arange(NUM_FRAMES), "time_s": np.arange(NUM_FRAMES) / 25, "valid": valid}
        writer.append(clip.clip_id, {**rows, "taps/dense": features})
        writer.finish_clip(ClipEntry(str(key), clip.clip_id, "", NUM_FRAMES, int(valid.sum())))
    writer.commit()


def make_corpus(folder: Path) -> Path:
    root = folder / "corpus"
    (root / "batch1").mkdir(parents=True)
    for split, count in CLIPS.items():
        for number in range(count):
            name = f"{split}{number}"
            (root / "batch1" / f"{name}.mp4").write_bytes(name.encode())
            write_annotation(root, split, name, labels_of(split, number))
    return root


@pytest.fixture
def corpus(tmp_path):
    return make_corpus(tmp_path)


@pytest.fixture
def cache(tmp_path, corpus):
    write_features(corpus, tmp_path / "cache", "tiny")
    return tmp_path / "cache"


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
    from dataclasses import replace

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


def test_nothing_cached_says_what_to_run(tmp_path):
    (tmp_path / "cache").mkdir()
    with pytest.raises(ConfigError, match="emopipe extract"):
        train_rnn(SMALL, cache=tmp_path / "cache", run=tmp_path / "run")


def test_several_sets_of_features_are_listed(corpus, cache, tmp_path):
    write_features(corpus, cache, "other")
    with pytest.raises(ConfigError, match=r"tiny tttttttttt|other oooooooooo"):
        train_rnn(SMALL, cache=cache, run=tmp_path / "run")
    report = train_rnn(SMALL, cache=cache, run=tmp_path / "run", features="ooo")
    assert report.num_epochs == SMALL.epochs


def test_a_window_longer_than_every_stretch_is_refused(cache, tmp_path):
    with pytest.raises(ManifestError, match="smaller --window"):
        train_rnn(TrainRnnConfig(window=WindowConfig(50)), cache=cache, run=tmp_path / "run")


def test_a_constant_label_is_refused(corpus, cache, tmp_path):
    for number in range(CLIPS["train"]):
        labels = labels_of("train", number)
        labels[:, 1] = 0.25
        write_annotation(corpus, "train", f"train{number}", labels)
    with pytest.raises(ManifestError, match=r"target 'arousal' is 0\.250"):
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
