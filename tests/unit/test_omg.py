"""OMG-Emotion: lists read by name, media in any layout, what sources share, scores, and the file of predictions."""

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fakes.omg.make import make

from emopipe.datasets.adapter import load_adapter
from emopipe.datasets.omg_lists import official_rows, source_disjoint, source_of, video_of
from emopipe.errors import ManifestError
from emopipe.media.video import write_video
from emopipe.stages.check import check
from emopipe.timeline import join_labels

TRAIN, DEV, TEST = "omg_TrainVideos.csv", "omg_ValidationVideos.csv", "omg_TestVideos_WithLabels.csv"
HEADER = "link,start,end,video,utterance,arousal,valence,EmotionMaxVote"


@pytest.fixture
def adapter():
    return load_adapter("omg")


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "omg")


def by_id(manifest):
    return {clip.clip_id: clip for clip in manifest.clips}


def rewrite(path: Path, change) -> None:
    """Change the rows of a list, header and all."""
    with path.open(newline="") as file:
        rows = [list(row) for row in csv.reader(file)]
    path.write_text("".join(",".join(row) + "\n" for row in change(rows)))


def cell(line: int, column: int, text: str):
    """A change of one cell; lines count from 1, the header included."""

    def change(rows):
        rows[line - 1][column] = text
        return rows

    return change


# --- what is read


def test_splits_subjects_and_the_labels_of_whole_clips(adapter, root):
    manifest = adapter.scan(root)
    clips = by_id(manifest)
    assert {name: (clip.split, clip.subject) for name, clip in clips.items()} == {
        "74de88564_1/utterance_1": ("train", "74de88564"),
        "74de88564_1/utterance_3": ("train", "74de88564"),
        "74de88564_2/utterance_4": ("train", "74de88564"),
        "01ab23c4d/utterance_10": ("train", "01ab23c4d"),
        "01ab23c4d/utterance_2": ("train", "01ab23c4d"),
        "8c49a05d3_1/utterance_1": ("dev", "8c49a05d3"),
        "8c49a05d3_1/utterance_2": ("dev", "8c49a05d3"),
        "9e9c69399/utterance_1": ("dev", "9e9c69399"),
        "fb1d1b14e_1/utterance_1": ("test", "fb1d1b14e"),
        "fb1d1b14e_1/utterance_2": ("test", "fb1d1b14e"),
    }
    labels = adapter.read_labels(clips["74de88564_1/utterance_1"])
    assert (labels.targets, labels.values.tolist()) == (("valence", "arousal"), [[-0.4, 0.2]])
    assert (labels.frame_index, labels.time_s) == (None, None)
    emotion = adapter.read_labels(clips["74de88564_1/utterance_3"], "emotion")
    assert (emotion.targets, emotion.classes[int(emotion.values[0, 0])]) == (("emotion",), "Happy")
    assert len(emotion.classes) == 7
    assert (manifest.missing, manifest.refused) == ((), ())
    assert manifest.notes == (
        "train: 5 of 5 utterances have media.",
        "dev: 3 of 3 utterances have media.",
        "test: 2 of 2 utterances have media.",
    )


def test_the_label_of_an_utterance_goes_to_each_of_its_frames(adapter, root):
    labels = adapter.read_labels(by_id(adapter.scan(root))["74de88564_1/utterance_1"])
    values, valid = join_labels(labels, np.arange(4), np.array([0, 0.04, np.nan, 0.12]))
    assert values.tolist() == [[-0.4, 0.2]] * 4
    assert valid.all()


def test_columns_in_another_order_and_spelling_are_the_same_list(adapter, root):
    before = {name: adapter.read_labels(clip).values.tolist() for name, clip in by_id(adapter.scan(root)).items()}
    order = [7, 6, 5, 3, 4, 0, 1, 2]  # valence before arousal now
    rewrite(root / TRAIN, lambda rows: [[row[k] for k in order] for row in rows])
    text = (root / TRAIN).read_text().replace("valence", " Valence").replace("EmotionMaxVote", "emotionmaxvote ")
    (root / TRAIN).write_text("\ufeff" + text.replace("\n", "\r\n"), encoding="utf-8")
    after = {name: adapter.read_labels(clip).values.tolist() for name, clip in by_id(adapter.scan(root)).items()}
    assert after == before


