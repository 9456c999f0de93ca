"""Write the tables of benchmarks/README.md from benchmarks/results/*.json: python benchmarks/tables.py"""

import json
import statistics
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
        "detectors": detectors,
        "spectrograms": spectrograms,
        "memory": memory,
        "recognition": recognition,
        "cached_crops": cached_crops,
        "stage_two": stage_two,
        "taps": taps,
        "stage_two_omg": stage_two_omg,
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


def detectors(content: dict[str, Any]) -> str:
    """The default detector against others on the same recordings."""
    rows: list[list[object]] = []
    for name, speeds in content["frames_per_s"].items():
        found = content["against"].get(name, {})
        parts = [found.get(key) for key in ("median_box_iou", "lowest_box_iou")]
        shares = [
            found.get(f"{key}_of_eye_distance")
            for key in ("median_five_point_difference", "median_landmark_difference", "95_percent_landmark_difference")
        ]
        rows.append(
            [name, " and ".join(f"{speed:.1f}" for speed in speeds), content["with_a_face"][name]]
            + ["" if part is None else f"{part:.2f}" for part in parts]
            + ["" if share is None else f"{100 * share:.1f} %" for share in shares]
        )
    table = grid(
        ["detector", "frames/s, two rounds", "frames with a face", "median box IoU with the default", "lowest",
         "five points, median difference of the eye distance", "68 landmarks, median", "95 % are below"],
        rows,
    )  # fmt: skip
    return f"{content['frames']} frames of {len(content['videos'])} recordings.\n\n{table}"


def spectrograms(content: dict[str, Any]) -> str:
    """Pictures made by array operations against matplotlib's."""
    rows: list[list[object]] = []
    for name, difference in content["difference"].items():
        speed = content["speed"][name]
        ours, drawn = (f"{statistics.median(speed['windows_per_s'][side]):.0f}" for side in ("ours", "matplotlib"))
        off = f"{difference['mean']:.5f}", f"{difference['worst']:.4f}"
        rows.append([name, *off, ours, drawn, _spread(speed["ours_of_matplotlib"])])
    header = ["picture", "mean difference, of 255", "worst window", "ours, windows/s", "matplotlib, windows/s", "ratio"]
    return f"{content['windows']} windows of {content['files']} recordings.\n\n{grid(header, rows)}"


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


def stage_two(content: dict[str, Any]) -> str:
    """What was measured of stage two, ratio by ratio."""
    rows: list[list[object]] = []
    if found := content.get("feeding"):
        sides, alone = found["windows_per_s"], found["loading_alone_ms_per_batch"]
        for other, name in (("in_memory", "the same on tensors in memory"), ("copied", "copying sample by sample")):
            rows.append(
                ["training windows/s from the table", _middle(sides["epoch"]), name, _middle(sides[other]),
                 _spread(found[f"of_{other}"])]
            )  # fmt: skip
        rows.append(["loading a batch, ms", alone["windows"], "copying sample by sample, ms", alone["copied"], ""])
    if (found := content.get("torch")) and found["torch"] != "not measured":
        for threads, both in found["threads"].items():
            for unit, name in (("windows_per_s", "windows/s"), ("windows_per_cpu_s", "windows per CPU-second")):
                sides = both[unit]
                ratio = _spread(both["keras_of_torch"]) if unit == "windows_per_s" else ""
                rows.append(
                    [f"keras on {found['keras']}, threads: {threads}, {name}", _middle(sides["keras"]),
                     f"torch {found['torch']}", _middle(sides["torch"]), ratio]
                )  # fmt: skip
    if found := content.get("memory"):
        peak = found["all_frames"]["peak_mb"]
        rows.append(
            [f"peak memory, {found['frames']:,} frames, MB", peak, "with a twentieth of the frames, MB",
             found["few_frames"]["peak_mb"], f"difference {found['of_matrix']} × the matrix"]
        )  # fmt: skip
        rows.append(
            ["the same peak, MB", peak, "after the imports, MB", found["all_frames"]["imports_mb"],
             f"difference {found['of_matrix_over_imports']} × the matrix"]
        )  # fmt: skip
    if found := content.get("resident"):
        for one in found["backends"].values():
            (small, few), (large, many) = one["steps_per_s"].items()
            rows.append(
                [f"steps/s, {large} on the device ({one['backend']})", _middle(many), f"with {small}", _middle(few),
                 _spread(one["large_of_small"])]
            )  # fmt: skip
        same, beyond = found["batches_the_same"], found["head_bytes_beyond_parameters"]
        compared = found["batches_compared"]
        rows.append(["batches gathered on the device", compared, "with the bits of the host", same, ""])
        rows.append(["saved head, bytes", found["head_bytes"], "beyond its parameters", beyond, ""])
    if found := content.get("crops"):
        sides = found["crops_per_s"]
        rows.append(
            [f"train-cnn ({found['cnn']}), crops/s from disk", _middle(sides["from_cache"]),
             "the same on tensors in memory", _middle(sides["in_memory"]), _spread(found["of_in_memory"])]
        )  # fmt: skip
        rows.append(
            ["bytes read per epoch", max(found["bytes_read"]), "stored bytes of the crops", found["stored_crops_bytes"],
             found["bytes_read_of_stored"]]
        )  # fmt: skip
        rows.append(["loading crops from disk alone, crops/s", found["loading_alone_per_s"], "", "", ""])
    if found := content.get("epoch"):
        rows.append(
            [f"epoch of {found['windows']:,} windows, s", found["resident_s"], f"published ({found['published_on']})",
             found["published_s"], ""]
        )  # fmt: skip
    return grid(["what", "measured", "against", "measured", "ratio"], rows)


