"""The contract of the command line: what goes to stdout, what to stderr, and how it exits."""

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios

import click
import pytest
from emopipe_cli.main import emopipe
from emopipe_cli.train_rnn import train_rnn
from extraction import KHORRAMI, NUM_FRAMES, PROGRAM

from emopipe.recipes.recipe import RECIPES
from emopipe.store.cache import Cache

FACES = ("--only", "faces")
REPORT_KEYS = {"clips", "frames", "valid", "steps", "fps"}  # further keys may follow
HEAVY = ("keras", "tensorflow", "cv2", "dlib", "onnxruntime", "h5py", "librosa", "skimage", "matplotlib")


@pytest.fixture
def where(make_corpus, tmp_path):
    return ("--dataset", "folder", "--root", make_corpus("ann"), "--cache", tmp_path / "cache")


# --- help


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from emopipe_cli.main import main; sys.argv = ['emopipe', '--help']\n"
        "try:\n    main()\n"
        f"finally:\n    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for command in ("extract", "cache", "datasets", "list", "doctor", "phantom"):
        assert f"  {command} " in done.stdout


def commands(group=emopipe, path=()):
    """Every command and subcommand with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(("words", "command"), [pytest.param(*each, id=" ".join(each[0])) for each in commands()])
def test_every_command_and_every_option_has_help(call, monkeypatch, words, command):
    monkeypatch.setenv("COLUMNS", "80")
    outcome = call(*words, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Usage: emopipe {' '.join(words)}")
    examples = [line for line in outcome.out.splitlines() if line.startswith("  emopipe ")]
    assert not [line for line in outcome.out.splitlines() if len(line) > 80 and line not in examples]
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        about = (option.help or "").partition("  [default")[0]
        assert about.strip() and not about.startswith("["), f"{option.name}: says its default and not what it is"
        assert about.strip()[-1] in ".)", about
        choices = isinstance(option.type, click.Choice)
        assert option.is_flag or option.metavar or choices, f"{option.name}: what does it take?"
    assert not hasattr(command, "sections") or set().union(*command.sections.values(), ()) <= {
        option.name for option in command.params
    }


def test_every_example_of_the_help_names_options_that_there_are():
    for words, command in commands():
        for example in getattr(command, "examples", ()):
            told = example.split()
            assert told[: len(words) + 1] == ["emopipe", *words]
            known = {name for option in command.params for name in option.opts}
            assert {word for word in told if word.startswith("--")} <= known, example


def test_the_listed_heads_are_those_that_train_rnn_takes(call):
    listed = [line.split()[0] for line in call("list", "heads").out.splitlines()]
    (head,) = (option for option in train_rnn.params if option.name == "head")
    assert sorted(listed) == sorted(head.type.choices)


def test_planning_and_faces_load_no_keras(where):
    code = (
        "import sys; from emopipe_cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print([name for name in ('keras', 'tensorflow') if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "extract", *map(str, where)]
    for options in (("--backbone", "khorrami", "--weights", "none", "--dry-run"), FACES):
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]"


def test_the_installed_script_is_the_program():
    script = os.path.join(os.path.dirname(sys.executable), "emopipe")  # noqa: PTH118, PTH120
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("emopipe, version ")


# --- what goes where


def test_json_is_exactly_one_object_on_stdout(where, program):
    outcome = program("extract", *where, *FACES, "--json")
    assert outcome.code == 0
    assert outcome.err == "", "progress is for a terminal"
    assert outcome.out.count("\n") == 1
    report = json.loads(outcome.out)
    assert report.keys() >= REPORT_KEYS
    assert report["clips"] == {"done": 1, "reused": 0, "failed": 0}
    assert (report["frames"], report["valid"]) == (NUM_FRAMES, NUM_FRAMES)
    assert report["steps"].keys() == {"start", "decode", "detect", "align", "write"}
    for step in report["steps"].values():
        assert step.keys() == {"seconds", "device"}
        assert step["seconds"] >= 0
        assert step["device"] in ("cpu", "gpu")
    assert report["fps"] == pytest.approx(NUM_FRAMES / report["seconds"], rel=0.01)


def on_a_terminal(*arguments):
    """What the program shows on a terminal of 100 columns, stdout and stderr together."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, *PROGRAM, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal's output is an error
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    assert process.wait() == 0
    return shown.decode()