@pytest.mark.parametrize("lists", [".", "OMGEmotionChallenge", "data/lists"])
@pytest.mark.parametrize("media", ["", "train_data", "a/b/c/d"])
def test_lists_near_the_top_and_media_at_any_depth(adapter, root, lists, media):
    names = [path.name for path in root.glob("*.csv")]
    (root / lists).mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).rename(root / lists / name.upper())  # case does not count
    videos = sorted(path for path in root.glob("Videos/*/*") if path.is_dir())
    (root / media).mkdir(parents=True, exist_ok=True)
    for video in videos:
        video.rename(root / media / video.name)
    manifest = adapter.scan(root)
    assert len(manifest.clips) == 10
    assert manifest.clips[0].media == root / media / "01ab23c4d" / "utterance_10.mp4"


def test_media_that_are_not_there_are_missing_and_coverage_is_told(adapter, root):
    (root / "Videos/Train/74de88564_1/utterance_3.mp4").unlink()
    for path in (root / "Videos/Test/fb1d1b14e_1").iterdir():
        path.unlink()
    manifest = adapter.scan(root)
    assert [clip.clip_id for clip in manifest.missing] == [
        "74de88564_1/utterance_3", "fb1d1b14e_1/utterance_1", "fb1d1b14e_1/utterance_2",
    ]  # fmt: skip
    assert adapter.read_labels(manifest.missing[0]).values.tolist() == [[0.5, 0.6]]
    assert "train: 4 of 5 utterances have media." in manifest.notes
    assert "test: 0 of 2 utterances have media." in manifest.notes
    report = check(adapter, manifest, probe=lambda path: pytest.fail("placeholder") if not path.exists() else _Info())
    assert "annotated clips without media: 3" in report.problems
    assert "train: 4 of 5 utterances have media." in report.to_text()


class _Info:
    num_frames, duration_s = 25, None


def test_check_opens_the_videos(adapter, tmp_path):
    def video(path):
        write_video(path, [np.zeros((32, 32, 3), np.uint8)] * 5, Fraction(25))

    report = check(adapter, adapter.scan(make(tmp_path / "real", video)))
    assert report.problems == ()
    assert report.tasks["va"].splits == {"train": 5, "dev": 3, "test": 2}
    assert (report.tasks["emotion"].num_rows, report.tasks["emotion"].num_valid) == (10, 10)


def test_an_utterance_that_is_there_twice_is_refused_with_both_paths(adapter, root):
    other = root / "train_data/74de88564_1/utterance_3.avi"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"x")
    manifest = adapter.scan(root)
    (refusal,) = manifest.refused
    assert refusal.clip_id == "74de88564_1/utterance_3"
    assert str(root / "Videos/Train/74de88564_1/utterance_3.mp4") in refusal.reason
    assert str(other) in refusal.reason
    assert "74de88564_1/utterance_3" not in by_id(manifest)
    assert not manifest.missing


def test_links_out_of_the_root_are_refused_and_links_inside_are_not_followed_twice(adapter, root, tmp_path):
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(b"x")
    path = root / "Videos/Train/01ab23c4d/utterance_2.mp4"
    path.unlink()
    path.symlink_to(outside)
    (root / "also").symlink_to(root / "Videos")
    (root / "elsewhere").symlink_to(tmp_path)
    manifest = adapter.scan(root)
    assert {refusal.clip_id for refusal in manifest.refused} == {"01ab23c4d/utterance_2", "omg/elsewhere"}
    assert all("leads outside the corpus root" in refusal.reason for refusal in manifest.refused)
    assert len(manifest.clips) == 9


