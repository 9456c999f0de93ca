"""`predict` on raw video against what `evaluate` says from the cache, and on videos that it has never seen."""

import json
import shutil
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from csv_rows import numbers, rows_of
from keras2_checkpoint import write_checkpoint
from PIL import Image as PillowImage

from emopipe.config import FacesConfig
from emopipe.datasets.phantom_layouts import PhantomSettings
from emopipe.errors import ConfigError, MediaError, RunError, WeightsError
from emopipe.media.video import probe, read_frames, write_video
from emopipe.models.tap_heads import TapHeadConfig
from emopipe.models.windows import WindowConfig
from emopipe.stages.cnn_config import TrainCnnConfig
from emopipe.stages.extract import extract
from emopipe.stages.fuse import fuse_decisions
from emopipe.stages.fusion import evaluate
from emopipe.stages.import_head import import_head
from emopipe.stages.phantom import make_phantom
from emopipe.stages.predict import Predictor, check_names, predict_files
from emopipe.stages.progress import Progress
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.spec import BackboneRequest, ExtractSpec
from emopipe.stages.train_cnn import train_cnn
from emopipe.stages.train_rnn import train_rnn

WINDOW = 12
TOLERANCE = 1e-3
DEV_CLIP = "video3_2"  # subject 1 of the phantom, see `AffWild2Layout.plan`
TEST_CLIP = "5-25-320x240"
HEAD = TrainRnnConfig(
    units=(8,), window=WindowConfig(WINDOW, target="next"), epochs=12, patience=None, batch_size=32, learning_rate=0.05
)
TAPS = TrainRnnConfig(
    tap_head=TapHeadConfig(("dense", "fc"), "one", fc_units=8, units=(6,)),
    window=WindowConfig(WINDOW, gaps="hold", target="every"),
    epochs=4,
    patience=None,
    batch_size=8,
    optimiser="adam",
)


@dataclass(frozen=True)
class Made:
    """A phantom corpus, its cache, and runs on it."""

    corpus: Path
    cache: Path
    head: Path
    cnn: Path
    taps: Path

    @property
    def dev_video(self) -> Path:
        return next(self.corpus.rglob(f"{DEV_CLIP}.mp4"))


@pytest.fixture(scope="module")
def made(tmp_path_factory, kept_weights) -> Made:
    folder = tmp_path_factory.mktemp("predict")
    found = Made(folder / "corpus", folder / "cache", folder / "head", folder / "cnn", folder / "taps")
    make_phantom(found.corpus, PhantomSettings("affwild2", 4, 2.0, seed=3), num_workers=1)
    shutil.copytree(kept_weights, found.cache / "weights")
    backbone = BackboneRequest("khorrami", "none")
    report = extract(ExtractSpec("phantom", found.corpus, found.cache, FacesConfig(), backbone))
    assert report.is_complete
    train_rnn(HEAD, cache=found.cache, run=found.head)
    train_rnn(TAPS, cache=found.cache, run=found.taps)
    config = TrainCnnConfig(epochs=1, steps_per_epoch=1, batch_size=16)
    train_cnn(config, dataset="phantom", root=found.corpus, cache=found.cache, run=found.cnn, num_readers=0)
    return found


@pytest.fixture(scope="module")
def predictor(made) -> Predictor:
    return Predictor(made.head)


def frames_of(video: Path) -> list[np.ndarray]:
    return [frame.image for frame in read_frames(video)]