def taps(content: dict[str, Any]) -> str:
    """Three taps against one, and the bytes of each field."""
    found = content["one_pass"]
    names, numbers, seconds = found["taps"], found["numbers_per_frame"], found["seconds"]
    speed = {side: f"{content['frames'] / statistics.median(seconds[side]):,.4g}" for side in names}
    pass_rows: list[list[object]] = [
        [", ".join(names[side]), numbers[side], speed[side], _spread(found["three_of_one"]) if side == "three" else ""]
        for side in ("three", "one")
    ]
    disk_rows: list[list[object]] = []
    for one in content["disk"]:
        sizes = {name.removeprefix("taps/"): size for name, size in one["bytes_per_frame"].items()}
        for layout in ("flat", "pooled"):
            each = ", ".join(f"{name} {sizes[name]:,.0f}" for name in one[layout]["fields"])
            disk_rows.append(
                [one["frames"], layout, each, f"{one[layout]['bytes_per_frame']:,.0f}",
                 one["flat_of_pooled"] if layout == "flat" else ""]
            )  # fmt: skip
    parts = [
        f"VGG-Face layout at width {content['width']:g}, {found['engine']}.",
        grid(["taps in one pass", "numbers per frame", "frames/s", "time, of one tap's"], pass_rows),
        "Stored bytes per frame:",
        grid(["frames of the clip", "taps", "each field", "together", "times the pooled"], disk_rows),
    ]
    return "\n\n".join(parts)


def stage_two_omg(content: dict[str, Any]) -> str:
    """An epoch from the cache and end to end, and what a flat tap needs."""
    parts = []
    if found := content.get("epoch"):
        rows: list[list[object]] = [
            [f"{one['width']:g}", one["sequences"], f"{one['num_parameters']['cached']:,}",
             f"{one['num_parameters']['end_to_end']:,}", _middle(one["epoch_s"]["cached"]),
             _middle(one["epoch_s"]["end_to_end"]), _spread(one["end_to_end_of_cached"]), one["features_made_once_s"]]
            for one in found["widths"]
        ]  # fmt: skip
        header = ["width", f"sequences of {found['sequence']}", "numbers that learn: head", "with the CNN",
                  "epoch from the cache, s", "end to end, s", "ratio", "making the features, once, s"]  # fmt: skip
        parts.append(grid(header, rows))
    if found := content.get("flat"):
        rows = [
            ["is held" if name == "in_memory" else "stays on disk", f"{one['frames']:,}", f"{one['matrix_mb']:.0f}",
             ", ".join(map(str, one["units"])), f"{one['num_parameters']:,}", one["imports_mb"], one["peak_mb"]]
            for name, one in found["peaks"].items()
        ]  # fmt: skip
        header = ["the matrix", "frames", "its size, MB", "GRU units", "numbers that learn", "after the imports, MB",
                  "peak memory, MB"]  # fmt: skip
        seconds = {side: _middle(values) for side, values in found["epoch_s"].items()}
        times = found["peaks"]["all"]["frames"] / found["peaks"]["few"]["frames"]
        parts += [
            f"Flat pool2, {found['features']:,} numbers per frame:",
            grid(header, rows),
            f"On disk, {times:g} times the frames need {found['above_few_mb']:.0f} MB more, "
            f"{found['above_few_of_matrix']} × what the matrix grows by. "
            f"With {', '.join(map(str, found['units']))} units an epoch takes {seconds['disk']} s from disk "
            f"and {seconds['memory']} s from memory, {_spread(found['disk_of_memory'])} times as long.",
        ]
    return "\n\n".join(parts)


def _middle(values: list[float]) -> str:
    return f"{statistics.median(values):,.4g}"


def _spread(ratio: dict[str, Any]) -> str:
    return f"{ratio['median']} ({ratio['lowest']} to {ratio['highest']}, {ratio['rounds']} rounds)"


if __name__ == "__main__":
    main()
