"""The prediction file of OMG-Emotion: written for every official row, and compared with the official list."""

import numpy as np
import pytest
from fakes.omg.make import make

from emopipe.datasets.omg_predictions import read_predictions
from emopipe.errors import ConfigError, ManifestError
from emopipe.stages.submission import check_submission, write_omg_submission

FALLBACK = {"valence": 0.1, "arousal": 0.4}


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "omg")


def write(root, path, clip_ids, values, targets=("valence", "arousal"), fallback=FALLBACK):
    return write_omg_submission(
        path, root, "dev", clip_ids=clip_ids, values=np.array(values), targets=targets, fallback=fallback
    )


def test_every_official_row_has_a_line_in_the_official_order(root, tmp_path):
    path = tmp_path / "out" / "dev.csv"
    clip_ids = ["9e9c69399/utterance_1", "8c49a05d3_1/utterance_2"]
    written = write(root, path, clip_ids, [[0.5, -0.25], [np.nan, 0.2]], targets=("arousal", "valence"))
    assert path.read_text().splitlines() == [
        "video,utterance,arousal,valence",
        "8c49a05d3_1,utterance_2.mp4,0.400000,0.100000",
        "8c49a05d3_1,utterance_1.mp4,0.400000,0.100000",
        "9e9c69399,utterance_1.mp4,0.500000,-0.250000",
    ]
    assert written.num_rows == 3
    assert written.filled == ("8c49a05d3_1/utterance_2", "8c49a05d3_1/utterance_1")  # no face; no media
    assert written.notes == (
        "2 of 3 official utterances of split 'dev' have no prediction and are given valence 0.100 and arousal 0.400: "
        "8c49a05d3_1/utterance_2, 8c49a05d3_1/utterance_1.",
    )
    assert check_submission(path, root, "omg", "dev").tolist() == [[0.1, 0.4], [0.1, 0.4], [-0.25, 0.5]]


def test_a_whole_file_has_nothing_to_tell(root, tmp_path):
    clip_ids = ["9e9c69399/utterance_1", "8c49a05d3_1/utterance_2", "8c49a05d3_1/utterance_1"]
    assert write(root, tmp_path / "dev.csv", clip_ids, np.zeros((3, 2))).notes == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ("valence", "dominance")}, "expected predictions of valence and arousal.*without arousal"),
        ({"fallback": {"valence": 0.0}}, "expected fallback of valence and arousal.*without arousal"),
        ({"clip_ids": ["9e9c69399/utterance_1"] * 2}, "Received two for '9e9c69399/utterance_1'"),
        ({"clip_ids": ["9e9c69399/utterance_1", "x/utterance_1"]}, "official list of split 'dev'. Received: 'x/utter"),
    ],
)
def test_predictions_that_do_not_fit_the_list_are_refused(root, tmp_path, changes, message):
    clip_ids = ["9e9c69399/utterance_1", "8c49a05d3_1/utterance_2"]
    with pytest.raises(ConfigError, match=message):
        write(root, tmp_path / "dev.csv", **({"clip_ids": clip_ids, "values": np.zeros((2, 2))} | changes))
    assert not (tmp_path / "dev.csv").exists()


GOOD = ["8c49a05d3_1,utterance_2.mp4,0.4,0.1", "8c49a05d3_1,utterance_1.mp4,0.4,0.1", "9e9c69399,utterance_1.mp4,0.5,0"]
OFFICIAL = "video,utterance,arousal,valence"


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        (OFFICIAL, GOOD[:2], "expected 3 rows.*Received: 2.\nThe first that has none is '9e9c69399', 'utt"),
        (OFFICIAL, [*GOOD, "x,utterance_1.mp4,0,0"], "line 5: expected an utterance of the official list. "
         "Received: 'x', 'utterance_1.mp4'; 4 rows for 3 official ones"),
        (OFFICIAL, [*GOOD, GOOD[0]], "line 5: '8c49a05d3_1', 'utterance_2.mp4' is on line 2 already"),
        (OFFICIAL, GOOD[::-1], "line 2: expected '8c49a05d3_1', 'utterance_2.mp4' here. Received: '9e9c69399'"),
        ("video,utterance,arousal", GOOD, "line 1: expected one column 'valence' of video, utterance, ar"),
        (OFFICIAL, [*GOOD[:2], "9e9c69399,utterance_1.mp4,0.5,"], "line 4, column 'valence': expected a number"),
        (OFFICIAL, [*GOOD[:2], "9e9c69399,utterance_1.mp4,inf,0"], "line 4, column 'arousal': expected a number"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_the_official_list_is_explained(root, tmp_path, header, lines, message):
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    with pytest.raises(ManifestError, match=message) as raised:
        check_submission(path, root, "omg", "dev")
    assert raised.value.path == path
    assert len(str(raised.value).splitlines()) <= 3


def test_files_of_others_with_columns_in_another_order_and_trailing_commas_are_read(tmp_path):
    path = tmp_path / "theirs.csv"
    path.write_text("valence,utterance,arousal,video\n0.1,utterance_1.mp4,0.5,a,\n-0.1,utterance_2.mp4,0.6,a,\n")
    official = (("a", "utterance_1.mp4"), ("a", "utterance_2.mp4"))
    assert read_predictions(path, official).tolist() == [[0.1, 0.5], [-0.1, 0.6]]
