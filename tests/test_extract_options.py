"""Every option of `emopipe extract` changes something."""

import json
import shutil

import numpy as np
import pytest
from extraction import FACES, KHORRAMI, NUM_FRAMES, TWO_TAPS, counts, files_of, stored, where
from PIL import Image

from emopipe.store.cache import Cache


def test_option_limit_and_split(make_corpus, tmp_path, extract, call):
    root = make_corpus("ann", "ben", "cid")
    (root / "labels.csv").write_text("clip,split\nann,train\nben,dev\ncid,train\n")
    extract(root, tmp_path / "a", *FACES, "--split", "train")
    assert stored(tmp_path / "a").keys() == {"ann", "cid"}
    extract(root, tmp_path / "b", *FACES, "--split", "train", "--split", "dev", "--limit", 2)
    assert stored(tmp_path / "b").keys() == {"ann", "ben"}
    outcome = call("extract", *where(root, tmp_path / "c"), *FACES, "--split", "test")
    assert outcome.code == 1
    assert "no clip is in split 'test'. Received: dev (1), train (2)" in outcome.err


def test_option_only(make_corpus, make_cache, extract):
    root, cache = make_corpus("ann"), make_cache()
    extract(root, cache, *FACES)
    assert not Cache(cache).records("features")
    extract(root, cache, *KHORRAMI, "--only", "features")
    assert len(Cache(cache).records("features")) == 1


def test_option_detector(make_corpus, tmp_path, extract, call):
    root = make_corpus("ann")
    extract(root, tmp_path / "a", *FACES)
    extract(root, tmp_path / "b", *FACES, "--detector", "haar")
    names = [Cache(tmp_path / name).records()[0].header.what for name in "ab"]
    assert names == ["retinaface-procrustes5", "haar-procrustes5"]
    boxes = [stored(tmp_path / name)["ann"]["box"] for name in "ab"]
    assert not np.allclose(*boxes, equal_nan=True)
    outcome = call("extract", *where(root, tmp_path / "c"), *FACES, "--detector", "retinafce")
    assert outcome.code == 2
    assert "Did you mean 'retinaface'" in outcome.err


def test_option_detector_weights(make_corpus, tmp_path, call):
    (tmp_path / "weights.onnx").write_bytes(b"not a network")
    for detector in ("retinaface", "yunet"):  # one takes none, the other checks the digest
        options = (*FACES, "--detector", detector, "--detector-weights", tmp_path / "weights.onnx")
        outcome = call("extract", *where(make_corpus("ann"), tmp_path / "cache"), *options)
        assert outcome.code == 1, detector
        assert "weights" in outcome.err
        assert len(outcome.err.strip().splitlines()) <= 3
        assert not list((tmp_path / "cache").glob("*.h5"))


def test_option_detect_every(make_corpus, tmp_path, extract):
    extract(make_corpus("ann"), tmp_path / "cache", *FACES, "--detect-every", 5)
    rows = stored(tmp_path / "cache")["ann"]
    detected = np.isfinite(rows["score"])
    assert rows["valid"].all()
    assert detected[::5].all()
    assert not detected.all(), "the frames between are followed and have no score"


def test_option_working_size(make_corpus, tmp_path, extract):
    root = make_corpus("ann")
    extract(root, tmp_path / "a", *FACES)
    extract(root, tmp_path / "b", *FACES, "--working-size", 80)
    faces = Cache(tmp_path / "b").records()[0].header.config["faces"]
    assert (faces["working_size_px"], faces["retry_size_px"]) == (80, 160)
    boxes = [stored(tmp_path / name)["ann"]["box"] for name in "ab"]
    assert not np.array_equal(*boxes)
    np.testing.assert_allclose(*boxes, atol=12)


def test_option_alignment(make_corpus, tmp_path, extract):
    root = make_corpus("ann")
    extract(root, tmp_path / "a", *FACES)
    extract(root, tmp_path / "b", *FACES, "--alignment", "box")
    turned, upright = (stored(tmp_path / name)["ann"]["transform"] for name in "ab")
    assert (turned[:, 0, 1] != 0).any()
    assert (upright[:, 0, 1] == 0).all()


