"""Claims, with real processes as the other side."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from emopipe.errors import StorageError
from emopipe.store import claims as module
from emopipe.store.claims import Claims

HOLDER = """
import sys
from pathlib import Path
from emopipe.store.claims import Claims
with Claims(Path(sys.argv[1])) as claims:
    print(claims.acquire(sys.argv[2:]), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def hold(tmp_path):
    """``hold("key")`` -> a living process that holds claims in `tmp_path`."""
    started = []

    def start(*keys):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), *keys],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "True\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def files(folder):
    return sorted(path.name for path in folder.glob("*.claim"))


def test_a_claim_of_a_living_process_is_respected_and_freed_when_it_ends(tmp_path, hold):
    other = hold("a")
    with Claims(tmp_path) as claims:
        assert not claims.acquire(["a"])
        assert claims.acquire(["b"])
        other.communicate("\n")
        assert claims.acquire(["a"])
        assert files(tmp_path) == ["a.claim", "b.claim"]
    assert files(tmp_path) == []


def test_a_claim_of_a_killed_process_is_taken_over_at_once(tmp_path, hold):
    other = hold("a")
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert files(tmp_path) == ["a.claim"]
    with Claims(tmp_path) as claims:
        begun = time.monotonic()
        assert claims.acquire(["a"])
        assert time.monotonic() - begun < 1


def test_all_of_several_keys_or_none(tmp_path, hold):
    hold("b")
    with Claims(tmp_path) as claims:
        assert not claims.acquire(["a", "b", "c"])
        assert files(tmp_path) == ["b.claim"]
        assert claims.acquire(["a", "c"])


def test_another_process_with_the_same_number_does_not_inherit_a_claim(tmp_path):
    """Process numbers come back; the time at which the process started tells them apart."""
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "start": "1"}
    (tmp_path / "a.claim").write_text(json.dumps(owner))
    with Claims(tmp_path) as claims:
        assert claims.acquire(["a"])


def test_on_another_machine_only_the_age_decides(tmp_path):
    path = tmp_path / "a.claim"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": "1"}))
    with Claims(tmp_path) as claims:
        assert not claims.acquire(["a"])
        old = time.time() - module.STALE_AFTER_S - 1
        os.utime(path, (old, old))
        assert claims.acquire(["a"])


def test_a_claim_whose_owner_died_while_writing_it_goes_by_its_age(tmp_path):
    path = tmp_path / "a.claim"
    path.write_text("")
    with Claims(tmp_path) as claims:
        assert not claims.acquire(["a"])
        old = time.time() - module.STALE_AFTER_S - 1
        os.utime(path, (old, old))
        assert claims.acquire(["a"])


def test_held_claims_stay_fresh(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.02)
    with Claims(tmp_path) as claims:
        claims.acquire(["a"])
        old = time.time() - 3600
        os.utime(tmp_path / "a.claim", (old, old))
        deadline = time.monotonic() + 10
        while (tmp_path / "a.claim").stat().st_mtime < old + 60:
            assert time.monotonic() < deadline, "the heart does not beat"
            time.sleep(0.01)


def test_release_gives_back_only_what_is_held(tmp_path, hold):
    hold("b")
    with Claims(tmp_path) as claims:
        claims.acquire(["a"])
        claims.release(["a", "b", "never"])
        assert files(tmp_path) == ["b.claim"]


def test_leaving_ends_the_heart_even_after_an_error(tmp_path):
    before = threading.active_count()
    with pytest.raises(RuntimeError), Claims(tmp_path) as claims:
        claims.acquire(["a"])
        raise RuntimeError
    assert threading.active_count() == before
    assert files(tmp_path) == []


def test_stale_claims_are_cleared_away_and_living_ones_stay(tmp_path, hold):
    dead = hold("dead", "dead too")
    hold("living")
    dead.kill()
    dead.wait()
    Claims(tmp_path).remove_stale()
    assert files(tmp_path) == ["living.claim"]
    Claims(tmp_path / "absent").remove_stale()
    assert not (tmp_path / "absent").exists()


RACER = """
import sys, time
from pathlib import Path
from emopipe.store.claims import Claims
with Claims(Path(sys.argv[1])) as claims:
    while time.time() < float(sys.argv[2]):
        pass
    print(sum(claims.acquire([str(number)]) for number in range(200)), flush=True)
    sys.stdin.readline()
"""


def test_of_several_processes_that_race_for_stale_claims_each_claim_has_one_winner(tmp_path):
    for number in range(200):
        (tmp_path / f"{number}.claim").write_text(
            json.dumps({"host": socket.gethostname(), "pid": 2**22, "start": "1"})
        )
    begin = str(time.time() + 1.5)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(tmp_path), begin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    won = [int(racer.stdout.readline()) for racer in racers]
    for racer in racers:
        racer.communicate("\n")
    assert sum(won) == 200, won
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"), Claims(tmp_path / "cache" / "claims"):
        pass
