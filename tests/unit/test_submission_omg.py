"""The .csv of OMG-Emotion as `evaluate --submission` writes it; the file format itself is tested in test_omg."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.omg.make import make

from emopipe.errors import ConfigError, ManifestError
from emopipe.models.bundle import Run
from emopipe.models.windows import WindowConfig
from emopipe.stages.evaluate_clips import ClipPredictions
from emopipe.stages.submission import write_submission
from emopipe.stages.trained import Trained

TRAIN_MEAN = (0.04, 0.54)  # valence -0.4, 0.5, 0.1, -1 and 1; arousal 0.2, 0.6, 0.9, 0 and 1
OFFICIAL = ["8c49a05d3_1/utterance_2", "8c49a05d3_1/utterance_1", "9e9c69399/utterance_1"]  # not sorted


@pytest.fixture
def root(tmp_path) -> Path:
    return make(tmp_path / "omg")


def predictions(root: Path, clip_ids: list[str], values: list[list[float]], **changes) -> ClipPredictions:
    """What a run that predicts arousal before valence says of these utterances."""
    trained = Trained(
        Run(root.parent / "run", {}), "omg", "va", ("arousal", "valence"), (), "features", "0" * 64, {},
        WindowConfig(), (), None, of_clips=True,
    )  # fmt: skip
    count = len(clip_ids)
    found = ClipPredictions(
        trained, "omg", "dev", root, tuple(clip_ids), tuple(name.partition("_")[0] for name in clip_ids),
        np.full(count, 9), np.full(count, 9), np.full((count, 2), np.nan), np.array(values).reshape(count, 2), None, (),
    )  # fmt: skip
    return replace(found, **changes)


def lines_of(path: Path) -> list[tuple[str, str, float, float]]:
    header, *rows = path.read_text().splitlines()
    assert header.split(",") == ["video", "utterance", "arousal", "valence"]
    return [
        (video, utterance, float(arousal), float(valence))
        for video, utterance, arousal, valence in (row.split(",")[:4] for row in rows)
    ]


def test_every_official_row_is_there_in_the_official_order(root, tmp_path):
    path = tmp_path / "dev.csv"
    found = predictions(root, sorted(OFFICIAL), [[0.1, -0.1], [0.2, -0.2], [0.3, -0.3]])
    assert write_submission(found, path) == ()
    assert lines_of(path) == [
        ("8c49a05d3_1", "utterance_2.mp4", 0.2, -0.2),
        ("8c49a05d3_1", "utterance_1.mp4", 0.1, -0.1),
        ("9e9c69399", "utterance_1.mp4", 0.3, -0.3),
    ]


@pytest.mark.parametrize("lacks", ["media", "prediction", "one number"])
def test_what_has_no_prediction_is_given_the_mean_label_of_the_training_list(root, tmp_path, lacks):
    names, values = list(OFFICIAL), [[0.2, -0.2], [0.1, -0.1], [0.3, -0.3]]
    if lacks == "media":
        del names[0], values[0]
    else:
        values[0] = [np.nan, np.nan] if lacks == "prediction" else [0.2, np.nan]
    (note,) = write_submission(predictions(root, names, values), tmp_path / "dev.csv")
    first, *others = lines_of(tmp_path / "dev.csv")
    assert first[:2] == ("8c49a05d3_1", "utterance_2.mp4")
    assert first[2:] == pytest.approx(TRAIN_MEAN[::-1])
    assert [line[2:] for line in others] == [(0.1, -0.1), (0.3, -0.3)]
    assert note == (
        "1 of 3 official utterances of split 'dev' have no prediction and are given valence 0.040 and arousal 0.540: "
        "8c49a05d3_1/utterance_2."
    )


def test_the_mean_is_over_the_whole_training_list_and_not_over_its_media(root, tmp_path):
    for path in (root / "Videos" / "Train").rglob("*.mp4"):
        path.unlink()
    write_submission(predictions(root, [], []), tmp_path / "dev.csv")
    assert [line[2:] for line in lines_of(tmp_path / "dev.csv")] == [pytest.approx(TRAIN_MEAN[::-1])] * 3


@pytest.mark.parametrize(
    ("name", "sample", "changes", "message"),
    [
        ("one.txt", None, {}, r"--submission .*one.txt: this run predicts clips and no frames. Expected a .csv"),
        ("folder", None, {}, r"--submission .*folder: this run predicts clips and no frames. Expected a .csv"),
        ("dev.csv", "sample.txt", {}, r"--sample: is for one .txt of all clips. Received --submission .*dev.csv"),
        ("folder", "sample.txt", {}, r"--sample: is for one .txt of all clips. Received --submission .*folder"),
        ("a.csv", None, {"dataset": "affwild2"}, r"a .csv is for one split of OMG-Emotion.*split 'dev' of affwild2"),
        ("a.csv", None, {"split": "all"}, r"a .csv is for one split of OMG-Emotion.*split 'all' of\s+omg"),
    ],
)
def test_another_form_than_the_corpus_has_is_refused(root, tmp_path, name, sample, changes, message):
    found = predictions(root, OFFICIAL, [[0.0, 0.0]] * 3, **changes)
    with pytest.raises(ConfigError, match=message):
        write_submission(found, tmp_path / "out" / name, None if sample is None else tmp_path / sample)
    assert not (tmp_path / "out").exists()


def test_other_targets_are_refused(root, tmp_path):
    found = predictions(root, OFFICIAL, [[0.0, 0.0]] * 3)
    joy = replace(found.trained, targets=("joy", "arousal"))
    with pytest.raises(ConfigError, match="expected valence and arousal. This run predicts joy, arousal"):
        write_submission(replace(found, trained=joy), tmp_path / "dev.csv")


def test_without_the_training_list_there_is_no_mean(root, tmp_path):
    (root / "omg_TrainVideos.csv").unlink()
    with pytest.raises(ManifestError, match="no list of split 'train'"):
        write_submission(predictions(root, OFFICIAL, [[0.0, 0.0]] * 3), tmp_path / "dev.csv")
