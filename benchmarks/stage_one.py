"""Stage one against the usual way, in one run: python benchmarks/stage_one.py VIDEO

The usual way takes one frame at a time: MTCNN on the full-size frame, dlib landmarks, a warp, `predict` on a batch of
one. The other side is `emopipe extract` with its defaults on the same video, looped to 1,000 frames or more. Start-up
is left out on both sides and printed. Beside it stands the bound: the CPU-seconds of every step alone in a child
process over the same frames; no schedule can be faster than frames / (sum of CPU-seconds / cores).
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import cpu_seconds_alone, loop_video, run_extract, save, scratch

from emopipe.config import FacesConfig
from emopipe.faces.alignment import align
from emopipe.faces.detection import detect_frames, load_detector
from emopipe.faces.landmarks import eye_distance, load_landmarker, predictor_square
from emopipe.faces.rows import align_frames, face_rows
from emopipe.media.video import read_frames
from emopipe.models.backbones import resolve_backbone
from emopipe.models.building import build_model, build_network
from emopipe.provenance import num_cores
from emopipe.records import FACE_FIELDS, FaceRows

BACKBONES = ("khorrami", "resnet50")
DETECTORS = ("retinaface", "mtcnn", "dlib_hog")
BATCH = 64


def main() -> None:
    """Run both sides and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=1000, help="at least so many for emopipe")
    parser.add_argument("--one-by-one", type=int, default=80, help="frames for the usual way")
    arguments = parser.parse_args()
    frames = [frame.image for frame in read_frames(arguments.video)]
    content: dict[str, Any] = {"video": arguments.video.name, "size": list(frames[0].shape), "cores": num_cores()}
    with scratch() as folder:
        root = Path(folder) / "corpus"
        root.mkdir()
        looped = root / f"looped{arguments.video.suffix}"
        loop_video(arguments.video, looped, -(-arguments.frames // len(frames)))
        content["backbones"] = {
            backbone: compare(backbone, frames[: arguments.one_by_one], looped, Path(folder)) for backbone in BACKBONES
        }
        content["detectors"] = {
            detector: summary(extract(looped, Path(folder) / f"d-{detector}", "khorrami", "--detector", detector))
            for detector in DETECTORS
        }
    content["agreement"] = agreement(arguments.video)
    save("stage_one", content)


def compare(backbone: str, frames: list[Any], looped: Path, folder: Path) -> dict[str, Any]:
    """One backbone on both sides, and its bound; the usual way is measured before and after, for the drift."""
    usual = [one_by_one(backbone, frames)]
    extracted = extract(looped, folder / f"b-{backbone}", backbone)
    again = extract(looped, folder / f"c-{backbone}", backbone, weights=folder / f"b-{backbone}")
    usual.append(one_by_one(backbone, frames))
    bound = bound_of(backbone, looped, folder)
    fps = (extracted["fps"] + again["fps"]) / 2  # the mean of both runs on both sides: the better one would flatter
    usual_fps = sum(side["frames_per_s"] for side in usual) / len(usual)
    return {
        "one_by_one": usual,
        "emopipe": [summary(extracted), summary(again)],
        "ratio": round(fps / usual_fps, 2),
        "bound": bound,
        "share_of_bound": round(fps / bound["frames_per_s"], 3),
    }


def extract(looped: Path, cache: Path, backbone: str, *options: str, weights: Path | None = None) -> dict[str, Any]:
    """`emopipe extract` on the folder that holds the looped video, into a cache that is empty but for kept weights."""
    if weights is not None:
        cache.mkdir()
        (cache / "weights").symlink_to(weights / "weights")
    where = ("--dataset", "folder", "--root", str(looped.parent), "--cache", str(cache))
    return run_extract(*where, "--backbone", backbone, "--weights", "none", *options)


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of one extraction that matter here."""
    return {
        "frames": report["frames"],
        "valid": report["valid"],
        "frames_per_s": report["fps"],
        "start_s": report["steps"]["start"]["seconds"],
        "steps": {name: step["seconds"] for name, step in report["steps"].items()},
    }


def one_by_one(backbone: str, frames: list[Any]) -> dict[str, float]:
    """Frames per second of the usual way; the first frame warms everything up and is not counted."""
    begun = time.perf_counter()
    detector, landmarker = load_detector("mtcnn"), load_landmarker()
    plan = resolve_backbone(backbone, "none", engine="keras", device="cpu")
    model = build_model(plan)

    def chain(image: Any) -> None:
        found = detector.detect(image[np.newaxis])[0]
        if not len(found):
            return
        square = predictor_square(found.boxes[0], found.points[0], "mtcnn")
        landmarks = landmarker.landmarks(image, square)
        crop = align(image, landmarks, found.boxes[0], "procrustes5").crop
        pixels = crop[np.newaxis].astype(np.float32)
        if plan.input.channels == 1:
            pixels = pixels.mean(axis=-1, keepdims=True)
        model.predict(pixels, verbose=0)

    chain(frames[0])
    start_s = time.perf_counter() - begun
    begun = time.perf_counter()
    for image in frames[1:]:
        chain(image)
    seconds = time.perf_counter() - begun
    return {
        "frames": len(frames) - 1,
        "frames_per_s": round((len(frames) - 1) / seconds, 2),
        "start_s": round(start_s, 1),
    }


def bound_of(backbone: str, looped: Path, folder: Path) -> dict[str, Any]:
    """CPU-seconds of every step alone, and the frames per second that no schedule can exceed."""
    weights = folder / f"b-{backbone}" / "weights"
    steps = {
        "decode": cpu_seconds_alone(decode_alone, looped),
        "detect": cpu_seconds_alone(detect_alone, looped),
        "align": cpu_seconds_alone(align_alone, looped),
        "features": cpu_seconds_alone(features_alone, looped, backbone, weights),
        "write": cpu_seconds_alone(write_alone, looped, folder / f"w-{backbone}"),
    }
    per_frame_s = sum(step["cpu_s"] / step["frames"] for step in steps.values())
    return {
        "cpu_ms_per_frame": {name: round(step["cpu_ms_per_frame"], 3) for name, step in steps.items()},
        "frames_per_s": round(num_cores() / per_frame_s, 2),
    }


def decode_alone(mark: Any, video: Path) -> int:
    """Decoding to RGB."""
    mark()
    return sum(1 for _ in read_frames(video))


def _some(video: Path, count: int = 320) -> list[Any]:
    return [frame for frame, _ in zip(read_frames(video), range(count), strict=False)]


def detect_alone(mark: Any, video: Path) -> int:
    """Detection on frames in memory."""
    frames, detector = _some(video), load_detector("retinaface", num_threads=num_cores())
    list(detect_frames(frames[:32], detector, FacesConfig()))
    mark()
    return sum(1 for _ in detect_frames(frames, detector, FacesConfig()))


def align_alone(mark: Any, video: Path) -> int:
    """Tracking, landmarks and warp of detected frames in memory."""
    config, detector, landmarker = FacesConfig(), load_detector("retinaface"), load_landmarker()
    detected = list(detect_frames(_some(video), detector, config))
    mark()
    return sum(len(rows) for rows in align_frames(detected, config, detector, landmarker))


def _rows(video: Path) -> list[FaceRows]:
    return list(face_rows(_some(video), FacesConfig(), load_detector("retinaface"), load_landmarker()))


def features_alone(mark: Any, video: Path, backbone: str, weights: Path) -> int:
    """The network on crops in memory, normalisation included."""
    crops = np.concatenate([rows.crop for rows in _rows(video)])
    plan = resolve_backbone(backbone, "none", weights_folder=weights, device="cpu")
    network = build_network(plan, batch_size=BATCH, num_threads=num_cores())
    network(crops[:BATCH])
    mark()
    for start in range(0, len(crops), BATCH):
        network(crops[start : start + BATCH])
    return len(crops)


def write_alone(mark: Any, video: Path, folder: Path) -> int:
    """Writing, verifying and naming a faces shard."""
    from emopipe.store.layout import ClipEntry, ShardHeader
    from emopipe.store.writer import ShardWriter

    rows = _rows(video)
    mark()
    writer = ShardWriter(folder, ShardHeader("faces", "benchmark", {}, "0" * 64))
    for piece in rows:
        writer.append("clip", piece.arrays())
    count = sum(map(len, rows))
    writer.finish_clip(ClipEntry("key", "clip", "", count, count))
    writer.commit()
    return count


def agreement(video: Path) -> dict[str, Any]:
    """The default faces against MTCNN and dlib on every full-size frame: are they the same faces?"""
    landmarker = load_landmarker()
    full = FacesConfig(working_size_px=10_000, retry_size_px=0)
    configs = {"retinaface": FacesConfig(), "mtcnn": full, "dlib_hog": full}
    found = {}
    for name, config in configs.items():
        step = partial(face_rows, config=config, detector=load_detector(name), landmarker=landmarker)
        pieces = list(step(read_frames(video)))
        found[name] = {field: np.concatenate([getattr(piece, field) for piece in pieces]) for field in FACE_FIELDS}
    ours = found.pop("retinaface")
    return {"retinaface_valid": int(ours["valid"].sum())} | {
        name: _against(ours, other) for name, other in found.items()
    }


def _against(ours: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = ours["valid"] & other["valid"]
    a, b = ours["box"][both], other["box"][both]
    overlap = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    distance = np.linalg.norm(ours["landmarks"][both] - other["landmarks"][both], axis=-1).mean(axis=1)
    return {
        "frames": len(both),
        "valid": int(other["valid"].sum()),
        "both_valid": int(both.sum()),
        "median_box_iou": round(float(np.median(overlap / (areas[0] + areas[1] - overlap))), 3),
        "median_landmark_difference_of_eye_distance": round(
            float(np.median(distance / eye_distance(other["landmarks"][both]))), 4
        ),
    }


if __name__ == "__main__":
    main()
