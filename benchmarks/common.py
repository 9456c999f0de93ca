"""What the benchmark programs share: videos, steps in processes of their own, sides in turn, results on disk."""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from emopipe.provenance import library_versions, machine, utc_now

RESULTS = Path(__file__).parent / "results"
RESULTS_TABLES = Path(__file__).parents[1] / "results"


def loop_video(source: Path, target: Path, times: int) -> None:
    """Write a video's own packets `times` times over: no second encoding, the same pictures."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        length = (stream.duration or 0) or int(stream.frames / stream.average_rate / stream.time_base)
        for round_number in range(times):
            reader.seek(0)
            for packet in reader.demux(stream):
                if packet.dts is None:
                    continue
                packet.pts += round_number * length
                packet.dts += round_number * length
                packet.stream = copy
                writer.mux(packet)


def generated_video(target: Path, num_frames: int, size: tuple[int, int] = (640, 360)) -> None:
    """A video of a portrait that drifts slowly, as long as it is asked to be."""
    import cv2
    import numpy as np
    import skimage.data

    from emopipe.media.video import write_video

    portrait = cv2.resize(skimage.data.astronaut()[0:330, 60:400], (340, 330))
    canvas = np.full((size[1] + 40, size[0] + 40, 3), 90, np.uint8)
    canvas[30:360, 160:500] = portrait[: size[1] + 10]

    def frames() -> Any:
        for i in range(num_frames):
            x, y = 20 + int(15 * np.sin(i / 40)), 20 + int(10 * np.cos(i / 55))
            yield canvas[y : y + size[1], x : x + size[0]]

    write_video(target, frames(), Fraction(25))


def run_extract(*options: str) -> dict[str, Any]:
    """`emopipe extract --json` as a process of its own; returns its JSON with `process_s`, its whole wall time."""
    command = [sys.executable, "-c", "from emopipe_cli.main import main; main()", "extract", "--json", *options]
    begun = time.perf_counter()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout}\n{result.stderr}")
    return {**json.loads(result.stdout), "process_s": round(time.perf_counter() - begun, 3)}


def cpu_seconds_alone(step: Callable[..., int], *arguments: Any) -> dict[str, float]:
    """CPU-seconds of `step` in a child process, its threads included.

    `step` prepares, calls the function that it is handed once, works, and returns the number of frames; what it spends
    before that call is not counted.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, step, arguments))
    process.start()
    answer: dict[str, float] = receiver.recv()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the step {step.__name__} failed alone")
    return answer


def _measure(sender: Any, step: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    marks: list[tuple[float, float]] = []

    def mark() -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        marks.append((usage.ru_utime + usage.ru_stime, time.perf_counter()))

    num_frames = step(mark, *arguments)
    mark()
    cpu_s, wall_s = (after - before for before, after in zip(marks[0], marks[-1], strict=True))
    sender.send({"frames": num_frames, "cpu_s": cpu_s, "wall_s": wall_s, "cpu_ms_per_frame": 1000 * cpu_s / num_frames})


def in_child(script: str, step: str, arguments: dict[str, Any], environment: dict[str, str] | None = None) -> Any:
    """Call ``script --child step arguments`` with another environment; returns the JSON of its last line."""
    command = [sys.executable, script, "--child", step, json.dumps(arguments)]
    variables = {**os.environ, **(environment or {})}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout}\n{result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def take_turns(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each side gives, round by round; every other round goes backwards, so that drift meets all alike."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sorted(sides, key=list(sides).index, reverse=bool(number % 2)):
            found[name].append(round(sides[name](), 3))
    return found


def ratios(one: list[float], other: list[float]) -> dict[str, Any]:
    """The median of one / other over the rounds, and their spread."""
    each = [round(a / b, 3) for a, b in zip(one, other, strict=True)]
    return {"median": round(statistics.median(each), 3), "lowest": min(each), "highest": max(each), "rounds": len(each)}


def line_parser(name: str, about: str, lines: Iterable[str]) -> argparse.ArgumentParser:
    """The options of a program that measures line by line and calls itself with --child; see `measure_lines`."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--only", default=",".join(lines), help="some of: " + ", ".join(lines))
    parser.add_argument("--quick", action="store_true", help="tiny sizes; the figures mean nothing")
    parser.add_argument("--out", type=Path, default=RESULTS / f"{name}.json")
    parser.add_argument("--child", nargs=2, default=None, help=argparse.SUPPRESS)
    return parser


def answer_as_child(child: list[str], steps: dict[str, Callable[..., Any]]) -> None:
    """The other side of `in_child`: print what the step gives, as JSON."""
    step, given = child
    sys.stdout.write(json.dumps(steps[step](**json.loads(given))) + "\n")


def measure_lines(name: str, lines: dict[str, Callable[[], dict[str, Any]]], arguments: argparse.Namespace) -> None:
    """Measure the lines that are named, beside those that the file holds already, and print one JSON object."""
    content = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for line in arguments.only.split(","):
        begun = time.perf_counter()
        found = lines[line]()
        content[line] = {"time": utc_now(), "took_s": round(time.perf_counter() - begun), **found}
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")  # a line that was measured is not lost
    save(name, content, arguments.out)


def save(name: str, content: dict[str, Any], path: Path | None = None) -> None:
    """Print the result as JSON and keep it with the machine and the versions, in benchmarks/results/ or at `path`."""
    content = {**content, "machine": machine(), "versions": library_versions(), "time": utc_now()}
    text = json.dumps(content, indent=1)
    sys.stdout.write(text + "\n")
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n")


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for caches and videos; on $TMPDIR, which wants a few GB free."""
    return tempfile.TemporaryDirectory(prefix="emopipe-benchmark-", dir=os.environ.get("TMPDIR"))
