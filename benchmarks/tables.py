"""Write the tables of benchmarks/README.md from benchmarks/results/*.json: python benchmarks/tables.py"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- begin {} -->", "<!-- end {} -->"


def main() -> None:
    """Fill in every marked place whose result is there."""
    page = HERE / "README.md"
    text = page.read_text()
    tables: dict[str, Callable[[dict[str, Any]], str]] = {
        "stage_one": stage_one,
        "memory": memory,
        "recognition": recognition,
        "cached_crops": cached_crops,
    }
    for name, table in tables.items():
        path = HERE / "results" / f"{name}.json"
        begin, end = BEGIN.format(name), END.format(name)
        if not path.exists() or begin not in text:
            continue
        content = json.loads(path.read_text())
        machine = content["machine"]
        version = content["versions"]["emopipe"]
        about = f"{machine['cores']} cores, {machine['processor']}, {content['time'][:10]}, emopipe {version}"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{table(content)}\n\nMeasured on {about}.\n{end}{rest.split(end)[1]}"
    page.write_text(text)


def grid(header: list[str], rows: list[list[object]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def stage_one(content: dict[str, Any]) -> str:
    """Ratios, the bound, the detectors, the agreement."""
    ratio_rows, cost_rows = [], []
    for name, found in content["backbones"].items():
        usual = " and ".join(str(side["frames_per_s"]) for side in found["one_by_one"])
        ours = " and ".join(str(side["frames_per_s"]) for side in found["emopipe"])
        starts = " and ".join(str(side["start_s"]) for side in found["emopipe"])
        bound = found["bound"]["frames_per_s"]
        ratio_rows.append([name, usual, ours, found["ratio"], bound, found["share_of_bound"], starts])
        cost_rows.append([name, *found["bound"]["cpu_ms_per_frame"].values()])
    header = ["backbone", "one by one, frames/s", "emopipe, frames/s", "ratio", "bound, frames/s", "share of the bound"]
    steps = next(iter(content["backbones"].values()))["bound"]["cpu_ms_per_frame"]
    detector_rows = [
        [name, found["frames_per_s"], f"{found['valid']} of {found['frames']}"]
        for name, found in content["detectors"].items()
    ]
    agreement_rows = [
        [
            name,
            found["both_valid"],
            found["median_box_iou"],
            f"{100 * found['median_landmark_difference_of_eye_distance']:.1f} %",
        ]
        for name, found in content["agreement"].items()
        if isinstance(found, dict)
    ]
    parts = [
        f"`{content['video']}`, {content['size'][1]} × {content['size'][0]} pixels.",
        grid([*header, "start-up left out, s"], ratio_rows),
        "CPU-milliseconds per frame of each step alone:",
        grid(["backbone", *steps], cost_rows),
        "Detectors, with the Khorrami CNN:",
        grid(["detector", "frames/s", "frames with a face"], detector_rows),
        "The default faces against other detectors on every full-size frame:",
        grid(["against", "frames with both", "median box IoU", "median landmark difference, of the eye distance"],
             agreement_rows),
    ]  # fmt: skip
    return "\n\n".join(parts)


def memory(content: dict[str, Any]) -> str:
    """Peak memory of two lengths."""
    rows: list[list[object]] = [
        [frames, f"{peak:.0f}", content["frames_per_s"][frames]] for frames, peak in content["peak_mb"].items()
    ]
    table = grid(["frames of the clip", "peak memory, MB", "frames/s"], rows)
    return f"{table}\n\nDifference: {content['difference_mb']:.0f} MB."


def recognition(content: dict[str, Any]) -> str:
    """Time to find nothing to do."""
    seconds = content["process_s"]
    return grid(
        ["clips", "declared size, GB", "whole process, s (median of 5)", "all, s"],
        [[content["clips"], content["declared_gb"], seconds["median"], ", ".join(map(str, seconds["all"]))]],
    )


def cached_crops(content: dict[str, Any]) -> str:
    """Feeding from the cache against the network alone."""
    rows: list[list[object]] = []
    for name in ("khorrami", "resnet50"):
        pairs = content[name]["frames_per_s"]
        cached = ", ".join(str(pair["from_cache"]) for pair in pairs)
        rows.append([name, cached, ", ".join(str(pair["alone"]) for pair in pairs), content[name]["ratio"]])
    return grid(["backbone", "from the cache, frames/s", "alone, frames/s", "median ratio"], rows)


if __name__ == "__main__":
    main()
