"""The benchmark of stage two runs and measures every line; how fast anything is decides nothing here."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
LINES = ("feeding", "torch", "memory", "resident", "crops", "epoch")


def run_benchmark(out: Path, *options: str) -> dict:
    command = [sys.executable, str(BENCHMARKS / "stage_two.py"), "--quick", "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


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
    rendered = runpy.run_path(str(BENCHMARKS / "tables.py"))["stage_two"](found)
    assert len({line.count("|") for line in rendered.splitlines()}) == 1
    assert "windows/s" in rendered


def test_one_line_is_measured_alone_and_leaves_the_others(tmp_path):
    out = tmp_path / "stage_two.json"
    out.write_text(json.dumps({"feeding": {"kept": True}}))
    found = run_benchmark(out, "--only", "torch")
    assert found["feeding"] == {"kept": True}
    assert found["torch"]["torch"] == "not measured"
