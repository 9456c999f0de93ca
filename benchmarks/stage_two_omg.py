"""Heads over several taps: what the cache saves and what it needs: python benchmarks/stage_two_omg.py [--only NAMES]

epoch: one training epoch of CNN-3RNN (pool2 in a 4 x 4 grid, pool5 and fc with the landmarks; two GRU layers of 128;
sequences of 80, four to a batch; adam) from the cache, and end to end on cached crops: the same clips in the same
batches, in turns, after a step of each that is not counted. The VGG-Face layout with random weights and generated
faces, for numbers cost the same whatever they say.
flat: training an RNN over flat pool2, 73,728 numbers per frame, which stays on disk: the peak memory of a process on a
cache far above the limit, on a twentieth of its frames for twenty epochs, and on all of them without a limit; and an
epoch against one from the same matrix in memory, in turns, nothing of the shards staying in the page cache.

--quick makes everything tiny, to see that it runs. A line measured with --only replaces that line of the result file
and no other.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from common import answer_as_child, in_child, line_parser, measure_lines, ratios, scratch, take_turns
from stage_two import high_water_mb
from stage_two_crops import forgetting
from stage_two_data import FOLDERS, backend, features_cache, make_corpus
from taps import face_rows, network_file

from emopipe.models.architecture import scaled
from emopipe.models.bundle import begin_run
from emopipe.models.engines import load_keras
from emopipe.models.tap_heads import FC, TapHeadConfig
from emopipe.models.windows import WindowConfig
from emopipe.stages import feature_rows
from emopipe.stages.extract import extract
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.spec import BackboneRequest, ExtractSpec, make_plan
from emopipe.stages.train_rnn import compiled_model, epoch_batches, new_learner, settings_of, train_rnn
from emopipe.stages.training import fit_epoch
from emopipe.stages.training_windows import TrainingWindows, load_windows
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry
from emopipe.store.writer import ShardWriter

TAPS = ("pool2:grid4", "pool5:flat")
FLAT_TAP = "dense"  # as `features_cache` names it
LOSS, SEQUENCE, BATCH = "ccc", 80, 4
FEW = 20  # times as many frames in the large matrix as in the small


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        widths: share of the published channels and units of fc -> sequences of an epoch.
        units: of the GRU layers over flat pool2.
        few_units: of those whose memory is compared: what the wide ones need for themselves differs by hundreds of MB
            from call to call.
        flat_features, flat_frames, limit_mb: of the matrix on disk, and what the training may hold of it.
        rounds: of both lines.
    """

    widths: tuple[tuple[float, int], ...] = ((1, 4), (1 / 8, 12))
    units: tuple[int, ...] = (128, 128)
    few_units: tuple[int, ...] = (8, 8)
    flat_features: int = 73_728
    flat_frames: int = 6400
    limit_mb: float = 4  # below the matrix of one clip, so that nothing is held whatever the number of frames
    rounds: int = 3


QUICK = Sizes(((1 / 32, 4),), (4, 4), (2, 2), 300, 3200, 0.04, 2)


def main() -> None:
    """Run the lines that are named, or both, and print one JSON object."""
    lines: dict[str, Callable[[Sizes], dict[str, Any]]] = {"epoch": epoch, "flat": flat}
    parser = line_parser("stage_two_omg", __doc__, lines)
    parser.add_argument("--width", type=float, default=None, help="this width alone")
    arguments = parser.parse_args()
    if arguments.child is not None:
        steps = {"epochs_of": epochs_of, "peak_memory": peak_memory, "from_disk": from_disk}
        answer_as_child(arguments.child, steps)
        return
    sizes = QUICK if arguments.quick else Sizes()
    if arguments.width is not None:
        sizes = replace(sizes, widths=((arguments.width, dict(sizes.widths).get(arguments.width, BATCH)),))
    measure_lines("stage_two_omg", {name: partial(line, sizes) for name, line in lines.items()}, arguments)


def config_of(head: TapHeadConfig, **settings: Any) -> TrainRnnConfig:
    """Of what is trained, in the paper's sequences and batches."""
    window = WindowConfig(SEQUENCE, gaps="hold", target="every")
    return TrainRnnConfig(
        tap_head=head, window=window, batch_size=BATCH, optimiser="adam", learning_rate=1e-4, loss=LOSS, **settings
    )