@pytest.fixture
def official_crops(tmp_path):
    """An Aff-Wild2 tree of official 112-pixel crops only: three pictures of five frames, one annotated clip."""
    root = tmp_path / "affwild2"
    crops = root / "cropped_aligned" / "12"
    crops.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in (1, 2, 4):
        picture = generator.integers(0, 256, (112, 112, 3), np.uint8)
        Image.fromarray(picture).save(crops / f"{number:05d}.jpg", quality=95)
    labels = root / "annotations" / "VA_Set" / "Train_Set"
    labels.mkdir(parents=True)
    (labels.parent / "Validation_Set").mkdir()
    (labels / "12.txt").write_text("valence,arousal\n" + "0.1,0.2\n" * 5)
    return root


def test_option_alignment_given_and_fps(official_crops, tmp_path, extract):
    import cv2

    report = extract(official_crops, tmp_path / "a", *FACES, dataset="affwild2", code=1)
    assert "--fps" in report["failures"][0]["message"]
    report = extract(official_crops, tmp_path / "b", *FACES, "--fps", 30, "--alignment", "given", dataset="affwild2")
    assert (report["frames"], report["valid"]) == (5, 3)
    rows = stored(tmp_path / "b")["12"]
    np.testing.assert_allclose(rows["time_s"], np.arange(5) / 30)
    assert rows["valid"].tolist() == [True, True, False, True, False]
    for index in (0, 1, 3):
        with Image.open(official_crops / "cropped_aligned" / "12" / f"{index + 1:05d}.jpg") as picture:
            expected = cv2.resize(np.asarray(picture.convert("RGB")), (96, 96), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(rows["crop"][index], expected)
    extract(official_crops, tmp_path / "c", *FACES, "--fps", 25, dataset="affwild2")
    np.testing.assert_allclose(stored(tmp_path / "c")["12"]["time_s"], np.arange(5) / 25)


def test_options_of_the_backbone(make_corpus, make_cache, extract, call):
    root = make_corpus("ann")
    default, two, other_range = make_cache("default"), make_cache("two"), make_cache("range")
    extract(root, default, *KHORRAMI)
    taps = [word for tap in TWO_TAPS for word in ("--tap", tap)]
    extract(root, two, *KHORRAMI, *taps)
    extract(root, other_range, *KHORRAMI, "--input-range", "0..255")
    rows = {cache.name: stored(cache, "features")["ann"] for cache in (default, two, other_range)}
    assert {name for name in rows["default"] if name.startswith("taps/")} == {"taps/dense"}
    assert {name for name in rows["two"] if name.startswith("taps/")} == {f"taps/{tap}" for tap in TWO_TAPS}
    np.testing.assert_allclose(rows["two"]["taps/dense:flat"], rows["default"]["taps/dense"], rtol=1e-2, atol=1e-2)
    assert np.abs(rows["range"]["taps/dense"]).max() > 20 * np.abs(rows["default"]["taps/dense"]).max()
    refused = {
        ("--input-size", 64): (1, "takes 96 pixels"),
        ("--tap", "pool2:grid0"): (1, "pool2:grid0"),
        ("--backbone", "khorami"): (2, "Did you mean 'khorrami'"),
        ("--weights", root / "ann.mp4"): (1, "expected a file named .keras, .h5"),
    }
    for options, (code, words) in refused.items():
        outcome = call("extract", *where(root, default), *KHORRAMI, *options)
        assert outcome.code == code, options
        assert words in outcome.err


def test_option_workers(make_corpus, make_cache, program, extract):
    root, one, two = make_corpus("ann", "ben", "cid", "dot"), make_cache("one"), make_cache("two")
    extract(root, one, *KHORRAMI, "--workers", 1)
    outcome = program("extract", *where(root, two), *KHORRAMI, "--workers", 2, "--json")
    assert outcome.code == 0, outcome.err
    assert counts(outcome.json) == (4, 0, 0)
    assert (outcome.json["frames"], outcome.json["valid"]) == (4 * NUM_FRAMES, 4 * NUM_FRAMES)
    assert {"decode", "detect", "align", "features", "write"} <= outcome.json["steps"].keys()
    assert len(list((two / "ledger").glob("*.jsonl"))) >= 2, "faces were made in other processes"
    keys = [{entry.key for record in Cache(cache).records() for entry in record.entries} for cache in (one, two)]
    assert keys[0] == keys[1]
    for kind in ("faces", "features"):
        ours, theirs = stored(two, kind), stored(one, kind)
        assert ours.keys() == theirs.keys()
        for clip_id, arrays in theirs.items():
            for name, array in arrays.items():
                if array.dtype.kind == "f":
                    np.testing.assert_allclose(ours[clip_id][name], array, rtol=1e-3, atol=1e-3, err_msg=name)
                else:
                    np.testing.assert_array_equal(ours[clip_id][name], array, err_msg=name)


def test_a_failing_clip_is_tried_once_however_many_workers_there_are(make_corpus, tmp_path, program):
    root, cache = make_corpus("ann", "ben"), tmp_path / "cache"
    for name in ("bad1", "bad2", "bad3"):
        (root / f"{name}.mp4").write_bytes(b"")
    outcome = program("extract", *where(root, cache), *FACES, "--workers", 2, "--json")
    assert outcome.code == 1
    assert counts(outcome.json) == (2, 0, 3)
    assert outcome.json["frames"] == 2 * NUM_FRAMES, "every worker's report counts"
    assert sorted(failure["clip"] for failure in outcome.json["failures"]) == ["bad1", "bad2", "bad3"]
    lines = [json.loads(line) for path in (cache / "ledger").glob("*.jsonl") for line in path.read_text().splitlines()]
    failed = [line["clip_id"] for line in lines if line["status"] == "failed"]
    assert sorted(failed) == ["bad1", "bad2", "bad3"]


def test_option_device(make_corpus, tmp_path, call, extract):
    root = make_corpus("ann")
    report = extract(root, tmp_path / "a", *FACES, "--device", "cpu")
    assert {step["device"] for step in report["steps"].values()} == {"cpu"}
    outcome = call("extract", *where(root, tmp_path / "b"), *FACES, "--device", "gpu", "--json")
    if outcome.code == 0:
        assert outcome.json["steps"]["detect"]["device"] == "gpu"
    else:  # asked for and not found is an error, never a quiet CPU
        assert "'gpu'" in outcome.err
        assert "--device cpu" in outcome.err
        assert not list((tmp_path / "b").glob("*.h5"))


def test_option_retry_failed(make_corpus, face_videos, tmp_path, extract):
    root, cache = make_corpus("ann"), tmp_path / "cache"
    (root / "ben.mp4").write_bytes(b"")
    first = extract(root, cache, *FACES, code=1)
    assert counts(first) == (1, 0, 1)
    again = extract(root, cache, *FACES, code=1)
    assert counts(again) == (0, 1, 1)
    assert "start" not in again["steps"], "a clip that failed is not opened again"
    assert again["failures"] == first["failures"]
    retried = extract(root, cache, *FACES, "--retry-failed", code=1)
    assert counts(retried) == (0, 1, 1)
    assert "start" in retried["steps"]
    shutil.copy(face_videos["ben"], root / "ben.mp4")  # other content is another clip key
    assert counts(extract(root, cache, *FACES)) == (1, 1, 0)


def test_option_dry_run_writes_nothing(make_corpus, tmp_path, call, extract):
    root, cache = make_corpus("ann", "ben"), tmp_path / "cache"
    outcome = call("extract", *where(root, cache), *FACES, "--dry-run", "--json")
    assert outcome.code == 0
    assert not cache.exists()
    about = outcome.json
    assert (about["pending"], about["reused"], about["failed"], about["pending_frames"]) == (2, 0, 0, 2 * NUM_FRAMES)
    assert about["gigabytes"] > 0
    extract(root, cache, *FACES, "--limit", 1)
    before = files_of(cache)
    outcome = call("extract", *where(root, cache), *FACES, "--dry-run")
    assert "clips: 1 to make, 1 reused, 0 failed before" in outcome.out
    assert files_of(cache) == before


def test_root_and_cache_come_from_the_environment(make_corpus, tmp_path, call, monkeypatch):
    root = make_corpus("ann", folder="folder")
    monkeypatch.setenv("EMOPIPE_DATA", str(root.parent))
    monkeypatch.setenv("EMOPIPE_CACHE", str(tmp_path / "from-environment"))
    assert call("extract", "--dataset", "folder", *FACES).code == 0
    assert stored(tmp_path / "from-environment").keys() == {"ann"}
    monkeypatch.delenv("EMOPIPE_DATA")
    outcome = call("extract", "--dataset", "folder", *FACES)
    assert outcome.code != 0
    assert "--root" in outcome.err
    assert "EMOPIPE_DATA" in outcome.err
