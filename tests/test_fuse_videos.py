"""What a fusion says of real videos: of members that are averaged, and of RNNs that were joined."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from csv_rows import numbers, rows_of
from fusion_members import LEARN_ON, ONE, TARGETS
from tap_head_runs import FEW

from emopipe.models.tap_heads import TapHeadConfig
from emopipe.models.windows import HOW_NAMES, WindowConfig
from emopipe.stages.fuse import fuse_decisions, fuse_models
from emopipe.stages.fusion import evaluate
from emopipe.stages.train_rnn import train_rnn

AGREEMENT = 1e-3  # of a video that is decoded and looked at again with the cache
LABELS = {"train": {"ann": (0.5, 0.2), "ben": (-0.5, 0.7)}, "dev": {"cid": (0.6, 0.4), "dot": (-0.2, 0.8)}}
LISTS = {"train": "TrainVideos", "dev": "ValidationVideos"}


@pytest.fixture(scope="module")
def filmed(face_videos, kept_weights, tmp_path_factory):
    """(cache, name -> run) of real videos in OMG-Emotion's layout."""
    from emopipe.stages.extract import extract
    from emopipe.stages.spec import BackboneRequest, ExtractSpec

    folder = tmp_path_factory.mktemp("filmed")
    root, cache = folder / "omg", folder / "cache"
    for split, labels in LABELS.items():
        lines = ["link,start,end,video,utterance,arousal,valence,EmotionMaxVote"]
        for name, (valence, arousal) in labels.items():
            (root / name).mkdir(parents=True)
            shutil.copy(face_videos[name], root / name / "utterance_1.mp4")
            lines.append(f"x,0.0,1.0,{name},utterance_1.mp4,{arousal},{valence},4")
        (root / f"omg_{LISTS[split]}.csv").write_text("\n".join(lines) + "\n")
    shutil.copytree(kept_weights, cache / "weights")
    taps = ("dense:flat", "pool2:gap")
    spec = ExtractSpec("omg", root, cache, backbone=BackboneRequest("khorrami", "none", taps=taps))
    assert extract(spec).is_complete
    window = WindowConfig(10, gaps="hold", target="every")
    config = replace(ONE, window=window, epochs=2, tap_head=TapHeadConfig((taps[0], "fc"), "one", **FEW))
    other = replace(config, tap_head=TapHeadConfig((taps[1], taps[0], "fc"), "each", **FEW), seed=1)
    runs = {name: folder / name for name in ("first", "second", "decision", "rnn")}
    train_rnn(config, cache=cache, run=runs["first"])
    train_rnn(other, cache=cache, run=runs["second"])
    pair = [runs["first"], runs["second"]]
    fuse_decisions(pair, run=runs["decision"], cache=cache)
    fuse_models(pair, "rnn", replace(LEARN_ON, epochs=1), run=runs["rnn"], cache=cache)
    return cache, runs


@pytest.mark.slow
def test_a_video_is_predicted_by_all_members_and_their_average_is_written(filmed, face_videos, call, tmp_path):
    _, runs = filmed
    # No member may outweigh the other so far that its word alone would pass.
    shutil.copytree(runs["decision"], tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    content["weights"] = weights = [[0.3, 0.6], [0.7, 0.4]]
    path.unlink()
    path.write_text(json.dumps(content))
    found = {}
    for name, run in (("run", tmp_path / "run"), ("first", runs["first"]), ("second", runs["second"])):
        done = call("predict", run, face_videos["eve"], "--out", tmp_path / "out" / name, "--json")
        assert done.code == 0, done.err
        found[name] = tmp_path / "out" / name
        (file,) = done.json["recordings"]
        assert (file["frames"], file["error"]) == (25, "")
        assert sorted(path.name for path in found[name].iterdir()) == ["eve.csv", "eve_frames.csv"]
    for file, num_rows in (("eve.csv", 1), ("eve_frames.csv", 25)):
        fused, *each = (rows_of(found[name] / file) for name in ("run", "first", "second"))
        assert len(fused) == num_rows
        expected = sum(numbers(rows, *TARGETS) * share for rows, share in zip(each, weights, strict=True))
        np.testing.assert_allclose(numbers(fused, *TARGETS), expected, atol=2e-6)  # the files hold six digits
        assert np.abs(numbers(each[0], *TARGETS) - numbers(each[1], *TARGETS)).max() > 1e-3
        if num_rows == 1:
            assert list(fused[0]) == ["clip", "frames", "valid", "valence", "arousal"]
            assert (fused[0]["clip"], fused[0]["frames"]) == ("eve", "25")
        else:
            assert {row["how"] for row in fused} <= set(HOW_NAMES)


@pytest.mark.slow
def test_predict_says_what_evaluate_says_of_the_same_video(filmed, face_videos, call, tmp_path):
    cache, runs = filmed
    stored = evaluate(runs["rnn"], split="dev", cache=cache, num_bootstrap=0)
    expected = {row["clip"].partition("/")[0]: numbers([row], *TARGETS)[0] for row in rows_of(stored.predictions)}
    shutil.copytree(runs["rnn"], tmp_path / "moved")
    videos = [face_videos[name] for name in LABELS["dev"]]
    done = call("predict", tmp_path / "moved", *videos, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    for name in LABELS["dev"]:
        (row,) = rows_of(tmp_path / "out" / f"{name}.csv")
        np.testing.assert_allclose(numbers([row], *TARGETS)[0], expected[name], atol=AGREEMENT)
