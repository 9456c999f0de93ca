"""Crops of many clips in full batches: order, borders, rows without a face, numbers that are not finite."""

from pathlib import Path

import numpy as np
import pytest

from emopipe.errors import CorruptShardError, FaceError
from emopipe.records import Clip, FaceRows
from emopipe.stages.features_step import Crops, cached_crops, compute, tap_sizes
from emopipe.stages.spec import PlannedClip
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.writer import ShardWriter

SIZES = {"mean": 3, "corner": 1}
BATCH = 8


class Network:
    """Two taps whose numbers can be checked by hand; notes the size of every batch."""

    def __init__(self, poison=None):
        self.sizes, self.poison = [], poison

    def __call__(self, crops):
        self.sizes.append(len(crops))
        mean = crops.mean(axis=(1, 2)).astype(np.float32)
        corner = crops[:, 0, 0, :1].astype(np.float32)
        if self.poison is not None:
            mean[corner[:, 0] == self.poison] = np.inf
        return {"mean": mean, "corner": corner}


def planned(clip_id):
    return PlannedClip(Clip(clip_id, Path(f"{clip_id}.mp4")), f"faces {clip_id}", f"features {clip_id}")


def crops_of(values, valid=None):
    """Crops whose corner pixel is the value; zeros where not valid."""
    valid = np.ones(len(values), bool) if valid is None else np.asarray(valid, bool)
    crop = np.zeros((len(values), 96, 96, 3), np.uint8)
    crop += (np.arange(96) % 7).astype(np.uint8)[:, None]
    crop[:, 0, 0, 0] = values
    crop[~valid] = 0
    return crop, valid


def pieces_of(clip_id, values, valid=None, piece=5, error=None):
    crop, valid = crops_of(values, valid)
    frames = np.arange(len(values))
    for start in range(0, len(values), piece):
        rows = {name: array[start : start + piece] for name, array in (("frame_index", frames), ("valid", valid))}
        rows["time_s"] = rows["frame_index"] / 25
        yield Crops(planned(clip_id), rows, crop[start : start + piece])
    nothing = {"frame_index": frames[:0], "time_s": frames[:0] / 25, "valid": valid[:0]}
    yield Crops(planned(clip_id), nothing, crop[:0], is_last=True, error=error)


def run(pieces, network=None, batch=BATCH):
    return list(compute(iter(pieces), network or Network(), SIZES, batch))


def joined(rows, clip_id):
    parts = [row.rows for row in rows if row.planned.clip.clip_id == clip_id]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_batches_are_full_across_clip_borders():
    network = Network()
    pieces = [
        piece for name, count in (("a", 3), ("b", 10), ("c", 1), ("d", 7)) for piece in pieces_of(name, [1] * count)
    ]
    run(pieces, network)
    assert network.sizes == [8, 8, 5]


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 64])
@pytest.mark.parametrize("piece", [1, 4, 16])
def test_the_same_numbers_as_one_by_one_in_order(batch, piece):
    generator = np.random.default_rng(batch * piece)
    clips = {name: generator.integers(1, 255, count) for name, count in (("a", 13), ("b", 1), ("c", 0), ("d", 22))}
    flags = {name: generator.random(len(values)) < 0.7 for name, values in clips.items()}
    pieces = [part for name in clips for part in pieces_of(name, clips[name], flags[name], piece)]
    rows = run(pieces, Network(), batch)
    assert [row.planned.clip.clip_id for row in rows] == [part.planned.clip.clip_id for part in pieces]
    assert [row.is_last for row in rows] == [part.is_last for part in pieces]
    for name, values in clips.items():
        got = joined(rows, name)
        crop, valid = crops_of(values, flags[name])
        np.testing.assert_array_equal(got["frame_index"], np.arange(len(values)))
        np.testing.assert_array_equal(got["valid"], valid)
        for index in range(len(values)):
            expected = Network()(crop[index : index + 1])
            for tap in SIZES:
                row = got[f"taps/{tap}"][index]
                if valid[index]:
                    np.testing.assert_array_equal(row, expected[tap][0])
                else:
                    assert np.isnan(row).all()


