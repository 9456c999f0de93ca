"""Stage two with sound: heads on sound alone, on picture and sound, late fusion, and predictions of new recordings."""

import json
import shutil
import wave
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from csv_rows import rows_of
from extraction import face_frames

from emopipe.config import FacesConfig
from emopipe.errors import ConfigError, MediaError, RunError, WeightsError
from emopipe.faces.landmark_vector import landmark_vector
from emopipe.faces.normalisation import InputSpec
from emopipe.media.video import write_video
from emopipe.models.keras_files import write_metadata
from emopipe.models.multimodal import MultimodalHeadConfig
from emopipe.models.spectrogram_cnn import AudioRequest, spectrogram_for
from emopipe.models.windows import WindowConfig
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.evaluate import predict_split
from emopipe.stages.extract import extract
from emopipe.stages.feature_rows import feature_rows, tap_columns
from emopipe.stages.fuse import fuse_decisions
from emopipe.stages.fusion import evaluate, predict_run
from emopipe.stages.labelled import labelled_clips
from emopipe.stages.motion import landmark_motion
from emopipe.stages.predict import Predictor, load_predictor, predict_files
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.sound_rows import joined_plan, sound_columns, table_kind
from emopipe.stages.spec import BackboneRequest, ExtractSpec
from emopipe.stages.train_rnn import train_rnn
from emopipe.stages.trained import open_trained
from emopipe.store.cache import Cache

RATE_HZ, FRAME_RATE, NUM_FRAMES = 16_000, 25, 24
TOLERANCE = 1e-3  # of a recording that is decoded again with the cache
VIDEOS = {"train": ("t0", "t1", "t2", "t3"), "dev": ("d0", "d1", "d2")}
SOUNDS = {"train": ("w0",), "dev": ("x0",)}  # without a picture
SILENT, SHORT = "d2", "t3"  # no track, and one that ends at half
BANDS, PICTURE = 20, InputSpec(32, 3, "0..1")
WHOLE = WindowConfig(12, target="clip", sampling="uniform")
FEW = TrainRnnConfig(
    window=WHOLE, units=(6,), standardise=True, epochs=3, patience=None, batch_size=4, learning_rate=0.05,
    optimiser="adam", loss="mse",
)  # fmt: skip
CONFIGS = {
    "sound": FEW,
    "both": replace(FEW, multimodal=MultimodalHeadConfig(units=(6,), fusion_units=5, dropout=0.0)),
    "picture": replace(FEW, window=replace(WHOLE, sampling="motion"), standardise=False),  # of one face
}


@dataclass(frozen=True)
class Made:
    """A corpus of videos with sound and of sounds alone, its cache, and a run of each kind.

    `log_mel` and `cnn` are fingerprints of the two sets of sound.
    """

    corpus: Path
    cache: Path
    runs: Path
    log_mel: str
    cnn: str


def tone(number: int, seconds: float) -> np.ndarray:
    at = np.arange(round(RATE_HZ * seconds)) / RATE_HZ
    return (0.1 + 0.08 * number) * np.sin(2 * np.pi * (300 + 250 * number) * at) * (1 + 0.5 * np.sin(9 * at)) / 1.5


def write_wav(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((32767 * samples).astype("<i2").tobytes())


def pictures_of(number: int) -> list[np.ndarray]:
    light = 0.5 + 0.07 * number
    return [(light * frame).astype(np.uint8) for frame in face_frames(NUM_FRAMES, 3 * number)]


def write_corpus(root: Path) -> None:
    root.mkdir()
    lines, number = ["clip,split,subject,valence,arousal"], 0
    length_s = NUM_FRAMES / FRAME_RATE
    for split in VIDEOS:
        for name in (*VIDEOS[split], *SOUNDS[split]):
            lines.append(f"{name},{split},{name},{0.1 * number - 0.4:.2f},{0.9 - 0.2 * number:.2f}")
            sound = tone(number, length_s / 2 if name == SHORT else length_s)
            if name in SOUNDS[split]:
                write_wav(root / f"{name}.wav", sound)
            else:
                audio = None if name == SILENT else sound
                write_video(root / f"{name}.mp4", pictures_of(number), Fraction(FRAME_RATE), audio, RATE_HZ)
            number += 1
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


def write_cnn(path: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    image = keras.Input(PICTURE.shape, name="image")
    x = layers.Conv2D(5, 5, strides=2, activation="relu", name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    keras.Model(image, layers.Dense(4, name="output")(x)).save(path)
    write_metadata(path, PICTURE, ("pool",))


@pytest.fixture(scope="module")
def made(tmp_path_factory, kept_weights) -> Made:
    folder = tmp_path_factory.mktemp("sound")
    corpus, cache, runs, cnn = (folder / name for name in ("corpus", "cache", "runs", "small.keras"))
    write_corpus(corpus)
    write_cnn(cnn)
    shutil.copytree(kept_weights, cache / "weights")
    rows = spectrogram_for("log-mel", num_bands=BANDS)
    shown = spectrogram_for(str(cnn), window_s=0.2, hop_s=0.1, size_px=48)
    spec = ExtractSpec("folder", corpus, cache, FacesConfig(), BackboneRequest("khorrami", "none"))
    first = extract(replace(spec, audio=AudioRequest(spectrogram=rows)))
    second = extract(replace(spec, only="audio", audio=AudioRequest(str(cnn), spectrogram=shown)))
    assert first.failed == second.failed == {SILENT}
    sets = {record.header.what: record.header.fingerprint for record in Cache(cache).records("audio")}
    log_mel = sets.pop("log-mel")
    (of_cnn,) = sets.values()
    made = Made(corpus, cache, runs, log_mel, of_cnn)
    for name, config in CONFIGS.items():
        audio = {"sound": log_mel, "both": of_cnn, "picture": ""}[name]
        train_rnn(replace(config, audio=audio[:12]), cache=cache, run=runs / name)
    return made


def numbers(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(row[name] or "nan") for name in ("valence", "arousal")] for row in rows])


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
    assert np.abs(numbers([found]) - numbers(stored)).max() <= TOLERANCE
    everyone = numbers(rows_of(done.predictions))
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


# --- tables


def plan_of_both(made: Made, fingerprint: str, root: Path | None = None):
    cache = Cache(made.cache)
    plan = cached_plan(cache, "features", "folder", root)
    return cache, joined_plan(plan, cached_plan(cache, "audio", "folder", root, fingerprint))


def audio_of(made: Made, fingerprint: str, clip_id: str) -> dict[str, np.ndarray]:
    cache = Cache(made.cache)
    for record in cache.records("audio", fingerprint):
        if clip_id in [entry.clip_id for entry in record.entries]:
            with cache.open(record) as shard:
                return dict(shard.rows(clip_id))
    raise KeyError(clip_id)


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
    assert np.abs(numbers(found) - numbers(stored)).max() <= TOLERANCE
    assert numbers(found).std(axis=0).max() > 10 * TOLERANCE


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
    expected = sum(numbers(rows) * share for rows, share in zip(stored, report.weights, strict=True))
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    predictor = load_predictor(tmp_path / "fused")
    (outcome,) = predict_files(predictor, [root / "d0.mp4"], tmp_path / "out")
    (row,) = rows_of(outcome.table)
    assert numbers([row])[0] == pytest.approx(found.values[0], abs=TOLERANCE)
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
