"""The benchmarks of stage two and of taps run and measure every line; how fast anything is decides nothing here."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
LINES = ("feeding", "torch", "memory", "resident", "crops", "epoch")


def run_benchmark(out: Path, *options: str, program: str = "stage_two") -> dict:
    command = [sys.executable, str(BENCHMARKS / f"{program}.py"), "--quick", "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


def rendered(name: str, found: dict) -> str:
    """What README.md would say, whose tables are whole."""
    text = runpy.run_path(str(BENCHMARKS / "tables.py"))[name](found)
    for table in text.split("\n\n"):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    return text


@pytest.mark.slow
def test_every_line_of_stage_two_is_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = run_benchmark(tmp_path / "results" / "stage_two.json")
    assert set(LINES) <= set(found)
    assert found["feeding"]["of_in_memory"]["rounds"] == found["feeding"]["of_copied"]["rounds"] == 3
    assert set(found["feeding"]["loading_alone_ms_per_batch"]) == {"windows", "copied", "rows_for_the_device"}
    assert found["torch"]["torch"] == "not measured"  # no interpreter was named
    memory = found["memory"]
    assert memory["all_frames"]["imports_mb"] < memory["all_frames"]["peak_mb"]
    resident = found["resident"]
    assert resident["batches_the_same"] == resident["batches_compared"] > 3
    assert 0 < resident["head_bytes_beyond_parameters"] < 200_000
    assert set(resident["backends"]) == {"tensorflow", "jax"}
    for name, one in resident["backends"].items():
        assert one["backend"].startswith(name)
    crops = found["crops"]
    assert len(crops["bytes_read"]) == 3  # how many depends on where the folder lies
    assert crops["stored_crops_bytes"] < crops["raw_crops_bytes"]
    assert found["epoch"]["published_s"] == 217
    assert "windows/s" in rendered("stage_two", found)


def test_one_line_is_measured_alone_and_leaves_the_others(tmp_path):
    out = tmp_path / "stage_two.json"
    out.write_text(json.dumps({"feeding": {"kept": True}}))
    found = run_benchmark(out, "--only", "torch")
    assert found["feeding"] == {"kept": True}
    assert found["torch"]["torch"] == "not measured"


@pytest.mark.slow
def test_heads_over_taps_are_measured_from_the_cache_end_to_end_and_from_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = run_benchmark(tmp_path / "stage_two_omg.json", program="stage_two_omg")
    (one,) = found["epoch"]["widths"]
    assert one["num_parameters"]["end_to_end"] > one["num_parameters"]["cached"]
    assert one["end_to_end_of_cached"]["rounds"] == 2
    flat = found["flat"]
    from_disk = {name: peak["from_disk"] for name, peak in flat["peaks"].items()}
    assert from_disk == {"few": 2, "all": 2, "in_memory": 0, "wide": 2}
    assert flat["peaks"]["all"]["frames"] == 20 * flat["peaks"]["few"]["frames"]
    assert all(peak["imports_mb"] < peak["peak_mb"] for peak in flat["peaks"].values())
    assert flat["disk_of_memory"]["rounds"] == 2
    text = rendered("stage_two_omg", found)
    assert "end to end, s" in text
    assert "stays on disk" in text


@pytest.mark.slow
def test_three_taps_are_measured_against_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = run_benchmark(tmp_path / "taps.json", program="taps")
    assert found["one_pass"]["three_of_one"]["rounds"] == 2
    short, long = found["disk"]
    assert long["frames"] == 10 * short["frames"]
    assert long["flat_of_pooled"] > 1
    assert "pool2:grid4, pool5:flat, conv8:gap" in rendered("taps", found)


@pytest.mark.slow
def test_pictures_of_sound_are_measured_against_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = run_benchmark(tmp_path / "spectrograms.json", program="spectrograms")
    for name in ("mel viridis", "linear viridis", "chroma viridis"):
        assert 0 <= found["difference"][name]["worst"] <= 2
        assert found["speed"][name]["ours_of_matplotlib"]["rounds"] >= 1
    assert "mel magma" in rendered("spectrograms", found)