@pytest.mark.parametrize("kind", ["head", "cnn", "taps"])
@pytest.mark.parametrize(("clip", "side", "split"), [(DEV_CLIP, "", "dev"), ("video1_right", "right", "train")])
def test_predict_says_what_evaluate_said_without_cache_and_corpus(made, tmp_path, kind, clip, side, split):
    run = getattr(made, kind)
    stored = rows_of(evaluate(run, split=split, cache=made.cache, num_bootstrap=0).predictions, clip)
    moved, video = tmp_path / "elsewhere", tmp_path / f"{clip}.mp4"
    shutil.copytree(run, moved)
    shutil.copy(next(made.corpus.rglob(f"{clip.partition('_right')[0]}.mp4")), video)
    hidden = made.corpus.parent / "hidden"
    hidden.mkdir()
    try:
        for folder in (made.corpus, made.cache, run):
            folder.rename(hidden / folder.name)
        (outcome,) = predict_files(Predictor(moved), [video], tmp_path / "out", side=side)
    finally:
        for folder in hidden.iterdir():
            folder.rename(made.corpus.parent / folder.name)
        hidden.rmdir()
    found = rows_of(outcome.table)
    assert [row["how"] for row in found] == [row["how"] for row in stored]
    assert {row["how"] for row in found} - {"none"} == ({"frame"} if kind == "cnn" else {"short", "window"})
    one, other = (numbers(rows, "valence", "arousal") for rows in (found, stored))
    assert np.array_equal(np.isnan(one), np.isnan(other))
    assert np.nanmax(np.abs(one - other)) <= TOLERANCE
    assert np.nanstd(one) > 10 * TOLERANCE or kind == "cnn"  # else anything would agree


def test_one_row_per_frame_with_times_of_the_video(made, predictor, tmp_path):
    (outcome,) = predict_files(predictor, [made.dev_video], tmp_path)
    with outcome.table.open() as file:
        assert file.readline().strip() == "frame,time_s,valid,valence,arousal,how"
    rows = rows_of(outcome.table)
    assert [int(row["frame"]) for row in rows] == list(range(50))
    assert numbers(rows, "time_s")[:, 0] == pytest.approx(np.arange(50) / 25, abs=1e-4)
    assert (outcome.num_frames, outcome.num_valid) == (50, sum(int(row["valid"]) for row in rows))
    for row in rows:
        assert (row["how"] == "none") == (row["valid"] == "0") == (row["valence"] == "")


def test_a_clip_shorter_than_the_window_is_predicted_whole(made, predictor, tmp_path):
    write_video(tmp_path / "short.mp4", frames_of(made.dev_video)[:5], Fraction(25))
    whole = predictor.predict(made.dev_video)
    short = predictor.predict(tmp_path / "short.mp4")
    assert len(short) == 5
    assert set(short.how) == {2}
    # The window of frame t holds nothing later, so cutting the rest off changes little (the codec sees other frames).
    assert np.abs(short.values - whole.values[:5]).max() < 0.2


def test_a_video_without_a_face_has_rows_that_are_not_valid(predictor, tmp_path):
    grey = np.full((120, 160, 3), 128, np.uint8)
    write_video(tmp_path / "grey.mp4", [grey] * 10, Fraction(25))
    (outcome,) = predict_files(predictor, [tmp_path / "grey.mp4"], tmp_path / "out")
    assert not outcome.error
    assert "no face" in outcome.notes[0]
    rows = rows_of(outcome.table)
    assert len(rows) == 10
    assert {(row["valid"], row["valence"], row["arousal"], row["how"]) for row in rows} == {("0", "", "", "none")}


def test_mirrored_frozen_and_black_videos(made, predictor, tmp_path):
    frames = frames_of(made.dev_video)
    manners = {
        "mirrored": [frame[:, ::-1].copy() for frame in frames],
        "frozen": [frames[30]] * 50,
        "black": frames[:25] + [np.zeros_like(frames[0])] * 25,
    }
    found = {}
    for name, pictures in manners.items():
        write_video(tmp_path / f"{name}.mp4", pictures, Fraction(25), crf=1)
        found[name] = predictor.predict(tmp_path / f"{name}.mp4")
    original = predictor.predict(made.dev_video)
    both = original.valid & found["mirrored"].valid
    assert both.sum() > 30
    assert np.abs(original.values[both] - found["mirrored"].values[both]).max() > 10 * TOLERANCE
    frozen = found["frozen"]
    assert frozen.valid.all()
    # Once the window is full of one picture nothing moves any more; the codec's first frames differ a little.
    moved = np.ptp(original.values[original.valid], axis=0)
    assert (np.ptp(frozen.values[2 * WINDOW :], axis=0) < 0.1 * moved).all()
    assert not found["black"].valid[25:].any()
    assert np.isnan(found["black"].values[25:]).all()


