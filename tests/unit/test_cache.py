"""A folder of shards: what it holds, what became of it, and setting it right."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest

from emopipe.errors import ConfigError, ShardError, ShardMismatchError, StorageError
from emopipe.files import media_identity, partial_path
from emopipe.stages.cache_care import find_damage, list_sets, prune
from emopipe.stages.extract import tidy
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.reader import ShardReader
from emopipe.store.writer import ShardWriter

FACES = ShardHeader("faces", "retinaface-box", {"min_score": 0.5}, "f" * 64)
OTHER = ShardHeader("faces", "retinaface-box", {"min_score": 0.6}, "a" * 64)
FEATURES = ShardHeader("features", "khorrami", {"taps": ["dense"]}, "e" * 64)


def write(folder, header, *clip_ids, request=None, num_rows=400):
    writer = ShardWriter(folder, header, request)
    for number, clip_id in enumerate(clip_ids):
        generator = np.random.default_rng(number)
        rows = {"frame_index": np.arange(num_rows), "valid": np.ones(num_rows, bool)}
        writer.append(clip_id, {**rows, "taps/dense": generator.normal(size=(num_rows, 8))})
        writer.finish_clip(ClipEntry(f"{header.kind} {clip_id}", clip_id, "", num_rows, num_rows))
    return writer.commit()


def flip(path, offset, *, keep_time=True):
    """Change one byte of a file; its size stays, and so does its time unless told otherwise."""
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def place_of(path, dataset):
    """Where in the file the first chunk of a dataset lies."""
    with h5py.File(path) as file:
        return file[dataset].id.get_chunk_info(0).byte_offset


def test_an_absent_cache_is_an_empty_one(tmp_path):
    cache = Cache(tmp_path / "absent")
    assert cache.records() == []
    assert cache.find("faces", FACES.fingerprint) == {}
    assert (cache.changed(), cache.adopt(), cache.remove_partials(), cache.ledger.read()) == ([], [], [], {})
    assert tidy(cache) == []
    assert not (tmp_path / "absent").exists()


def test_clips_are_found_by_kind_and_settings(tmp_path):
    path = write(tmp_path, FACES, "a", "b")
    write(tmp_path, OTHER, "c")
    write(tmp_path, FEATURES, "a")
    cache = Cache(tmp_path)
    assert cache.find("faces", FACES.fingerprint).keys() == {"faces a", "faces b"}
    assert cache.find("features", FACES.fingerprint) == {}
    record, entry = cache.find("faces", FACES.fingerprint)["faces b"]
    assert (record.path, record.header, entry.clip_id) == (path, FACES, "b")
    with cache.open(record) as reader:
        assert reader.num_rows("b") == 400


def test_a_request_comes_back_as_it_was(tmp_path):
    request = {
        "dataset": "folder",
        "limit": None,
        "splits": ["train"],
        "faces": {"min_score": 0.5},
        "root": "/caf\udce9",
    }
    write(tmp_path, FACES, "a", request=request)
    (record,) = Cache(tmp_path).records()
    assert record.request == request
    with ShardReader(record.path) as reader:
        assert reader.request == request


def test_shards_that_appear_or_go_are_noticed(tmp_path):
    cache = Cache(tmp_path)
    assert cache.records() == []
    path = write(tmp_path, FACES, "a")
    assert len(cache.records()) == 1
    path.with_suffix(".json").unlink()
    assert cache.records() == []


def test_a_broken_record_is_named_with_a_cure_and_can_be_made_again(tmp_path):
    path = write(tmp_path, FACES, "a").with_suffix(".json")
    path.write_text('{"kind": "faces"')
    with pytest.raises(ShardError, match="not a commit record") as caught:
        Cache(tmp_path).records()
    assert str(path) in str(caught.value)
    path.unlink()
    assert Cache(tmp_path).adopt() == [path.with_suffix(".h5")]
    assert Cache(tmp_path).find("faces", FACES.fingerprint).keys() == {"faces a"}


def test_a_file_made_with_other_settings_than_its_record_says_is_refused(tmp_path):
    ours, theirs = write(tmp_path, FACES, "a"), write(tmp_path / "other", OTHER, "a")
    shutil.copy(theirs, ours)
    (record,) = Cache(tmp_path).records()
    with pytest.raises(ShardMismatchError, match="settings differ"):
        Cache(tmp_path).open(record)


# --- damage


@pytest.mark.parametrize(
    "place",
    ["data", "metadata", "padding", "attributes", "superblock", "end"],
)
def test_a_flipped_byte_is_found_though_size_and_time_are_the_same(tmp_path, place):
    path = write(tmp_path, FACES, "a", "b", request={"note": "where the request stands"}, num_rows=1000)
    content = path.read_bytes()
    offset = {
        "data": place_of(path, "a/frame_index") + 8,
        "metadata": content.index(b"OHDR") + 10,
        "padding": place_of(path, "a/valid") + 1010,  # of 1,024 rows in the chunk 1,000 are in use
        "attributes": content.index(b"where the request stands"),
        "superblock": 9,
        "end": len(content) - 1,
    }[place]
    flip(path, offset)
    cache = Cache(tmp_path)
    assert cache.changed() == [], "the flip is invisible from outside"
    (damage,) = find_damage(cache)
    assert damage.record.path == path
    assert damage.reason


def test_every_byte_of_a_shard_counts(tmp_path):
    path = write(tmp_path, FACES, "a", num_rows=20)
    generator = np.random.default_rng(0)
    for offset in generator.integers(0, path.stat().st_size, 200).tolist():
        flip(path, offset)
        assert len(find_damage(Cache(tmp_path))) == 1, f"byte {offset}"
        flip(path, offset)
        assert find_damage(Cache(tmp_path)) == []


def test_only_the_damaged_clips_are_lost(tmp_path):
    path = write(tmp_path, FACES, "a", "b", "c")
    flip(path, place_of(path, "b/taps/dense") + 3)
    cache = Cache(tmp_path)
    (damage,) = find_damage(cache)
    assert [entry.clip_id for entry in damage.lost] == ["b"]
    kept = {name: rows_of(path, name) for name in ("a", "c")}
    cache.drop(damage)
    assert not path.exists()
    found = Cache(tmp_path).find("faces", FACES.fingerprint)
    assert found.keys() == {"faces a", "faces c"}
    assert cache.find("faces", FACES.fingerprint).keys() == found.keys(), "the cache that dropped it must know"
    for record, entry in found.values():
        for name, array in rows_of(record.path, entry.clip_id).items():
            np.testing.assert_array_equal(array, kept[entry.clip_id][name])
    assert find_damage(Cache(tmp_path)) == []


def rows_of(path, clip_id):
    with ShardReader(path) as reader:
        return reader.rows(clip_id)


def test_damage_around_the_clips_loses_none_of_them(tmp_path):
    path = write(tmp_path, FACES, "a", "b", request={"note": "where the request stands"})
    flip(path, path.read_bytes().index(b"where the request stands"))
    cache = Cache(tmp_path)
    (damage,) = find_damage(cache)
    assert damage.lost == ()
    cache.drop(damage)
    assert find_damage(cache) == []
    (record,) = cache.records()
    assert record.request == {"note": "where the request stands"}
    assert {entry.clip_id for entry in record.entries} == {"a", "b"}


def test_a_truncated_shard_shows_without_hashing_and_is_dropped_on_resume(tmp_path):
    path = write(tmp_path, FACES, "a", "b")
    write(tmp_path, FEATURES, "a")
    os.truncate(path, path.stat().st_size // 2)
    cache = Cache(tmp_path)
    assert [record.path for record in cache.changed()] == [path]
    (note,) = tidy(cache)
    assert path.name in note
    assert "2 of its clips are made again" in note
    assert {record.header.kind for record in Cache(tmp_path).records()} == {"features"}


def test_a_shard_that_is_gone_is_damage(tmp_path):
    path = write(tmp_path, FACES, "a")
    path.unlink()
    cache = Cache(tmp_path)
    (damage,) = find_damage(cache)
    assert (damage.reason, len(damage.lost)) == ("the file is gone", 1)
    cache.drop(damage)
    assert Cache(tmp_path).records() == []


def test_a_copied_cache_is_hashed_once_and_then_trusted(tmp_path):
    path = write(tmp_path / "cache", FACES, "a")
    shutil.copytree(tmp_path / "cache", tmp_path / "copy", copy_function=shutil.copyfile)  # other times
    time.sleep(0.01)
    copied = tmp_path / "copy" / path.name
    os.utime(copied)
    cache = Cache(tmp_path / "copy")
    assert [record.path for record in cache.changed()] == [copied]
    assert tidy(cache) == []
    assert cache.changed() == []
    assert Cache(tmp_path / "copy").changed() == [], "the new time must be in the record"
    assert find_damage(Cache(tmp_path / "copy")) == []


def test_a_touched_and_damaged_shard_is_not_trusted_again(tmp_path):
    path = write(tmp_path, FACES, "a", "b")
    flip(path, place_of(path, "a/frame_index") + 8, keep_time=False)
    assert len(tidy(Cache(tmp_path))) == 1
    assert Cache(tmp_path).find("faces", FACES.fingerprint).keys() == {"faces b"}


# --- after a kill


def test_a_sound_shard_without_record_gets_it(tmp_path):
    path = write(tmp_path, FACES, "a", "b", request={"limit": 3})
    record = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").unlink()
    assert Cache(tmp_path).adopt() == [path]
    assert json.loads(path.with_suffix(".json").read_text()) == record
    assert Cache(tmp_path).adopt() == []


@pytest.mark.parametrize("offset", ["data", 0, 8])
def test_a_damaged_shard_without_record_is_deleted(tmp_path, offset):
    path = write(tmp_path, FACES, "a")
    flip(path, place_of(path, "a/frame_index") + 8 if offset == "data" else offset)
    path.with_suffix(".json").unlink()
    assert Cache(tmp_path).adopt() == []
    assert list(tmp_path.glob("*.h5")) == []


def test_partial_files_of_dead_processes_are_removed_and_those_of_living_ones_are_not(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host = partial_path(tmp_path / "x").name.split(".")[2].rpartition("-")[0]
    names = [f".faces-x-0.h5.{host}-{pid}.partial" for pid in (os.getpid(), child.pid)]
    names += [
        ".someone-else.partial",
        *(f".faces-{name}-0.h5.elsewhere-{child.pid}.partial" for name in ("new", "old")),
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    assert Cache(tmp_path).remove_partials() == []
    an_hour_ago, two_days_ago = time.time() - 3600, time.time() - 2 * 86400
    os.utime(tmp_path / names[3], (an_hour_ago, an_hour_ago))
    os.utime(tmp_path / names[4], (two_days_ago, two_days_ago))
    child.communicate(b"\n")
    # Of another machine nothing but the age is known.
    assert [path.name for path in Cache(tmp_path).remove_partials()] == [names[4], names[1]]
    assert {path.name for path in tmp_path.iterdir()} == {names[0], names[2], names[3]}


def test_what_cannot_be_read_now_or_is_no_shard_is_left_alone(tmp_path):
    path = write(tmp_path, FACES, "a")
    path.with_suffix(".json").unlink()
    foreign = tmp_path / "model.h5"
    foreign.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    away = path.with_name(path.name.replace("faces-", "features-"))
    away.symlink_to(away)  # what it leads to cannot be opened, whoever asks
    assert Cache(tmp_path).adopt() == [path]
    assert foreign.exists() and away.is_symlink()
    (record,) = Cache(tmp_path).records()
    kept = tmp_path / "kept"
    path.rename(kept)
    path.mkdir()  # open says no; that a folder is in the way is no damage to the shard
    with pytest.raises(StorageError, match="cannot be read .*nothing was changed"):
        list(Cache(tmp_path).verify([record]))
    path.rmdir()
    kept.rename(path)
    assert [damage for _, damage in Cache(tmp_path).verify([record])] == [None]


# --- media identities


def test_media_are_known_by_content_and_read_once(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"x" * 1000)
    first = Cache(tmp_path / "cache").media_identity(video)
    assert first == media_identity(video)
    # The memory answers: the content behind an unchanged size, time and inode is not looked at.
    stat = video.stat()
    with video.open("r+b") as file:
        file.write(b"y")
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Cache(tmp_path / "cache").media_identity(video) == first
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # a touch, and it is read again
    changed = Cache(tmp_path / "cache").media_identity(video)
    assert changed == media_identity(video) != first


def test_renaming_or_copying_a_video_keeps_its_identity(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(os.urandom(5_000_000))  # the first, middle and last MiB do not overlap
    cache = Cache(tmp_path / "cache")
    first = cache.media_identity(video)
    shutil.copy(video, tmp_path / "copy.mp4")
    video.rename(tmp_path / "b.mp4")
    assert cache.media_identity(tmp_path / "b.mp4") == first == cache.media_identity(tmp_path / "copy.mp4")


def test_a_memory_that_a_kill_cut_off_is_still_read(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"x" * 1000)
    cache = Cache(tmp_path / "cache")
    identity = cache.media_identity(video)
    memory = tmp_path / "cache" / "media.jsonl"
    memory.write_text(memory.read_text() + '["/cut/off')
    assert Cache(tmp_path / "cache").media_identity(video) == identity


def test_without_permission_to_remember_nothing_is_written(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"x")
    Cache(tmp_path / "cache").media_identity(video, remember=False)
    assert not (tmp_path / "cache").exists()


# --- care


def test_sets_are_listed_with_what_they_hold(tmp_path):
    write(tmp_path, FACES, "a", "b")
    write(tmp_path, FACES, "c")
    write(tmp_path, FEATURES, "a")
    faces, features = list_sets(Cache(tmp_path))
    assert (faces.kind, faces.what, faces.num_shards, faces.num_clips) == ("faces", "retinaface-box", 2, 3)
    assert (faces.num_frames, faces.num_valid) == (1200, 1200)
    assert faces.num_bytes == sum(path.stat().st_size for path in tmp_path.glob("faces*.h5"))
    assert (features.kind, features.num_clips) == ("features", 1)


def test_prune_deletes_what_is_named_and_only_when_told_to(tmp_path):
    kept, doomed = write(tmp_path, FACES, "a"), write(tmp_path, OTHER, "a")
    named = prune(Cache(tmp_path), ["aaa"], delete=False)
    assert set(named) == {doomed, doomed.with_suffix(".json")}
    assert doomed.exists()
    prune(Cache(tmp_path), ["aaa"], delete=True)
    assert {path for path in tmp_path.iterdir() if path.is_file()} == {kept, kept.with_suffix(".json")}


@pytest.mark.parametrize("beginning", ["", "zzz", "*"])
def test_prune_refuses_what_fits_nothing_and_lists_what_there_is(tmp_path, beginning):
    write(tmp_path, FACES, "a")
    with pytest.raises(ConfigError, match="Known: ffffffffff"):
        prune(Cache(tmp_path), [beginning], delete=True)
    assert len(Cache(tmp_path).records()) == 1


def test_records_are_values(tmp_path):
    write(tmp_path, FACES, "a")
    (record,) = Cache(tmp_path).records()
    assert record.is_as_committed
    assert not replace(record, size=1).is_as_committed
