"""Extraction that is killed and run again, and extraction by several processes at once.

Every process here is a real one. Most runs make faces only, which start without keras; the others find the exported
Khorrami network in their cache, so they need no keras either.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from extraction import face_frames

from emopipe.media.video import write_video
from emopipe.store.cache import Cache
from emopipe.store.ledger import Ledger
from emopipe.store.reader import ShardReader

RUNNER = str(Path(__file__).parent / "kill_runner.py")
SHARD_FRAMES = 40  # two clips of 25 frames: five clips make three shards of a kind
FACES = ("--only", "faces")
BOTH = ("--backbone", "khorrami", "--weights", "none")
FLOAT_TOLERANCE = 1e-3  # relative: sums in another order, when a batch holds other clips
NUM_FACES_MOMENTS, NUM_BOTH_MOMENTS = 30, 10
PATIENCE_S = 120

# Pairs of exact moments: killed at the first, run again and killed at the second, run again to the end.
EXACT_FACES = [
    (("flush", "before", 1), ("flush", "after", 2)),
    (("verify", "before", 1), ("verify", "after", 1)),
    (("replace", "before", 1), ("replace", "after", 1)),
    (("record", "before", 2), ("record", "after", 1)),
    (("rename", "before", 2), ("rename", "before", 3)),
    (("ledger", "before", 3), ("ledger", "after", 3)),  # the first two calls say what was found
    (("release", "before", 4), ("release", "after", 4)),  # the first three give back what was not needed
    (("claim", "after", 1), ("append", "after", 3)),
]
EXACT_BOTH = [
    (("flush", "after", 2), ("verify", "before", 3)),
    (("replace", "after", 1), ("replace", "before", 3)),
    (("record", "before", 2), ("rename", "before", 4)),
    (("ledger", "before", 4), ("finish", "before", 3)),
]


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


@pytest.fixture(scope="module")
def setting(face_videos, kept_weights, tmp_path_factory):
    """A corpus of five clips, and for both kinds of run the clean cache and how long it took."""
    folder = tmp_path_factory.mktemp("resume")
    root = folder / "corpus"
    root.mkdir()
    for name, path in face_videos.items():
        shutil.copy(path, root / f"{name}.mp4")

    def empty_cache(name):
        cache = folder / name
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(kept_weights, cache / "weights")
        return cache

    clean, length_s = {}, {}
    for what in (FACES, BOTH):
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


def kill_after(root, cache, what, moment_s):
    """Start a run and kill it at a moment. A run that ends earlier is started anew and killed a little sooner."""
    before = cache.with_name(cache.name + "-before")
    shutil.copytree(cache, before)
    while True:
        process = start(root, cache, what)
        try:
            process.communicate(timeout=moment_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=PATIENCE_S)
            if process.returncode == -signal.SIGKILL:
                break
        moment_s *= 0.85
        shutil.rmtree(cache)
        shutil.copytree(before, cache)
    shutil.rmtree(before)


def kill_at(root, cache, what, moment):
    at, side, nth = moment
    process = start(root, cache, what, at=at, side=side, nth=nth)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGKILL, f"the moment {moment} never came"


def survive(setting, what, name, kills):
    """Kill, look, kill again, look, run to the end, and compare with the clean run."""
    root, empty_cache, clean, _ = setting
    cache = empty_cache(name)
    committed = {}
    for kill in kills:
        kill(root, cache, what)
        found = check_names(cache)
        assert found.items() >= committed.items(), "a committed clip was lost"
        committed = found
    report = finish(start(root, cache, what))
    assert report["clips"]["failed"] == 0
    final = check_names(cache)
    assert final.items() >= committed.items(), "a committed clip was lost or made again"
    keys_per_clip = 1 if what == FACES else 2
    made = len(final) - len(committed)
    assert report["clips"]["done"] <= made <= keys_per_clip * report["clips"]["done"]
    assert_equal(cache, clean[what])
    assert_tidy(cache)
    shutil.rmtree(cache)


def survive_all(setting, cases):
    """Two cases at a time; every failure says which case it was."""
    with ThreadPoolExecutor(2) as pool:
        jobs = {name: pool.submit(survive, setting, what, name, kills) for name, what, kills in cases}
    failures = {name: job.exception() for name, job in jobs.items() if job.exception()}
    assert not failures, "\n".join(f"{name}: {error}" for name, error in failures.items())


@pytest.mark.slow
def test_killed_at_forty_moments_of_its_own_length(setting):
    cases = []
    for what, count in ((FACES, NUM_FACES_MOMENTS), (BOTH, NUM_BOTH_MOMENTS)):
        moments = [(index + 0.5) / count * setting[3][what] for index in range(count)]
        for early, late in zip(moments[: count // 2], moments[count // 2 :], strict=True):
            kills = [partial(kill_after, moment_s=moment_s) for moment_s in (early, late)]
            cases.append((f"at-{early:.2f}-{late:.2f}-{len(what)}", what, kills))
    assert sum(len(kills) for _, _, kills in cases) == 40
    survive_all(setting, cases)


@pytest.mark.slow
def test_killed_between_the_steps_of_a_commit(setting):
    cases = []
    for what, pairs in ((FACES, EXACT_FACES), (BOTH, EXACT_BOTH)):
        for pair in pairs:
            name = "-".join(f"{at}-{side}-{nth}" for at, side, nth in pair)
            cases.append((f"{name}-{len(what)}", what, [partial(kill_at, moment=moment) for moment in pair]))
    assert sum(len(kills) for _, _, kills in cases) >= 20
    survive_all(setting, cases)


def test_a_kill_between_shard_and_record_keeps_the_shard(setting):
    root, empty_cache, clean, _ = setting
    cache = empty_cache("adopted")
    kill_at(root, cache, FACES, ("record", "before", 1))
    (orphan,) = cache.glob("*.h5")
    assert not orphan.with_suffix(".json").exists()
    written_ns = orphan.stat().st_mtime_ns
    assert finish(start(root, cache, FACES))["clips"] == {"done": 3, "reused": 2, "failed": 0}
    assert orphan.with_suffix(".json").exists()
    assert orphan.stat().st_mtime_ns == written_ns
    assert_equal(cache, clean[FACES])


def test_a_kill_between_record_and_ledger_is_made_good(setting):
    root, empty_cache, clean, _ = setting
    cache = empty_cache("reconciled")
    kill_at(root, cache, FACES, ("ledger", "before", 3))
    assert not ledger(cache)
    assert finish(start(root, cache, FACES))["clips"]["reused"] == 2
    assert_equal(cache, clean[FACES])


# --- several processes


@pytest.mark.parametrize("what", [FACES, BOTH], ids=["faces", "both"])
def test_two_processes_share_the_work(setting, what):
    root, empty_cache, clean, _ = setting
    cache = empty_cache(f"shared-{len(what)}")
    reports = [finish(process) for process in [start(root, cache, what) for _ in range(2)]]
    for report in reports:
        assert report["clips"]["done"] + report["clips"]["reused"] == 5
        assert report["clips"]["failed"] == 0
    if what == FACES:
        assert sum(report["frames"] for report in reports) == 5 * 25, "a clip was decoded twice, or not at all"
    check_names(cache)
    assert_equal(cache, clean[what])
    assert_tidy(cache)


def state(pid):
    """One letter: R running, S sleeping, T stopped, Z ended and not yet looked after; X gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def wait_until(condition, what):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("moment", "num_committed"),
    [
        (("append", "after", 1), 0),
        (("replace", "before", 1), 0),
        (("ledger", "before", 3), 2),
        (("append", "after", 5), 2),
    ],
)
def test_one_of_two_processes_is_killed(setting, moment, num_committed):
    """It stands still first, so that the other meets its claims: they are respected until the very moment it dies."""
    root, empty_cache, clean, _ = setting
    cache = empty_cache(f"widow-{moment[0]}-{num_committed}")
    at, side, nth = moment
    doomed = start(root, cache, FACES, at=at, side=side, nth=nth, signal="SIGSTOP")
    wait_until(lambda: state(doomed.pid) == "T", "the moment never came")
    claimed = {path.stem for path in (cache / "claims").glob("*.claim")}
    in_hand = claimed - check_names(cache).keys()
    assert in_hand
    other = start(root, cache, FACES)
    free = 5 - len(in_hand)
    wait_until(lambda: len(contents(cache)) == free, "the other does not do the free clips")
    time.sleep(1.0)
    assert other.poll() is None, "it must wait for the clips that a living process has claimed"
    assert len(contents(cache)) == free
    doomed.kill()
    doomed.communicate(timeout=PATIENCE_S)
    begun = time.monotonic()
    report = finish(other)
    assert time.monotonic() - begun < 30, "a dead process's claims must not be waited for"
    assert (report["clips"]["reused"], report["clips"]["done"]) == (num_committed, 5 - num_committed)
    assert report["frames"] == 25 * (5 - num_committed)
    check_names(cache)
    finish(start(root, cache, FACES))  # clears away what the killed one left lying about
    assert_equal(cache, clean[FACES])
    assert_tidy(cache)


