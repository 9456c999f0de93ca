"""Stage two against what it could be, in one run: python benchmarks/stage_two.py [--only NAMES] [--torch-python PATH]

feeding: windows per second of the real epoch against random tensors in memory, and against copying sample by sample.
torch: the same sizes trained by torch's own GRU in a second process.
memory: peak memory of a training over the size of its feature matrix.
resident: the matrix on the device: the same bits, a small head, and steps per second with a large matrix and a small.
crops: `train-cnn` from a faces cache that nothing of stays in the page cache, against tensors in memory.
epoch: the 1,496,928 windows of the published epoch, on an accelerator.

Both sides of a ratio take turns in one process, or in two that wait for each other. --quick makes everything tiny, to
see that it runs. A line measured with --only replaces that line of the result file and no other.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from common import answer_as_child, in_child, line_parser, measure_lines, ratios, scratch, take_turns
from stage_two_crops import crops_epochs
from stage_two_data import backend, faces_cache, features_cache, has_gpu, table

from emopipe.models.gather import batches, epoch_order, head_inputs
from emopipe.models.heads import build_head
from emopipe.models.windows import WindowConfig
from emopipe.provenance import num_cores
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.train_rnn import compiled_model, epoch_batches, train_rnn
from emopipe.stages.training import fit_epoch
from emopipe.stages.training_windows import Split

HERE = Path(__file__).parent
NOT_MEASURED = "not measured"
PUBLISHED_WINDOWS, PUBLISHED_S = 1_496_928, 217  # notebook of arXiv:2006.11168: one epoch of GRU-3 on a V100
Batch = tuple[Any, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    num_features: int = 300
    window: int = 100
    units: tuple[int, ...] = (100, 100, 50)
    rows: int = 100_000
    rounds: int = 5
    steps: int = 12  # batches per side and round
    memory_frames: int = 400_000
    memory_clips: int = 40
    matrix_mb: tuple[int, int] = (10, 1000)
    crop_frames: int = 1500
    cnn: str = "khorrami"

    def config(self, **settings: Any) -> TrainRnnConfig:
        """Of the head that everything is measured with: GRU-3 with the defaults of train-rnn."""
        return TrainRnnConfig(units=self.units, window=WindowConfig(self.window), **settings)


QUICK = Sizes(6, 8, (4, 4), 2000, 3, 2, 4000, 10, (1, 2), 40)


def main() -> None:
    """Run the lines that are named, or all, and print one JSON object."""
    lines = {name: globals()[name] for name in ("feeding", "torch", "memory", "resident", "crops", "epoch")}
    parser = line_parser("stage_two", __doc__, lines)
    parser.add_argument("--torch-python", default=None, help="an interpreter that imports torch")
    arguments = parser.parse_args()
    if arguments.child is not None:
        steps = {"peak_memory": peak_memory, "matrix_sizes": matrix_sizes, "crops_epochs": crops_epochs}
        answer_as_child(arguments.child, steps)
        return
    sizes = QUICK if arguments.quick else Sizes()
    measure_lines("stage_two", {name: partial(line, sizes, arguments) for name, line in lines.items()}, arguments)


# === Feeding ===


def feeding(sizes: Sizes, _: Any) -> dict[str, Any]:
    """The real epoch, random float32 tensors that are there already, and a loader as private scripts have it."""
    config, split = sizes.config(), table(sizes.rows, sizes.num_features, sizes.window)
    _, model = trained_once(config, split)
    ready = tensors(config, split, 4)
    epochs = iter(range(1 << 30))
    sides: dict[str, Callable[[], Iterator[Batch]]] = {
        "epoch": lambda: epoch_batches(config, split, next(epochs)),
        "in_memory": lambda: (ready[number % len(ready)] for number in range(1 << 30)),
        "copied": lambda: copied_batches(config, split, next(epochs)),
    }
    for side in sides.values():
        fit_epoch(model, islice(side(), 2))  # each kind of input is compiled once
    found = take_turns({name: rate_of(model, side, config, sizes) for name, side in sides.items()}, sizes.rounds)
    return {
        "backend": backend(),
        "batch": config.batch_size,
        "windows_per_s": found,
        "of_in_memory": ratios(found["epoch"], found["in_memory"]),
        "of_copied": ratios(found["epoch"], found["copied"]),
        "loading_alone_ms_per_batch": loading_alone(config, split),
    }


def copied_batches(config: TrainRnnConfig, split: Split, epoch: int) -> Iterator[Batch]:
    """Every window cut out and copied by itself, then stacked."""
    features = split.rows.features
    for numbers in batches(epoch_order(len(split.plan), config.seed, epoch), config.batch_size):
        starts = split.plan.starts[numbers]
        samples = [np.array(features[start : start + config.window.length], np.float32) for start in starts]
        yield np.stack(samples), split.targets[numbers]


def loading_alone(config: TrainRnnConfig, split: Split) -> dict[str, float]:
    """Milliseconds per batch of each way to load, without a model."""
    ways: dict[str, Callable[..., Iterator[Batch]]] = {
        "windows": lambda: epoch_batches(config, split, 0),
        "copied": lambda: copied_batches(config, split, 0),
        "rows_for_the_device": lambda: epoch_batches(replace(config, device_resident=True), split, 0),
    }
    found = {}
    for name, way in ways.items():
        iterator, times_s = way(), []
        for _ in range(20):
            begun = time.perf_counter()
            if next(iterator, None) is None:
                break
            times_s.append(time.perf_counter() - begun)
        found[name] = round(1000 * statistics.median(times_s), 3)
    return found


def trained_once(config: TrainRnnConfig, split: Split) -> tuple[Any, Any]:
    """The head and the model around it, after two batches, so that everything is compiled."""
    from emopipe.models.engines import load_keras

    load_keras()
    features = split.rows.features
    network = build_head(config.head, config.head_config(split.targets.shape[1]), features.shape[1], config.seed)
    model = compiled_model(config, network, features, "ccc")
    fit_epoch(model, islice(epoch_batches(config, split, 0), 2))
    return network, model


def tensors(config: TrainRnnConfig, split: Split, count: int) -> list[Batch]:
    """Random batches of the split's shapes on the device."""
    import keras

    shape = (config.batch_size, config.window.length, split.rows.features.shape[1])
    random = np.random.default_rng(0)
    return [
        (
            keras.ops.convert_to_tensor(random.standard_normal(shape, np.float32)),
            random.uniform(-1, 1, (config.batch_size, split.targets.shape[1])).astype(np.float32),
        )
        for _ in range(count)
    ]


