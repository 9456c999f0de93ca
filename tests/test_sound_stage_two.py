"""Stage two with sound: heads on sound alone, on picture and sound, late fusion, and predictions of new recordings."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from csv_rows import rows_of
from sound_corpus import (
    BANDS,
    CONFIGS,
    NUM_FRAMES,
    SHORT,
    SILENT,
    TOLERANCE,
    VIDEOS,
    Made,
    audio_of,
    make,
    plan_of_both,
    values_of,
)

from emopipe.errors import ConfigError, MediaError, RunError, WeightsError
from emopipe.stages.evaluate import predict_split
from emopipe.stages.feature_rows import tap_columns
from emopipe.stages.fuse import fuse_decisions
from emopipe.stages.fusion import evaluate, predict_run
from emopipe.stages.labelled import labelled_clips
from emopipe.stages.predict import Predictor, load_predictor, predict_files
from emopipe.stages.sound_rows import sound_columns
from emopipe.stages.train_rnn import train_rnn
from emopipe.stages.trained import open_trained


@pytest.fixture(scope="module")
def made(tmp_path_factory, kept_weights) -> Made:
    """The corpus, and a run of each kind."""
    made = make(tmp_path_factory.mktemp("sound"), kept_weights)
    for name, config in CONFIGS.items():
        audio = {"sound": made.log_mel, "both": made.cnn, "picture": ""}[name]
        train_rnn(replace(config, audio=audio[:12]), cache=made.cache, run=made.runs / name)
    return made


# --- predictions


@pytest.mark.parametrize(
    ("kind", "clip"),
    [("sound", "d0.mp4"), ("sound", "x0.wav"), ("both", "d1.mp4"), ("both", f"{SILENT}.mp4"), ("both", f"{SHORT}.mp4"),
     ("picture", "d0.mp4")],
)  # fmt: skip
def test_predict_says_what_evaluate_said_without_cache_and_corpus(made, tmp_path, kind, clip):
    name = Path(clip).stem
    split = "train" if name in VIDEOS["train"] else "dev"
    done = evaluate(made.runs / kind, split=split, cache=made.cache, num_bootstrap=0)
    stored = rows_of(done.predictions, name)
    frames = rows_of(done.predictions.with_name(f"{split}_frames.csv"), name)
    moved, media = tmp_path / "elsewhere", tmp_path / clip
    shutil.copytree(made.runs / kind, moved)
    shutil.copy(made.corpus / clip, media)
    hidden = made.corpus.parent / "hidden"
    hidden.mkdir()
    try:
        for folder in (made.corpus, made.cache, made.runs):
            folder.rename(hidden / folder.name)
        (outcome,) = predict_files(Predictor(moved), [media], tmp_path / "out")
    finally:
        for folder in hidden.iterdir():
            folder.rename(made.corpus.parent / folder.name)
        hidden.rmdir()
    assert not outcome.error, outcome.error
    (found,) = rows_of(outcome.table)
    assert (found["clip"], found["frames"], found["valid"]) == (name, stored[0]["frames"], stored[0]["valid"])
    assert np.abs(values_of([found]) - values_of(stored)).max() <= TOLERANCE
    everyone = values_of(rows_of(done.predictions))
    assert np.nanstd(everyone, axis=0).max() > 10 * TOLERANCE  # else anything would agree
    by_row = rows_of(tmp_path / "out" / f"{name}_frames.csv")
    assert [row["how"] for row in by_row] == [row["how"] for row in frames]
    assert [row["frame"] for row in by_row] == [row["frame"] for row in frames]
    if kind == "sound":
        times = np.array([float(row["time_s"]) for row in by_row])
        np.testing.assert_allclose(np.diff(times), 0.02, atol=1e-6)
        assert outcome.to_dict()["windows"] == len(by_row)
        assert f"{len(by_row)} windows, {outcome.num_valid} with sound" in outcome.to_text()
    assert any("The run only sees" in note for note in outcome.notes) == (kind == "both" and name == SILENT)


def test_a_run_carries_the_network_that_looks_at_its_spectrograms(made, tmp_path):
    trained = open_trained(made.runs / "both")
    digest = trained.sound["weights"]
    assert (trained.run.weights_folder / f"{digest}.keras").stat().st_nlink > 1  # a link, not a copy
    assert open_trained(made.runs / "sound").sound["weights"] == ""
    poor = tmp_path / "poor"
    shutil.copytree(made.runs / "both", poor)
    for path in (poor / "weights").glob(f"{digest}*"):
        path.unlink()
    with pytest.raises(WeightsError, match="lacks the network that made this run's features of sound"):
        Predictor(poor)


def test_what_a_run_is_not_for_is_an_error_that_says_so(made, tmp_path):
    runs = {kind: Predictor(made.runs / kind) for kind in CONFIGS}
    for kind in ("picture", "both"):
        with pytest.raises(MediaError, match="is a sound file, and this run looks at faces.*\n.*sound alone"):
            runs[kind].predict(made.corpus / "x0.wav")
    with pytest.raises(MediaError, match="holds no sound track.*a picture without sound"):
        runs["sound"].predict(made.corpus / f"{SILENT}.mp4")
    for media, what in ((tmp_path, "a folder"), (tmp_path / "none.wav", "nothing")):
        with pytest.raises(MediaError, match=f"expected a sound file, or a video with sound. Received: {what}"):
            runs["sound"].predict(media)
    with pytest.raises(ConfigError, match="learned from sound alone. There is nothing to draw"):
        list(predict_files(runs["sound"], [made.corpus / "d0.mp4"], tmp_path, overlay=True))
    with pytest.raises(RunError, match="learned from sound alone"):
        open_trained(made.runs / "sound").face_engines()
    with pytest.raises(RunError, match="learned from faces alone"):
        open_trained(made.runs / "picture").audio_engine()
    outcomes = list(predict_files(runs["sound"], [made.corpus / f"{SILENT}.mp4", made.corpus / "x0.wav"], tmp_path))
    assert [bool(outcome.error) for outcome in outcomes] == [True, False]


# --- what a run reads


def test_a_head_for_both_is_told_which_columns_are_whose(made):
    trained = open_trained(made.runs / "both")
    assert (trained.reads, trained.fingerprint != trained.sound_fingerprint == made.cnn) == ("features", True)
    found = predict_split(trained, split="dev", cache=made.cache)
    assert found.rows.clip_ids == VIDEOS["dev"]
    assert found.values.shape[1] == 2
    assert any("no cached sound" in note for note in found.split.notes)
    other, plan = plan_of_both(made, made.log_mel)
    clips = labelled_clips(plan, other, "features", "dev", "labels")
    assert tap_columns(clips, other) == {"dense": 300}
    assert sound_columns(clips, plan, other, ("log-mel",)).columns == {"audio:log-mel": BANDS}
    with pytest.raises(ConfigError, match="has no tap 'fc2'. Expected some of log-mel"):
        sound_columns(clips, plan, other, ("fc2",))


def test_sound_alone_has_windows_as_its_rows(made):
    trained = open_trained(made.runs / "sound")
    assert (trained.reads, trained.faces, trained.sound_fingerprint) == ("audio", None, made.log_mel)
    found = predict_split(trained, split="dev", cache=made.cache)
    assert found.rows.clip_ids == ("d0", "d1", "x0")
    windows = audio_of(made, made.log_mel, "x0")
    start, stop = found.rows.clip_starts[2:4]
    np.testing.assert_array_equal(found.rows.frame_index[start:stop], np.arange(len(windows["time_s"])))
    np.testing.assert_array_equal(found.rows.valid[start:stop], windows["valid"])
    assert not windows["valid"].all()  # the end cuts off the last windows
    heard = windows["valid"]
    np.testing.assert_array_equal(found.rows.features[start:stop][heard], windows["taps/log-mel"][heard])


# --- late fusion


@pytest.fixture(scope="module")
def alike(made, tmp_path_factory) -> tuple[Path, dict[str, Path]]:
    """A corpus in which every clip has picture and sound, and runs on each, selected by Pearson's r."""
    folder = tmp_path_factory.mktemp("alike")
    root = folder / "corpus"
    shutil.copytree(made.corpus, root)
    for name in (f"{SILENT}.mp4", "w0.wav", "x0.wav"):
        (root / name).unlink()
    for kind, audio in (("picture", ""), ("sound", made.log_mel)):
        config = replace(CONFIGS[kind], select="pearson", audio=audio)
        train_rnn(config, cache=made.cache, run=folder / kind, root=root)
    return root, {kind: folder / kind for kind in ("picture", "sound")}


