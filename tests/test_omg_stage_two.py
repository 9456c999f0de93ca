"""Heads over the cached taps of utterances: trained, scored, stopped, begun from one another, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from csv_rows import numbers, rows_of
from tap_head_runs import END_TO_END, FEW, SMALL, STILL, WINDOW, same_weights, stop_after, weights_of
from utterance_corpus import BRIGHTNESS, FACELESS, GAPPED, HIGH, LOW, SIZES, WITHOUT_MEDIA, make

from emopipe.config import to_dict
from emopipe.errors import ConfigError
from emopipe.files import sha256_of_file
from emopipe.metrics import concordance
from emopipe.models.bundle import open_run
from emopipe.models.tap_heads import TapHeadConfig
from emopipe.stages import feature_rows
from emopipe.stages.clip_values import clip_labels, clip_values, fit_postprocessing, frame_values
from emopipe.stages.evaluate import predict_split
from emopipe.stages.fusion import evaluate
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_rnn import train_rnn
from emopipe.stages.trained import open_trained

REGIONS = ("positive_low", "positive_high", "negative_low", "negative_high")
PER_FRAME = replace(SMALL, tap_head=TapHeadConfig(("fc",), "none", BRIGHTNESS, **FEW), epochs=60, learning_rate=0.02)


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


def options_of(config: TrainRnnConfig, *more: object) -> list[object]:
    """The command line's words for what `SMALL` and its variants share."""
    head = config.tap_head
    return ["--optimiser", "adam", "--learning-rate", config.learning_rate, "--epochs", config.epochs, "--window",
            WINDOW, "--batch", config.batch_size, "--patience", 99, "--fc-units", head.fc_units, *more]  # fmt: skip


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
