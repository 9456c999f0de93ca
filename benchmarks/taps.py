"""Three taps against one, and what they cost on disk, in one run: python benchmarks/taps.py [--width W] [--quick]

The VGG-Face layout with random weights, for numbers cost the same whatever they say. Building it is left out.

one_pass: the step `features` of `emopipe extract` over crops in memory, with pool2:grid4, pool5:flat and conv8:gap on
one side and pool5:flat alone on the other, in turns.
disk: bytes per frame in each field of the shards that are written: pool2, pool5 and the landmarks with their transform,
flat and with pool2 in a 4 x 4 grid (pool5 has 3 x 3 cells, all of which are kept). A field is stored in whole chunks,
of whose rows up to a tenth are padding: measured with a clip of --frames, 7 s at 30 frames per second, and with one ten
times as long.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from common import ratios, save, scratch, take_turns

from emopipe.models.backbones import resolve_backbone
from emopipe.models.building import Network, build_network
from emopipe.models.engines import load_keras
from emopipe.models.keras_files import write_metadata
from emopipe.models.vggface import VGGFACE, build_vggface
from emopipe.models.weights import initialise
from emopipe.provenance import num_cores
from emopipe.records import Clip, FaceRows
from emopipe.stages.features_step import BATCH_SIZE, Crops, compute, tap_sizes
from emopipe.stages.spec import PlannedClip
from emopipe.store.layout import ClipEntry, ShardHeader, group_name
from emopipe.store.writer import ShardWriter

THREE, ONE = ("pool2:grid4", "pool5:flat", "conv8:gap"), ("pool5:flat",)
FLAT, POOLED = ("pool2:flat", "pool5:flat"), ("pool2:grid4", "pool5:flat")
LANDMARK_FIELDS = ("landmarks", "transform")
CLIP = "clip"
PIECE_ROWS = 32
LONG_CLIP = 10


def main() -> None:
    """Measure both and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=1.0, help="share of the published channels")
    parser.add_argument("--frames", type=int, default=210, help="of a clip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.width, arguments.frames, arguments.rounds = 1 / 16, 64, 2
    with scratch() as folder:
        file = network_file(Path(folder), arguments.width)
        rows = face_rows(arguments.frames)
        content = {
            "width": arguments.width,
            "frames": arguments.frames,
            "cores": num_cores(),
            "one_pass": three_against_one(file, rows, arguments.rounds),
            "disk": [bytes_per_frame(Path(folder), file, rows, times) for times in (1, LONG_CLIP)],
        }
    save("taps", content, arguments.out)


def network_file(folder: Path, width: float) -> Path:
    """A `.keras` file of the layout."""
    load_keras()
    network = build_vggface(VGGFACE.input, width)
    initialise(network)
    path = folder / "vggface.keras"
    network.save(path)
    write_metadata(path, VGGFACE.input, ONE)
    return path


def network_of(file: Path, taps: tuple[str, ...]) -> Network:
    """The network with these taps, as `extract` builds it on a processor."""
    return build_network(
        resolve_backbone(str(file), taps=taps, device="cpu"), batch_size=BATCH_SIZE, num_threads=num_cores()
    )


def face_rows(num_frames: int) -> FaceRows:
    """Rows with a face each: blobs of colour, 68 points, a similarity."""
    random = np.random.default_rng(0)
    rows = FaceRows.empty(num_frames)
    rows.frame_index[:], rows.time_s[:], rows.valid[:] = range(num_frames), np.arange(num_frames) / 25, True
    rows.crop[:] = np.kron(random.integers(0, 256, (num_frames, 6, 6, 3), np.uint8), np.ones((1, 16, 16, 1), np.uint8))
    rows.landmarks[:] = random.uniform(100, 300, rows.landmarks.shape)
    rows.transform[:] = random.normal(size=rows.transform.shape)
    return rows


def pieces_of(rows: FaceRows) -> Iterator[Crops]:
    """The rows as the step before hands them on."""
    planned = PlannedClip(Clip(CLIP, Path(CLIP)), "faces", "features")
    for start in range(0, len(rows), PIECE_ROWS):
        part = slice(start, start + PIECE_ROWS)
        fields = {"frame_index": rows.frame_index[part], "time_s": rows.time_s[part], "valid": rows.valid[part]}
        yield Crops(planned, fields, rows.crop[part], is_last=start + PIECE_ROWS >= len(rows))


def three_against_one(file: Path, rows: FaceRows, rounds: int) -> dict[str, Any]:
    """Seconds of the step with three taps and with one, in turns."""
    networks = {"three": network_of(file, THREE), "one": network_of(file, ONE)}
    sizes = {side: tap_sizes(network) for side, network in networks.items()}

    def seconds(side: str) -> float:
        begun = time.perf_counter()
        for _ in compute(pieces_of(rows), networks[side], sizes[side], BATCH_SIZE):
            pass
        return time.perf_counter() - begun

    for side in networks:
        seconds(side)  # the first pass of a network allocates
    found = take_turns({"three": lambda: seconds("three"), "one": lambda: seconds("one")}, rounds)
    return {
        "engine": networks["three"].engine,
        "taps": {"three": list(THREE), "one": list(ONE)},
        "numbers_per_frame": {side: sum(each.values()) for side, each in sizes.items()},
        "seconds": found,
        "three_of_one": ratios(found["three"], found["one"]),
    }


def bytes_per_frame(folder: Path, file: Path, rows: FaceRows, times: int) -> dict[str, Any]:
    """What a written clip, the rows `times` times over, holds per frame and field."""
    shard = write_shard(folder, "faces", [rows.arrays()] * times)
    fields = stored(shard, LANDMARK_FIELDS, times * len(rows))
    shard.unlink()
    for taps in (FLAT, POOLED):
        network = network_of(file, taps)
        made = [piece.rows for piece in compute(pieces_of(rows), network, tap_sizes(network), BATCH_SIZE)]
        shard = write_shard(folder, "features", made * times)
        fields |= stored(shard, [f"taps/{tap}" for tap in taps], times * len(rows))
        shard.unlink()

    def total(taps: tuple[str, ...]) -> float:
        return round(sum(fields[name] for name in (*(f"taps/{tap}" for tap in taps), *LANDMARK_FIELDS)), 1)

    flat, pooled = total(FLAT), total(POOLED)
    return {
        "frames": times * len(rows),
        "bytes_per_frame": fields,
        "flat": {"fields": [*FLAT, *LANDMARK_FIELDS], "bytes_per_frame": flat},
        "pooled": {"fields": [*POOLED, *LANDMARK_FIELDS], "bytes_per_frame": pooled},
        "flat_of_pooled": round(flat / pooled, 2),
    }


def write_shard(folder: Path, kind: Any, pieces: Any) -> Path:
    """One clip in one shard."""
    writer = ShardWriter(folder, ShardHeader(kind, "benchmark", {}, "0" * 64))
    count = 0
    for piece in pieces:
        writer.append(CLIP, piece)
        count += len(piece["valid"])
    writer.finish_clip(ClipEntry("key", CLIP, "", count, count))
    path = writer.commit()
    if path is None:
        raise SystemExit("no shard was written")
    return path


def stored(shard: Path, fields: Any, num_frames: int) -> dict[str, float]:
    """Bytes per frame of some fields, whole chunks with their checksums."""
    with h5py.File(shard) as file:
        group = file[group_name(CLIP)]
        return {name: round(group[name].id.get_storage_size() / num_frames, 1) for name in fields}


if __name__ == "__main__":
    main()
