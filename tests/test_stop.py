"""Ctrl-C, which a terminal sends to every process of a command at once, and SIGTERM, which only the first one gets.

Every process is a real one, in a group of its own. It must say one sentence and no traceback, leave nothing that
hinders the next call, and end soon; the same command then goes on.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import feature_corpus
import numpy as np
import pytest
import train_runner
from extraction import FACES, KHORRAMI, PROGRAM, counts, face_frames, where

from emopipe.media.video import write_video
from emopipe.processes import held_back
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.writer import ShardWriter, _Disk

KEPT = "emopipe: stopped. What was finished is kept."
GOES_ON = "emopipe: stopped. What was finished is kept; the same command goes on from there."
PATIENCE_S = 120
SOON_S = 60  # a few seconds on a machine that has nothing else to do
NUM_CLIPS, NUM_FRAMES = 6, 250
PHANTOM = ("--layout", "affwild2", "--subjects", "4", "--seconds", "2", "--size", "160x120", "--json")
TRAINING = ("--layers", 1, "--units", 8, "--window", 8, "--epochs", 100_000, "--patience", 100_000)


def start(*arguments, runner=PROGRAM):
    # jax, which other tests import, sets this variable for all that come after it, and TensorFlow then talks.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, *map(str, (*runner, *arguments))], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(condition, process):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, f"it ended before it could be stopped: {process.communicate()}"
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.05)


def stop(process, number=signal.SIGINT):
    """Send the signal as a terminal or a scheduler does; how it ended."""
    try:
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
        out, err = process.communicate(timeout=SOON_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err.strip()


def assert_tidy(folder):
    assert not list(folder.rglob("*.partial"))
    assert not list(folder.rglob("*.claim"))


@pytest.fixture
def long_corpus(tmp_path):
    """Seconds of work for two processes."""
    root = tmp_path / "long"
    root.mkdir()
    for number in range(NUM_CLIPS):
        write_video(root / f"{number}.mp4", face_frames(NUM_FRAMES, number), Fraction(25))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_extraction(long_corpus, tmp_path, extract, workers, number):
    cache = tmp_path / "cache"
    process = start("extract", *where(long_corpus, cache), *FACES, "--workers", workers)
    wait_for(lambda: list(cache.glob("claims/*.claim")), process)
    time.sleep(0.5)
    assert stop(process, number) == (1, "", GOES_ON)
    assert_tidy(cache)
    num_kept = sum(len(record.entries) for record in Cache(cache).records())
    assert counts(extract(long_corpus, cache, *FACES)) == (NUM_CLIPS - num_kept, num_kept, 0)


@pytest.mark.slow
def test_processes_that_are_still_starting_say_nothing(long_corpus, tmp_path):
    """The workers first, then the process that exports the network: both spend their first seconds on imports."""
    cache = tmp_path / "cache"
    for moment_s in (0.3, 2.0, 4.0):
        process = start("extract", *where(long_corpus, cache), *KHORRAMI, "--workers", "2")
        wait_for(lambda: list(cache.glob("claims")), process)
        time.sleep(moment_s)
        assert stop(process) == (1, "", GOES_ON)
        assert_tidy(cache)


@pytest.mark.slow
def test_a_generated_corpus_goes_on_and_becomes_what_it_would_have_been(tmp_path, program):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process = start("phantom", stopped, *PHANTOM, "--workers", "2")
    wait_for(lambda: list(stopped.glob("*/*.mp4")), process)
    assert stop(process) == (1, "", GOES_ON)
    finished = {path: path.stat().st_mtime_ns for path in stopped.glob("*/*.mp4")}
    assert not (stopped / "phantom.json").exists()
    digests = list((stopped / ".unfinished").glob("*.sha256"))

    refused = program("phantom", stopped, *PHANTOM, "--seed", "9")
    assert (refused.code, "unfinished corpus of other settings" in refused.err) == (1, True)
    assert program("phantom", stopped, *PHANTOM, "--workers", "2").code == 0
    kept = [path for path, written_ns in finished.items() if path.stat().st_mtime_ns == written_ns]
    assert len(kept) >= len(digests)
    assert program("phantom", whole, *PHANTOM, "--workers", "2").code == 0
    assert json.loads((stopped / "phantom.json").read_text()) == json.loads((whole / "phantom.json").read_text())
    names = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in (stopped, whole)]
    assert names[0] == names[1]
    assert_tidy(stopped)
    assert program("phantom", stopped, *PHANTOM).code == 1, "what is finished is not begun again"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Cache of features that a head can be trained on."""
    folder = tmp_path_factory.mktemp("features")
    feature_corpus.write_features(feature_corpus.make_corpus(folder), folder / "cache", "tiny")
    return folder / "cache"


