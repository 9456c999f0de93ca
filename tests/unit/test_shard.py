"""One HDF5 file: what is written into it, what is read back, and what damage looks like."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from emopipe.errors import CorruptShardError, ShardError, ShardVersionError, StorageError
from emopipe.records import FaceRows
from emopipe.store.layout import ClipDigest, ClipEntry, ShardHeader, clip_sha256, group_name, shard_stem
from emopipe.store.reader import ShardReader
from emopipe.store.writer import ShardWriter

FACES = ShardHeader("faces", "retinaface-procrustes5", {"min_score": 0.5}, "f" * 64)
FEATURES = ShardHeader("features", "resnet50", {"taps": ["pool2:gap"]}, "e" * 64)
TAP = "taps/pool2:gap"


def entry(clip_id, num_frames, num_valid=None, **about):
    num_valid = num_frames if num_valid is None else num_valid
    return ClipEntry(f"key of {clip_id}", clip_id, "", num_frames, num_valid, **about)


def feature_rows(values):
    values = np.asarray(values, np.float32).reshape(len(values), -1)
    return {"frame_index": np.arange(len(values)), "valid": np.isfinite(values).all(axis=1), TAP: values}


def write(folder, clips, header=FEATURES):
    """A shard of `clips`: id -> values of its tap."""
    writer = ShardWriter(folder, header)
    for clip_id, values in clips.items():
        writer.append(clip_id, feature_rows(values))
        writer.finish_clip(entry(clip_id, len(values)))
    return writer.commit()


def stored_tap(path, clip_id):
    with ShardReader(path) as reader:
        return reader.read(clip_id, TAP)


# --- names


@pytest.mark.parametrize("clip_id", ["a", "a/b", "a%2Fb", ".", "a.b", "Ä é 字", "-", "%2E", "x" * 200])
def test_every_clip_id_is_found_again(tmp_path, clip_id):
    path = write(tmp_path, {clip_id: [1.0, 2.0], "other": [3.0]})
    with ShardReader(path) as reader:
        assert set(reader.clip_ids()) == {clip_id, "other"}
        assert reader.num_rows(clip_id) == 2


def test_no_two_clip_ids_share_a_group():
    ids = ["a/b", "a%2Fb", "a_b", "%", "%25", ".", "%2E", "caf\udce9", "café", "..", "a//b"]
    assert len({group_name(clip_id) for clip_id in ids}) == len(ids)
    assert all("/" not in group_name(clip_id) for clip_id in ids)
    group_name("caf\udce9").encode()  # HDF5 names are UTF-8


def test_the_name_says_what_is_in_it_whatever_the_order():
    assert shard_stem(FACES, ("a", "b")) == shard_stem(FACES, ("b", "a"))
    assert shard_stem(FACES, ("a", "b")) != shard_stem(FACES, ("a", "c"))
    assert shard_stem(FACES, ("a",)).startswith("faces-retinaface-procrustes5-ffffffffff-")


# --- round trip


def test_every_field_of_a_face_row_comes_back_bit_for_bit(tmp_path):
    generator = np.random.default_rng(3)
    rows = FaceRows.empty(40)
    rows.frame_index[:], rows.time_s[:], rows.valid[:] = range(40), np.arange(40) / 25, True
    rows.valid[7] = False
    rows.landmarks[:] = generator.normal(size=rows.landmarks.shape)
    rows.crop[:] = generator.integers(0, 256, rows.crop.shape)
    rows.crop[7] = 0
    writer = ShardWriter(tmp_path, FACES, {"dataset": "folder"})
    for start in range(0, 40, 16):
        writer.append("clip", {name: array[start : start + 16] for name, array in rows.arrays().items()})
    notes, info = ("2 fewer frames.",), {"frame_rate": 25.0, "num_labels": {"va": 40}}
    writer.finish_clip(entry("clip", 40, 39, notes=notes, info=info))
    path = writer.commit()
    with ShardReader(path) as reader:
        stored = reader.rows("clip")
        assert set(stored) == set(rows.arrays())
        for name, array in rows.arrays().items():
            assert stored[name].dtype == array.dtype
            np.testing.assert_array_equal(stored[name], array)
        crops, valid = reader.crops("clip", 5, 9)
        np.testing.assert_array_equal(crops, rows.crop[5:9])
        assert valid.tolist() == [True, True, False, True]
        (about,) = reader.entries()
        assert (about.num_frames, about.num_valid, about.notes, about.info) == (40, 39, notes, info)
        assert reader.header == FACES
        assert reader.request == {"dataset": "folder"}


def test_crops_are_never_handed_out_without_valid(tmp_path):
    writer = ShardWriter(tmp_path, FACES)
    writer.append("clip", FaceRows.empty(3).arrays())
    writer.finish_clip(entry("clip", 3, 0))
    with ShardReader(writer.commit()) as reader, pytest.raises(ShardError, match=r"crops\(\)"):
        reader.read("clip", "crop")


def test_root_attributes_say_what_made_the_file(tmp_path):
    with h5py.File(write(tmp_path, {"a": [1.0]})) as file:
        assert file.attrs["encoding-type"] == "emopipe-features"
        assert file.attrs["encoding-version"] == "1"
        assert file.attrs["fingerprint"] == FEATURES.fingerprint
        assert json.loads(file.attrs["config"]) == FEATURES.config
        assert {"emopipe", "numpy", "h5py", "python"} <= json.loads(file.attrs["libraries"]).keys()
        assert file.attrs["created"].endswith("+00:00")
        assert file["a"].attrs["key"] == "key of a"
        assert len(file["a"].attrs["sha256"]) == 64


# --- digests


def test_the_digest_does_not_depend_on_how_the_rows_were_cut(tmp_path):
    values = np.arange(100, dtype=np.float32)
    digests = set()
    for number, cuts in enumerate(([100], [1, 99], [16] * 6 + [4], [0, 50, 0, 50])):
        writer = ShardWriter(tmp_path / str(number), FEATURES)
        start = 0
        for count in cuts:
            rows = {name: array[start : start + count] for name, array in feature_rows(values).items()}
            writer.append("a", rows)
            start += count
        writer.finish_clip(entry("a", 100))
        with ShardReader(writer.commit()) as reader:
            digests |= {reader.entries()[0].sha256, reader.sha256("a")}
    assert len(digests) == 1


def test_the_digest_covers_values_names_dtypes_and_shapes():
    def digest(**fields):
        made = ClipDigest()
        for name, rows in fields.items():
            made.update(name, rows)
        return made.hexdigest()

    base = digest(a=np.zeros(4, np.int32), b=np.ones(2))
    assert base == digest(b=np.ones(2), a=np.zeros(4, np.int32)), "the order of the fields must not count"
    others = [
        digest(a=np.zeros(4, np.int32), c=np.ones(2)),
        digest(a=np.zeros(4, np.uint32), b=np.ones(2)),
        digest(a=np.zeros((2, 2), np.int32), b=np.ones(2)),
        digest(a=np.array([0, 0, 0, 1], np.int32), b=np.ones(2)),
        digest(a=np.zeros(4, np.int32)),
    ]
    assert len({base, *others}) == 6


def test_a_large_field_is_hashed_in_pieces_as_if_it_were_one(tmp_path):
    values = np.random.default_rng(0).normal(size=(3000, 512)).astype(np.float16)  # 3 MB: several pieces
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("clip/valid", data=values, chunks=(100, 512))
        whole = ClipDigest()
        whole.update("valid", values)
        assert clip_sha256(file["clip"]) == whole.hexdigest()


# --- float16 and float32


def test_taps_are_float16_unless_a_value_does_not_fit(tmp_path):
    small = stored_tap(write(tmp_path / "a", {"a": [1.5, 60_000.0]}), "a")
    large = stored_tap(write(tmp_path / "b", {"a": [1.5, -60_001.0]}), "a")
    assert (small.dtype, large.dtype) == (np.float16, np.float32)
    assert large.ravel().tolist() == [1.5, -60_001.0]


def test_a_late_large_value_widens_what_is_there_already(tmp_path):
    """In the same clip, in a finished clip and in one that is still open; digests stay right; no inf on disk."""
    writer = ShardWriter(tmp_path, FEATURES)
    writer.append("done", feature_rows([1.0, 2.0, np.nan]))
    writer.finish_clip(entry("done", 3, 2))
    writer.append("open", feature_rows([3.0]))
    writer.append("wide", feature_rows([4.0]))
    writer.append("wide", feature_rows([1e6]))
    writer.append("open", feature_rows([5.0]))
    writer.finish_clip(entry("wide", 2))
    writer.finish_clip(entry("open", 2))
    writer.append("late", feature_rows([0.1]))
    writer.finish_clip(entry("late", 1))
    path = writer.commit()
    expected = {"done": [1.0, 2.0, np.nan], "open": [3.0, 5.0], "wide": [4.0, 1e6], "late": [0.1]}
    for clip_id, values in expected.items():
        stored = stored_tap(path, clip_id)
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored.ravel(), np.float32(values))
    with ShardReader(path) as reader:
        assert all(reader.sha256(about.clip_id) == about.sha256 for about in reader.entries())


def test_one_wide_tap_leaves_the_others_narrow(tmp_path):
    writer = ShardWriter(tmp_path, FEATURES)
    writer.append("a", {**feature_rows([1e6]), "taps/other:gap": np.ones((1, 2), np.float32)})
    writer.finish_clip(entry("a", 1))
    with ShardReader(writer.commit()) as reader:
        assert reader.fields("a") == ["frame_index", "taps/other:gap", TAP, "valid"]
        assert reader.read("a", "taps/other:gap").dtype == np.float16
        assert reader.read("a", TAP).dtype == np.float32


def test_rows_without_a_face_are_nan_on_disk_and_the_others_are_finite(tmp_path):
    values = np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]])
    path = write(tmp_path, {"a": values, "none": np.full((2, 2), np.nan)})
    assert np.isnan(stored_tap(path, "a")).tolist() == [[False, False], [True, True], [False, False]]
    assert np.isnan(stored_tap(path, "none")).all()
    assert stored_tap(path, "none").dtype == np.float16


@pytest.mark.parametrize("num_rows", [1, 7, 500, 1025])
def test_a_clip_takes_little_more_room_than_its_rows(tmp_path, num_rows):
    """HDF5 stores whole chunks; hundreds of clips of a second would each take a chunk of every field."""
    values = np.random.default_rng(0).normal(size=(num_rows, 300))
    path = write(tmp_path, {f"clip {number}": values for number in range(40)})
    with h5py.File(path) as file:
        fields = [file[f"clip 0/{name}"] for name in ("frame_index", "valid", TAP)]
        num_bytes = sum(field.nbytes for field in fields)
        assert sum(field.id.get_storage_size() for field in fields) < 1.1 * num_bytes + 24
    assert path.stat().st_size / 40 < 1.1 * num_bytes + 16_000
    np.testing.assert_array_equal(stored_tap(path, "clip 39"), np.float16(np.float32(values)))


# --- order of writing


def test_clips_may_be_interleaved_and_dropped(tmp_path):
    writer = ShardWriter(tmp_path, FEATURES)
    for value in range(3):
        writer.append("a", feature_rows([value]))
        writer.append("bad", feature_rows([100 + value]))
        writer.append("b", feature_rows([10 + value]))
    writer.discard_clip("bad")
    writer.discard_clip("never seen")
    writer.finish_clip(entry("a", 3))
    writer.finish_clip(entry("b", 3))
    assert (writer.num_clips, writer.num_frames, writer.keys) == (2, 6, ("key of a", "key of b"))
    path = writer.commit()
    with ShardReader(path) as reader:
        assert reader.clip_ids() == ["a", "b"]
        assert reader.read("a", TAP).ravel().tolist() == [0, 1, 2]
        assert reader.read("b", TAP).ravel().tolist() == [10, 11, 12]


def test_a_dropped_clip_can_be_written_again(tmp_path):
    writer = ShardWriter(tmp_path, FEATURES)
    writer.append("a", feature_rows([1e6]))
    writer.discard_clip("a")
    writer.append("a", feature_rows([7.0]))
    writer.finish_clip(entry("a", 1))
    assert stored_tap(writer.commit(), "a").tolist() == [[7.0]]


def test_unfinished_clips_are_not_committed(tmp_path):
    writer = ShardWriter(tmp_path, FEATURES)
    writer.append("half", feature_rows([1.0]))
    writer.append("whole", feature_rows([2.0]))
    writer.finish_clip(entry("whole", 1))
    with ShardReader(writer.commit()) as reader:
        assert reader.clip_ids() == ["whole"]


def test_nothing_finished_leaves_nothing_behind(tmp_path):
    writer = ShardWriter(tmp_path, FEATURES)
    writer.append("half", feature_rows([1.0]))
    assert writer.commit() is None
    assert list(tmp_path.iterdir()) == []


def test_nothing_has_its_final_name_before_commit_and_the_record_fits(tmp_path):
    writer = ShardWriter(tmp_path, FEATURES, {"limit": None})
    writer.append("a", feature_rows([1.0]))
    writer.finish_clip(entry("a", 1))
    (partial,) = tmp_path.iterdir()
    assert partial.name.startswith(".features-resnet50-eeeeeeeeee-")
    assert partial.name.endswith(f"-{os.getpid()}.partial")
    path = writer.commit()
    assert {file.name for file in tmp_path.iterdir()} == {path.name, path.with_suffix(".json").name}
    record = json.loads(path.with_suffix(".json").read_text())
    stat = path.stat()
    assert (record["size"], record["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
    assert record["request"] == {"limit": None}
    assert [clip["key"] for clip in record["clips"]] == ["key of a"]


def test_two_writers_of_one_process_do_not_meet(tmp_path):
    writers = [ShardWriter(tmp_path, FEATURES) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.append(f"clip {number}", feature_rows([number]))
        writer.finish_clip(entry(f"clip {number}", 1))
    assert len({writer.commit() for writer in writers}) == 2


# --- damage


def test_what_is_read_back_is_compared_with_what_was_written(tmp_path):
    class Unlucky(ShardWriter):
        def _flush(self):
            super()._flush()
            with h5py.File(self._partial, "r+") as file:
                file["a"]["frame_index"][0] = 5

    writer = Unlucky(tmp_path, FEATURES)
    writer.append("a", feature_rows([1.0, 2.0]))
    writer.finish_clip(entry("a", 2))
    with pytest.raises(CorruptShardError, match="not what was written"):
        writer.commit()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n"], ids=["empty", "text", "head"])
def test_what_is_no_shard_is_refused(tmp_path, content):
    path = tmp_path / "faces.h5"
    path.write_bytes(content)
    with pytest.raises(CorruptShardError, match=r"faces\.h5") as caught:
        ShardReader(path)
    assert "emopipe cache repair" in str(caught.value)


def test_a_truncated_shard_is_refused(tmp_path):
    path = write(tmp_path, {"a": np.arange(1000.0)})
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(CorruptShardError):
        ShardReader(path)


def test_another_version_of_the_format_is_refused_with_a_cure(tmp_path):
    path = write(tmp_path, {"a": [1.0]})
    with h5py.File(path, "r+") as file:
        file.attrs["encoding-version"] = "2"
    with pytest.raises(ShardVersionError, match="expected encoding-version 1. Received: 2") as caught:
        ShardReader(path)
    assert "Update emopipe" in str(caught.value)


def test_a_clip_that_is_not_there_is_named(tmp_path):
    with ShardReader(write(tmp_path, {"a": [1.0]})) as reader, pytest.raises(CorruptShardError, match="'b'"):
        reader.rows("b")


def test_a_damaged_crop_is_an_error_and_never_reaches_the_decompressor(tmp_path):
    """Every byte of a packed chunk in turn; the decompressor itself would read beyond its buffer."""
    generator = np.random.default_rng(0)
    rows = FaceRows.empty(16)
    rows.crop[:] = generator.integers(0, 4, rows.crop.shape)
    rows.valid[:] = True
    writer = ShardWriter(tmp_path, FACES)
    writer.append("clip", rows.arrays())
    writer.finish_clip(entry("clip", 16))
    path = writer.commit()
    with h5py.File(path) as file:
        chunk = file["clip/crop"].id.get_chunk_info(0)
    sound = path.read_bytes()
    head = range(40)  # where the sizes of the packed blocks stand
    for offset in [*head, *generator.integers(0, chunk.size, 60).tolist()]:
        damaged = bytearray(sound)
        damaged[chunk.byte_offset + offset] ^= 0xFF
        path.write_bytes(damaged)
        with ShardReader(path) as reader:
            with pytest.raises(CorruptShardError):
                reader.sha256("clip")
            with pytest.raises(CorruptShardError, match="clip 'clip'"):
                reader.crops("clip")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        ShardWriter(tmp_path / "cache", FEATURES)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_failed_write_leaves_no_partial_file_and_a_working_process(tmp_path):
    """HDF5 would crash the process some time after its first failed write; see also test_full_disk."""
    writer = ShardWriter(tmp_path, FEATURES)
    writer._disk._file.close()
    writer._disk._file = Path(os.devnull).open("rb", buffering=0)  # noqa: SIM115  writing to it fails
    with pytest.raises(StorageError, match="cannot be written"):
        for _ in range(100):
            writer.append("a", feature_rows(np.zeros((1000, 64))))
        writer.finish_clip(entry("a", 1))
        writer.commit()
    assert list(tmp_path.iterdir()) == []
    assert write(tmp_path, {"a": [1.0]}) is not None