def test_a_terminal_is_told_what_goes_on(make_corpus, tmp_path):
    root, cache = make_corpus("ann", "ben", "cid"), tmp_path / "cache"
    shown = on_a_terminal("extract", "--dataset", "folder", "--root", root, "--cache", cache, *FACES)
    begun, *states = shown.split("\r")
    assert begun.startswith("Looking at the clips of folder")
    assert any("loading what computes" in state for state in states)
    frames = {state.partition(" frames")[0].rpartition(" ")[2] for state in states if " frames, " in state}
    assert any(int(count) < 3 * NUM_FRAMES for count in frames), "the bar moves while clips are at work"
    assert "3 of 3 clips" in shown
    assert "1 of 1 shards |" in on_a_terminal("cache", "verify", "--cache", cache)


def test_json_with_features_is_one_object_too(make_corpus, make_cache, program):
    where = ("--dataset", "folder", "--root", make_corpus("ann"), "--cache", make_cache())
    report = program("extract", *where, *KHORRAMI, "--json").json
    assert report["steps"].keys() == {"start", "decode", "detect", "align", "features", "write"}
    assert any("seeded random weights" in note for note in report["notes"])


def test_text_is_for_people(where, call):
    outcome = call("extract", *where, *FACES)
    lines = outcome.out.splitlines()
    assert lines[0] == "clips: 1 done, 0 reused, 0 failed"
    assert lines[1].startswith(f"frames: {NUM_FRAMES}, 100.0 % with a face, ")
    assert "the steps run side by side" in lines[2]
    steps = [line.split()[0] for line in lines[3:]]
    assert sorted(steps) == ["align", "decode", "detect", "start", "write"]
    assert all(line.endswith("cpu") for line in lines[3:])


# --- exit codes


def test_exit_codes(where, call):
    root = where[3]
    assert call("extract", *where, *FACES).code == 0
    (root / "bad.mp4").write_bytes(b"")
    assert call("extract", *where, *FACES).code == 1, "partly failed"
    assert call("extract", *where, *FACES, "--json").code == 1
    assert call("extract", *where[:-2], "--cache", root / "bad.mp4", *FACES).code == 1, "the cache is a file"


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract"],
        ["extract", "--dataset", "folder", "--limit", "0"],
        ["extract", "--dataset", "folder", "--limit", "x"],
        ["extract", "--dataset", "folder", "--only", "everything"],
        ["extract", "--dataset", "folder", "--detect-every", "0"],
        ["extract", "--dataset", "folder", "--workers", "0"],
        ["extract", "--dataset", "folder", "--no-such-option"],
        ["no-such-command"],
        ["list", "everything"],
        ["cache", "prune"],
    ],
)
def test_wrong_usage_exits_with_2_and_shows_the_usage(call, arguments):
    outcome = call(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("Usage: emopipe")
    assert "Error: " in outcome.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--dataset", "foldr"), 2, "Did you mean 'folder'"),
        (("--detector", "nobody"), 2, "Known: "),
        (("--detector", "retina", "--only", "features"), 2, "Did you mean 'retinaface'"),
        (("--backbone", "resnet5", "--only", "features"), 2, "Did you mean 'resnet50'"),
        (("--fps", "-1"), 1, "expected frames per second above 0"),
        (("--fps", "10"), 1, "--fps: is for sequences of images"),
        (("--detector-weights", __file__), 1, "--detector-weights: detector 'retinaface' comes with its own"),
    ],
)
def test_an_impossible_setting_is_one_short_message(where, call, tmp_path, options, code, words):
    outcome = call("extract", *where, *FACES, *options)
    assert outcome.code == code
    assert outcome.out == ""
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) <= 4
    assert not list((tmp_path / "cache").glob("*.h5"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only", "faces", "--backbone", "khorrami"), "--backbone: changes nothing with --only faces"),
        (("--only", "faces", "--audio-backbone", "log-mel"), "--audio-backbone: changes nothing with --only faces"),
        (("--only", "features", "--audio-hop", "1"), "--audio-hop: changes nothing with --only features"),
        (("--only", "audio", "--detect-every", "2"), "--detect-every: changes nothing with --only audio"),
        (("--alignment", "given", "--detector", "haar"), "--detector: changes nothing with --alignment given"),
        (("--audio-backbone", "log-mel", "--colour-map", "magma"), "changes nothing with --audio-backbone log-mel"),
        (("--audio-backbone", "log-mel", "--spectrogram", "linear"), "changes nothing with --audio-backbone log-mel"),
        (
            ("--audio-backbone", "vgg16", "--spectrogram", "chroma", "--audio-bands", "8"),
            "--audio-bands: changes nothing with --spectrogram chroma",
        ),
    ],
)
def test_extract_refuses_an_option_that_would_change_nothing(where, call, tmp_path, options, words):
    outcome = call("extract", *where, *options, "--dry-run")
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train-rnn", "--layers", "2", "--units", "8"), "--layers 2: --units has 1 of them"),
        (("train-rnn", "--units", "8,b"), "Invalid value for '--units': expected numbers with commas"),
        (("train-cnn", "--dataset", "folder", "--literal-balance"), "Expected --balance max, mean or midpoint too"),
        (("fuse", "one", "two", "--level", "decision", "--seed", "1"), "--seed: is for --level model-fc and model-rnn"),
    ],
)
def test_training_refuses_options_that_do_not_go_together(call, tmp_path, arguments, words):
    outcome = call(*arguments, "--cache", tmp_path, "--run", tmp_path / "run")
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err


