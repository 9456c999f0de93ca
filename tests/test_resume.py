"""Extraction that is killed and run again, and extraction by several processes at once.

Every process here is a real one. Most runs make faces only, which start without keras; the others find the exported
Khorrami network in their cache, so they need no keras either.
"""

import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
from extraction import FACES, face_frames
from extraction_runs import (
    BOTH,
    PATIENCE_S,
    assert_equal,
    assert_tidy,
    check_names,
    contents,
    finish,
    ledger,
    make_setting,
    start,
)

from emopipe.media.video import write_video

NUM_FACES_MOMENTS, NUM_BOTH_MOMENTS = 30, 10

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


@pytest.fixture(scope="module")
def setting(face_videos, kept_weights, tmp_path_factory):
    """A corpus of five clips, and for both kinds of run the clean cache and how long it took."""
    return make_setting(tmp_path_factory.mktemp("resume"), face_videos, kept_weights, (FACES, BOTH))


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