def test_what_looks_and_what_listens_are_fused_where_clips_are_labelled(made, alike, tmp_path):
    root, runs = alike
    report = fuse_decisions([runs["sound"], runs["picture"]], run=tmp_path / "fused", cache=made.cache, root=root)
    assert report.metric == "pearson"
    best = [open_trained(runs[kind]).run.content["best"] for kind in ("sound", "picture")]
    expected = [[each[f"dev_pearson_{target}"] for target in ("valence", "arousal")] for each in best]
    np.testing.assert_allclose(report.dev_scores, expected, atol=1e-4)
    assert f"r {report.dev_scores[0, 0]:.3f}, share {report.weights[0, 0]:.3f}" in report.to_text()
    each = [predict_run(runs[kind], split="dev", cache=made.cache, root=root) for kind in ("sound", "picture")]
    found = predict_run(tmp_path / "fused", split="dev", cache=made.cache, root=root)
    assert found.clip_ids == ("d0", "d1")
    stored = [rows_of(evaluate(runs[kind], split="dev", cache=made.cache, root=root, num_bootstrap=0).predictions)
              for kind in ("sound", "picture")]  # fmt: skip
    assert all(len(split.rows) > 2 for split in each)
    expected = sum(values_of(rows) * share for rows, share in zip(stored, report.weights, strict=True))
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    predictor = load_predictor(tmp_path / "fused")
    (outcome,) = predict_files(predictor, [root / "d0.mp4"], tmp_path / "out")
    (row,) = rows_of(outcome.table)
    assert values_of([row])[0] == pytest.approx(found.values[0], abs=TOLERANCE)
    assert outcome.num_frames == NUM_FRAMES
    assert any("only the recording as a whole is predicted" in note for note in outcome.notes)
    assert {row["how"] for row in rows_of(tmp_path / "out" / "d0_frames.csv")} == {"none"}
    with pytest.raises(MediaError, match="is a sound file"):
        predictor.predict(made.corpus / "x0.wav")