def test_linear_fill_draws_lines_between_full_windows(made, predictor, tmp_path):
    short, linear = (predictor.predict(made.dev_video, fill=fill) for fill in ("short", "linear"))
    full = short.how == 1
    assert np.array_equal(linear.values[full], short.values[full])
    assert set(linear.how[~full]) == {4}
    first = int(np.argmax(full))
    assert np.array_equal(linear.values[:first], np.repeat(linear.values[first : first + 1], first, axis=0))
    assert np.isfinite(linear.values).all()
    write_video(tmp_path / "short.mp4", frames_of(made.dev_video)[: WINDOW - 2], Fraction(25))
    assert np.isnan(predictor.predict(tmp_path / "short.mp4", fill="linear").values).all()


def test_the_overlay_is_the_video_with_something_drawn_in(made, predictor, tmp_path):
    shown = []

    class Watching(Progress):
        def drawn(self, done, of):
            shown.append((done, of))

    (outcome,) = predict_files(predictor, [made.dev_video], tmp_path, overlay=True, progress=Watching())
    assert probe(outcome.overlay).num_frames == 50
    assert shown == [(done, 50) for done in range(1, 51)]
    before, after = frames_of(made.dev_video)[20], frames_of(outcome.overlay)[20]
    changed = (np.abs(before.astype(int) - after.astype(int)).max(axis=2) > 60).mean()
    assert 0.005 < changed < 0.4