def rate_of(
    model: Any, side: Callable[[], Iterator[Batch]], config: TrainRnnConfig, sizes: Sizes
) -> Callable[[], float]:
    """Windows per second of some batches through the loop that trains."""

    def rate() -> float:
        begun = time.perf_counter()
        fit_epoch(model, islice(side(), sizes.steps))
        return config.batch_size * sizes.steps / (time.perf_counter() - begun)

    return rate


# === torch ===


def torch(sizes: Sizes, arguments: Any) -> dict[str, Any]:
    """Both networks in processes of their own, on as many threads, with their windows in memory."""
    if arguments.torch_python is None:
        return {"torch": NOT_MEASURED}
    found: dict[str, Any] = {}
    settings = {"batch": sizes.config().batch_size, "length": sizes.window, "features": sizes.num_features}
    for threads in sorted({1, num_cores()}):
        given = json.dumps({**settings, "units": sizes.units, "threads": threads})
        programs = {"keras": sys.executable, "torch": arguments.torch_python}
        processes = {name: answering(program, name, given) for name, program in programs.items()}
        try:
            wall, cpu = {name: [] for name in processes}, {name: [] for name in processes}

            def rate(name: str, processes: Any = processes, cpu: Any = cpu) -> float:
                answer = ask(processes[name], max(2, sizes.steps // 3))
                cpu[name].append(round(answer["per_cpu_s"], 3))
                return float(answer["per_s"])

            wall = take_turns({name: lambda name=name: rate(name) for name in processes}, sizes.rounds)  # type: ignore[misc]
        finally:
            for process in processes.values():
                process.stdin.close()
                process.wait()
        found[str(threads)] = {
            "windows_per_s": wall,
            "windows_per_cpu_s": cpu,
            "keras_of_torch": ratios(wall["keras"], wall["torch"]),
        }
    version = subprocess.run(
        [arguments.torch_python, "-c", "import torch; print(torch.__version__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    keras_backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return {**settings, "keras": keras_backend, "torch": version.stdout.strip(), "threads": found}


def answering(program: str, side: str, given: str) -> Any:
    """A process of `gru_process.py` that is warmed up."""
    process = subprocess.Popen(
        [program, str(HERE / "gru_process.py"), side, given],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    if process.stdout is None or process.stdout.readline() != "ready\n":
        raise SystemExit(f"{program} gru_process.py {side}: did not start; does it import {side}?")
    return process


def ask(process: Any, steps: int) -> dict[str, float]:
    """What so many steps gave."""
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    answer: dict[str, float] = json.loads(process.stdout.readline())
    return answer


# === Memory ===


def memory(sizes: Sizes, _: Any) -> dict[str, Any]:
    """Peak of a training on all frames, over the imports, and over the same training on a twentieth of the frames."""
    peaks = {}
    for name, num_frames in (("all", sizes.memory_frames), ("few", sizes.memory_frames // 20)):
        with scratch() as folder:
            clips = sizes.memory_clips if name == "all" else 10
            features_cache(Path(folder), num_frames, sizes.num_features, clips)
            # As many windows in both, some four batches, so that what the network needs is the same.
            given = {
                "folder": folder,
                "window": sizes.window,
                "units": sizes.units,
                "stride": max(1, num_frames // 1000),
            }
            peaks[name] = in_child(__file__, "peak_memory", given)
    matrix_mb = sizes.memory_frames * sizes.num_features * 2 / 1e6
    few_mb = sizes.memory_frames // 20 * sizes.num_features * 2 / 1e6
    above = peaks["all"]["peak_mb"] - peaks["few"]["peak_mb"]
    return {
        "frames": sizes.memory_frames,
        "features": sizes.num_features,
        "matrix_mb": round(matrix_mb, 1),
        **{f"{name}_frames": peak for name, peak in peaks.items()},
        "of_matrix": round(above / (matrix_mb - few_mb), 3),
        "of_matrix_over_imports": round((peaks["all"]["peak_mb"] - peaks["all"]["imports_mb"]) / matrix_mb, 3),
    }


def peak_memory(folder: str, window: int, units: list[int], stride: int) -> dict[str, float]:
    """`train_rnn` for one short epoch; the peak of this process in MB, and what it was after the imports."""
    from emopipe.models.engines import load_keras

    load_keras()
    import keras

    keras.ops.convert_to_tensor(np.zeros(1))  # starts the backend
    imports_mb = high_water_mb()
    config = TrainRnnConfig(units=tuple(units), window=WindowConfig(window, stride), epochs=1)
    report = train_rnn(config, cache=Path(folder) / "cache", run=Path(folder) / "run")
    return {"imports_mb": imports_mb, "peak_mb": high_water_mb(), "windows": report.counts["train"]}


def high_water_mb() -> float:
    """The most memory that this process ever had; getrusage would begin with that of its parent."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return round(int(line.split()[1]) * 1024 / 1e6, 1)


# === The matrix on the device ===


def resident(sizes: Sizes, _: Any) -> dict[str, Any]:
    """Bits, bytes and steps per second of training with the matrix on the device."""
    import keras

    config = sizes.config(device_resident=True)
    split = table(sizes.rows, sizes.num_features, sizes.window)
    network, model = trained_once(config, split)
    gathered = keras.Model(model.input, model.get_layer("gather").output)
    same = []
    for numbers in islice(batches(epoch_order(len(split.plan), 0, 0), config.batch_size), 10 * sizes.steps):
        device = keras.ops.convert_to_numpy(gathered({"rows": split.plan.rows(numbers), "mask": None}))
        host = head_inputs(split.rows.features, split.plan, numbers)["features"].astype(np.float32)
        same.append(device.tobytes() == host.tobytes())
    with scratch() as folder:
        network.save(Path(folder) / "head.keras")
        saved = (Path(folder) / "head.keras").stat().st_size
    given = {name: getattr(sizes, name) for name in ("num_features", "window", "units", "rounds", "steps", "matrix_mb")}
    backends = [name for name in ("tensorflow", "jax") if importlib.util.find_spec(name)]
    return {
        "batches_compared": len(same),
        "batches_the_same": sum(same),
        "head_bytes": saved,
        "head_bytes_beyond_parameters": saved - 4 * network.count_params(),
        "backends": {
            name: in_child(__file__, "matrix_sizes", given, {"KERAS_BACKEND": name}) for name in backends
        },
    }  # fmt: skip


def matrix_sizes(
    num_features: int, window: int, units: list[int], rounds: int, steps: int, matrix_mb: list[int]
) -> dict[str, Any]:
    """Steps per second with a small and a large matrix on the device, in turns."""
    config = TrainRnnConfig(units=tuple(units), window=WindowConfig(window), device_resident=True)
    sides: dict[str, Callable[[], float]] = {}
    for megabytes in matrix_mb:
        split = table(megabytes * 1_000_000 // (2 * num_features), num_features, window)
        _, model = trained_once(config, split)
        sides[f"{megabytes} MB"] = steps_of(model, config, split, steps)
    found = take_turns(sides, rounds)
    small, large = found.values()
    return {"backend": backend(), "steps_per_s": found, "large_of_small": ratios(large, small)}


def steps_of(model: Any, config: TrainRnnConfig, split: Split, steps: int) -> Callable[[], float]:
    """Steps per second of the next epochs' first batches."""
    epochs = iter(range(1, 1 << 30))

    def rate() -> float:
        order = epoch_batches(config, split, next(epochs))
        first = next(order)  # the order of the whole epoch is drawn here
        begun = time.perf_counter()
        fit_epoch(model, iter([first, *islice(order, steps - 1)]))
        return steps / (time.perf_counter() - begun)

    return rate


# === train-cnn ===


def crops(sizes: Sizes, _: Any) -> dict[str, Any]:
    """In a process of its own, whose bytes read are its own."""
    with scratch() as folder:
        faces_cache(Path(folder), sizes.crop_frames, 5)
        given = {"folder": folder, "cnn": sizes.cnn, "rounds": min(3, sizes.rounds)}
        return {"cnn": sizes.cnn, **in_child(__file__, "crops_epochs", given)}


def epoch(sizes: Sizes, _: Any) -> dict[str, Any]:
    """Seconds of one whole epoch of as many windows as the paper's code has, beside its figure."""
    from emopipe.models.engines import load_keras

    load_keras()
    known = {"windows": PUBLISHED_WINDOWS, "published_s": PUBLISHED_S, "published_on": "V100"}
    if not has_gpu():
        return {**known, "resident_s": NOT_MEASURED, "from_host_s": NOT_MEASURED}
    found = {}
    for name, is_resident in (("resident_s", True), ("from_host_s", False)):
        config = sizes.config(device_resident=is_resident)
        per_clip = 5000 - sizes.window + 1
        split = table(5000 * -(-PUBLISHED_WINDOWS // per_clip), sizes.num_features, sizes.window)
        keep = slice(0, PUBLISHED_WINDOWS)
        plan = replace(split.plan, starts=split.plan.starts[keep], target_rows=split.plan.target_rows[keep])
        split = Split(split.rows, plan, split.targets[keep])
        _, model = trained_once(config, split)
        begun = time.perf_counter()
        fit_epoch(model, epoch_batches(config, split, 0))
        found[name] = round(time.perf_counter() - begun, 1)
    return {**known, "backend": backend(), "batch": config.batch_size, **found}


if __name__ == "__main__":
    main()
