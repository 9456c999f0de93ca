"""How stage one behaves when there is a lot: python benchmarks/scale.py [memory] [recognition] [cached_crops]

memory: peak memory of a 36,000-frame clip against a 1,000-frame clip, 640 x 360, faces and features.
recognition: wall time of the whole process that finds 10,000 clips finished, in a cache of 50 GB of sparse shards.
cached_crops: frames per second of a second backbone, fed from the cache, against the network alone on the same crops.
"""

import argparse
import json
import os
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import generated_video, loop_video, run_extract, save, scratch

from emopipe.models.backbones import resolve_backbone
from emopipe.models.building import build_network
from emopipe.provenance import num_cores
from emopipe.stages.spec import BackboneRequest, ExtractSpec, make_plan
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader, shard_stem
from emopipe.store.reader import ShardReader
from emopipe.store.writer import write_record

KHORRAMI = ("--backbone", "khorrami", "--weights", "none")


def main() -> None:
    """Run the measurements that are named, or all."""
    known = {"memory": memory, "recognition": recognition, "cached_crops": cached_crops}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*known, []], default=list(known))
    for name in parser.parse_args().names:
        with scratch() as folder:
            save(name, known[name](Path(folder)))


def memory(folder: Path, short: int = 1000, long: int = 36_000) -> dict[str, Any]:
    """Peak resident memory of `emopipe extract`, the largest of its processes, for two lengths of one clip."""
    piece = folder / "piece.mp4"
    generated_video(piece, short)
    peaks_mb, frames_per_s = {}, {}
    cache = folder / "warm"
    for num_frames in (short, short, long):  # the first run only builds the kept network
        root = folder / f"corpus-{num_frames}"
        root.mkdir(exist_ok=True)
        if not (root / "clip.mp4").exists():
            loop_video(piece, root / "clip.mp4", num_frames // short)
        weights, cache = cache / "weights", folder / f"cache-{num_frames}-{len(peaks_mb)}"
        cache.mkdir()
        if weights.exists():
            (cache / "weights").symlink_to(weights.resolve())
        peak_mb, report = _peak_of(root, cache)
        if report["frames"] != num_frames:
            raise SystemExit(f"expected {num_frames} frames, received {report['frames']}")
        peaks_mb[num_frames], frames_per_s[num_frames] = peak_mb, report["fps"]
    return {"peak_mb": peaks_mb, "difference_mb": peaks_mb[long] - peaks_mb[short], "frames_per_s": frames_per_s}


def _peak_of(root: Path, cache: Path) -> tuple[float, dict[str, Any]]:
    """Peak memory of one extraction in MB. A fork reports it, since getrusage keeps the maximum over all children."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        report = run_extract("--dataset", "folder", "--root", str(root), "--cache", str(cache), *KHORRAMI)
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        with os.fdopen(sender, "w") as pipe:
            json.dump([peak_mb, report], pipe)
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        content = pipe.read()
    os.waitpid(pid, 0)
    peak_mb, report = json.loads(content)
    return peak_mb, report


def recognition(folder: Path, num_clips: int = 10_000, clips_per_shard: int = 50) -> dict[str, Any]:
    """A generated finished cache: real keys, real records, sparse shards."""
    root, cache_folder = folder / "corpus", folder / "cache"
    root.mkdir()
    for number in range(num_clips):
        (root / f"clip{number:05d}.mp4").write_bytes(b"clip %d" % number)
    spec = ExtractSpec("folder", root, cache_folder, backbone=BackboneRequest("khorrami", "none"))
    plan = make_plan(spec, Cache(cache_folder))
    declared_bytes = 0
    for kind, header, frame_bytes in (("faces", plan.faces, 25_000), ("features", plan.features, 700)):
        for start in range(0, num_clips, clips_per_shard):
            entries = [
                ClipEntry(str(getattr(planned, f"{kind}_key")), planned.clip.clip_id, "", 250, 250, sha256="0" * 64)
                for planned in plan.clips[start : start + clips_per_shard]
            ]
            declared_bytes += _sparse_shard(cache_folder, header, entries, 250 * frame_bytes * len(entries), spec)
    options = ("--dataset", "folder", "--root", str(root), "--cache", str(cache_folder), *KHORRAMI)
    first = run_extract(*options)  # writes the ledger rows that the generated cache lacks
    runs = [run_extract(*options) for _ in range(5)]
    if any(run["clips"] != {"done": 0, "reused": num_clips, "failed": 0} for run in [first, *runs]):
        raise SystemExit("not every clip was recognised")
    seconds = [run["process_s"] for run in runs]
    return {
        "clips": num_clips,
        "declared_gb": round(declared_bytes / 1e9, 1),
        "process_s": {"median": statistics.median(seconds), "all": seconds},
    }


def _sparse_shard(folder: Path, header: ShardHeader, entries: list[ClipEntry], size: int, spec: ExtractSpec) -> int:
    path = folder / f"{shard_stem(header, tuple(entry.key for entry in entries))}.h5"
    with path.open("wb") as file:
        file.truncate(size)
    write_record(path, header, entries, spec.to_request())
    return size


def cached_crops(folder: Path, num_frames: int = 3000) -> dict[str, Any]:
    """Faces once; then features from the cache and the network alone, in turn."""
    root, cache_folder = folder / "corpus", folder / "cache"
    root.mkdir()
    generated_video(folder / "piece.mp4", 1000)
    loop_video(folder / "piece.mp4", root / "clip.mp4", num_frames // 1000)
    options = ("--dataset", "folder", "--root", str(root), "--cache", str(cache_folder))
    run_extract(*options, "--only", "faces")
    content: dict[str, Any] = {}
    for backbone in ("khorrami", "resnet50"):
        chosen = ("--backbone", backbone, "--weights", "none")
        run_extract(*options, *chosen)  # builds the kept network
        pairs = []
        for _ in range(3):
            _forget_features(Cache(cache_folder))
            report = run_extract(*options, *chosen)
            if {"decode", "detect", "align"} & report["steps"].keys():
                raise SystemExit("a video was touched although its faces are cached")
            pairs.append({"from_cache": report["fps"], "alone": _alone(cache_folder, backbone)})
        ratios = [pair["from_cache"] / pair["alone"] for pair in pairs]
        content[backbone] = {"frames_per_s": pairs, "ratio": round(statistics.median(ratios), 3)}
    return content


def _forget_features(cache: Cache) -> None:
    for record in cache.records("features"):
        record.path.unlink()
        record.path.with_suffix(".json").unlink()


def _alone(cache_folder: Path, backbone: str) -> float:
    """Frames per second of the network on crops in memory."""
    cache = Cache(cache_folder)
    record = cache.records("faces")[0]
    with ShardReader(record.path) as reader:
        crops, _ = reader.crops(record.entries[0].clip_id, 0, 1024)
    plan = resolve_backbone(backbone, "none", weights_folder=cache.weights_folder, device="cpu")
    network = build_network(plan, num_threads=num_cores())
    network(np.asarray(crops[:64]))
    begun = time.perf_counter()
    for start in range(0, len(crops), 64):
        network(crops[start : start + 64])
    return round(len(crops) / (time.perf_counter() - begun), 2)


if __name__ == "__main__":
    main()
