"""docs/capabilities.md: a row for each capability and each row of a paper, written from what was just run.

Each row is a command line, run in a scratch folder in the order of the page, and a test file. A row says what its
command gave; what the tests gave is read from the JUnit file of a run of pytest. Resumable: a row that came out well is
not run again by the same version of the code. A row whose command fails says so.

    make test PYTEST_OPTIONS=--junitxml=tests.xml
    python benchmarks/capabilities.py --work DIR --tests tests.xml
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import RESULTS_TABLES

from emopipe.files import write_whole
from emopipe.provenance import machine, num_cores, utc_now
from emopipe.recipes.recipe import RECIPES, Recipe, find_recipe, published_key
from emopipe.recipes.table import read_results

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "capabilities.md"
RECIPE_TESTS = {
    "kollias2020": "tests/contracts/test_kollias2020.py",
    "rangulov2020": "tests/contracts/test_recipe.py",
    "hume2023": "tests/contracts/test_hume2023.py",
    "ravdess": "tests/contracts/test_ravdess_recipes.py",
}


@dataclass(frozen=True)
class Capability:
    """One row.

    Attributes:
        what: the capability, in a few words.
        command: a line for the shell; `emopipe` is this one.
        test: the file of its tests.
        says: makes "what was measured" of what the command printed.
    """

    what: str
    command: str
    test: str
    says: Callable[[str], str]


def last_line(out: str) -> str:
    """The last line of what was printed, that which names the next command left out."""
    lines = [line for line in out.strip().splitlines() if not line.startswith("next: ")]
    return re.sub(r"\s+", " ", lines[-1]).replace("|", "/") if lines else "no output"


def found(pattern: str, text: str = "{}") -> Callable[[str], str]:
    """What a pattern finds in the output, put into a sentence."""

    def say(out: str) -> str:
        match = re.search(pattern, out)
        return text.format(*(match.groups() or [match.group()])) if match else f"not printed: {pattern}"

    return say


def extracted(out: str) -> str:
    """What `extract --json` counts."""
    report = json.loads(out.splitlines()[-1])
    clips = ", ".join(f"{count} {name}" for name, count in report["clips"].items() if count)
    frames = f"; {report['frames']} frames, {report['valid']} with a face" if report["frames"] else ""
    return f"clips: {clips or 'none'}{frames}"


def trained(out: str) -> str:
    """What a training's --json says of its best epoch."""
    report = json.loads(out.splitlines()[-1])
    best = {name: value for name, value in report["best"].items() if name.startswith("dev_" + report["select"])}
    scores = ", ".join(f"{name} {value:.2f}" for name, value in best.items())
    return f"{report['num_epochs']} epochs; {scores}"


def row(what: str, command: str, test: str, says: Callable[[str], str] = last_line) -> Capability:
    """A row whose tests are in tests/`test`.py."""
    return Capability(what, command, f"tests/{test}.py", says)


CORPUS = "--dataset affwild2 --root affwild2"
FACES = f"emopipe extract {CORPUS} --only faces"
HEAD = "emopipe train-rnn --cache cache --stride 5 --epochs 2 --batch 16 --json"
CLIPS = "emopipe train-rnn --dataset omg --root omg --cache omg-cache --window 40 --batch 4 --epochs 2 --json"
TAPS = "--tap pool2:grid4 --tap pool5:flat --tap fc --fc-units 64 --landmarks"
ACTED = "--dataset ravdess --root ravdess --cache sound"
VIDEO = "$(ls -d affwild2/batch1/*.mp4 | head -1)"

