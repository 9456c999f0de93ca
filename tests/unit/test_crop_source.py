from pathlib import Path

import numpy as np
import pytest
from train_runner import make_cache

from emopipe.errors import CorruptShardError, RunError
from emopipe.faces.normalisation import InputSpec, normalise
from emopipe.stages.cached_plan import cached_plan
from emopipe.stages.crop_source import CropReaders, FrameTable, ordered_batches, shuffled_batches
from emopipe.stages.labelled import labelled_clips
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.writer import ShardWriter

SPEC = InputSpec(96, 1, "0..1")
NUM_ROWS = 151  # of a clip: 129 with a face, and a last chunk that is not full
MAX_BYTES_READ = 1.2  # of the crops' bytes on disk: what an epoch may cost


def write_shard(folder: Path, num_clips: int, num_rows: int) -> tuple[Path, list[np.ndarray]]:
    """A shard of noise, whose clips are `num_rows` crops each; every seventh row has no face."""
    generator = np.random.default_rng(0)
    writer = ShardWriter(folder, ShardHeader("faces", "noise", {}, "f" * 64))
    clips = []
    for number in range(num_clips):
        crops = generator.integers(0, 256, (num_rows, 96, 96, 3), np.uint8)
        valid = np.arange(num_rows) % 7 != 0
        writer.append(f"clip{number}", {"crop": crops, "valid": valid})
        writer.finish_clip(ClipEntry(f"key{number}", f"clip{number}", "", num_rows, int(valid.sum())))
        clips.append(crops)
    path = writer.commit()
    assert path is not None
    return path, clips


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """(table of all frames with a face, their crops in order); targets are clip and row."""
    path, clips = write_shard(tmp_path_factory.mktemp("noise"), 3, NUM_ROWS)
    rows = np.flatnonzero(np.arange(NUM_ROWS) % 7).astype(np.int32)
    clip = np.repeat(np.arange(3, dtype=np.int32), len(rows))
    row = np.tile(rows, 3)
    targets = np.stack([clip, row], axis=1).astype(float)
    table = FrameTable(tuple((path, f"clip{number}") for number in range(3)), clip, row, targets)
    return table, np.concatenate([crops[rows] for crops in clips])


def epoch(table, readers, number=0, seed=3, batch=32, **options):
    return list(shuffled_batches(table, readers, SPEC, batch, seed=seed, epoch=number, pool_frames=100, **options))


def test_an_epoch_shows_every_frame_once_with_its_own_target(noise):
    table, crops = noise
    with CropReaders(0) as readers:
        batches = epoch(table, readers)
    assert [len(pictures) for pictures, _ in batches] == [32] * 12 + [len(table) - 12 * 32]
    pictures, targets = (np.concatenate(part) for part in zip(*batches, strict=True))
    order = np.lexsort((targets[:, 1], targets[:, 0]))
    np.testing.assert_array_equal(targets[order], table.targets)
    np.testing.assert_array_equal(pictures[order], normalise(crops, SPEC))  # stage one's numbers, to the bit


def test_neighbours_are_torn_apart(noise):
    table, _ = noise
    with CropReaders(0) as readers:
        (_, targets), *_ = epoch(table, readers)
    assert len(np.unique(targets[:, 0])) > 1
    assert np.mean(np.abs(np.diff(targets[:, 1])) == 1) < 0.1


@pytest.mark.slow
def test_the_order_follows_from_seed_and_epoch_whatever_the_number_of_processes(noise):
    table, _ = noise
    with CropReaders(0) as here, CropReaders(1) as one, CropReaders(3) as three:
        first = [epoch(table, readers, 0) for readers in (here, one, three)]
        second = [epoch(table, readers, 1) for readers in (here, one, three)]
        in_order = [np.concatenate(list(ordered_batches(table, readers, SPEC, 50))) for readers in (here, three)]
        other_seed = epoch(table, here, 0, seed=4)
    for runs in (first, second):
        for other in runs[1:]:
            for (one_batch, one_target), (batch, target) in zip(runs[0], other, strict=True):
                np.testing.assert_array_equal(one_batch, batch)
                np.testing.assert_array_equal(one_target, target)
    np.testing.assert_array_equal(*in_order)
    assert not np.array_equal(first[0][0][1], second[0][0][1])
    assert not np.array_equal(first[0][0][1], other_seed[0][1])