@pytest.mark.parametrize("arguments", [("train-rnn", "--run"), ("predict", "run", "video.mp4", "--out")])
def test_a_file_in_the_place_of_a_folder_is_wrong_usage(call, tmp_path, arguments):
    (tmp_path / "file").write_text("x")
    outcome = call(*arguments, tmp_path / "file")
    assert (outcome.code, outcome.out) == (2, "")
    assert "is a file" in outcome.err


def test_an_unknown_recipe_is_told_the_nearest_and_not_all_of_them(call):
    outcome = call("reproduce", "rangulov2020/cnn-gru")
    assert outcome.code == 2
    assert outcome.err == (
        "emopipe: Unknown recipe 'rangulov2020/cnn-gru'. Did you mean 'rangulov2020/cnn-gru3'? "
        f"There are {len(RECIPES)}; see: emopipe list recipes\n"
    )


def test_a_dry_run_counts_in_units_that_suit(make_corpus, call, tmp_path):
    root = make_corpus("ann", "ben")
    done = call("extract", "--dataset", "folder", "--root", root, "--cache", tmp_path / "c", *FACES, "--dry-run")
    assert done.out.splitlines()[1] == "frames: about 50 declared; about 1 MB, about 1 min on two cores"


# --- the other commands


def test_cache_commands(where, call, tmp_path):
    cache = ("--cache", tmp_path / "cache")
    for command in ("list", "verify", "repair"):
        outcome = call("cache", command, *cache)
        assert outcome.code == 1
        assert "there is no cache here" in outcome.err
        assert "EMOPIPE_CACHE" in outcome.err
    call("extract", *where, *FACES)
    (listed,) = call("cache", "list", *cache, "--json").json["sets"]
    assert (listed["kind"], listed["what"], listed["num_clips"]) == ("faces", "retinaface-procrustes5", 1)
    beginning = listed["fingerprint"][:10]
    assert beginning in call("cache", "list", *cache).out
    assert call("cache", "verify", *cache).out == "1 of 1 shards are sound.\n"
    assert call("cache", "verify", *cache, "--json").json == {"shards": 1, "damaged": []}

    outcome = call("cache", "prune", beginning, *cache)
    assert outcome.code == 0
    assert outcome.out.count("would delete: ") == 2
    assert "--yes" in outcome.err
    assert len(Cache(tmp_path / "cache").records()) == 1
    assert call("cache", "prune", "zzz", *cache, "--yes").code == 1
    outcome = call("cache", "prune", beginning, *cache, "--yes")
    assert outcome.out.count("deleted: ") == 2
    assert Cache(tmp_path / "cache").records() == []
    assert not list((tmp_path / "cache").glob("*.h5"))


def test_names_are_listed(call):
    detectors = call("list", "detectors").out
    assert {line.split()[0] for line in detectors.splitlines()} >= {"retinaface", "mtcnn", "dlib_hog", "haar", "yunet"}
    backbones = call("list", "backbones").out.splitlines()
    assert {line.split()[0] for line in backbones} >= {"khorrami", "vgg16", "resnet50", "densenet121", "mobilenetv2"}
    assert "affwild2" in call("datasets", "list").out


def test_doctor_says_what_there_is(call):
    findings = call("doctor", "--json").json
    assert findings["versions"]["emopipe"]
    assert findings["detectors"]["retinaface"].startswith("ready")
    assert "none" in findings["weights"]["khorrami"]
    text = call("doctor").out
    assert "retinaface" in text
    assert "device: " in text


def test_the_program_is_importable_under_its_own_name_only():
    code = "import importlib.util as u; print(u.find_spec('emopipe_cli') is not None)"
    done = subprocess.run([sys.executable, *PROGRAM[:1], code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
