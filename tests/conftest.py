"""What several test files share: tiny videos of a real face, corpora made of them, and ways to call the program."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from extraction import NUM_FRAMES, PROGRAM, TWO_TAPS, face_frames

CLIPS = ("ann", "ben", "cid", "dot", "eve")
KEEP = """
import sys
from pathlib import Path
from emopipe.models.backbones import resolve_backbone
from emopipe.models.building import build_network
for taps in ((), tuple(sys.argv[2:])):
    build_network(resolve_backbone("khorrami", "none", taps, weights_folder=Path(sys.argv[1]), device="cpu"))
"""


@dataclass(frozen=True)
class ProgramResult:
    """How a call of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard():
    """A shell has what runs in its background ignore Ctrl-C, and every process of a test would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _networks_are_forgotten():
    """What a file of tests built is freed at its end: a process that runs hundreds of them would hold gigabytes."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
        gc.collect()


@pytest.fixture(scope="session")
def face_videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clip id -> a video of `NUM_FRAMES` frames at 25 Hz with a face in each; no two are alike."""
    from emopipe.media.video import write_video

    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(CLIPS):
        write_video(folder / f"{name}.mp4", face_frames(NUM_FRAMES, 3 * number), Fraction(25))
    return {name: folder / f"{name}.mp4" for name in CLIPS}


@pytest.fixture
def make_corpus(face_videos, tmp_path):
    """``make_corpus("ann", "ben")`` -> a new folder with copies of these videos."""

    def make(*names: str, folder: str = "corpus") -> Path:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for name in names:
            shutil.copy(face_videos[name], root / f"{name}.mp4")
        return root

    return make


def run_program(*arguments: object, runner: tuple[str, ...] = PROGRAM, environment: dict[str, str] | None = None):
    """Call the program in a process of its own."""
    command = [sys.executable, *runner, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **(environment or {})}, timeout=300, check=False
    )
    return ProgramResult(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def corpus(tmp_path):
    """The corpus of `feature_corpus`: clips whose features say what their label is."""
    from feature_corpus import make_corpus

    return make_corpus(tmp_path)


@pytest.fixture
def cache(tmp_path, corpus):
    """A cache of one set of features of that corpus, "tiny"."""
    from feature_corpus import write_features

    write_features(corpus, tmp_path / "cache", "tiny")
    return tmp_path / "cache"


@pytest.fixture
def program():
    """``program("extract", ...)`` -> `ProgramResult` of the real command line in a process of its own."""
    return run_program


@pytest.fixture
def call(monkeypatch, capsys):
    """As `program`, but in this process, which saves the second that a start costs."""
    from emopipe_cli.main import main

    def run(*arguments: object) -> ProgramResult:
        monkeypatch.setattr(sys, "argv", ["emopipe", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return ProgramResult(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def kept_weights(tmp_path_factory) -> Path:
    """A cache's folder of weights in which the Khorrami network is kept, so that runs on it need no keras.

    Its exported graphs are those of the default tap and of `TWO_TAPS`.
    """
    folder = tmp_path_factory.mktemp("kept") / "weights"
    subprocess.run([sys.executable, "-c", KEEP, str(folder), *TWO_TAPS], check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def make_cache(kept_weights, tmp_path):
    """``make_cache()`` -> a new cache that holds nothing but the Khorrami network."""

    def make(name: str = "cache") -> Path:
        shutil.copytree(kept_weights, tmp_path / name / "weights")
        return tmp_path / name

    return make


@pytest.fixture
def extract(call):
    """``extract(root, cache, ...)`` -> what ``--json`` prints, in this process; the exit code is checked."""

    def run(root, cache, *options, code=0, dataset="folder"):
        outcome = call("extract", "--dataset", dataset, "--root", root, "--cache", cache, "--json", *options)
        assert outcome.code == code, outcome.err
        return outcome.json

    return run
