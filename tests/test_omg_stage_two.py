"""Heads over taps on utterances: trained, scored, moved, begun from one another, and trained with their CNN."""

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from csv_rows import numbers, rows_of
from scipy.ndimage import median_filter
from utterance_corpus import BRIGHTNESS, FACELESS, GAPPED, HIGH, LOW, SIZES, SPEC, WITHOUT_MEDIA, faces_of, make

from emopipe.config import to_dict
from emopipe.errors import ConfigError
from emopipe.faces.landmark_vector import landmark_vector
from emopipe.faces.normalisation import normalise
from emopipe.files import sha256_of_file
from emopipe.media.video import write_video
from emopipe.metrics import concordance
from emopipe.models.bundle import open_run
from emopipe.models.tap_heads import TapHeadConfig
from emopipe.models.weights import load_network
from emopipe.models.windows import WindowConfig
from emopipe.stages import feature_rows, training
from emopipe.stages.clip_values import clip_labels, clip_values, fit_postprocessing, frame_values
from emopipe.stages.evaluate import predict_split
from emopipe.stages.fusion import evaluate
from emopipe.stages.predict import Predictor, predict_files
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_rnn import train_rnn
from emopipe.stages.trained import open_trained

WINDOW = 8
REGIONS = ("positive_low", "positive_high", "negative_low", "negative_high")
AGREEMENT = 1e-3  # of an exported network with keras
FEW = {"fc_units": 8, "units": (6, 5), "fc_dropout": 0.1, "gru_dropout": 0.1}
SMALL = TrainRnnConfig(
    tap_head=TapHeadConfig((LOW, HIGH, "fc"), "one", **FEW),
    window=WindowConfig(WINDOW, gaps="hold", target="every"),
    epochs=24,
    patience=None,
    batch_size=8,
    learning_rate=0.01,
    optimiser="adam",
)
PER_FRAME = replace(SMALL, tap_head=TapHeadConfig(("fc",), "none", BRIGHTNESS, **FEW), epochs=60, learning_rate=0.02)
END_TO_END = replace(SMALL, tap_head=TapHeadConfig((LOW, "fc"), "one", HIGH, **FEW), end_to_end=True, epochs=10)
STILL = {"learning_rate": 1e-12, "epochs": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def scored(made, trained):
    """The evaluation of the small head on the dev split."""
    return evaluate(trained[0], split="dev", cache=made.cache, num_bootstrap=20)


@pytest.fixture
def train(made, tmp_path):
    """``train(config, "name")`` trains into a new run folder of that name."""

    def run(config=SMALL, name="run", **options):
        return train_rnn(config, cache=made.cache, run=tmp_path / name, **options)

    return run


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """(folder, report) of the small head with one RNN."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    return folder, train_rnn(SMALL, cache=made.cache, run=folder)


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """(folder, report) of a CNN and a head that were trained together."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train_rnn(END_TO_END, cache=made.cache, run=folder)


def weights_of(path: Path) -> list[np.ndarray]:
    return load_network(path).get_weights()


def same_weights(one: Path, other: Path) -> None:
    for ours, theirs in zip(weights_of(one / "network.keras"), weights_of(other / "network.keras"), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def options_of(config: TrainRnnConfig, *more: object) -> list[object]:
    """The command line's words for what `SMALL` and its variants share."""
    head = config.tap_head
    return ["--optimiser", "adam", "--learning-rate", config.learning_rate, "--epochs", config.epochs, "--window",
            WINDOW, "--batch", config.batch_size, "--patience", 99, "--fc-units", head.fc_units, *more]  # fmt: skip


def stop_after(monkeypatch, num_epochs: int, *, before_the_state: bool = False) -> None:
    """Have the next training stop where a kill would hurt: the network of the epoch is written, its state is or not."""
    save, calls = training.save_state, []

    def save_and_stop(*arguments):
        calls.append(1)
        if len(calls) == num_epochs and before_the_state:
            raise KeyboardInterrupt
        save(*arguments)
        if len(calls) == num_epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", save_and_stop)


# --- heads on cached taps


def test_one_rnn_learns_and_the_run_says_what_made_it(made, trained):
    folder, report = trained
    assert report.best["dev_ccc"] > 0.6
    content = open_run(folder).content
    assert content["of_clips"]
    settings = content["settings"]
    assert settings["taps"] == [LOW, HIGH]
    assert (settings["tap_head"]["rnns"], settings["reduce"], settings["end_to_end"]) == ("one", "median", False)
    assert open_trained(folder).landmarks
    # windows of 8, and one with what is left of each utterance
    windows = {split: sum(-(-made.lengths[name] // WINDOW) for name in made.of(split)) for split in ("train", "dev")}
    assert report.counts["train"] == windows["train"]
    assert report.counts["dev"] == windows["dev"] - 2  # those of the utterance without a face
    assert any(note.startswith("1 of 9 clips of split 'dev' have no frame with a face") for note in report.notes)
    sizes = {name: SIZES[name] for name in (LOW, HIGH)}
    assert report.num_parameters == SMALL.tap_head.with_columns(sizes, 2).num_parameters


def test_utterances_are_what_is_scored(scored):
    values = {(score.metric, score.target): score.value for score in scored.scores}
    metrics = {metric for metric, _ in values}
    assert metrics >= {"ccc", "ccc_raw", "rmse", "ccc_per_video", "ccc_source_disjoint"}
    assert metrics >= {f"mse_{name}" for name in ("overall", *REGIONS)}
    assert (scored.unit, scored.num_units, scored.num_scored) == ("clips", 9, 8)
    json.dumps(scored.to_dict(), allow_nan=False)
    assert "8 of 9 clips of split 'dev' are scored." in scored.to_text()

    rows = [row for row in rows_of(scored.predictions) if row["valence"]]
    truth, guess = numbers(rows, "valence_label", "arousal_label"), numbers(rows, "valence", "arousal")
    raw, videos = numbers(rows, "valence_raw", "arousal_raw"), np.array([row["clip"].split("/")[0] for row in rows])
    for number, target in enumerate(("valence", "arousal")):

        def ccc(keep, given=guess, number=number):
            return concordance(truth[keep, number], given[keep, number])

        everything, clean = videos != "", videos != "ee01_2"
        assert 0 < clean.sum() < len(rows)
        assert values["ccc", target] == pytest.approx(ccc(everything), abs=1e-4)  # the file holds six digits
        assert values["ccc_raw", target] == pytest.approx(ccc(everything, raw), abs=1e-4)
        assert values["ccc_source_disjoint", target] == pytest.approx(ccc(clean), abs=1e-4)
        mean = np.mean([ccc(videos == video) for video in sorted(set(videos))])
        assert values["ccc_per_video", target] == pytest.approx(mean, abs=1e-4)
        error = (truth - guess)[:, number] ** 2
        assert values["mse_overall", target] == pytest.approx(error.mean(), abs=1e-5)
        part = (truth[:, 0] >= 0) & (truth[:, 1] < 0.5)
        assert values["mse_positive_low", target] == pytest.approx(error[part].mean(), abs=1e-5)


def test_every_utterance_has_a_row_and_a_missing_one_a_note(made, scored):
    rows = {row["clip"]: row for row in rows_of(scored.predictions)}
    assert sorted(rows) == sorted(made.of("dev"))
    for name, row in rows.items():
        assert numbers([row], "valence_label", "arousal_label")[0] == pytest.approx(made.labels[name], abs=1e-6)
        assert int(row["frames"]) == made.lengths[name]
    assert (rows[GAPPED]["frames"], rows[GAPPED]["valid"]) == ("10", "7")
    assert np.isfinite(numbers([rows[GAPPED]], "valence", "arousal", "valence_raw", "arousal_raw")).all()
    assert (rows[FACELESS]["valid"], rows[FACELESS]["valence"], rows[FACELESS]["arousal_raw"]) == ("0", "", "")
    assert f"1 of 9 clips have no face and no prediction: {FACELESS}." in scored.notes
    assert any(
        note == f"1 of 10 clips of split 'dev' have no media (the first: '{WITHOUT_MEDIA}')." for note in scored.notes
    )


def test_an_utterance_is_the_mean_of_the_medians_of_its_sequences(made, scored):
    frames = rows_of(scored.predictions.with_name("dev_frames.csv"))
    rows = {row["clip"]: row for row in rows_of(scored.predictions)}
    assert len(frames) == sum(made.lengths[name] for name in made.of("dev"))
    for name in made.of("dev"):
        mine = [row for row in frames if row["clip"] == name]
        if name == FACELESS:
            assert {row["how"] for row in mine} == {"none"}
            continue
        assert [row["how"] for row in mine] == [
            "window" if number < len(mine) // WINDOW * WINDOW else "short" for number in range(len(mine))
        ]
        has_face = np.ones(len(mine), bool)
        if name == GAPPED:
            has_face[[2, 5, 9]] = False
        values = np.where(has_face[:, None], numbers(mine, "valence", "arousal"), np.nan)
        medians = [np.nanmedian(values[start : start + WINDOW], axis=0) for start in range(0, len(mine), WINDOW)]
        expected = np.mean(medians, axis=0)
        np.testing.assert_allclose(numbers([rows[name]], "valence_raw", "arousal_raw")[0], expected, atol=1e-5)


def test_postprocessing_is_what_fits_the_dev_split(made, trained):
    folder, _ = trained
    found = predict_split(open_trained(folder), split="dev", cache=made.cache)
    frames = frame_values(found.rows, found.values, found.how, SMALL.window, ("valence", "arousal"))
    fitted = fit_postprocessing(frames, clip_labels(found.rows), "median")
    assert open_run(folder).content["postprocessing"] == to_dict(fitted)
    rows = rows_of(evaluate(folder, split="test", cache=made.cache, num_bootstrap=0).predictions)
    test = predict_split(open_trained(folder), split="test", cache=made.cache)
    frames = frame_values(test.rows, test.values, test.how, SMALL.window, ("valence", "arousal"))
    np.testing.assert_allclose(numbers(rows, "valence", "arousal"), clip_values(frames, "median", fitted), atol=1e-6)


def test_landmarks_tell_what_the_feature_does_not(made, call, tmp_path):
    """Frame by frame, on the brightness alone: nothing of the arousal is in it."""
    best = {}
    for name, landmarks in (("with", ("--landmarks",)), ("without", ())):
        done = call("train-rnn", "--cache", made.cache, "--run", tmp_path / name, "--head", "cnn", "--tap", "fc",
                    "--fc-tap", BRIGHTNESS, *landmarks, *options_of(PER_FRAME), "--json")  # fmt: skip
        assert done.code == 0, done.err
        best[name] = done.json["best"]
        assert open_trained(tmp_path / name).landmarks == bool(landmarks)
    assert best["without"]["dev_ccc_valence"] > 0.7
    assert best["with"]["dev_ccc_arousal"] > 0.7 > 0.4 > best["without"]["dev_ccc_arousal"]


def test_an_rnn_for_each_tap_on_the_command_line(made, call, tmp_path):
    run = tmp_path / "run"
    done = call("train-rnn", "--dataset", "omg", "--cache", made.cache, "--run", run, "--head", "cnn-multi-rnn",
                "--tap", LOW, "--tap", HIGH, "--tap", "fc", "--landmarks", "--landmark-units", 3, "--joint-units", 4,
                "--reduce", "mean", *options_of(replace(SMALL, epochs=12)), "--units", "6", "--dropout", "0",
                "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["best"]["dev_ccc"] > 0.3
    config = TapHeadConfig((LOW, HIGH, "fc"), "each", landmark_units=3, joint_units=4, fc_units=8, units=(6,))
    sizes = {name: SIZES[name] for name in (LOW, HIGH)}
    assert done.json["num_parameters"] == config.with_columns(sizes, 2).num_parameters
    assert open_trained(run).reduce == "mean"
    done = call("evaluate", run, "--split", "test", "--cache", made.cache, "--json")
    assert (done.code, done.json["num_scored"]) == (0, 3)


def test_a_stopped_training_goes_on_to_the_same_weights_reading_from_disk(trained, train, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            train(name="stopped")
    monkeypatch.setattr(feature_rows, "memory_limit", lambda: 1000)
    report = train(name="stopped")
    same_weights(trained[0], tmp_path / "stopped")
    assert dict(report.best) | {"train_s": 0} == dict(trained[1].best) | {"train_s": 0}
    contents = [open_run(folder).content for folder in (trained[0], tmp_path / "stopped")]
    assert contents[0]["postprocessing"] == contents[1]["postprocessing"]
    for split in ("train", "dev"):
        assert any(note.startswith(f"split '{split}': ") and "read from disk" in note for note in report.notes)
    assert not any("read from disk" in note for note in trained[1].notes)


def test_a_run_begins_with_the_weights_of_another(trained, train, tmp_path):
    train(replace(SMALL, init=str(trained[0]), **STILL), "second")
    for one, other in zip(weights_of(trained[0] / "network.keras"), weights_of(tmp_path / "second" / "network.keras"),
                          strict=True):  # fmt: skip
        np.testing.assert_allclose(other, one, atol=1e-6)
    assert open_run(tmp_path / "second").content["settings"]["init"] == sha256_of_file(trained[0] / "network.keras")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": (6, 4)}, r"--init .*: 'rnn1_gru2/.*' is \(6, 15\) there. Expected \(6, 12\), as in this head"),
        ({"rnns": "each"}, r"--init .*: 'rnn1_gru1/.*' is .* there. Expected \("),
        ({"joint_units": 2}, r"--init .*: 'joint/kernel' is none there. Expected \(5, 2\)"),
        ({"landmarks": False}, r"--init .*: 'fc/kernel' is \(152, 8\) there. Expected \(16, 8\)"),
    ],
)
def test_a_run_with_other_layers_is_no_beginning(trained, train, change, message):
    head = replace(SMALL.tap_head, **change)
    with pytest.raises(ConfigError, match=message):
        train(replace(SMALL, tap_head=head, init=str(trained[0])))


# --- the CNN learns too


def test_end_to_end_the_cnn_learns_and_is_kept(made, whole):
    folder, report = whole
    history = rows_of(folder / "history.csv")
    assert float(history[-1]["loss"]) < 0.8 * float(history[0]["loss"])
    content = open_run(folder).content
    (kept,) = (folder / "weights").glob("*.keras")
    assert kept.stem == content["carried"] == sha256_of_file(kept)
    begun = open_run(folder).content["settings"]["features"]["weights"]
    assert begun == sha256_of_file(made.cnn) != kept.stem
    names = ["conv1", "conv2", "output"]
    before, after = (
        {name: network.get_layer(name).get_weights()[0] for name in names}
        for network in (load_network(path) for path in (made.cnn, kept))
    )
    assert [bool(np.array_equal(before[name], after[name])) for name in names] == [False, False, True]
    assert not list(folder.glob("state"))
    sizes = {name: SIZES[name] for name in (LOW, HIGH)}
    convolutions = 3 * 9 + 3 + 4 * 27 + 4
    assert report.num_parameters == END_TO_END.tap_head.with_columns(sizes, 2).num_parameters + convolutions


def composite_values(made, folder) -> dict[str, np.ndarray]:
    """Clip id -> (T, 2) of the CNN and the head as one network, from the crops themselves."""
    from keras.ops import convert_to_numpy

    from emopipe.models.end_to_end import join
    from emopipe.models.taps import attach, parse_taps

    (kept,) = (folder / "weights").glob("*.keras")
    cnn = attach(load_network(kept), parse_taps([LOW, HIGH]), "small")
    network = join(cnn, SPEC, load_network(folder / "network.keras"), 136)
    found = {}
    for name in made.of("dev"):
        faces = faces_of(name, made.lengths[name], *made.labels[name])
        if not faces.valid.any():
            continue
        held = np.maximum.accumulate(np.where(faces.valid, np.arange(len(faces)), 0))
        pixels = normalise(faces.crop, SPEC).reshape(len(faces), -1)
        rows = np.concatenate([pixels, landmark_vector(faces.landmarks, faces.transform)], axis=1)[held]
        parts = [rows[start : start + WINDOW][None] for start in range(0, len(rows), WINDOW)]
        given = [network({"features": part, "mask": None}) for part in parts]
        found[name] = np.concatenate([convert_to_numpy(values)[0] for values in given])
    return found


def test_a_moved_run_says_of_cached_faces_what_the_whole_network_says(made, whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "moved")
    cache = tmp_path / "cache"
    cache.mkdir()
    for path in made.cache.glob("faces-*"):
        shutil.copy2(path, cache)
    found = evaluate(tmp_path / "moved", split="dev", cache=cache, num_bootstrap=0)
    frames = rows_of(found.predictions.with_name("dev_frames.csv"))
    for name, expected in composite_values(made, whole[0]).items():
        values = numbers([row for row in frames if row["clip"] == name], "valence", "arousal")
        np.testing.assert_allclose(values, expected, atol=AGREEMENT)
    assert np.nanstd(numbers(frames, "valence", "arousal")) > 20 * AGREEMENT
    for graph in (tmp_path / "moved" / "weights").glob("*.onnx"):
        shutil.copy2(graph, whole[0] / "weights")  # for the next tests
    raw = {score.target: score.value for score in found.scores if score.metric == "ccc_raw"}
    assert raw["valence"] == pytest.approx(whole[1].best["dev_ccc_valence"], abs=1e-2)


def test_a_stopped_cnn_goes_on_to_the_same_weights(whole, train, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stop_after(patched, 2, before_the_state=True)
        with pytest.raises(KeyboardInterrupt):
            train(END_TO_END, "stopped")
    monkeypatch.setattr(feature_rows, "memory_limit", lambda: 1000)  # crops too are read when they are needed
    train(END_TO_END, "stopped")
    same_weights(whole[0], tmp_path / "stopped")
    kept = [next((folder / "weights").glob("*.keras")) for folder in (whole[0], tmp_path / "stopped")]
    for ours, theirs in zip(*map(weights_of, kept), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_a_cnn_goes_on_from_another_run(whole, train, tmp_path):
    train(replace(END_TO_END, init=str(whole[0]), **STILL), "second")
    for name in ("network.keras", "weights/*.keras"):
        paths = [next(folder.glob(name)) for folder in (whole[0], tmp_path / "second")]
        for one, other in zip(*map(weights_of, paths), strict=True):
            np.testing.assert_allclose(other, one, atol=1e-6)


def test_a_video_gets_one_row_and_its_frames_a_file_of_their_own(whole, tmp_path):
    """With what the evaluation of this run left in it, so that nothing is exported again."""
    from skimage.data import astronaut

    picture = astronaut()[4:244, 70:390]
    frames = [np.ascontiguousarray(np.roll(picture, step, axis=1)) for step in range(11)]
    write_video(tmp_path / "take.mp4", [*frames, *[np.zeros_like(picture)] * 3], Fraction(25))
    (outcome,) = predict_files(Predictor(whole[0]), [tmp_path / "take.mp4"], tmp_path / "out")
    assert outcome.error == ""
    (row,) = rows_of(outcome.table)
    assert (row["clip"], row["frames"], row["valid"]) == ("take", "14", str(outcome.num_valid))
    assert 8 <= outcome.num_valid < 14
    found = rows_of(tmp_path / "out" / "take_frames.csv")
    assert len(found) == 14
    has_face = np.array([row["valid"] == "1" for row in found])
    values = np.where(has_face[:, None], numbers(found, "valence", "arousal"), np.nan)
    chain = open_trained(whole[0]).postprocessing
    for number, target in enumerate(("valence", "arousal")):
        pieces = [part[np.isfinite(part)] for part in (values[:WINDOW, number], values[WINDOW:, number])]
        pieces = [median_filter(part, chain.median[target], mode="nearest") for part in pieces]
        expected = np.mean([np.median(part) for part in pieces])
        assert float(row[target]) == pytest.approx(expected, abs=1e-5)


# --- what is refused


def test_options_that_do_not_fit_are_one_message(made, call, tmp_path):
    where = ("train-rnn", "--cache", made.cache, "--run", tmp_path / "run")
    taps = ("--tap", LOW, "--tap", "fc")
    for code, options, message in (
        (1, ("--head", "cnn", "--tap", "fc"), "'fc' needs the tap that feeds it"),
        (1, ("--head", "cnn-1rnn"), "expected taps, each once. Received: none"),
        (1, ("--head", "cnn-1rnn", *taps, "--target", "last"), 'predict every step. Received the target "last"'),
        (1, ("--head", "cnn-1rnn", *taps, "--balance", "max"), "balance, device_resident: are not for heads over"),
        (1, ("--head", "cnn-1rnn", *taps, "--device-resident"), "balance, device_resident: are not for heads over"),
        (1, ("--head", "cnn-1rnn", *taps, "--task", "emotion"), "heads over taps predict numbers"),
        (1, ("--head", "cnn-1rnn", *taps, "--targets", "joy"), "targets: expected some of valence, arousal"),
        (1, ("--head", "cnn-1rnn", "--tap", "pool9:gap", "--tap", "fc"), "has no tap 'pool9:gap'"),
        (1, ("--head", "cnn-1rnn", "--tap", "pool9:gap", "--end-to-end"), "has no tap 'pool9:gap'"),
        (1, ("--head", "cnn-1rnn", *taps, "--init", tmp_path / "no"), "is not a run folder"),
        (1, ("--target", "every"), 'the target "every": is for heads over taps'),
        (1, ("--end-to-end",), "training end to end: is for heads over taps"),
        (2, ("--landmarks",), "--landmarks: is for --head cnn, cnn-1rnn, cnn-multi-rnn. Received: --head rnn"),
        (2, ("--joint-units", "3"), "--joint-units: is for --head cnn, cnn-1rnn, cnn-multi-rnn"),
        (2, ("--fc-units", "3", "--head", "mean"), "--fc-units: is for --head cnn"),
        (2, ("--head", "cnn-1rnn", *taps, "--cells", "lstm"), "--cells: is for --head rnn, multimodal. Received"),
        (2, ("--head", "cnn-1rnn", *taps, "--layers", "1"), "--layers: is for --head rnn"),
        (2, ("--head", "mean", "--bidirectional"), "--bidirectional: is for --head rnn"),
        (2, ("--head", "cnn-1rnn", *taps, "--stride", "2"), "--stride: is for --head rnn, mean"),
        (
            2,
            ("--head", "cnn", *taps, "--units", "8"),
            "--units: is for --head rnn, multimodal",
        ),
        (2, ("--head", "cnn-1rnn", "--tap", LOW, "--landmarks"), "--landmarks: is for the layer fc. Expected --tap fc"),
        (2, ("--head", "cnn-1rnn", "--tap", LOW, "--fc-units", "8"), "--fc-units: is for the layer fc"),
        (2, ("--head", "cnn-1rnn", *taps, "--landmark-units", "8"), "Expected --landmarks too"),
    ):
        done = call(*where, *options)
        assert (done.code, message in done.err) == (code, True), (options, done.err)
        assert not (tmp_path / "run").exists(), options


def test_landmarks_need_the_cached_faces(made, train, tmp_path):
    cache = tmp_path / "without faces"
    shutil.copytree(made.cache, cache, ignore=shutil.ignore_patterns("faces-*"))
    for config in (SMALL, END_TO_END):
        with pytest.raises(ConfigError, match="--only faces"):
            train_rnn(config, cache=cache, run=tmp_path / "run")
    head = replace(SMALL.tap_head, landmarks=False)
    assert train_rnn(replace(SMALL, tap_head=head, epochs=1), cache=cache, run=tmp_path / "run").num_epochs == 1


def test_faces_without_landmarks_say_so(tmp_path):
    bare = make(tmp_path, landmarks=False)
    with pytest.raises(ConfigError, match="its faces have no landmarks.*68 points.*\n.*Train without --landmarks"):
        train_rnn(SMALL, cache=bare.cache, run=tmp_path / "run")