def test_runs_that_cannot_be_fused_are_refused(made, alike, tmp_path):
    root, runs = alike
    with pytest.raises(ConfigError, match="learned from other clips"):
        fuse_decisions([made.runs / "picture", made.runs / "sound"], run=tmp_path / "fused", cache=made.cache)
    frames = []
    for kind, run in runs.items():
        frames.append(tmp_path / kind)
        shutil.copytree(run, frames[-1])
        content = json.loads((run / "run.json").read_text()) | {"of_clips": False}
        (frames[-1] / "run.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="one predicts frames and the other windows of sound"):
        fuse_decisions(frames, run=tmp_path / "fused", cache=made.cache, root=root)


# --- the command line


def test_the_whole_way_on_the_command_line(made, call, tmp_path):
    where = ("--dataset", "folder", "--cache", made.cache)
    few = ("--epochs", 1, "--batch", 4, "--target", "clip", "--window", 8, "--loss", "mse", "--json")
    done = call("train-rnn", *where, "--head", "multimodal", "--audio", made.cnn[:10], "--run", tmp_path / "both", *few)
    assert done.code == 0, done.err
    assert open_trained(tmp_path / "both").sound_fingerprint == made.cnn
    done = call("train-rnn", *where, "--audio", made.log_mel[:10], "--standardise", "--units", 4, "--run",
                tmp_path / "sound", *few)  # fmt: skip
    assert done.code == 0, done.err
    assert call("evaluate", tmp_path / "sound", "--cache", made.cache, "--json").json["unit"] == "clips"
    done = call("predict", tmp_path / "sound", made.corpus / "x0.wav", made.corpus / f"{SILENT}.mp4", "--out",
                tmp_path / "out", "--json")  # fmt: skip
    assert done.code == 1
    assert [bool(each["error"]) for each in done.json["recordings"]] == [False, True]
    assert len(rows_of(tmp_path / "out" / "x0.csv")) == 1