@pytest.mark.slow
def test_keras_that_is_being_imported_and_a_training(features, tmp_path):
    run = tmp_path / "run"
    command = ("train-rnn", "--cache", features, "--run", run, *TRAINING)
    for moment_s in (0.5, 2.0):
        process = start(*command)
        wait_for((run / "run.json").exists, process)
        time.sleep(moment_s)
        assert stop(process) == (1, "", GOES_ON)
    process = start(*command)
    wait_for((run / "state" / "last.npz").exists, process)
    assert stop(process, signal.SIGTERM) == (1, "", GOES_ON)
    assert_tidy(run)
    process = start(*command)
    wait_for(lambda: len(list((run / "logs").iterdir())) > 1, process)
    code, out, err = stop(process)
    assert (code, out) == (1, "")
    assert err.startswith("Going on after epoch ")
    assert err.endswith(GOES_ON)


@pytest.mark.slow
def test_a_training_whose_crops_other_processes_read(tmp_path):
    root, cache = train_runner.make_cache(tmp_path)
    runner = (Path(__file__).parent / "train_runner.py", "{}")
    corpus = ("--dataset", "affwild2", "--root", root, "--cache", cache)
    run = tmp_path / "run"
    process = start("train-cnn", *corpus, "--run", run, "--backbone", "tiny", "--epochs", 100_000, runner=runner)
    wait_for((run / "state" / "last.npz").exists, process)
    assert stop(process) == (1, "", GOES_ON)
    assert_tidy(run)


@pytest.mark.slow
def test_what_has_nothing_to_go_on_with_does_not_say_so(features, tmp_path, program):
    run = tmp_path / "run"
    assert program("train-rnn", "--cache", features, "--run", run, *TRAINING[:-4], "--epochs", "1").code == 0
    process = start("evaluate", run, "--cache", features)
    wait_for(lambda: "tensorflow" in Path(f"/proc/{process.pid}/maps").read_text(), process)
    assert stop(process) == (1, "", KEPT)


# --- a signal at the worst of moments


def test_a_signal_inside_comes_at_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        done.append("the rest of the block")
    assert done
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # the handler is back


def test_a_signal_is_not_lost_in_an_error():
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        raise ValueError


def test_other_threads_are_left_alone():
    seen = []

    def work():
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_signal_in_a_write_of_hdf5_is_neither_lost_nor_taken_for_a_failed_write(tmp_path, monkeypatch, capfd):
    real, struck = _Disk.write, []

    def write(self, data):
        if not struck:
            struck.append(True)
            signal.raise_signal(signal.SIGINT)
        return real(self, data)

    writer = ShardWriter(tmp_path, ShardHeader("features", "net", {}, "e" * 64))
    values = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    rows = {"frame_index": np.arange(1000), "valid": np.ones(1000, bool), "taps/dense": values}
    monkeypatch.setattr(_Disk, "write", write)
    with pytest.raises(KeyboardInterrupt):
        writer.append("clip", rows)
        writer.finish_clip(ClipEntry("key", "clip", "", 1000, 1000))
        writer.commit()
    assert struck
    assert not capfd.readouterr().err
    writer.abort()
    assert_tidy(tmp_path)
