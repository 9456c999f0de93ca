"""Extraction from the command line to the bytes in the shards: reuse, damage and repair, weights."""

import os
import shutil

import h5py
import numpy as np
import pytest
from extraction import FACES, KHORRAMI, NUM_FRAMES, counts, files_of, stored, where

from emopipe.store.cache import Cache
from emopipe.store.ledger import Ledger


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


def test_repair_drops_nothing_while_the_corpus_is_away(make_corpus, make_cache, call, extract):
    cache = make_cache()
    root = make_corpus("ann", "ben")
    extract(root, cache, *FACES)
    (faces,) = Cache(cache).records("faces")
    flip(faces.path, "ben/landmarks")
    moved = root.rename(root.with_name("moved"))
    for _ in range(2):  # the loss is not forgotten
        refused = call("cache", "repair", "--cache", cache)
        assert (refused.code, str(root) in refused.err) == (1, True)
        assert call("cache", "verify", "--cache", cache).code == 1
    repair = call("cache", "repair", "--cache", cache, "--root", moved, "--json")
    assert (repair.code, [counts(report) for report in repair.json["repairs"]]) == (0, [(1, 0, 0)])
    assert call("cache", "verify", "--cache", cache).code == 0
    assert counts(extract(moved, cache, *FACES)) == (0, 2, 0)


def test_repair_tells_of_clips_whose_media_are_gone(make_corpus, make_cache, call, extract):
    cache, root = make_cache(), make_corpus("ann", "ben", "cid")
    extract(root, cache, *FACES)
    (faces,) = Cache(cache).records("faces")
    flip(faces.path, "ben/landmarks")
    flip(faces.path, "cid/landmarks")
    (root / "cid.mp4").unlink()
    repair = call("cache", "repair", "--cache", cache)
    assert repair.code == 1
    told = f"1 of the lost clips cannot be made again: their media are not in {root} any more (the first: 'cid')"
    assert told in repair.err
    assert stored(cache, "faces").keys() == {"ann", "ben"}


def test_sets_of_one_name_are_told_apart(make_corpus, make_cache, call, extract):
    cache, root = make_cache(), make_corpus("ann")
    extract(root, cache, *FACES)
    assert "with " not in call("cache", "list", "--cache", cache).out
    extract(root, cache, *FACES, "--detect-every", "5")
    listed = call("cache", "list", "--cache", cache).out.splitlines()
    assert sorted(line.strip() for line in listed if line.strip().startswith("with ")) == [
        "with faces.detect_every 1", "with faces.detect_every 5",
    ]  # fmt: skip
    settings = [found["settings"] for found in call("cache", "list", "--cache", cache, "--json").json["sets"]]
    assert sorted(each["faces"]["detect_every"] for each in settings) == [1, 5]


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