def test_rows_without_a_face_never_reach_the_network():
    network = Network()
    rows = run(pieces_of("a", [1] * 20, [False] * 20), network)
    assert network.sizes == []
    assert np.isnan(joined(rows, "a")["taps/mean"]).all()
    assert rows[-1].is_last


def test_rows_are_handed_on_as_soon_as_they_are_complete():
    taken = []

    def source():
        for piece in pieces_of("a", [1] * 40, piece=4):
            taken.append(piece)
            yield piece

    results = compute(source(), Network(), SIZES, BATCH)
    next(results)
    assert len(taken) == 2, "two pieces of four fill a batch of eight"


def test_a_number_that_is_not_finite_fails_its_clip_and_no_other():
    values = [1, 2, 3, 200, 5, 6]
    pieces = [*pieces_of("a", [1, 2, 3]), *pieces_of("b", values, piece=3), *pieces_of("c", [7, 8])]
    rows = run(pieces, Network(poison=200), batch=4)
    errors = {(row.planned.clip.clip_id, str(row.error)) for row in rows if row.error is not None}
    ((clip_id, message),) = errors
    assert clip_id == "b"
    assert "clip 'b', frame 3: tap 'mean' holds a number that is not finite" in message
    (error,) = {row.error for row in rows if row.error is not None}
    assert isinstance(error, FaceError)
    assert (error.clip_id, error.frame_index) == ("b", 3)
    assert not any(row.failed_upstream for row in rows)
    for name in ("a", "c"):
        assert np.isfinite(joined(rows, name)["taps/mean"]).all()


def test_a_failure_upstream_is_passed_on_behind_the_clip_s_rows():
    reason = ValueError("decoding broke off")
    rows = run([*pieces_of("a", [1] * 12, error=reason), *pieces_of("b", [2] * 3)])
    last = [row for row in rows if row.planned.clip.clip_id == "a"][-1]
    assert (last.error, last.failed_upstream, last.is_last) == (reason, True, True)
    assert all(row.error is None for row in rows if row.planned.clip.clip_id == "b")


def test_tap_sizes_are_found_by_one_pass():
    network = Network()
    assert tap_sizes(network) == SIZES
    assert network.sizes == [1]


# --- from the cache


@pytest.fixture
def cached(tmp_path):
    """A clip of 600 rows in a shard, and what is in it."""
    rows = FaceRows.empty(600)
    crop, valid = crops_of(np.arange(600) % 250 + 1, np.arange(600) % 9 != 4)
    rows.frame_index[:], rows.time_s[:], rows.valid[:], rows.crop[:] = range(600), np.arange(600) / 25, valid, crop
    header = ShardHeader("faces", "x", {}, "f" * 64)
    writer = ShardWriter(tmp_path, header)
    writer.append("a", rows.arrays())
    writer.finish_clip(ClipEntry("faces a", "a", "", 600, int(valid.sum())))
    writer.commit()
    cache = Cache(tmp_path)
    return cache, *cache.find("faces", header.fingerprint)["faces a"], rows


def test_cached_crops_are_the_ones_that_were_written(cached):
    cache, record, entry, rows = cached
    pieces = list(cached_crops(planned("a"), record, entry, cache))
    assert [len(piece.crop) for piece in pieces] == [256, 256, 88]
    assert [piece.is_last for piece in pieces] == [False, False, True]
    np.testing.assert_array_equal(np.concatenate([piece.crop for piece in pieces]), rows.crop)
    for name in ("frame_index", "time_s", "valid"):
        np.testing.assert_array_equal(np.concatenate([piece.rows[name] for piece in pieces]), getattr(rows, name))


def test_a_cached_clip_is_closed_when_it_is_not_used_up(cached):
    cache, record, entry, _ = cached
    pieces = cached_crops(planned("a"), record, entry, cache)
    next(pieces)
    pieces.close()
    record.path.unlink()
    with pytest.raises(CorruptShardError):
        next(cached_crops(planned("a"), record, entry, cache))
