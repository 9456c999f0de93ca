"""The line `crops` of stage_two.py: `train-cnn` from shards that are pushed out of the page cache all the time."""

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from common import ratios, take_turns
from stage_two_data import backend

from emopipe.provenance import num_cores
from emopipe.stages.training import fit_epoch
from emopipe.store.layout import group_name

FORGET_EVERY_S = 0.1


def crops_epochs(folder: str, cnn: str, rounds: int) -> dict[str, Any]:
    """Whole epochs from the cache, whose pages are taken out of memory all the time, and from tensors, in turns."""
    from emopipe.models.engines import load_keras
    from emopipe.models.trainable import CNNS
    from emopipe.stages.cnn_config import TrainCnnConfig
    from emopipe.stages.crop_source import CropReaders, shuffled_batches
    from emopipe.stages.pipeline import Prefetch
    from emopipe.stages.train_cnn import BATCHES_AHEAD, build_training
    from emopipe.stages.training_frames import load_frames
    from emopipe.store.cache import Cache

    config, network = TrainCnnConfig(backbone=cnn), CNNS.load(cnn)
    cache, root = Path(folder) / "cache", Path(folder) / "corpus"
    data = load_frames(config, Cache(cache), "affwild2", root)
    shards, stored = sorted(cache.rglob("*.h5")), stored_bytes(data.train.places)
    load_keras()
    *_, model = build_training(config, network, "ccc", data)
    epochs, num_frames, read = iter(range(1 << 30)), len(data.train), []
    with CropReaders(max(1, min(4, num_cores() // 4))) as readers:  # as train-cnn

        def batches_of(epoch: int) -> Any:
            return shuffled_batches(data.train, readers, network.input, config.batch_size, seed=0, epoch=epoch)

        ready = list(islice(batches_of(0), 4))
        fit_epoch(model, iter(ready[:2]))
        last = num_frames % config.batch_size
        whole = [ready[number % len(ready)] for number in range(num_frames // config.batch_size)]
        part = [(ready[0][0][:last], ready[0][1][:last])] if last else []
        fit_epoch(model, iter(part))

        def from_cache() -> float:
            with forgetting(shards):
                before, begun = bytes_read(), time.perf_counter()
                fit_epoch(model, Prefetch(batches_of(next(epochs)), BATCHES_AHEAD, "crops"))
                rate = num_frames / (time.perf_counter() - begun)
                read.append(bytes_read() - before)
            return rate

        def in_memory() -> float:
            begun = time.perf_counter()
            fit_epoch(model, iter([*whole, *part]))
            return num_frames / (time.perf_counter() - begun)

        with forgetting(shards):
            begun = time.perf_counter()
            for _ in batches_of(0):
                pass
            alone = num_frames / (time.perf_counter() - begun)
        found = take_turns({"from_cache": from_cache, "in_memory": in_memory}, rounds)
    return {
        "backend": backend(),
        "in_page_cache_at_most_s": FORGET_EVERY_S,
        "crops": num_frames,
        "stored_crops_bytes": stored,
        "raw_crops_bytes": num_frames * 96 * 96 * 3,
        "crops_per_s": found,
        "of_in_memory": ratios(found["from_cache"], found["in_memory"]),
        "loading_alone_per_s": round(alone, 1),
        "bytes_read": read,
        "bytes_read_of_stored": round(max(read) / stored, 3),
    }


def stored_bytes(places: Sequence[tuple[Path, str]]) -> int:
    """Bytes of the compressed crops of some clips, given by shard and clip id."""
    import h5py

    total = 0
    for path, clip_id in places:
        with h5py.File(path) as file:
            total += file[group_name(clip_id)]["crop"].id.get_storage_size()
    return total


@contextlib.contextmanager
def forgetting(paths: list[Path]) -> Iterator[None]:
    """Keep files out of the page cache: what is read is dropped after `FORGET_EVERY_S` at the latest."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(FORGET_EVERY_S):
            forget(paths)

    forget(paths)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def forget(paths: list[Path]) -> None:
    """Take files out of the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_read() -> int:
    """Bytes that this process and its children fetched from storage so far."""
    total = 0
    for pid in ("self", *(str(child.pid) for child in multiprocessing.active_children())):
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))
    return total


# === The published epoch ===
