"""Extraction from the command line to the bytes in the shards: reuse, damage and repair, weights, and every option."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from emopipe.store.cache import Cache
from emopipe.store.ledger import Ledger
from emopipe.store.reader import ShardReader

from .conftest import KHORRAMI, NUM_FRAMES, TWO_TAPS

FACES = ("--only", "faces")


def where(root, cache):
    return ("--dataset", "folder", "--root", root, "--cache", cache)


@pytest.fixture
def extract(call):
    """``extract(root, cache, ...)`` -> what ``--json`` prints, in this process; the exit code is checked."""

    def run(root, cache, *options, code=0, dataset="folder"):
        outcome = call("extract", "--dataset", dataset, "--root", root, "--cache", cache, "--json", *options)
        assert outcome.code == code, outcome.err
        return outcome.json

    return run


def counts(report):
    return tuple(report["clips"][name] for name in ("done", "reused", "failed"))


def stored(cache, kind="faces"):
    """Clip id -> its arrays, over all shards of a kind; the settings must be the same in all of them."""
    found, prints = {}, set()
    for record in Cache(cache).records(kind):
        prints.add(record.header.fingerprint)
        with ShardReader(record.path) as reader:
            for entry in record.entries:
                assert entry.clip_id not in found
                found[entry.clip_id] = reader.rows(entry.clip_id)
    assert len(prints) <= 1
    return found


def flip(path, dataset, offset=3):
    """Change a byte in the first chunk of a dataset; size and time stay."""
    with h5py.File(path) as file:
        place = file[dataset].id.get_chunk_info(0).byte_offset + offset
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0xFF]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def files_of(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# --- what is made


def test_every_frame_has_its_row_and_the_faces_are_faces(make_corpus, make_cache, extract):
    cache = make_cache()
    report = extract(make_corpus("ann", "ben"), cache, *KHORRAMI)
    assert counts(report) == (2, 0, 0)
    assert (report["frames"], report["valid"]) == (2 * NUM_FRAMES, 2 * NUM_FRAMES)
    for rows in stored(cache).values():
        np.testing.assert_array_equal(rows["frame_index"], np.arange(NUM_FRAMES))
        np.testing.assert_allclose(rows["time_s"], np.arange(NUM_FRAMES) / 25, atol=1e-6)
        assert rows["valid"].all()
        assert rows["crop"].shape == (NUM_FRAMES, 96, 96, 3)
        centre = (rows["box"][:, :2] + rows["box"][:, 2:]) / 2
        assert (np.abs(rows["landmarks"].mean(axis=1) - centre) < 20).all()
    for rows in stored(cache, "features").values():
        assert rows["taps/dense"].shape == (NUM_FRAMES, 300)
        assert np.isfinite(rows["taps/dense"]).all()
        assert len(np.unique(rows["taps/dense"], axis=0)) > NUM_FRAMES // 2, "each row comes from its own crop"


# --- reuse


def test_finished_clips_are_reused_whatever_else_is_asked_for(make_corpus, tmp_path, extract):
    root, cache = make_corpus("ann", "ben", "cid", "dot"), tmp_path / "cache"
    assert counts(extract(root, cache, *FACES, "--limit", 3)) == (3, 0, 0)
    assert counts(extract(root, cache, *FACES)) == (1, 3, 0)
    make_corpus("eve")
    report = extract(root, cache, *FACES)
    assert counts(report) == (1, 4, 0)
    assert report["frames"] == NUM_FRAMES
    before = files_of(cache)
    again = extract(root, cache, *FACES)
    assert counts(again) == (0, 5, 0)
    assert again["frames"] == 0
    assert files_of(cache) == before, "a finished extraction writes nothing"
    assert counts(extract(root, cache, *FACES, "--working-size", 128)) == (5, 0, 0)
    assert counts(extract(root, cache, *FACES)) == (0, 5, 0), "both settings are kept side by side"


def test_the_content_of_a_video_counts_and_its_place_and_time_do_not(make_corpus, face_videos, tmp_path, extract):
    root, cache = make_corpus("ann", "ben"), tmp_path / "cache"
    extract(root, cache, *FACES)
    os.utime(root / "ann.mp4")
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    assert counts(extract(moved, cache, *FACES)) == (0, 2, 0)
    shutil.copy(face_videos["cid"], moved / "ann.mp4")
    assert counts(extract(moved, cache, *FACES)) == (1, 1, 0)
    (moved / "ben.mp4").rename(moved / "bea.mp4")  # another clip id is another clip
    assert counts(extract(moved, cache, *FACES)) == (1, 1, 0)


# --- damage


def test_a_flipped_byte_is_found_by_verify_and_repair_redoes_just_that_clip(make_corpus, make_cache, call, extract):
    cache = make_cache()
    root = make_corpus("ann", "ben", "cid")
    extract(root, cache, *KHORRAMI)
    before = {kind: stored(cache, kind) for kind in ("faces", "features")}
    (faces,) = Cache(cache).records("faces")
    (features,) = Cache(cache).records("features")
    assert call("cache", "verify", "--cache", cache).code == 0
    flip(faces.path, "ben/landmarks")
    flip(features.path, "cid/taps/dense")
    assert counts(extract(root, cache, *KHORRAMI)) == (0, 3, 0), "from outside nothing can be seen"
    verdict = call("cache", "verify", "--cache", cache, "--json")
    assert verdict.code == 1
    found = {row["shard"]: row["clips"] for row in verdict.json["damaged"]}
    assert found == {faces.path.name: ["ben"], features.path.name: ["cid"]}
    assert "emopipe cache repair" in call("cache", "verify", "--cache", cache).err

    repair = call("cache", "repair", "--cache", cache, "--json")
    assert repair.code == 0, repair.err
    assert sum(report["clips"]["done"] for report in repair.json["repairs"]) == 2
    assert sum(report["steps"].get("decode", {"seconds": 0})["seconds"] > 0 for report in repair.json["repairs"]) == 1
    assert call("cache", "verify", "--cache", cache).code == 0
    for kind, clips in before.items():
        after = stored(cache, kind)
        assert after.keys() == clips.keys()
        for clip_id, arrays in clips.items():
            for name, array in arrays.items():
                np.testing.assert_allclose(after[clip_id][name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    assert counts(extract(root, cache, *KHORRAMI)) == (0, 3, 0)
    assert "nothing to repair" in call("cache", "repair", "--cache", cache).out


def test_repair_makes_faces_before_the_features_that_are_read_from_them(make_corpus, make_cache, call, extract):
    cache = make_cache()
    root = make_corpus("ann", "ben")
    extract(root, cache, *FACES)
    extract(root, cache, "--only", "features", *KHORRAMI)
    for kind, dataset in (("faces", "ann/landmarks"), ("features", "ann/taps/dense")):
        (record,) = Cache(cache).records(kind)
        flip(record.path, dataset)
    repair = call("cache", "repair", "--cache", cache, "--json")
    assert repair.code == 0, repair.err
    assert [counts(report) for report in repair.json["repairs"]] == [(1, 0, 0), (1, 0, 0)]
    assert call("cache", "verify", "--cache", cache).code == 0


def test_a_truncated_shard_is_found_on_resume(make_corpus, tmp_path, extract):
    root, cache = make_corpus("ann", "ben"), tmp_path / "cache"
    extract(root, cache, *FACES)
    make_corpus("cid")
    extract(root, cache, *FACES)
    record = next(record for record in Cache(cache).records() if len(record.entries) == 2)
    os.truncate(record.path, record.path.stat().st_size // 2)
    report = extract(root, cache, *FACES)
    assert counts(report) == (2, 1, 0)
    assert any(record.path.name in note for note in report["notes"])
    assert counts(extract(root, cache, *FACES)) == (0, 3, 0)


def test_damaged_faces_fail_their_clip_only_and_repairing_cures_it(make_corpus, make_cache, call, extract):
    cache = make_cache()
    root = make_corpus("ann", "ben", "cid")
    extract(root, cache, *FACES)
    (record,) = Cache(cache).records("faces")
    flip(record.path, "ben/crop", 100)
    report = extract(root, cache, *KHORRAMI, code=1)
    assert counts(report) == (2, 0, 1)
    ((failure),) = report["failures"]
    assert (failure["clip"], failure["error"], failure["step"]) == ("ben", "CorruptShardError", "read")
    assert "emopipe cache repair" in failure["message"]
    assert call("cache", "repair", "--cache", cache).code == 0
    assert counts(extract(root, cache, *KHORRAMI)) == (1, 2, 0), "the failure must not be remembered"


# --- weights, and what a second backbone costs


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("weights", "words"),
    [("absent.h5", "There is no such file"), ("imagenet", "no ImageNet weights exist")],
)
def test_weights_are_resolved_before_anything_is_opened(
    make_corpus, tmp_path, call, monkeypatch, workers, weights, words
):
    import multiprocessing.process

    def refuse(_):
        raise AssertionError("a worker was started before the weights were at hand")

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refuse)
    options = ("--backbone", "khorrami", "--weights", weights, "--workers", workers)
    outcome = call("extract", *where(make_corpus("ann"), tmp_path / "cache"), *options)
    assert outcome.code == 1
    assert words in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 3
    assert not (tmp_path / "cache").exists(), "no shard, no claim, no ledger row"


def test_a_second_backbone_reads_crops_from_the_cache(make_corpus, make_cache, extract):
    cache = make_cache()
    root = make_corpus("ann", "ben")
    first = extract(root, cache, *KHORRAMI)
    assert {"decode", "detect", "align", "features", "write"} <= first["steps"].keys()
    shutil.rmtree(root)
    make_corpus("ann", "ben")
    second = extract(root, cache, *KHORRAMI, "--input-range", "0..255")
    assert counts(second) == (2, 0, 0)
    assert second["steps"].keys() == {"start", "read", "features", "write"}
    assert (second["frames"], second["valid"]) == (2 * NUM_FRAMES, 2 * NUM_FRAMES)
    assert len(Cache(cache).records("faces")) == 1
    assert len(Cache(cache).records("features")) == 2


def test_features_from_the_cache_are_those_of_a_run_in_one_go(make_corpus, make_cache, extract):
    root, one, two = make_corpus("ann", "ben", "cid"), make_cache("one"), make_cache("two")
    extract(root, one, *KHORRAMI)
    extract(root, two, *FACES)
    extract(root, two, "--only", "features", *KHORRAMI)
    together, apart = stored(one, "features"), stored(two, "features")
    assert together.keys() == apart.keys()
    for clip_id, rows in together.items():
        np.testing.assert_allclose(rows["taps/dense"], apart[clip_id]["taps/dense"], rtol=1e-3, atol=1e-3)
    keys = [{entry.key for record in Cache(cache).records() for entry in record.entries} for cache in (one, two)]
    assert keys[0] == keys[1]


def test_features_without_faces_fail_clearly_and_are_not_remembered(make_corpus, make_cache, extract):
    cache = make_cache()
    root = make_corpus("ann", "ben")
    extract(root, cache, *FACES, "--limit", 1)
    report = extract(root, cache, "--only", "features", *KHORRAMI, code=1)
    assert counts(report) == (1, 0, 1)
    (failure,) = report["failures"]
    assert failure["clip"] == "ben"
    assert "no faces are cached under these settings" in failure["message"]
    assert "without --only features" in failure["message"]
    assert all(row.status == "done" for row in Ledger(cache / "ledger").read().values())
    assert counts(extract(root, cache, *KHORRAMI)) == (1, 1, 0), "without --retry-failed"


# --- every option changes something


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
