"""Memory does not grow with the length of a clip."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from extraction import face_frames

from emopipe.media.video import write_video

LIMIT_MB = 64.0  # buffers fill up within the first seconds; a frame row alone is 29 kB, so 3,000 of them are 87 MB
MEASURE = """
import json, resource, subprocess, sys
subprocess.run([sys.executable, "-c", "from emopipe_cli.main import main; main()", *sys.argv[1:]],
               check=True, capture_output=True)
print(json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))
"""


def peak_mb(root: Path, cache: Path) -> float:
    """Peak memory of an extraction of faces, the largest of its processes, in MB."""
    options = ["extract", "--dataset", "folder", "--root", str(root), "--cache", str(cache), "--only", "faces"]
    done = subprocess.run([sys.executable, "-c", MEASURE, *options], check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path):
    frames = face_frames(100)
    peaks = {}
    for rounds in (3, 30):
        root = tmp_path / f"corpus-{rounds}"
        root.mkdir()
        write_video(root / "clip.mp4", (frame for _ in range(rounds) for frame in frames), Fraction(25))
        peaks[rounds] = peak_mb(root, tmp_path / f"cache-{rounds}")
    assert peaks[30] - peaks[3] <= LIMIT_MB, peaks