def test_media_that_no_list_mentions_are_noted(adapter, root):
    (root / "Videos/Train/74de88564_1/utterance_2.mp4").write_bytes(b"x")
    (root / "youtube_videos_temp").mkdir()
    (root / "youtube_videos_temp/74de88564.mp4").write_bytes(b"the whole video")
    manifest = adapter.scan(root)
    assert len(manifest.clips) == 10
    assert "media that no list mentions (1): 74de88564_1/utterance_2." in manifest.notes


def test_rows_without_a_video_are_left_out_and_noted(adapter, root):
    with (root / TRAIN).open("a") as file:
        file.write(",,,,,0.4536,0.167,\n,,,,,0.2198,0.3667,\n\n")
    manifest = adapter.scan(root)
    assert manifest.notes[0] == "omg_TrainVideos.csv: 2 rows name no video and are left out (line 7, 8)."
    assert len(manifest.clips) == 10


def test_a_test_split_without_labels_has_no_annotation(adapter, root):
    (root / TEST).unlink()
    clips = by_id(adapter.scan(root))
    assert clips["fb1d1b14e_1/utterance_1"].split == "test"
    assert clips["fb1d1b14e_1/utterance_1"].annotations == {}
    assert official_rows(root, "test") == (("fb1d1b14e_1", "utterance_1.mp4"), ("fb1d1b14e_1", "utterance_2.mp4"))


def test_two_lists_of_test_that_differ_are_noted(adapter, root):
    rewrite(root / TEST, lambda rows: rows[:-1])
    expected = "the two lists of test differ in 1 utterances; the one with labels counts: fb1d1b14e_1/utterance_2."
    assert expected in adapter.scan(root).notes


# --- what is refused


@pytest.mark.parametrize(
    ("line", "column", "text", "message"),
    [
        (3, 5, "1.2", r"line 3, column 'arousal': expected a number in \[0, 1\]. Received: '1.2'"),
        (3, 5, "-0.1", r"line 3, column 'arousal': expected a number in \[0, 1\]. Received: '-0.1'"),
        (3, 6, "-1.01", r"line 3, column 'valence': expected a number in \[-1, 1\]. Received: '-1.01'"),
        (3, 6, "", r"line 3, column 'valence': expected a number in \[-1, 1\]. Received: ''"),
        (3, 6, "nan", r"line 3, column 'valence': expected a number in \[-1, 1\]. Received: 'nan'"),
        (3, 5, "high", r"line 3, column 'arousal': expected a number in \[0, 1\]. Received: 'high'"),
        (3, 7, "7", r"line 3, column 'EmotionMaxVote': expected a code from 0 \(Anger\) to 6 \(Surprise\). .*'7'"),
        (3, 7, "1.5", r"line 3, column 'EmotionMaxVote': expected a code from 0"),
    ],
)
def test_a_label_that_is_none_is_named_with_line_and_column(adapter, root, line, column, text, message):
    rewrite(root / TRAIN, cell(line, column, text))
    clip = by_id(adapter.scan(root))["74de88564_1/utterance_3"]  # a scan reads no label
    with pytest.raises(ManifestError, match=message) as raised:
        adapter.read_labels(clip, "emotion" if column == 7 else "va")
    assert (raised.value.path, raised.value.row) == (root / TRAIN, line)
    assert adapter.read_labels(by_id(adapter.scan(root))["74de88564_1/utterance_1"]).valid.all()


def test_a_missing_or_doubled_column_is_named(adapter, root):
    rewrite(root / DEV, lambda rows: [row[:6] + row[7:] for row in rows])
    with pytest.raises(ManifestError, match=r"ValidationVideos.csv, line 1: expected one column 'valence' of video, .*"
                       "Received none in: 'link,start,end,video,utterance,arousal,EmotionMaxVote'"):  # fmt: skip
        adapter.scan(root)
    (root / DEV).unlink()
    rewrite(root / TRAIN, lambda rows: [[*row, row[5]] for row in rows])
    with pytest.raises(
        ManifestError, match="TrainVideos.csv, line 1: expected one column 'arousal'.*Received 2 in"
    ) as e:
        adapter.scan(root)
    assert (e.value.row, e.value.column) == (1, "arousal")


