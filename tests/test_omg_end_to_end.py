"""Heads over taps of utterances that are trained with their CNN: what is kept, moved, stopped, and said of a video."""

import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from csv_rows import numbers, rows_of
from scipy.ndimage import median_filter
from tap_head_runs import END_TO_END, STILL, WINDOW, same_weights, stop_after, weights_of
from utterance_corpus import HIGH, LOW, SIZES, SPEC, faces_of, make

from emopipe.faces.landmark_vector import landmark_vector
from emopipe.faces.normalisation import normalise
from emopipe.files import sha256_of_file
from emopipe.media.video import write_video
from emopipe.models.bundle import open_run
from emopipe.models.weights import load_network
from emopipe.stages import feature_rows
from emopipe.stages.fusion import evaluate
from emopipe.stages.predict import Predictor, predict_files
from emopipe.stages.train_rnn import train_rnn
from emopipe.stages.trained import open_trained

AGREEMENT = 1e-3  # of an exported network with keras


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """(folder, report) of a CNN and a head that were trained together."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train_rnn(END_TO_END, cache=made.cache, run=folder)


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


def test_a_stopped_cnn_goes_on_to_the_same_weights(made, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stop_after(patched, 2, before_the_state=True)
        with pytest.raises(KeyboardInterrupt):
            train_rnn(END_TO_END, cache=made.cache, run=tmp_path / "stopped")
    monkeypatch.setattr(feature_rows, "memory_limit", lambda: 1000)  # crops too are read when they are needed
    train_rnn(END_TO_END, cache=made.cache, run=tmp_path / "stopped")
    same_weights(whole[0], tmp_path / "stopped")
    kept = [next((folder / "weights").glob("*.keras")) for folder in (whole[0], tmp_path / "stopped")]
    for ours, theirs in zip(*map(weights_of, kept), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_a_cnn_goes_on_from_another_run(made, whole, tmp_path):
    config = replace(END_TO_END, init=str(whole[0]), **STILL)
    train_rnn(config, cache=made.cache, run=tmp_path / "second")
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
