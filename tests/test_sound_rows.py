"""Rows of sound in the tables of stage two: joined with the picture by time, labelled, and how far a face moves."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from csv_rows import rows_of
from sound_corpus import (
    CONFIGS,
    FEW,
    FRAME_RATE,
    NUM_FRAMES,
    SILENT,
    SOUNDS,
    TOLERANCE,
    VIDEOS,
    Made,
    audio_of,
    make,
    plan_of_both,
    values_of,
)

from emopipe.errors import ConfigError
from emopipe.faces.landmark_vector import landmark_vector
from emopipe.models.windows import WindowConfig
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.feature_rows import feature_rows
from emopipe.stages.fusion import evaluate
from emopipe.stages.labelled import labelled_clips
from emopipe.stages.motion import landmark_motion
from emopipe.stages.predict import Predictor, predict_files
from emopipe.stages.sound_rows import sound_columns, table_kind
from emopipe.stages.train_rnn import train_rnn
from emopipe.store.cache import Cache


@pytest.fixture(scope="module")
def made(tmp_path_factory, kept_weights) -> Made:
    return make(tmp_path_factory.mktemp("sound"), kept_weights)


# --- tables


@pytest.mark.parametrize("on_disk", [False, True])
def test_sound_stands_behind_the_picture_joined_by_time(made, monkeypatch, on_disk):
    if on_disk:
        monkeypatch.setattr("emopipe.stages.feature_rows.memory_limit", lambda: 1000)
    cache, plan = plan_of_both(made, made.cnn)
    for split, without in (("train", ()), ("dev", (SILENT,))):
        clips = labelled_clips(plan, cache, "features", split, "labels")
        assert [clip.clip.clip_id for clip in clips.clips] == list(VIDEOS[split])  # sounds alone have no such rows
        sound = sound_columns(clips, plan, cache)
        assert sound.columns == {"audio:pool": 5}
        rows = feature_rows(clips, cache, sound=sound)
        assert isinstance(rows.features, np.ndarray) != on_disk
        plain = feature_rows(clips, cache)
        seen = plain.features.shape[1]
        features = rows.features[...]
        np.testing.assert_array_equal(features[:, :seen], plain.features[...])
        np.testing.assert_array_equal(rows.valid, plain.valid)
        for number, clip_id in enumerate(rows.clip_ids):
            found = features[rows.clip_starts[number] : rows.clip_starts[number + 1], seen:]
            if clip_id in without:
                assert not found.any()
                continue
            windows = audio_of(made, made.cnn, clip_id)
            for frame, row in enumerate(found):
                distance = np.abs(windows["time_s"] - frame / FRAME_RATE)
                nearest = int(distance.argmin())
                inside = distance[nearest] <= 0.1 + 1e-6 and windows["valid"][nearest]
                np.testing.assert_array_equal(row, windows["taps/pool"][nearest] if inside else np.zeros(5))
        told = " ".join(sound.notes)
        assert (f"1 of 3 clips of split 'dev' have no cached sound, and zeros in its place (the first: '{SILENT}')"
                in told) == (split == "dev")  # fmt: skip
        assert ("frames of split 'train' lie where the sound of their clip has nothing" in told) == (split == "train")


def test_which_kind_of_features_a_fingerprint_is_of(made, tmp_path):
    cache = Cache(made.cache)
    seen = cache.records("features")[0].header.fingerprint
    assert table_kind(cache, "folder", "", prefers_sound=False) == "features"
    assert table_kind(cache, "folder", "", prefers_sound=True) == "audio"
    assert table_kind(cache, None, made.cnn[:9], prefers_sound=False) == "audio"
    assert table_kind(cache, None, seen[:9], prefers_sound=True) == "features"
    assert table_kind(Cache(tmp_path), None, "", prefers_sound=True) == "features"
    with pytest.raises(ConfigError, match="holds several sets of audio(?s:.*)the set with --audio"):
        train_rnn(CONFIGS["both"], cache=made.cache, run=tmp_path / "run")
    with pytest.raises(ConfigError, match='sampling "motion": expected rows that know how far the face moves'):
        train_rnn(CONFIGS["picture"], cache=made.cache, run=tmp_path / "run", features=made.log_mel)
    with pytest.raises(ConfigError, match="audio: is for heads on sound alone, or multimodal"):
        train_rnn(replace(FEW, audio=made.cnn), cache=made.cache, run=tmp_path / "run", features=seen)


def test_motion_is_how_far_aligned_landmarks_move_from_the_last_face(made):
    cache = Cache(made.cache)
    plan = cached_plan(cache, "features", "folder", None)
    clips = labelled_clips(plan, cache, "features", "dev", "labels")
    rows = feature_rows(clips, cache, motion=plan)
    assert feature_rows(clips, cache).motion is None
    (record,) = cache.records("faces")
    for number, clip_id in enumerate(rows.clip_ids):
        with cache.open(record) as shard:
            faces = shard.rows(clip_id)
        points = np.einsum("tpi,tji->tpj", faces["landmarks"], faces["transform"][:, :, :2].astype(np.float64))
        points += faces["transform"][:, None, :, 2]
        found, before = rows.motion[rows.clip_starts[number] : rows.clip_starts[number + 1]], None
        for row, is_valid in enumerate(faces["valid"]):
            if before is None or not is_valid:
                assert np.isnan(found[row])
            else:
                moved = np.hypot(*(points[row] - points[before]).T).mean()
                assert found[row] == pytest.approx(moved, abs=1e-3)
            before = row if is_valid else before
    assert np.nanmax(rows.motion) > 0.05


def test_motion_knows_gaps_and_clips():
    random = np.random.default_rng(0)
    landmarks, valid = random.uniform(0, 90, (6, 68, 2)), np.array([True, False, True, True, True, False])
    vectors = landmark_vector(landmarks, np.tile(np.eye(2, 3), (6, 1, 1)))
    vectors[~valid] = np.nan
    found = landmark_motion(vectors, valid, np.array([0, 4, 6]))
    expected = [np.nan, np.nan, 2, 3, np.nan, np.nan]
    for row, before in ((2, 0), (3, 2)):
        expected[row] = np.linalg.norm(landmarks[row] - landmarks[before], axis=1).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.isnan(landmark_motion(vectors[:0], valid[:0], np.array([0]))).all()


# --- labels of frames and of times


def write_labels(root: Path, made: Made, place: str) -> dict[str, np.ndarray]:
    """The media again, with a label every second frame, by number or by time; returns those of "d0" by frame."""
    shutil.copytree(made.corpus, root)
    truth = {}
    lines = [f"clip,split,{place},valence,arousal"]
    for split in VIDEOS:
        for index, name in enumerate((*VIDEOS[split], *SOUNDS[split])):
            for frame in range(0, NUM_FRAMES, 2):
                values = np.round([np.sin(0.3 * frame + index), np.cos(0.2 * frame - index)], 3)
                where = frame if place == "frame" else f"{frame / FRAME_RATE:.3f}"
                lines.append(f"{name},{split},{where},{values[0]},{values[1]}")
                truth.setdefault(name, {})[frame] = values
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return truth["d0"]


@pytest.mark.parametrize("place", ["frame", "time_s"])
def test_labels_meet_windows_of_sound_by_time(made, tmp_path, place):
    truth = write_labels(tmp_path / "corpus", made, place)
    cache = Cache(made.cache)
    plan = cached_plan(cache, "audio", "folder", tmp_path / "corpus", made.log_mel)
    split = labelled_clips(plan, cache, "audio", "dev", "labels")
    # nothing says when the frames of a sound without a picture are
    assert [clip.clip.clip_id for clip in split.clips] == ["d0", "d1", *(["x0"] * (place == "time_s"))]
    assert any("their labels are of frames" in note for note in split.notes) == (place == "frame")
    assert not split.of_clips
    clip = split.clips[0]
    windows = audio_of(made, made.log_mel, "d0")
    half = 1 / FRAME_RATE  # labels come every second frame
    for row, time_s in enumerate(windows["time_s"]):
        nearest = min(truth, key=lambda frame: abs(frame / FRAME_RATE - time_s))
        distance = abs(nearest / FRAME_RATE - time_s)
        if abs(distance - half) < 1e-5:
            continue  # either neighbour will do
        expected = truth[nearest] if distance < half else [np.nan, np.nan]
        np.testing.assert_allclose(clip.values[row], expected)
        assert clip.valid[row] == (distance < half and windows["valid"][row])
    assert clip.valid.sum() > 30


def test_sound_without_faces_cannot_meet_labels_of_frames(made, tmp_path):
    write_labels(tmp_path / "corpus", made, "frame")
    deaf = tmp_path / "cache"
    deaf.mkdir()
    for path in made.cache.glob("audio-*"):
        shutil.copy2(path, deaf / path.name)
    plan = cached_plan(Cache(deaf), "audio", "folder", tmp_path / "corpus", made.log_mel)
    with pytest.raises(ConfigError, match="labelled by frame.*nothing says when frames are.*\n.*--only faces"):
        labelled_clips(plan, Cache(deaf), "audio", "dev", "labels")


def test_every_window_of_a_sound_is_predicted_where_windows_are_labelled(made, tmp_path):
    write_labels(tmp_path / "corpus", made, "frame")
    config = replace(FEW, audio=made.log_mel, window=WindowConfig(5, gaps="hold"), epochs=1)
    train_rnn(config, cache=made.cache, run=tmp_path / "run", root=tmp_path / "corpus")
    done = evaluate(tmp_path / "run", split="dev", cache=made.cache, root=tmp_path / "corpus", num_bootstrap=0)
    assert (done.unit, done.num_scored > 50) == ("frames", True)
    stored = rows_of(done.predictions, "d1")
    (outcome,) = predict_files(Predictor(tmp_path / "run"), [made.corpus / "d1.mp4"], tmp_path / "out")
    found = rows_of(outcome.table)
    assert [row["how"] for row in found] == [row["how"] for row in stored]
    assert {"short", "window"} == {row["how"] for row in found}
    assert np.abs(values_of(found) - values_of(stored)).max() <= TOLERANCE
    assert values_of(found).std(axis=0).max() > 10 * TOLERANCE