def test_the_dev_split_comes_in_order_with_a_last_partial_batch(noise):
    table, crops = noise
    with CropReaders(0) as readers:
        batches = list(ordered_batches(table, readers, SPEC, 50))
    assert {len(batch) for batch in batches[:-1]} == {50}
    assert len(batches[-1]) == len(table) % 50
    np.testing.assert_array_equal(np.concatenate(batches), normalise(crops, SPEC))


def bytes_read() -> int:
    return next(int(line.split()[1]) for line in Path("/proc/self/io").read_text().splitlines() if "rchar" in line)


def test_an_epoch_reads_little_more_than_the_crops(noise):
    table, _ = noise
    size = table.places[0][0].stat().st_size
    start = bytes_read()
    with CropReaders(0) as readers:
        epoch(table, readers)
    assert bytes_read() - start <= MAX_BYTES_READ * size


def test_chunks_without_a_frame_of_use_are_not_read(noise):
    table, crops = noise
    keep = (table.clip == 1) & (table.row >= 64) & (table.row < 80)
    size = table.places[0][0].stat().st_size
    start = bytes_read()
    with CropReaders(0) as readers:
        (pictures, targets), *rest = epoch(table.select(keep), readers)
    assert not rest
    assert bytes_read() - start < 0.15 * size  # one of 30 chunks, and the file's own tables
    order = np.argsort(targets[:, 1])
    np.testing.assert_array_equal(pictures[order], normalise(crops[keep], SPEC))


def test_a_short_epoch_reads_no_more_than_it_needs(noise):
    table, _ = noise
    start = bytes_read()
    with CropReaders(0) as readers:
        batches = epoch(table, readers, num_frames=40)
    assert [len(pictures) for pictures, _ in batches] == [32, 8]
    assert bytes_read() - start < 0.3 * table.places[0][0].stat().st_size


def test_a_pass_that_is_given_up_does_not_disturb_the_next(noise):
    table, crops = noise
    with CropReaders(2) as readers:
        given_up = shuffled_batches(table, readers, SPEC, 32, seed=0, epoch=0, pool_frames=64)
        next(given_up)
        given_up.close()
        np.testing.assert_array_equal(
            np.concatenate(list(ordered_batches(table, readers, SPEC, 64))), normalise(crops, SPEC)
        )
        readers._processes[1].kill()
        with pytest.raises(RunError, match="ended by itself"):
            list(ordered_batches(table, readers, SPEC, 64))


def test_a_damaged_shard_is_named(tmp_path):
    path, _ = write_shard(tmp_path, 1, 64)
    table = FrameTable(((path, "clip0"),), np.zeros(60, np.int32), np.arange(1, 61, dtype=np.int32), np.zeros((60, 1)))
    with CropReaders(0) as readers, pytest.raises(CorruptShardError, match="a face that was there is gone"):
        list(ordered_batches(table, readers, SPEC, 64))  # row 7 has none
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    with CropReaders(1) as readers, pytest.raises(CorruptShardError, match=r"clip0.*\n?.*emopipe cache"):
        list(ordered_batches(table, readers, SPEC, 64))


def test_labels_meet_the_cached_rows_by_frame(tmp_path):
    root, folder = make_cache(tmp_path)
    cache = Cache(folder)
    split = labelled_clips(cached_plan(cache, "faces", "affwild2", root), cache, "faces", "train", "va")
    assert [clip.clip.clip_id for clip in split.clips] == ["train0", "train1", "train2"]
    assert split.targets == ("valence", "arousal")
    for clip in split.clips:
        assert np.flatnonzero(~clip.valid).tolist() == [5, 7]  # no face, no label
        assert np.isnan(clip.values[7]).all() and np.isfinite(clip.values[5]).all()
    table = FrameTable.of_clips(split.clips)
    assert len(table) == 3 * 38
    np.testing.assert_array_equal(table.targets, np.concatenate([clip.values[clip.valid] for clip in split.clips]))
    with CropReaders(0) as readers:
        pictures = np.concatenate(list(ordered_batches(table, readers, SPEC, 20)))
    assert np.corrcoef(pictures.mean(axis=(1, 2, 3)), table.targets[:, 0])[0, 1] > 0.99  # bright faces are happy