STAGE_ONE = (
    row("a generated corpus with known truth, in an official layout",
        "emopipe phantom affwild2 --layout affwild2 --subjects 6 --seconds 8 --seed 5", "unit/test_phantom"),
    row("a corpus folder checked against what it should hold", "emopipe datasets check affwild2 --root affwild2",
        "unit/test_check", found(r"label rows against[^\n]*")),
    row("what extract would do, without decoding", f"{FACES} --cache cache --dry-run", "test_extract_options"),
    row("a row with its face for every frame, in verified shards", f"{FACES} --cache cache --json", "test_extract",
        extracted),
    row("the same command again recognises what is finished", f"{FACES} --cache cache --json", "test_resume",
        extracted),
    row("several processes in one cache", f"{FACES} --workers 2 --json --cache two", "test_resume", extracted),
    row("official crops in place of a detector", f"{FACES} --alignment given --json --cache given",
        "unit/test_affwild2", extracted),
    *(row(f"detector `{name}`", f"{FACES} --detector {name} --limit 1 --json --cache {name}",
          "contracts/test_detector", extracted) for name in ("mtcnn", "dlib_hog", "haar")),
    *(row(f"network `{name}`",
          f"emopipe extract {CORPUS} --cache networks --backbone {name} --weights none --limit 1 --json",
          "contracts/test_backbone", extracted)
      for name in ("khorrami", "vggface", "vgg16", "resnet50", "densenet121", "mobilenetv2")),
    row("several taps in one pass", f"emopipe extract {CORPUS} --cache networks --backbone khorrami --weights none"
        " --tap dense --tap pool2:gap --limit 1 --json", "unit/test_taps", extracted),
    row("every byte of a cache hashed again", "emopipe cache verify --cache networks", "unit/test_cache"),
    row("damage found and made again", "for f in two/faces-*.h5; do printf X | dd of=$f bs=1 seek=50000 conv=notrunc"
        " status=none; done; emopipe cache repair --cache two", "test_bad_input",
        found(r"clips: [^\n]*")),
)  # fmt: skip

STAGE_TWO = (
    row("a CNN from cached crops, balanced and augmented", f"emopipe train-cnn {CORPUS} --cache cache --backbone"
        " khorrami --run runs/cnn --balance midpoint --steps-per-epoch 10 --epochs 2 --batch 16 --json",
        "test_train_cnn", trained),
    row("its features, from the crops that are there",
        f"emopipe extract {CORPUS} --cache cache --backbone runs/cnn/network.keras --json", "test_extract_options",
        extracted),
    *(row(f"head: {cells}, layers: {layers}", f"{HEAD} --cells {cells} --layers {layers} --run runs/{cells}{layers}",
          "test_train_rnn", trained) for cells, layers in (("simple", 1), ("gru", 1), ("gru", 3), ("lstm", 1))),
    row("features held on the device", f"{HEAD} --device-resident --run runs/resident", "unit/test_gather", trained),
    row("scores with intervals over clips; predictions by frame number", "emopipe evaluate runs/gru3 --cache cache",
        "test_train_rnn", lambda out: re.sub(r"\s+", " ", found(r"ccc +valence[^\n]*")(out))),
    row("the competition's files", "emopipe evaluate runs/gru3 --cache cache --split test --submission submission"
        " && ls submission | wc -l", "test_predict", lambda out: f"{last_line(out)} files"),
    row("valence and arousal of a video, with an overlay",
        f"emopipe predict runs/gru3 {VIDEO} --out predictions --overlay", "test_predict"),
    row("one page about a run", "emopipe report runs/gru3", "test_report"),
    row("CK+: classes, folds without a person in common", "emopipe phantom ckplus --layout ckplus --subjects 10 &&"
        " emopipe extract --dataset ckplus --root ckplus --cache ckplus-cache --detector haar --alignment box --only"
        " faces && emopipe train-cnn --dataset ckplus --root ckplus --cache ckplus-cache --backbone khorrami --folds 5"
        " --run runs/ckplus --steps-per-epoch 5 --epochs 1 --json", "test_pictures_to_classes", trained),
)  # fmt: skip

