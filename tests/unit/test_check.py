"""`datasets check`: what a person must see to before a corpus is used, and what is only good to know."""

import json
from fractions import Fraction

import numpy as np
import pytest
from click.testing import CliRunner
from emopipe_cli.datasets import datasets
from fakes.affwild.make import make as make_affwild
from fakes.affwild2.make import make as make_affwild2

from emopipe.datasets.adapter import load_adapter
from emopipe.media.video import write_video
from emopipe.stages.check import check

VA = "Third ABAW Annotations/VA_Estimation_Challenge"


def tiny_video(path, num_frames=10):
    write_video(path, [np.full((32, 32, 3), 10 * index, np.uint8) for index in range(num_frames)], Fraction(25))


def run_check(root, name="affwild2"):
    adapter = load_adapter(name)
    return check(adapter, adapter.scan(root))


@pytest.fixture
def corpus(tmp_path):
    return make_affwild2(tmp_path / "affwild2", write=tiny_video)


def test_a_whole_corpus_has_no_problems(corpus):
    report = run_check(corpus)
    assert report.problems == ()
    assert report.num_clips == 8
    va = report.tasks["va"]
    assert va.splits == {"train": 3, "dev": 2, "test": 1}
    assert (va.num_annotated, va.num_found) == (5, 5)
    assert (va.num_rows, va.num_valid) == (50, 45)
    assert va.differences == {"equal": 5}
    assert report.tasks["expr"].splits == {"train": 2, "dev": 1}
    assert "Problems: none." in report.to_text()


def test_frames_and_label_rows_are_compared(corpus):
    tiny_video(corpus / "batch1" / "video45_2.avi", num_frames=9)
    tiny_video(corpus / "new_vids" / "video10_1.mp4", num_frames=15)
    report = run_check(corpus)
    assert report.tasks["va"].differences == {"1 more": 1, "equal": 2, "over 2 fewer": 2}
    assert report.tasks["va"].worst == (("video10_1_left", 10, 15), ("video10_1_right", 10, 15))
    assert "video10_1_left: 10 label rows, 15 frames" in report.to_text()
    assert report.problems == ()  # a difference is reported and stops nothing


def test_official_images_are_counted_by_their_last_number(tmp_path):
    root = make_affwild2(tmp_path, source="images")
    (root / "cropped_aligned" / "video45_2" / "00012.jpg").write_bytes(b"jpg")
    report = run_check(root)
    assert report.tasks["va"].differences == {"2 fewer": 1, "equal": 4}


def test_the_first_bad_line_of_every_bad_file_is_listed(corpus):
    for name, line in (("Train_Set/video45_2.txt", 4), ("Validation_Set/video10_1_left.txt", 7)):
        path = corpus / VA / name
        lines = path.read_text().splitlines()
        lines[line - 1] = "0.1;0.2"
        lines[line] = "worse"
        path.write_text("\n".join(lines))
    report = run_check(corpus)
    assert len(report.bad_labels) == 2
    assert "video45_2.txt, line 4: expected two numbers" in report.bad_labels[0]
    assert "video10_1_left.txt, line 7" in report.bad_labels[1]
    assert report.problems == ("label files with a bad line: 2",)
    assert report.tasks["va"].num_rows == 30


def test_of_a_table_for_all_clips_the_first_bad_row_is_listed(tmp_path):
    for name in ("a", "b", "c"):
        tiny_video(tmp_path / f"{name}.mp4")
    (tmp_path / "labels.csv").write_text("clip,joy\nc,0.1\nb,much\na,more\n")
    report = run_check(tmp_path, "folder")
    assert len(report.bad_labels) == 1
    assert "row 3, column 'joy'" in report.bad_labels[0]