def test_the_options_of_the_commands_arrive(made, call, tmp_path):
    pair = next(made.corpus.rglob("video1.mp4"))
    sides = {}
    for side in ("left", "right"):
        folder = tmp_path / side
        done = call("predict", made.head, pair, "--out", folder, "--side", side, "--fill", "linear", "--overlay")
        assert done.code == 0
        sides[side] = rows_of(folder / "video1.csv")
        assert probe(folder / "video1_overlay.mp4").num_frames == len(sides[side])
        assert {row["how"] for row in sides[side]} == {"window", "interpolated"}
    alone = tmp_path / "alone.mp4"
    write_video(alone, [frame[:, : frame.shape[1] // 2] for frame in frames_of(pair)[:10]], Fraction(25))
    wide = [np.hstack([frame, np.zeros_like(frame)]) for frame in frames_of(alone)]
    write_video(alone, wide, Fraction(25))
    nobody = call("predict", made.head, alone, "--out", tmp_path / "nobody", "--side", "right")
    assert "no face in the right half of any frame: nothing is predicted. Without --side" in nobody.out
    PillowImage.fromarray(frames_of(alone)[0]).save(tmp_path / "still.png")
    still = call("predict", made.head, tmp_path / "still.png", "--out", tmp_path / "still", "--overlay")
    assert (still.code, "no overlay: it is no video." in still.out) == (0, True)
    left, right = (numbers(rows, "valence", "arousal") for rows in sides.values())
    assert np.abs(left - right).max() > 10 * TOLERANCE
    run = tmp_path / "run"
    shutil.copytree(made.head, run)
    assert call("evaluate", run, "--cache", made.cache, "--split", "train", "--fill", "linear").code == 0
    stored = rows_of(run / "predictions" / "train.csv", "video1_right")
    assert [row["how"] for row in stored] == [row["how"] for row in sides["right"]]
    assert np.abs(numbers(stored, "valence", "arousal") - right).max() <= TOLERANCE


def test_one_bad_video_does_not_stop_the_others(made, call, tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    done = call("predict", made.head, tmp_path / "notes.mp4", tmp_path / "gone.mp4", made.dev_video,
                "--out", tmp_path / "out", "--json")  # fmt: skip
    assert done.code == 1
    bad, gone, good = done.json["recordings"]
    assert "notes.mp4" in bad["error"]
    assert "there is no such file" in gone["error"]
    assert (good["frames"], good["error"]) == (50, "")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{DEV_CLIP}.csv"]


def test_an_overlay_beside_its_video_leaves_the_video_alone(made, predictor, tmp_path):
    video = Path(shutil.copy(made.dev_video, tmp_path))
    before = video.read_bytes()
    (outcome,) = predict_files(predictor, [video], tmp_path, overlay=True)
    assert outcome.overlay.is_file()
    assert video.read_bytes() == before
    with pytest.raises(ConfigError, match="would replace"):
        list(predict_files(predictor, [video, outcome.overlay], tmp_path, overlay=True))


def test_two_videos_of_one_name_are_refused_before_anything_is_loaded(made, call, tmp_path):
    done = call("predict", made.head, "a/x.mp4", "b/x.avi", "--out", tmp_path / "out")
    assert done.code == 1
    assert "would both become x.csv" in done.err


def test_tables_of_clips_and_of_frames_never_share_a_name():
    media = [Path("a.mp4"), Path("a_frames.mp4")]
    check_names(media, Path("out"))
    with pytest.raises(ConfigError, match=r"would both become a_frames\.csv"):
        check_names(media, Path("out"), of_clips=True)


def test_runs_that_cannot_predict_are_refused(made, tmp_path):
    def copy(name: str, **changes) -> Path:
        shutil.copytree(made.head, tmp_path / name)
        path = tmp_path / name / "run.json"
        content = json.loads(path.read_text())
        content.update(changes)
        path.write_text(json.dumps(content))
        return tmp_path / name

    with pytest.raises(RunError, match="training is not over"):
        Predictor(copy("unfinished", finished=None))
    with pytest.raises(RunError, match="Update emopipe"):
        Predictor(copy("newer", **{"encoding-version": 99}))
    bare = copy("bare")
    shutil.rmtree(bare / "weights")
    with pytest.raises(WeightsError, match="lacks the network"):
        Predictor(bare)
    settings = json.loads((made.head / "run.json").read_text())["settings"]
    settings["features"]["faces"]["detector"] = "retinaface 0.0 sha256:0"
    with pytest.raises(WeightsError, match="Install that version"):
        Predictor(copy("other", settings=settings))
    truncated = copy("truncated")
    network = truncated / "network.keras"
    content = network.read_bytes()
    network.unlink()  # a hard link to the original
    network.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="keras cannot load it"):
        Predictor(truncated)


def test_a_run_on_official_crops_takes_folders_of_crops(made, predictor, call, tmp_path):
    with pytest.raises(MediaError, match="expected a video"):
        predictor.predict(tmp_path)
    faces, cache, run = FacesConfig(alignment="given"), tmp_path / "cache", tmp_path / "run"
    shutil.copytree(made.cache / "weights", cache / "weights")
    spec = ExtractSpec("phantom", made.corpus, cache, faces, BackboneRequest("khorrami", "none"))
    assert extract(spec).is_complete
    train_rnn(replace(HEAD, epochs=2), cache=cache, run=run)
    stored = rows_of(evaluate(run, split="dev", cache=cache, num_bootstrap=0).predictions, DEV_CLIP)
    crops = made.corpus / "cropped_aligned" / DEV_CLIP
    refused = call("predict", run, crops, "--out", tmp_path / "none")
    assert (refused.code, "state the rate with --fps" in refused.out) == (1, True)
    assert call("predict", run, crops, "--fps", 25, "--out", tmp_path / "out").code == 0
    found = rows_of(tmp_path / "out" / f"{DEV_CLIP}.csv")
    seen = [number for number, row in enumerate(found) if row["valid"] == "1"]
    assert len(seen) > 30
    assert numbers(found, "time_s")[:, 0] == pytest.approx(np.arange(len(found)) / 25, abs=1e-4)
    one, other = (numbers(rows, "valence", "arousal")[seen] for rows in (found, stored))
    assert np.abs(one - other).max() <= TOLERANCE
    wrong = call("predict", made.head, made.dev_video, "--fps", 25, "--out", tmp_path / "video")
    assert (wrong.code, "has times of its own" in wrong.out) == (1, True)


def test_submission_files_of_a_split_without_labels(made, call, tmp_path):
    arguments = ("evaluate", made.head, "--split", "test", "--cache", made.cache)
    done = call(*arguments, "--submission", tmp_path / "folder", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["scores"] == []
    assert "nothing is scored" in done.json["notes"][0]
    lines = (tmp_path / "folder" / f"{TEST_CLIP}.txt").read_text().splitlines()
    assert lines[0] == "valence,arousal"
    assert len(lines) == 51
    values = np.array([line.split(",") for line in lines[1:]], float)
    stored = rows_of(made.head / "predictions" / "test.csv", TEST_CLIP)
    predicted = numbers(stored, "valence", "arousal")
    known = np.isfinite(predicted[:, 0])
    assert np.allclose(values[known], np.clip(predicted[known], -1, 1), atol=1e-6)
    sample = tmp_path / "sample.txt"
    sample.write_text(f"image_location,valence,arousal\n{TEST_CLIP}/00050.jpg,\n{TEST_CLIP}/00002.jpg,\n")
    done = call(*arguments, "--submission", tmp_path / "one.txt", "--sample", sample)
    assert done.code == 0
    assert (tmp_path / "one.txt").read_text().splitlines() == [
        "image_location,valence,arousal",
        f"{TEST_CLIP}/00050.jpg,{lines[50]}",
        f"{TEST_CLIP}/00002.jpg,{lines[2]}",
    ]
    sample.write_text("image_location,valence,arousal\nother/00001.jpg,\n")
    done = call(*arguments, "--submission", tmp_path / "two.txt", "--sample", sample)
    assert done.code == 1
    assert "asks for clip 'other'" in done.err


def test_a_published_checkpoint_becomes_a_run(made, tmp_path):
    from emopipe.models.keras2 import load_keras2_head

    checkpoint = tmp_path / "gru.hdf5"
    write_checkpoint(checkpoint)
    run = import_head(checkpoint, tmp_path / "run", cache=made.cache)
    assert run.content["num_parameters"] == 204_102
    again = import_head(checkpoint, tmp_path / "again", cache=made.cache)
    fused = fuse_decisions([run.folder, again.folder], run=tmp_path / "fused", cache=made.cache)
    assert np.asarray(fused.weights).shape == (2, 2)
    found = evaluate(run.folder, split="dev", cache=made.cache, num_bootstrap=0)
    values = numbers(rows_of(found.predictions, DEV_CLIP), "valence", "arousal")
    again = Predictor(run.folder).predict(made.dev_video).values
    assert np.nanmax(np.abs(values - again)) <= TOLERANCE
    # A window of zeros, as the checkpoint's own network sees it, written out there in numpy.
    zeros = np.zeros((1, 100, 300), np.float32)
    from emopipe.models.weights import load_network

    one, other = (net.predict_on_batch({"features": zeros, "mask": None}) for net in
                  (load_network(run.network), load_keras2_head(checkpoint)))  # fmt: skip
    assert np.array_equal(one, other)


def test_a_checkpoint_for_other_features_is_refused(made, tmp_path):
    write_checkpoint(tmp_path / "gru.hdf5", units=(4,), num_features=20)
    with pytest.raises(WeightsError, match="takes 20 features per frame. Received: 300"):
        import_head(tmp_path / "gru.hdf5", tmp_path / "run", cache=made.cache)
    write_checkpoint(tmp_path / "three.hdf5", units=(4,), num_outputs=3)
    with pytest.raises(ConfigError, match="has 3 outputs"):
        import_head(tmp_path / "three.hdf5", tmp_path / "run", cache=made.cache)
