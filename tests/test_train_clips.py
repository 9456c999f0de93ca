"""`emopipe train-rnn` where a clip has one label: one window per clip, intensities and classes, picture and sound."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emopipe.config import from_dict, to_dict
from emopipe.datasets.splits import Folds
from emopipe.errors import ConfigError, EmopipeError
from emopipe.metrics import pearson
from emopipe.models.bundle import open_run
from emopipe.models.multimodal import MultimodalHeadConfig
from emopipe.models.spectrogram_head import SpectrogramHeadConfig
from emopipe.models.weights import load_network
from emopipe.models.windows import WindowConfig
from emopipe.stages.fusion import evaluate
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.spec import ExtractSpec, make_plan, planned_clip
from emopipe.stages.train_rnn import train_rnn
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.writer import ShardWriter

TARGETS = ("adoration", "amusement", "anxiety")
NUM_CLIPS = {"train": 48, "dev": 16}
NUM_BANDS = 12
FACELESS = "dev3"
UNIFORM = WindowConfig(8, target="clip")
WHOLE = WindowConfig(24, target="clip", sampling="all")  # clips have 10 to 29 rows
SMALL = TrainRnnConfig(
    cells="lstm", units=(8,), window=UNIFORM, loss="mse", taps=("picture",), optimiser="adam", learning_rate=0.02,
    epochs=12, patience=None, batch_size=8,
)  # fmt: skip
SPECTROGRAM = replace(SMALL, spectrogram_head=SpectrogramHeadConfig((6, 8), dropout=0.1), window=WHOLE, taps=("mel",))
CLASSES = replace(
    SPECTROGRAM, loss=None, task="expr", folds=Folds(6, 0, "numbers"), epochs=10, learning_rate=0.01,
    spectrogram_head=SpectrogramHeadConfig((8, 12), dropout=0.0, augment=False),
)  # fmt: skip


def rows_of(name: str, taps: dict[str, np.ndarray], has_gaps: bool) -> dict[str, np.ndarray]:
    """A clip's rows in the cache: noise around what is said of it; of the picture every fifth face is missing."""
    random = np.random.default_rng(sum(name.encode()))
    length = int(random.integers(10, 30))
    valid = np.ones(length, bool)
    if has_gaps:
        valid = (np.arange(length) % 5 != 2) & (name != FACELESS)
    rows = {"frame_index": np.arange(length), "time_s": (np.arange(length) + 0.5) / 25, "valid": valid}
    for tap, mean in taps.items():
        values = (mean + random.normal(size=(length, len(mean)))).astype(np.float32)
        rows[f"taps/{tap}"] = np.where(valid[:, None], values, np.float32(np.nan))
    return rows


def write_cache(root: Path, cache: Path, dataset: str, picture_of=None, sound_of=None) -> None:
    """Shards of all clips: of features, and of audio whose windows are as long as a frame."""
    spec = ExtractSpec(dataset, root, cache, only="faces")
    plan = make_plan(spec, Cache(cache))
    settings = {"spectrogram": {"window_s": 0.04, "hop_s": 0.04}, "audio": {}, "weights": "", "version": 1}
    headers = {
        "features": ShardHeader("features", "tiny", {"faces": plan.faces.config, "weights": "0" * 64}, "t" * 64),
        "audio": ShardHeader("audio", "mel", settings, "a" * 64),
    }
    for kind, taps_of in {"features": picture_of, "audio": sound_of}.items():
        if taps_of is None:
            continue
        writer = ShardWriter(cache, headers[kind], spec.to_request())
        for planned in plan.clips:
            name = planned.clip.clip_id
            keyed = planned_clip(planned.clip, Cache(cache), plan.faces, headers["features"], audio=headers["audio"])
            rows = rows_of(name, taps_of(name), has_gaps=kind == "features")
            writer.append(name, rows)
            writer.finish_clip(ClipEntry(str(keyed.key(kind)), name, "", len(rows["valid"]), int(rows["valid"].sum())))
        writer.commit()


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


@pytest.fixture(scope="module")
def trained(reactions, tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    return reactions, run, train_rnn(SMALL, cache=reactions, run=run)


def predictions_of(found) -> dict[str, dict[str, str]]:
    return {row["clip"]: row for row in csv.DictReader(found.predictions.open())}


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


def test_settings_of_classes_are_refused_for_numbers_and_the_reverse(emotions, tmp_path):
    for change, message in (
        ({"select": "pearson"}, "select: expected macro_f1 or uar for task 'expr'"),
        ({"output_activation": "sigmoid"}, "output_activation: is for numbers; classes have a softmax"),
        ({"task": "intensity", "label_smoothing": 0.1}, "label_smoothing: is for classes"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_rnn(replace(CLASSES, **change), cache=emotions, run=tmp_path / "run")


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


def test_the_command_line_reaches_the_heads(call, reactions, emotions, tmp_path):
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
