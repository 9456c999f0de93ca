"""`emopipe train-rnn` where a clip has one label: one window per clip, intensities, picture and sound."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clip_corpus import FACELESS, NUM_BANDS, SMALL, SPECTROGRAM, TARGETS, UNIFORM, WHOLE, predictions_of, write_cache

from emopipe.config import from_dict, to_dict
from emopipe.errors import ConfigError, EmopipeError
from emopipe.metrics import pearson
from emopipe.models.bundle import open_run
from emopipe.models.multimodal import MultimodalHeadConfig
from emopipe.models.spectrogram_head import SpectrogramHeadConfig
from emopipe.models.weights import load_network
from emopipe.models.windows import WindowConfig
from emopipe.stages.fusion import evaluate
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_rnn import train_rnn

NUM_CLIPS = {"train": 48, "dev": 16}


@pytest.fixture(scope="module")
def reactions(tmp_path_factory):
    """Intensities that the picture says half of and the sound the other half."""
    folder = tmp_path_factory.mktemp("reactions")
    root, cache = folder / "corpus", folder / "cache"
    root.mkdir()
    random = np.random.default_rng(0)
    picture, sound = random.normal(size=(2, len(TARGETS), NUM_BANDS))
    seen, heard, lines = {}, {}, [",".join(("clip", "split", "subject", *TARGETS))]
    for split, count in NUM_CLIPS.items():
        for number in range(count):
            name = f"{split}{number}"
            said = random.normal(size=(2, len(TARGETS)))
            labels = 1 / (1 + np.exp(-said.sum(axis=0)))
            lines.append(",".join((name, split, f"person {name}", *(f"{label:.4f}" for label in labels))))
            (root / f"{name}.mp4").write_bytes(name.encode())
            seen[name], heard[name] = {"picture": 2 * said[0] @ picture}, {"mel": 4 * said[1] @ sound - 40}
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    write_cache(root, cache, "folder", seen.__getitem__, heard.__getitem__)
    return cache


@pytest.fixture(scope="module")
def trained(reactions, tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    return reactions, run, train_rnn(SMALL, cache=reactions, run=run)


def test_a_head_learns_one_window_per_clip(trained):
    _, run, report = trained
    assert report.counts == {"train": 48, "train_before_balancing": 48, "dev": 15}  # one has no face
    assert report.select == "pearson"  # three intensities of clips, learned by squared error
    assert report.best["dev_pearson"] > 0.4
    assert "dev_pearson_anxiety" in report.to_text()
    settings = open_run(run).content["settings"]
    assert settings["window"]["sampling"] == "uniform"
    assert (settings["select"], settings["standardise"]) == ("pearson", False)
    assert any("1 of 16 clips of split 'dev' have no frame with a face" in note for note in report.notes)


def test_evaluate_scores_clips_with_the_mean_of_pearson(trained):
    cache, run, report = trained
    found = evaluate(run, split="dev", cache=cache, num_bootstrap=50)
    assert (found.unit, found.num_units, found.num_scored) == ("clips", 16, 15)
    scores = {(score.metric, score.target): score.value for score in found.scores}
    rows = [row for row in predictions_of(found).values() if row["anxiety"]]
    for target in TARGETS:
        columns = (np.array([float(row[name]) for row in rows]) for name in (f"{target}_label", target))
        assert scores["pearson", target] == pytest.approx(pearson(*columns), abs=1e-4)
    mean = scores["pearson", "mean"]
    assert mean == pytest.approx(np.mean([scores["pearson", target] for target in TARGETS]))
    assert mean == pytest.approx(report.best["dev_pearson"], abs=1e-4)  # what selected it is what is scored
    assert predictions_of(found)[FACELESS]["anxiety"] == ""


@pytest.mark.parametrize("gaps", ["drop", "hold"])
def test_filling_frames_changes_nothing_where_a_window_is_a_clip(reactions, tmp_path, gaps):
    """Nor is a clip that is shorter than its window lost by it."""
    window = replace(WHOLE, gaps=gaps)
    train_rnn(replace(SMALL, window=window, epochs=1), cache=reactions, run=tmp_path / "run")
    short, linear = (
        predictions_of(evaluate(tmp_path / "run", split="dev", cache=reactions, fill=fill, num_bootstrap=0))
        for fill in ("short", "linear")
    )
    assert short == linear
    assert sum(bool(row["anxiety"]) for row in short.values()) == 15


@pytest.mark.parametrize("sampling", ["all", "random"])
def test_sampling_decides_what_a_head_sees(trained, tmp_path, sampling):
    cache, run, report = trained
    config = replace(SMALL, window=replace(UNIFORM, sampling=sampling), epochs=1)
    first = train_rnn(config, cache=cache, run=tmp_path / "run")
    assert first.best["loss"] != json.loads((run / "run.json").read_text())["best"]["loss"]
    cut = [note for note in first.notes if "what is behind them is not seen" in note]
    assert len(cut) == (2 if sampling == "all" else 0)


def test_sampling_by_motion_needs_faces_that_move(reactions, tmp_path):
    config = replace(SPECTROGRAM, window=replace(UNIFORM, sampling="motion"))
    with pytest.raises(ConfigError, match='sampling "motion"'):
        train_rnn(config, cache=reactions, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def weights(run: Path) -> list[np.ndarray]:
    return load_network(run / "network.keras").get_weights()


@pytest.mark.parametrize("config", [SMALL, SPECTROGRAM], ids=["lstm", "spectrogram-cnn"])
def test_padding_reaches_no_weight(config, reactions, tmp_path):
    """Longer windows of the same clips have more padding and teach the same, but for the order of additions."""
    window = replace(WHOLE, gaps="hold")
    for length in (30, 41):
        changed = replace(config, window=replace(window, length=length), epochs=2)
        if config.spectrogram_head is not None:  # what augmentation draws does not depend on the length
            changed = replace(changed, spectrogram_head=replace(config.spectrogram_head, dropout=0.0, augment=False))
        train_rnn(changed, cache=reactions, run=tmp_path / str(length))
    for one, other in zip(weights(tmp_path / "30"), weights(tmp_path / "41"), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


@pytest.mark.parametrize("config", [replace(SMALL, window=WHOLE), SPECTROGRAM], ids=["lstm", "spectrogram-cnn"])
def test_a_matrix_on_the_device_trains_alike(config, reactions, tmp_path):
    config = replace(config, epochs=2)
    for resident in (False, True):
        train_rnn(replace(config, device_resident=resident), cache=reactions, run=tmp_path / str(resident))
    for host, device in zip(weights(tmp_path / "False"), weights(tmp_path / "True"), strict=True):
        np.testing.assert_allclose(host, device, atol=1e-5)


def test_same_seed_same_weights_with_augmentation(reactions, tmp_path):
    config = replace(SPECTROGRAM, epochs=2)
    for name, changed in {"one": config, "same": config, "other": replace(config, seed=1)}.items():
        train_rnn(changed, cache=reactions, run=tmp_path / name)
    one, same, other = (weights(tmp_path / name) for name in ("one", "same", "other"))
    assert all(first.tobytes() == second.tobytes() for first, second in zip(one, same, strict=True))
    assert one[0].tobytes() != other[0].tobytes()


def test_augmentation_changes_what_is_learned_and_not_what_is_saved(reactions, tmp_path):
    head = replace(SPECTROGRAM.spectrogram_head, augment=False)
    reports = [
        train_rnn(replace(SPECTROGRAM, epochs=1, spectrogram_head=each), cache=reactions, run=tmp_path / str(number))
        for number, each in enumerate((head, SPECTROGRAM.spectrogram_head))
    ]
    assert reports[0].best["loss"] != reports[1].best["loss"]
    assert (
        reports[0].num_parameters == reports[1].num_parameters == replace(head, num_outputs=3).num_parameters(NUM_BANDS)
    )
    assert open_run(tmp_path / "0").content["settings"]["standardise"]  # log-mel rows are, unless told otherwise


def test_a_multimodal_head_hears_what_it_does_not_see(trained, tmp_path):
    cache, _, picture = trained
    both = replace(
        SMALL, multimodal=MultimodalHeadConfig(units=(8,), fusion_units=8, dropout=0.0), standardise=True,
        taps=("picture", "audio:mel"), output_activation="sigmoid",
    )  # fmt: skip
    report = train_rnn(both, cache=cache, run=tmp_path / "run")
    assert report.best["dev_pearson"] > picture.best["dev_pearson"] + 0.1
    found = predictions_of(evaluate(tmp_path / "run", split="dev", cache=cache, num_bootstrap=0))
    values = [float(row[target]) for row in found.values() for target in TARGETS if row[target]]
    assert 0 < min(values) < max(values) < 1


def test_standardised_features_may_have_any_scale(reactions, tmp_path):
    """Rows near -40 with a spread of some 10, on which a plain LSTM saturates."""
    config = replace(SMALL, audio="aaa", taps=("mel",), epochs=8)
    plain, standardised = (
        train_rnn(replace(config, standardise=how), cache=reactions, run=tmp_path / str(how)) for how in (False, True)
    )
    assert standardised.best["dev_pearson"] > plain.best["dev_pearson"] + 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": "uar"}, "select: expected ccc or pearson for task 'labels'. Received: uar"),
        ({"balance": "max", "targets": ("anxiety",)}, "balance: expected the targets valence and arousal"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_message(reactions, tmp_path, change, message):
    with pytest.raises(EmopipeError, match=message) as caught:
        train_rnn(replace(SMALL, **change), cache=reactions, run=tmp_path / "run")
    assert len(str(caught.value).splitlines()) <= 3
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"select": "rmse"}, "select: expected one of ccc, pearson, macro_f1, uar"),
        ({"output_activation": "softmax"}, "output_activation: expected linear, tanh or sigmoid"),
        ({"schedule": "step"}, "schedule: expected inverse or cosine"),
        ({"label_smoothing": 1.0}, r"label_smoothing: expected a number in \[0, 1\)"),
        ({"multimodal": MultimodalHeadConfig(), "spectrogram_head": SpectrogramHeadConfig()}, "expected one head"),
    ],
)
def test_settings_that_are_known_to_be_wrong_need_no_corpus(settings, message):
    with pytest.raises(ConfigError, match=message):
        TrainRnnConfig(**settings)


def test_settings_come_back_from_a_run():
    multimodal = MultimodalHeadConfig().with_columns({"a": 1, "audio:b": 2}, 3)
    for config in (SMALL, SPECTROGRAM, replace(SMALL, multimodal=multimodal)):
        content = json.loads(json.dumps(to_dict(config)))
        content["window"] = from_dict(WindowConfig, content["window"])
        assert from_dict(TrainRnnConfig, content) == config


def test_the_command_line_reaches_the_heads(call, reactions, tmp_path):
    common = ("--cache", reactions, "--target", "clip", "--loss", "mse", "--optimiser", "adam", "--epochs", 1, "--json")
    options = {
        "multimodal": (
            "--head", "multimodal", "--window", 8, "--tap", "picture", "--tap", "audio:mel", "--units", 6,
            "--audio-units", 4, "--fusion-units", 5, "--cells", "gru", "--dropout", 0.25, "--sampling", "random",
            "--output-activation", "sigmoid", "--standardise",
        ),
        "spectrogram-cnn": (
            "--head", "spectrogram-cnn", "--window", 24, "--tap", "mel", "--channels", "4,6", "--pooling", "gru",
            "--units", 5, "--no-augment", "--sampling", "all", "--select", "ccc", "--no-standardise",
        ),
    }  # fmt: skip
    for name, given in options.items():
        outcome = call("train-rnn", *common, "--run", tmp_path / name, *given)
        assert outcome.code == 0, outcome.err
    settings = {name: open_run(tmp_path / name).content["settings"] for name in options}
    chosen = settings["multimodal"]
    assert chosen["multimodal"] | {"columns": []} == {
        "cells": "gru", "units": [6], "audio_units": [4], "fusion_units": 5, "dropout": 0.25, "columns": [],
        "num_outputs": 7, "output_activation": "linear",
    }  # fmt: skip
    assert (chosen["output_activation"], chosen["standardise"], chosen["window"]["sampling"]) == (
        "sigmoid", True, "random",
    )  # fmt: skip
    chosen = settings["spectrogram-cnn"]
    assert (chosen["spectrogram_head"]["channels"], chosen["spectrogram_head"]["units"]) == ([4, 6], 5)
    assert (chosen["spectrogram_head"]["augment"], chosen["spectrogram_head"]["pooling"]) == (False, "gru")
    assert (chosen["select"], chosen["standardise"], chosen["window"]["target"]) == ("ccc", False, "clip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sampling", "all"), "--sampling: chooses the frames of a clip. Expected --target clip too."),
        (("--target", "clip", "--stride", 2), "--stride: a clip is one window under --target clip."),
        (("--target", "clip", "--reduce", "mean"), "--reduce: a clip is one window under --target clip."),
        (("--head", "spectrogram-cnn", "--layers", 1), "--layers: is for --head rnn."),
        (("--head", "multimodal", "--channels", "4"), "--channels: is for --head spectrogram-cnn."),
        (("--head", "spectrogram-cnn", "--units", 4), "--units: are those of a GRU. Expected --pooling gru too."),
        (("--head", "spectrogram-cnn", "--pooling", "gru", "--units", "4,4"), "Expected one number."),
        (("--head", "cnn", "--standardise"), "--standardise: is for --head rnn, mean, multimodal, spectrogram-cnn."),
        (("--fusion-units", 4), "--fusion-units: is for --head multimodal."),
    ],
)
def test_options_that_make_no_sense_together_are_refused(call, reactions, tmp_path, options, message):
    outcome = call("train-rnn", "--cache", reactions, "--run", tmp_path / "run", *options)
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())


def test_the_target_clip_is_not_for_labels_of_frames(reactions, tmp_path):
    root, cache = tmp_path / "films", tmp_path / "cache"
    root.mkdir()
    lines = ["clip,split,frame,joy"]
    for split in ("train", "dev"):
        (root / f"{split}.mp4").write_bytes(split.encode())
        lines += [f"{split},{split},{frame},{frame / 10}" for frame in range(10)]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    write_cache(root, cache, "folder", lambda name: {"picture": np.zeros(3)})
    with pytest.raises(ConfigError, match="the target 'clip' is for clips that have one label each"):
        train_rnn(SMALL, cache=cache, run=tmp_path / "run")


@pytest.mark.slow
def test_a_killed_training_with_augmentation_and_padding_goes_on(reactions, tmp_path, program):
    options = (
        "--head", "spectrogram-cnn", "--window", 24, "--tap", "mel", "--channels", "6,8", "--dropout", 0.1,
        "--target", "clip", "--sampling", "all", "--loss", "mse", "--optimiser", "adam", "--learning-rate", 0.02,
        "--epochs", 4, "--batch", 8, "--schedule", "cosine",
    )  # fmt: skip
    config = replace(SPECTROGRAM, epochs=4, patience=10, schedule="cosine", cells="gru", units=())
    train_rnn(config, cache=reactions, run=tmp_path / "whole")
    runner = (str(Path(__file__).with_name("train_runner.py")), json.dumps({"kill_after": 2}))
    outcome = program("train-rnn", "--cache", reactions, "--run", tmp_path / "killed", *options, runner=runner)
    assert outcome.code == -9, outcome.err
    report = train_rnn(config, cache=reactions, run=tmp_path / "killed")
    assert report.num_epochs == 4
    for one, other in zip(weights(tmp_path / "whole"), weights(tmp_path / "killed"), strict=True):
        assert one.tobytes() == other.tobytes()