CLIPS_AND_SOUND = (
    row("OMG-Emotion: utterances with one label each", "emopipe phantom omg --layout omg --subjects 8 --seconds 8"
        " --seed 2 && emopipe extract --dataset omg --root omg --cache omg-cache --backbone vggface --weights none"
        " --tap pool2:grid4 --tap pool5:flat --json | tail -1", "unit/test_omg", extracted),
    *(row(f"head `{name}` over taps, with landmarks", f"{CLIPS} --head {name} {TAPS} --run runs/head-{name}",
          "test_omg_stage_two", trained) for name in ("cnn", "cnn-1rnn", "cnn-multi-rnn")),
    *(row(f"fusion `{level}`", f"emopipe fuse runs/head-cnn-1rnn runs/head-cnn-multi-rnn --level {level} --root omg"
          f" --cache omg-cache --run runs/{level}{'' if level == 'decision' else ' --epochs 2'}", "test_fuse")
      for level in ("decision", "model-fc", "model-rnn")),
    row("the official prediction file of OMG-Emotion", "emopipe evaluate runs/model-rnn --root omg --cache omg-cache"
        " --split test --submission omg.csv && wc -l < omg.csv", "unit/test_submission_omg",
        lambda out: f"{last_line(out)} lines"),
    row("sound: pictures of spectrograms through a CNN", "emopipe phantom ravdess --layout ravdess --subjects 6 --seed"
        f" 3 && emopipe extract {ACTED} --only audio --audio-backbone mobilenetv2 --audio-weights none --limit 6 --json"
        " | tail -1", "unit/test_spectrograms", extracted),
    row("sound: plain log-mel rows", f"emopipe extract {ACTED} --only audio --audio-backbone log-mel --audio-bands 64"
        " --json", "test_extract_audio", extracted),
    row("a CNN trained on spectrograms", f"emopipe train-rnn {ACTED} --features '' --audio $(emopipe cache list --cache"
        " sound | awk '/log-mel/ {print $3}') --task expr --head spectrogram-cnn --target clip --sampling all --window"
        " 100 --folds 3 --fold-rule numbers --epochs 2 --optimiser adam --run runs/voice --json",
        "test_sound_stage_two", trained),
)  # fmt: skip

SECTIONS = {
    "Stage one": STAGE_ONE,
    "Stage two": STAGE_TWO,
    "Clips with one label, several networks, sound": CLIPS_AND_SOUND,
}


# === Running ===


class Runner:
    """Runs command lines in a folder and keeps what came of them.

    Args:
        work: the folder; each version of the code begins with an empty one in it.
        version: of the code.
    """

    def __init__(self, work: Path, version: str):
        self._work = work / version
        self._kept = self._work / "rows.json"
        self._work.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Any]] = json.loads(self._kept.read_text()) if self._kept.exists() else {}

    def run(self, name: str, command: str) -> dict[str, Any]:
        """Exit code, what was printed, and seconds of a command line; `name` tells it from another such line."""
        done = self._rows.get(f"{name}: {command}")
        if done is None or done["code"]:
            variables = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
            start = time.perf_counter()
            result = subprocess.run(
                command, shell=True, cwd=self._work, env=variables, capture_output=True, text=True, check=False
            )
            seconds = round(time.perf_counter() - start, 1)
            out = result.stdout if result.returncode == 0 else result.stdout + result.stderr
            done = {"code": result.returncode, "out": out, "seconds": seconds}
            with self._lock:
                self._rows[f"{name}: {command}"] = done
                write_whole(self._kept, json.dumps(self._rows).encode())
            print(f"{done['seconds']:>7} s  exit {done['code']}  {command[:120]}", flush=True)
        return done


def tests_of(junit: Path) -> dict[str, str]:
    """Test file -> how its tests ended, of a run of pytest."""
    counts: dict[str, dict[str, int]] = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        parts = case.attrib["classname"].split(".")
        last = max(place for place, part in enumerate(parts) if part.startswith("test_"))
        name = "/".join(parts[: last + 1]) + ".py"
        how = "passed"
        for tag, word in (("failure", "failed"), ("error", "failed"), ("skipped", "not run")):
            how = word if case.find(tag) is not None else how
        counts.setdefault(name, {}).setdefault(how, 0)
        counts[name][how] += 1
    return {name: ", ".join(f"{number} {how}" for how, number in each.items()) for name, each in counts.items()}