def children(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed_and_the_next_run_goes_on(tmp_path):
    num_clips, num_frames = 6, 300  # seconds of work for two workers, so that they cannot be done before they notice
    root, cache = tmp_path / "long", tmp_path / "orphans"
    root.mkdir()
    for number in range(num_clips):
        write_video(root / f"{number}.mp4", face_frames(num_frames, number), Fraction(25))
    process = start(root, cache, (*FACES, "--workers", "2"))
    wait_until(lambda: list(cache.glob("claims/*.claim")), "no clip is claimed")
    workers = children(process.pid)
    process.kill()
    assert len(workers) >= 2
    wait_until(lambda: all(state(worker) in "ZX" for worker in workers), "a worker outlives its parent")
    process.communicate(timeout=PATIENCE_S)
    committed = check_names(cache)
    report = finish(start(root, cache, FACES))
    assert report["clips"] == {"done": num_clips - len(committed), "reused": len(committed), "failed": 0}
    assert len(check_names(cache)) == num_clips
    assert_tidy(cache)


def test_stopped_by_hand_it_keeps_what_is_finished(setting):
    root, empty_cache, clean, _ = setting
    cache = empty_cache("stopped")
    process = start(root, cache, FACES)
    wait_until(lambda: list(cache.glob("*.json")), "no shard is committed")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    if process.returncode:  # it may have been done in this moment
        assert process.returncode == 1
        assert err.strip() == "emopipe: stopped. What was finished is kept; the same command goes on from there."
    assert_tidy(cache)
    committed = check_names(cache)
    assert len(committed) >= 2
    report = finish(start(root, cache, FACES))
    assert report["clips"]["reused"] == len(committed)
    assert_equal(cache, clean[FACES])


# --- a full disk


@pytest.mark.parametrize("file_bytes", [200, 60_000, 900_000, 1_300_000])
def test_a_full_disk_ends_in_a_clear_message_and_no_bad_shard(setting, file_bytes):
    root, empty_cache, clean, _ = setting
    cache = empty_cache(f"full-{file_bytes}")
    process = start(root, cache, FACES, file_bytes=file_bytes)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, err
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) <= 3, err
    assert lines[0].startswith(f"emopipe: {cache}")
    assert "cannot be written (File too large)" in lines[0]
    assert "free some space" in err
    assert "run the same command again" in err
    check_names(cache)
    assert_tidy(cache)
    assert finish(start(root, cache, FACES))["clips"]["failed"] == 0
    assert_equal(cache, clean[FACES])


@pytest.mark.parametrize("name", ["ledger", "claims"])
def test_a_part_of_the_cache_that_cannot_be_written_is_named(setting, name):
    root, empty_cache, _, _ = setting
    cache = empty_cache(f"blocked-{name}")
    (cache / name).write_text("a file where a folder belongs")
    process = start(root, cache, FACES)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert err.startswith(f"emopipe: {cache / name}"), err
    assert len(err.strip().splitlines()) <= 3
    check_names(cache)
