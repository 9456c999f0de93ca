"""Extractions in processes of their own, to be broken or stopped, and what must hold of their caches."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from extraction import FACES, KHORRAMI

from emopipe.store.cache import Cache
from emopipe.store.ledger import Ledger
from emopipe.store.reader import ShardReader

RUNNER = str(Path(__file__).parent / "kill_runner.py")
SHARD_FRAMES = 40  # two clips of 25 frames: five clips make three shards of a kind
BOTH = KHORRAMI  # faces and features
FLOAT_TOLERANCE = 1e-3  # relative: sums in another order, when a batch holds other clips
PATIENCE_S = 120


def command(root, cache, what, **plan):
    plan = {"frames": SHARD_FRAMES, **plan}
    where = ("--dataset", "folder", "--root", root, "--cache", cache)
    return [sys.executable, RUNNER, json.dumps(plan), "extract", *map(str, where), *what, "--json"]


def start(root, cache, what, **plan):
    return subprocess.Popen(
        command(root, cache, what, **plan), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    return json.loads(out)


def check_names(cache):
    """No final-named file is bad: every shard is whole, every record fits its shard. Returns clip key -> digest."""
    committed = {}
    for path in cache.glob("*.h5"):
        with ShardReader(path) as reader:
            for entry in reader.entries():
                assert reader.sha256(entry.clip_id) == entry.sha256, path
                assert entry.key not in committed, f"{entry.clip_id} is in two shards"
                committed[entry.key] = entry.sha256
    opened = Cache(cache)
    assert all(record.is_as_committed for record in opened.records())
    return committed


def contents(cache):
    """Clip key -> (clip, kind, its arrays), from every shard that has a record."""
    found = {}
    for record in Cache(cache).records():
        with ShardReader(record.path) as reader:
            for entry in record.entries:
                assert entry.key not in found, f"{entry.clip_id} is in two shards"
                about = asdict(entry)
                about.pop("sha256")
                found[entry.key] = (about, record.header.kind, reader.rows(entry.clip_id))
    return found


def ledger(cache):
    rows = {key: asdict(row) for key, row in Ledger(cache / "ledger").read().items()}
    for row in rows.values():
        row.pop("time")
    return rows


def assert_equal(cache, clean):
    """The same clip keys, the same ledger, integer arrays bit for bit, features within a thousandth."""
    ours, theirs = contents(cache), contents(clean)
    assert ours.keys() == theirs.keys()
    for key, (about, kind, arrays) in ours.items():
        assert (about, kind) == theirs[key][:2]
        expected = theirs[key][2]
        assert arrays.keys() == expected.keys()
        for name, array in arrays.items():
            assert array.dtype == expected[name].dtype
            if array.dtype.kind == "f":
                scale = np.nanmax(np.abs(expected[name]), initial=1e-12)
                difference = np.abs(array.astype(np.float64) - expected[name])
                assert (np.isnan(array) == np.isnan(expected[name])).all(), name
                assert np.nanmax(difference, initial=0) <= FLOAT_TOLERANCE * scale, name
            else:
                np.testing.assert_array_equal(array, expected[name])
    assert ledger(cache) == ledger(clean)


def assert_tidy(cache):
    assert not list(cache.glob(".*.partial"))
    assert not list((cache / "claims").glob("*.claim"))


def make_setting(folder: Path, videos: dict[str, Path], weights: Path, kinds: tuple[tuple[str, ...], ...]):
    """A corpus of five clips, what makes an empty cache, and for each kind of run the clean cache and how long it took.

    The caches hold `weights`, so that no run needs keras.
    """
    root = folder / "corpus"
    root.mkdir()
    for name, path in videos.items():
        shutil.copy(path, root / f"{name}.mp4")

    def empty_cache(name: str) -> Path:
        cache = folder / name
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(weights, cache / "weights")
        return cache

    clean, length_s = {}, {}
    for what in kinds:
        caches = [empty_cache(f"clean{len(what)}-{number}") for number in range(2)]
        begun = time.monotonic()
        for process in [start(root, cache, what) for cache in caches]:  # two at a time, as the runs to be killed
            report = finish(process)
            length_s[what] = time.monotonic() - begun
            assert report["clips"] == {"done": 5, "reused": 0, "failed": 0}
        clean[what] = caches[0]
        assert_equal(caches[1], caches[0])
        assert len(Cache(caches[0]).records()) == (3 if what == FACES else 6)
    return root, empty_cache, clean, length_s