def test_an_utterance_listed_twice_is_an_error_that_names_both_lines(adapter, root):
    rewrite(root / TRAIN, lambda rows: [*rows, rows[2]])
    with pytest.raises(ManifestError, match=r"line 7: '74de88564_1', 'utterance_3.mp4' is on line 3 already") as raised:
        adapter.scan(root)
    assert raised.value.row == 7


def test_an_utterance_in_two_splits_is_an_error_that_names_both_lists(adapter, root):
    with (root / TRAIN).open() as file:
        row = file.readlines()[1]
    with (root / DEV).open("a") as file:
        file.write(row)
    with pytest.raises(ManifestError) as raised:
        adapter.scan(root)
    assert f"{root / DEV}, line 5: '74de88564_1', 'utterance_1.mp4' is in another split too" in str(raised.value)
    assert f"{root / TRAIN}, line 2" in str(raised.value)


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        (3, "../../etc", "column 'video': expected the name of a folder. Received: '../../etc'"),
        (4, "utterance_1", "column 'utterance': expected a file name like utterance_1.mp4. Received: 'utterance_1'"),
        (4, "../x.mp4", "column 'utterance': expected a file name"),
    ],
)
def test_names_that_are_no_names_are_refused(adapter, root, column, text, message):
    rewrite(root / TRAIN, cell(2, column, text))
    with pytest.raises(ManifestError, match="line 2, " + message):
        adapter.scan(root)


def test_two_lists_of_one_name_are_an_error(adapter, root):
    (root / "copy").mkdir()
    (root / "copy" / DEV).write_text((root / DEV).read_text())
    with pytest.raises(ManifestError, match=r"expected one omg_ValidationVideos.csv below(.|\n)*The other is"):
        adapter.scan(root)


def test_a_git_lfs_pointer_and_official_images_are_explained(adapter, root):
    with pytest.raises(ManifestError, match="OMG-Emotion has no official images"):
        adapter.scan(root, source="images")
    (root / DEV).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ManifestError, match="ValidationVideos.csv: a Git LFS pointer.*git lfs pull"):
        adapter.scan(root)


# --- the official order and sources


def test_the_official_order_is_that_of_the_list(adapter, root):
    (root / "Videos/Validation/8c49a05d3_1/utterance_2.mp4").unlink()
    assert official_rows(root, "dev") == (
        ("8c49a05d3_1", "utterance_2.mp4"), ("8c49a05d3_1", "utterance_1.mp4"), ("9e9c69399", "utterance_1.mp4"),
    )  # fmt: skip
    (root / DEV).unlink()
    with pytest.raises(
        ManifestError, match=r"no list of split 'dev'. Expected omg_ValidationVideos.csv.\nReceived: omg_"
    ):
        official_rows(root, "dev")


def test_source_disjoint_utterances_for_both_readings(adapter, root):
    assert source_disjoint(root, "dev") == {clip.clip_id for clip in adapter.scan(root).clips if clip.split == "dev"}
    rewrite(root / DEV, cell(4, 3, "74de88564_3"))  # a third part of a source that train has
    rewrite(root / TEST, cell(2, 3, "01ab23c4d_1"))  # of train's, too
    rewrite(root / TEST, cell(3, 3, "8c49a05d3_2"))  # of dev's
    assert source_disjoint(root, "dev") == {"8c49a05d3_1/utterance_1", "8c49a05d3_1/utterance_2"}
    assert source_disjoint(root, "test") == frozenset()
    assert source_disjoint(root, "test", against=("train",)) == {"8c49a05d3_2/utterance_2"}
    assert len(source_disjoint(root, "train")) == 5
    notes = adapter.scan(root).notes
    assert any(note.startswith("dev: 1 of 3 utterances are from a source video that train has too") for note in notes)
    assert any(note.startswith("test: 2 of 2 utterances are from a source video that train or dev") for note in notes)


def test_videos_and_sources_of_utterances():
    assert video_of("74de88564_12/utterance_3") == "74de88564_12"
    assert source_of("74de88564_12/utterance_3") == "74de88564"
    assert source_of("745688564/utterance_3") == "745688564"  # digits only, and no part
