"""A matrix that stays on disk against the same matrix in memory."""

import numpy as np
import pytest

from emopipe.errors import CorruptShardError
from emopipe.faces.normalisation import InputSpec, normalise
from emopipe.models.gather import head_inputs
from emopipe.models.rows import Rows
from emopipe.models.windows import WindowConfig, plan_windows
from emopipe.records import FaceRows
from emopipe.stages import cached_features
from emopipe.stages.cached_features import CachedFeatures, Stretch, memory_limit
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.writer import ShardWriter

LENGTHS = (7, 1, 12, 5, 9, 3)
SIZES = {"taps/a": 3, "taps/b": 2}
SPEC = InputSpec(12, 3, "-1..1")


class CountingCache(Cache):
    """Knows how many of its shards are open, and how many were at the worst."""

    def __init__(self, folder):
        super().__init__(folder)
        self.now = self.most = self.opened = 0

    def open(self, record):
        reader = super().open(record)
        self.now, self.opened = self.now + 1, self.opened + 1
        self.most = max(self.most, self.now)
        close = reader.close

        def closing():
            self.now -= 1
            close()

        reader.close = closing
        return reader


def clip_rows(number: int, length: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(number)
    valid = random.random(length) < 0.8
    taps = {name: random.standard_normal((length, size)).astype(np.float16) for name, size in SIZES.items()}
    for values in taps.values():
        values[~valid] = np.nan
    return {"frame_index": np.arange(length), "time_s": np.arange(length) / 25, "valid": valid, **taps}


def face_rows(number: int, length: int) -> FaceRows:
    random = np.random.default_rng(100 + number)
    rows = FaceRows.empty(length)
    rows.frame_index[:], rows.time_s[:], rows.valid[:] = np.arange(length), np.arange(length) / 25, True
    rows.crop[:] = random.integers(0, 256, rows.crop.shape)
    return rows


def write(folder, kind: str, made, clips_per_shard: int) -> list[Stretch]:
    """Write the clips, so many to a shard, and say where they lie; `made(number, length)` gives a clip's arrays."""
    header = ShardHeader(kind, "tiny", {"made": kind}, kind[0] * 64)
    for start in range(0, len(LENGTHS), clips_per_shard):
        writer = ShardWriter(folder, header, {})
        for number in range(start, min(start + clips_per_shard, len(LENGTHS))):
            arrays = made(number, LENGTHS[number])
            writer.append(f"clip{number}", arrays)
            writer.finish_clip(
                ClipEntry(f"{number:064d}", f"clip{number}", "", LENGTHS[number], int(arrays["valid"].sum()))
            )
        writer.commit()
    places = {entry.clip_id: record for record in Cache(folder).records(kind) for entry in record.entries}
    stops = np.cumsum(LENGTHS)
    return [Stretch(places[f"clip{n}"], f"clip{n}", int(stop)) for n, stop in enumerate(stops)]


@pytest.fixture(params=[1, 2, 6], ids=lambda count: f"{count} clips per shard")
def on_disk(request, tmp_path):
    """(features on disk, the same in memory, the cache)"""
    stretches = write(tmp_path, "features", clip_rows, request.param)
    cache = CountingCache(tmp_path)
    clips = [clip_rows(*each) for each in enumerate(LENGTHS)]
    memory = np.concatenate([np.concatenate([rows[name] for name in SIZES], axis=1) for rows in clips])
    return CachedFeatures(cache, stretches, list(SIZES), 5, np.dtype(np.float16)), memory, cache


def same(found, expected):
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_it_looks_like_the_matrix(on_disk):
    disk, memory, _ = on_disk
    assert (len(disk), disk.shape, disk.ndim, disk.dtype) == (len(memory), memory.shape, 2, memory.dtype)
    assert disk.nbytes == memory.nbytes


@pytest.mark.parametrize(
    "key", [slice(None), slice(0, 7), slice(3, 25), slice(20, 20), slice(-3, None), slice(None, None, 4), ...]
)
def test_slices_are_those_of_the_matrix(on_disk, key):
    disk, memory, _ = on_disk
    same(disk[key], memory[key])


def test_row_numbers_of_any_shape_and_order(on_disk):
    disk, memory, _ = on_disk
    random = np.random.default_rng(0)
    for shape in [(0,), (1,), (50,), (4, 6), (0, 6), (2, 3, 4)]:
        numbers = random.integers(0, len(memory), shape)  # repeated, falling and across clips
        same(disk[numbers], memory[numbers])


def test_a_negative_number_is_a_row_of_zeros(on_disk):
    disk, memory, _ = on_disk
    table = np.array([[0, 1, -1], [-1, -1, -1], [36, 3, 12]], np.int32)
    expected = memory[table]
    expected[table < 0] = 0
    same(disk[table], expected)


def test_windows_come_out_the_same(on_disk):
    disk, memory, _ = on_disk
    valid = np.isfinite(memory.astype(np.float32)).all(axis=1)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    labels = np.zeros((len(memory), 1), np.float32)
    names = tuple(f"clip{number}" for number in range(len(LENGTHS)))
    frames = np.concatenate([np.arange(length) for length in LENGTHS])
    tables = [Rows(each, valid, labels, np.ones(len(valid), bool), starts, frames, names) for each in (disk, memory)]
    for table in tables:
        table.check()
    for gaps in ("drop", "hold"):
        plan = plan_windows(tables[0], WindowConfig(4, gaps=gaps, target="every"))
        order = np.random.default_rng(1).permutation(len(plan))
        found, expected = (head_inputs(table.features, plan, order)["features"] for table in tables)
        same(found, expected)


def test_columns_beside_the_taps(tmp_path):
    stretches = write(tmp_path, "features", clip_rows, 2)
    extra = np.random.default_rng(5).standard_normal((sum(LENGTHS), 4)).astype(np.float32)
    clips = [clip_rows(*each) for each in enumerate(LENGTHS)]
    memory = np.concatenate([np.concatenate([rows[name] for name in SIZES], axis=1) for rows in clips])
    memory = np.concatenate([memory.astype(np.float32), extra], axis=1)
    disk = CachedFeatures(Cache(tmp_path), stretches, list(SIZES), 9, np.dtype(np.float32), extra)
    table = np.array([[30, 2, 2, -1], [6, 7, 8, 19]])
    expected = memory[table]
    expected[table < 0] = 0
    same(disk[table], expected)
    same(disk[...], memory)
    turned = CachedFeatures(Cache(tmp_path), stretches, ["taps/b"], 2, np.dtype(np.float16))
    same(turned[...], memory[:, 3:5].astype(np.float16))


@pytest.mark.parametrize("num_extra", [0, 4])
def test_crops_become_the_pixels_that_a_network_takes(tmp_path, num_extra):
    stretches = write(tmp_path, "faces", lambda number, length: face_rows(number, length).arrays(), 4)
    crops = np.concatenate([face_rows(*each).crop for each in enumerate(LENGTHS)])
    extra = np.random.default_rng(5).standard_normal((len(crops), num_extra)).astype(np.float32)
    memory = np.concatenate([normalise(crops, SPEC).reshape(len(crops), -1), extra], axis=1)
    width = 12 * 12 * 3 + num_extra
    disk = CachedFeatures(
        Cache(tmp_path), stretches, (), width, np.dtype(np.float32), extra if num_extra else None, SPEC
    )
    same(disk[5:25], memory[5:25])
    same(disk[np.array([[36, 0], [8, 7]])], memory[np.array([[36, 0], [8, 7]])])


def test_few_shards_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(cached_features, "_OPEN_SHARDS", 2)
    stretches = write(tmp_path, "features", clip_rows, 1)
    cache = CountingCache(tmp_path)
    disk = CachedFeatures(cache, stretches, list(SIZES), 5, np.dtype(np.float16))
    first = disk[...]
    same(disk[::-1], first[::-1])
    assert (cache.most, cache.now) == (2, 2)
    opened = cache.opened
    disk[np.array([36, 34])]  # of the clip that was read last
    assert cache.opened == opened


def test_a_damaged_shard_is_not_read_as_zeros(tmp_path):
    stretches = write(tmp_path, "features", clip_rows, 6)
    disk = CachedFeatures(Cache(tmp_path), stretches, ["taps/c"], 3, np.dtype(np.float16))
    with pytest.raises(CorruptShardError, match="clip 'clip0'"):
        disk[0:3]


def test_the_limit_is_a_share_of_this_machine():
    assert 1e8 < memory_limit() < 1e14