# === From the cache and end to end ===


def epoch(sizes: Sizes) -> dict[str, Any]:
    """Every width in a process of its own."""
    found = []
    for width, num_sequences in sizes.widths:
        with scratch() as folder:
            given = {"folder": folder, "width": width, "num_sequences": num_sequences, "rounds": sizes.rounds}
            found.append(in_child(__file__, "epochs_of", given))
    return {"taps": [*TAPS, FC], "sequence": SEQUENCE, "batch": BATCH, "widths": found}


def epochs_of(folder: str, width: float, num_sequences: int, rounds: int) -> dict[str, Any]:
    """Seconds of whole epochs of both networks, in turns."""
    root, extract_s = tap_caches(Path(folder), width, num_sequences)
    store = Cache(Path(folder) / "cache")
    load_keras()
    sides: dict[str, Callable[[], float]] = {}
    num_parameters = {}
    for name in ("cached", "end_to_end"):
        head = TapHeadConfig((*TAPS, FC), "each", fc_units=scaled(4096, width))
        config = config_of(head, end_to_end=name == "end_to_end")
        data = load_windows(config, store, "affwild2", root)
        run = begin_run(Path(folder) / name, "rnn", settings_of(config, LOSS, data))
        network = new_learner(config, data, run, store).network
        num_parameters[name] = network.count_params()
        sides[name] = timed(config, data, compiled_model(config, network, data.train.rows.features, LOSS))
    found = take_turns(sides, rounds)
    return {
        "backend": backend(),
        "width": width,
        "num_parameters": num_parameters,
        "sequences": num_sequences,
        "frames": num_sequences * SEQUENCE,
        "features_made_once_s": round(extract_s, 1),
        "epoch_s": found,
        "end_to_end_of_cached": ratios(found["end_to_end"], found["cached"]),
    }


def timed(config: TrainRnnConfig, data: TrainingWindows, model: Any) -> Callable[[], float]:
    """Seconds of the next epoch; the first step, which compiles the model, is made here."""
    fit_epoch(model, islice(epoch_batches(config, data.train, 0), 1))
    epochs = iter(range(1, 1 << 30))  # their batches are the same on both sides

    def seconds() -> float:
        begun = time.perf_counter()
        fit_epoch(model, epoch_batches(config, data.train, next(epochs)))
        return time.perf_counter() - begun

    return seconds


def tap_caches(folder: Path, width: float, num_sequences: int) -> tuple[Path, float]:
    """A corpus whose clips are one sequence each, the cache of its faces, and the features that `extract` makes of it.

    Returns:
        The corpus, and how long the features took, the building of the network included.
    """
    root, cache = folder / "corpus", folder / "cache"
    splits = ["train"] * num_sequences + ["dev"]
    make_corpus(root, {f"clip{number}": (split, SEQUENCE) for number, split in enumerate(splits)})
    spec = ExtractSpec("affwild2", root, cache, only="faces")
    plan = make_plan(spec, Cache(cache))
    rows = face_rows(SEQUENCE)
    for split in FOLDERS:
        writer = ShardWriter(cache, plan.faces, spec.to_request())
        for planned in plan.clips:
            if planned.clip.split == split:
                writer.append(planned.clip.clip_id, rows.arrays())
                writer.finish_clip(ClipEntry(planned.faces_key, planned.clip.clip_id, "", SEQUENCE, SEQUENCE))
        writer.commit()
    backbone = BackboneRequest(str(network_file(folder, width)), taps=TAPS)
    begun = time.perf_counter()
    extract(replace(spec, backbone=backbone, only="features", device="cpu"))
    return root, time.perf_counter() - begun


# === Flat pool2 ===