@pytest.mark.parametrize(
    ("column", "places", "message"),
    [
        ("time_s", range(0, 400, 40), "a, labels: 9 of 10 labels, it has 0.40 s"),
        ("frame", [0, 1, 500, 501, 502], "a, labels: 3 of 5 labels, it has 10 frames"),
        ("time_s", [0.0, 0.1, 0.2, 0.3], None),
        ("frame", range(10), None),
    ],
)
def test_labels_behind_the_end_are_a_problem(tmp_path, column, places, message):
    tiny_video(tmp_path / "a.mp4")
    rows = "".join(f"a,{place},0.1\n" for place in places)
    (tmp_path / "labels.csv").write_text(f"clip,{column},joy\n{rows}")
    report = run_check(tmp_path, "folder")
    assert report.displaced == ((message,) if message else ())
    assert ("behind their end" in report.to_text()) == bool(message)


def test_missing_broken_and_unpulled_media_are_told_apart(corpus):
    (corpus / "batch1" / "video45_2.avi").unlink()
    (corpus / "batch1" / "10-60-1280x720.mp4").write_bytes(b"not a video")
    (corpus / "batch2" / "103.avi").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n")
    (corpus / "batch2" / "folder.mp4").mkdir()
    report = run_check(corpus)
    assert report.missing == ("video45_2",)
    assert len(report.bad_media) == 1  # one video, two clips
    assert "10-60-1280x720" in report.bad_media[0]
    assert len(report.stubs) == 1
    assert len(report.refused) == 1
    assert len(report.problems) == 4
    assert (report.tasks["va"].num_annotated, report.tasks["va"].num_found) == (5, 4)
    assert report.tasks["va"].num_rows == 50  # labels are checked without their media


def test_a_person_in_two_splits_is_a_problem(corpus):
    (corpus / VA / "Train_Set" / "video10_1_left.txt").write_bytes(
        (corpus / VA / "Validation_Set" / "video10_1_left.txt").read_bytes()
    )
    (corpus / VA / "Validation_Set" / "video10_1_left.txt").unlink()
    report = run_check(corpus)
    assert report.shared_subjects == {"video10_1": ("dev", "train")}
    assert "subjects in two splits: 1" in report.problems


def test_counts_of_a_known_release_stand_beside_those_found(tmp_path):
    for split, count in (("Train_Set", 350), ("Validation_Set", 71)):
        folder = tmp_path / "annotations" / "VA_Set" / split
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{split}{number}.txt").write_text("0,0\n")
    report = run_check(tmp_path)
    assert report.tasks["va"].release["release"] == "VA 2020/21"
    assert "351" in report.to_text()
    assert report.tasks["expr"].release is None
    assert len(report.missing) == 421


def test_warnings_of_the_reader_become_notes(tmp_path):
    root = make_affwild(tmp_path)
    for video in ("train/105.mp4", "train/318.mp4", "test/42.mp4"):
        tiny_video(root / "videos" / video)
    (root / "videos/train/105.avi").unlink()
    (root / "annotations/train/arousal/105.txt").write_text("0.5\n")
    report = run_check(root, "affwild")
    assert any("10 labels of valence and 1 of arousal" in note for note in report.notes)
    assert report.problems == ()


def test_the_command_prints_a_table_and_ends_with_0(corpus):
    result = CliRunner().invoke(datasets, ["check", "affwild2", "--root", str(corpus)])
    assert result.exit_code == 0, result.output
    assert "va        split" in result.output


def test_the_command_ends_with_1_when_a_person_is_needed(corpus, monkeypatch):
    (corpus / "batch1" / "video45_2.avi").unlink()
    monkeypatch.setenv("EMOPIPE_DATA", str(corpus.parent))
    result = CliRunner().invoke(datasets, ["check", "affwild2", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["missing"] == ["video45_2"]
    assert "annotated clips without media: 1" in result.stderr


def test_list_and_show_say_what_there_is():
    listed = CliRunner().invoke(datasets, ["list"])
    assert listed.exit_code == 0
    assert "affwild2" in listed.output
    assert "folder" in listed.output
    shown = CliRunner().invoke(datasets, ["show", "affwild2"])
    assert shown.exit_code == 0
    for part in ("Licence", "https://", "arXiv:1811.07770", "VA 2020/21"):
        assert part in shown.output