def capability_line(each: Capability, runner: Runner, tests: dict[str, str]) -> list[str]:
    """The cells of a row."""
    done = runner.run(each.what, each.command)
    measured = each.says(done["out"]) if done["code"] == 0 else f"FAILED: {last_line(done['out'])}"
    command = re.sub(r"\s+", " ", each.command).replace("|", "\\|")
    test = f"`{each.test}` ({tests.get(each.test, 'not run')})"
    return [each.what, f"`{command}`", test, f"{measured} ({done['seconds']:.0f} s)"]


def recipe_line(name: str, runner: Runner, tests: dict[str, str]) -> list[str]:
    """The cells of a row of a paper: its smoke run, and what was measured on recordings."""
    paper = name.partition("/")[0]
    recipe = find_recipe(name)
    root = f"{paper}/data" + ("" if len(recipe.experiment.datasets) > 1 else f"/{recipe.dataset}")
    where = f"--root {root} --cache {paper}/cache --runs {paper}/runs --results {paper}/results"
    done = runner.run(name, f"emopipe reproduce {name} --smoke --json {where}")
    smoke = f"smoke run, {done['seconds']:.0f} s" if done["code"] == 0 else f"FAILED: {last_line(done['out'])}"
    test = f"`{RECIPE_TESTS[paper]}` ({tests.get(RECIPE_TESTS[paper], 'not run')})"
    return [f"{recipe.row}", f"`emopipe reproduce {name} --smoke`", test, f"{smoke}; {on_recordings(recipe)}"]


def on_recordings(recipe: Recipe) -> str:
    """What results/ holds of a recipe on real recordings."""
    rows = [
        each
        for each in read_results(RESULTS_TABLES / f"{recipe.name}.csv")
        if published_key(each.metric, each.target) in recipe.published
    ]
    if not rows:
        return f"{recipe.dataset} itself: not measured"
    seeds = sorted({each.seed for each in rows})
    mean = statistics.mean(each.ours for each in rows)
    metric = rows[0].metric.replace("_", " ")
    return f"{recipe.dataset}: {metric} {mean:.3f}, seeds {', '.join(map(str, seeds))}"


def grid(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="scratch folder, some 3 GB")
    parser.add_argument("--tests", type=Path, required=True, help="JUnit file of a run of all tests")
    arguments = parser.parse_args()
    trees = subprocess.run(["git", "rev-parse", "HEAD:emopipe", "HEAD:cli"], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout  # fmt: skip
    version = "-".join(tree[:10] for tree in trees.split())
    runner, tests = Runner(arguments.work.resolve(), version), tests_of(arguments.tests)
    header = ["capability", "command", "tests", "measured"]
    parts = [HEAD_OF_PAGE.format(date=utc_now()[:10], cores=machine()["cores"])]
    for title, rows in SECTIONS.items():
        parts += [f"## {title}", grid(header, [capability_line(each, runner, tests) for each in rows])]

    def recipe_lines(paper: str) -> list[list[str]]:
        names = [
            full
            for name in RECIPES
            if name.startswith(f"{paper}/")
            for full in (name, *(f"{name}@{variant}" for variant in find_recipe(name).variants))
        ]
        return [recipe_line(name, runner, tests) for name in names]

    with ThreadPoolExecutor(num_cores()) as pool:  # each paper has folders of its own
        for paper, lines in zip(RECIPE_TESTS, pool.map(recipe_lines, RECIPE_TESTS), strict=True):
            parts += [f"## Recipes of {paper}", grid(["row", *header[1:]], lines)]
    write_whole(PAGE, ("\n\n".join(parts) + "\n").encode())


HEAD_OF_PAGE = """# What it can do, and where that was seen

Written by `benchmarks/capabilities.py`, which runs every command below in this order in an empty folder, on generated
corpora; nothing stands here that was not run. The numbers of such small runs say that the code works, not how well.
What was measured in earnest is in [results](../results/README.md) and [benchmarks](../benchmarks/README.md).
The recipes of different papers ran side by side, so that their seconds are upper bounds.

Run on {date}, {cores} cores."""


if __name__ == "__main__":
    main()