def flat(sizes: Sizes) -> dict[str, Any]:
    """Peak memory with all frames and with few, and an epoch from disk against one from memory."""
    peaks, num_features = {}, sizes.flat_features
    sides = {  # about as many steps each: what TensorFlow holds grows over the first ones, whatever they read
        "few": (sizes.flat_frames // FEW, {"units": sizes.few_units, "limit_mb": sizes.limit_mb, "epochs": FEW}),
        "all": (sizes.flat_frames, {"units": sizes.few_units, "limit_mb": sizes.limit_mb, "epochs": 1}),
        "in_memory": (sizes.flat_frames, {"units": sizes.few_units, "limit_mb": None, "epochs": 1}),
        "wide": (sizes.flat_frames, {"units": sizes.units, "limit_mb": sizes.limit_mb, "epochs": 1}),
    }
    with scratch() as folder:
        for num_frames in (sizes.flat_frames // FEW, sizes.flat_frames):
            features_cache(Path(folder) / str(num_frames), num_frames, num_features, num_frames // SEQUENCE)
        for name, (num_frames, given) in sides.items():
            own = {"folder": f"{folder}/{num_frames}", "run": f"{folder}/{name}", **given}
            about = {"frames": num_frames, "matrix_mb": num_frames * num_features * 2 / 1e6, "units": given["units"]}
            peaks[name] = {**about, **in_child(__file__, "peak_memory", own)}
        own = {"folder": f"{folder}/{sizes.flat_frames}", "units": sizes.units, "limit_mb": sizes.limit_mb}
        times = in_child(__file__, "from_disk", {**own, "rounds": sizes.rounds})
    above_mb = peaks["all"]["peak_mb"] - peaks["few"]["peak_mb"]
    return {
        "features": sizes.flat_features,
        "units": sizes.units,
        "limit_mb": sizes.limit_mb,
        "peaks": peaks,
        "above_few_mb": round(above_mb, 1),
        "above_few_of_matrix": round(above_mb / (peaks["all"]["matrix_mb"] - peaks["few"]["matrix_mb"]), 3),
        **times,
    }


def flat_config(units: list[int], **settings: Any) -> TrainRnnConfig:
    """Of one RNN over the wide tap."""
    return config_of(TapHeadConfig((FLAT_TAP,), "one", units=tuple(units), landmarks=False), **settings)


def limit_memory(limit_mb: float) -> None:
    """Let `feature_rows` take the machine for a smaller one."""
    feature_rows.memory_limit = lambda: int(1e6 * limit_mb)


def peak_memory(folder: str, run: str, units: list[int], limit_mb: float | None, epochs: int) -> dict[str, Any]:
    """`train_rnn` for so many epochs; the peak of this process in MB, and what it was after the imports."""
    load_keras()
    import keras

    keras.ops.convert_to_tensor([0.0])  # starts the backend
    imports_mb = high_water_mb()
    if limit_mb is not None:
        limit_memory(limit_mb)
    config = flat_config(units, epochs=epochs, patience=None)
    report = train_rnn(config, cache=Path(folder) / "cache", run=Path(run))
    return {
        "imports_mb": imports_mb,
        "peak_mb": high_water_mb(),
        "sequences": report.counts["train"],
        "epochs": report.num_epochs,
        "num_parameters": report.num_parameters,
        "from_disk": sum("read from disk" in note for note in report.notes),  # of the two splits
    }


def from_disk(folder: str, units: list[int], limit_mb: float, rounds: int) -> dict[str, Any]:
    """Seconds of whole epochs from the shards and from the matrix in memory, in turns."""
    cache, root = Path(folder) / "cache", Path(folder) / "corpus"
    store, config = Cache(cache), flat_config(units)
    in_memory = load_windows(config, store, "affwild2", root)
    limit_memory(limit_mb)
    on_disk = load_windows(config, store, "affwild2", root)
    load_keras()
    run = begin_run(Path(folder) / "timed", "rnn", settings_of(config, LOSS, on_disk))
    network = new_learner(config, on_disk, run, store).network
    model = compiled_model(config, network, on_disk.train.rows.features, LOSS)
    sides = {name: timed(config, data, model) for name, data in (("disk", on_disk), ("memory", in_memory))}
    with forgetting(sorted(cache.rglob("*.h5"))):
        found = take_turns(sides, rounds)
    return {"backend": backend(), "epoch_s": found, "disk_of_memory": ratios(found["disk"], found["memory"])}


if __name__ == "__main__":
    main()
