"""A cache of clips that have one label each, and small heads that learn from it; for several test files."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from emopipe.models.spectrogram_head import SpectrogramHeadConfig
from emopipe.models.windows import WindowConfig
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.spec import ExtractSpec, make_plan, planned_clip
from emopipe.store.cache import Cache
from emopipe.store.layout import ClipEntry, ShardHeader
from emopipe.store.writer import ShardWriter

TARGETS = ("adoration", "amusement", "anxiety")
NUM_BANDS = 12
FACELESS = "dev3"
UNIFORM = WindowConfig(8, target="clip")
WHOLE = WindowConfig(24, target="clip", sampling="all")  # clips have 10 to 29 rows
SMALL = TrainRnnConfig(
    cells="lstm", units=(8,), window=UNIFORM, loss="mse", taps=("picture",), optimiser="adam", learning_rate=0.02,
    epochs=12, patience=None, batch_size=8,
)  # fmt: skip
SPECTROGRAM = replace(SMALL, spectrogram_head=SpectrogramHeadConfig((6, 8), dropout=0.1), window=WHOLE, taps=("mel",))


def rows_of(name: str, taps: dict[str, np.ndarray], has_gaps: bool) -> dict[str, np.ndarray]:
    """A clip's rows in the cache: noise around what is said of it; of the picture every fifth face is missing."""
    random = np.random.default_rng(sum(name.encode()))
    length = int(random.integers(10, 30))
    valid = np.ones(length, bool)
    if has_gaps:
        valid = (np.arange(length) % 5 != 2) & (name != FACELESS)
    rows = {"frame_index": np.arange(length), "time_s": (np.arange(length) + 0.5) / 25, "valid": valid}
    for tap, mean in taps.items():
        values = (mean + random.normal(size=(length, len(mean)))).astype(np.float32)
        rows[f"taps/{tap}"] = np.where(valid[:, None], values, np.float32(np.nan))
    return rows


def write_cache(root: Path, cache: Path, dataset: str, picture_of=None, sound_of=None) -> None:
    """Shards of all clips: of features, and of audio whose windows are as long as a frame."""
    spec = ExtractSpec(dataset, root, cache, only="faces")
    plan = make_plan(spec, Cache(cache))
    settings = {"spectrogram": {"window_s": 0.04, "hop_s": 0.04}, "audio": {}, "weights": "", "version": 1}
    headers = {
        "features": ShardHeader("features", "tiny", {"faces": plan.faces.config, "weights": "0" * 64}, "t" * 64),
        "audio": ShardHeader("audio", "mel", settings, "a" * 64),
    }
    for kind, taps_of in {"features": picture_of, "audio": sound_of}.items():
        if taps_of is None:
            continue
        writer = ShardWriter(cache, headers[kind], spec.to_request())
        for planned in plan.clips:
            name = planned.clip.clip_id
            keyed = planned_clip(planned.clip, Cache(cache), plan.faces, headers["features"], audio=headers["audio"])
            rows = rows_of(name, taps_of(name), has_gaps=kind == "features")
            writer.append(name, rows)
            writer.finish_clip(ClipEntry(str(keyed.key(kind)), name, "", len(rows["valid"]), int(rows["valid"].sum())))
        writer.commit()


def predictions_of(found) -> dict[str, dict[str, str]]:
    return {row["clip"]: row for row in csv.DictReader(found.predictions.open())}
