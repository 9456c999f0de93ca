"""A user's own recordings, with and without labels.csv."""

import os
from pathlib import Path

import numpy as np
import pytest
from fakes.folder.make import make

from emopipe.datasets.adapter import load_adapter, resolve_root
from emopipe.datasets.manifest import Manifest
from emopipe.errors import ConfigError, ManifestError
from emopipe.records import Clip


@pytest.fixture
def adapter():
    return load_adapter("folder")


def by_id(manifest):
    return {clip.clip_id: clip for clip in manifest.clips}


def write(root, name, content="x"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def labelled(root, csv_text, videos=("a.mp4", "b.mp4")):
    for video in videos:
        write(root, video)
    write(root, "labels.csv", csv_text)
    return root


def test_ids_are_paths_and_same_stems_do_not_collide(adapter, tmp_path):
    clips = by_id(adapter.scan(make(tmp_path)))
    assert set(clips) == {"anna/take1", "anna/take2", "ben/001.avi", "ben/001.mp4", "cleo"}
    assert clips["anna/take1"].split == "train"
    assert clips["ben/001.avi"].split == "dev"
    assert clips["ben/001.mp4"].split is None
    assert clips["anna/take1"].subject == clips["anna/take2"].subject == "anna"
    assert clips["cleo"].subject == "cleo"


def test_labels_by_frame_with_an_empty_cell(adapter, tmp_path):
    clips = by_id(adapter.scan(make(tmp_path)))
    labels = adapter.read_labels(clips["anna/take1"])
    assert labels.targets == ("valence", "arousal")
    assert labels.frame_index.tolist() == [0, 1]
    np.testing.assert_array_equal(labels.values, [[0.1, 0.2], [0.2, np.nan]])
    assert labels.valid.tolist() == [True, False]
    assert adapter.read_labels(clips["ben/001.avi"]).frame_index.tolist() == [5]
    assert clips["ben/001.mp4"].annotations == {}


def test_without_labels_every_video_is_a_clip(adapter, tmp_path):
    write(tmp_path, "deep/er/a.MKV")
    write(tmp_path, "deep/notes.txt")
    write(tmp_path, ".hidden/b.mp4")
    write(tmp_path, "._a.mp4")
    manifest = adapter.scan(tmp_path)
    assert [clip.clip_id for clip in manifest.clips] == ["deep/er/a"]
    assert manifest.notes == ()


def test_sound_files_are_clips_unless_they_lie_beside_their_video(adapter, tmp_path):
    for name in ("a.mp4", "a.wav", "b.WAV", "deep/c.mp3", "deep/c.flac", "deep/d.m4a", "e.ogg", "f.aiff"):
        write(tmp_path, name)
    (tmp_path / "g.wav").mkdir()
    write(tmp_path, "labels.csv", "clip,joy\na,0.1\nb.WAV,0.2\ndeep/c.mp3,0.3\ndeep/c.flac,0.4\ndeep/d,0.5\ne,0.6\n")
    manifest = adapter.scan(tmp_path)
    clips = by_id(manifest)
    assert {name: clip.kind for name, clip in clips.items()} == {
        "a": "video", "b": "sound", "deep/c.mp3": "sound", "deep/c.flac": "sound", "deep/d": "sound", "e": "sound",
    }  # fmt: skip
    assert clips["a"].media.name == "a.mp4"
    assert [adapter.read_labels(clips[name]).values.item() for name in ("a", "b", "deep/c.flac")] == [0.1, 0.2, 0.4]
    assert manifest.notes == ("1 sound file lies beside a video of the same name, whose own sound is read: a.wav.",)
    assert [(refusal.clip_id, "named like a sound file" in refusal.reason) for refusal in manifest.refused] == [
        ("g.wav", True)
    ]


def test_labels_by_time_are_sorted_and_valence_comes_first(adapter, tmp_path):
    labelled(tmp_path, "clip,time_s,pain,arousal,valence\na,0.5,3,0.2,0.1\na,0.0,4,0.4,0.3\n")
    labels = adapter.read_labels(by_id(adapter.scan(tmp_path))["a"])
    assert labels.targets == ("valence", "arousal", "pain")
    assert labels.time_s.tolist() == [0.0, 0.5]
    assert labels.frame_index is None
    assert labels.values.tolist() == [[0.3, 0.4, 4], [0.1, 0.2, 3]]


def test_one_label_per_clip(adapter, tmp_path):
    labelled(tmp_path, "clip,joy\r\na.mp4,0.7\r\n./b,0.2\r\n")
    clips = by_id(adapter.scan(tmp_path))
    labels = adapter.read_labels(clips["a"])
    assert (labels.values.tolist(), labels.frame_index, labels.time_s) == ([[0.7]], None, None)
    assert adapter.read_labels(clips["b"]).values.tolist() == [[0.2]]


def test_a_table_of_splits_alone_has_no_labels(adapter, tmp_path):
    labelled(tmp_path, "clip,split\na,train\nb,dev\n")
    clips = by_id(adapter.scan(tmp_path))
    assert [clips[name].split for name in "ab"] == ["train", "dev"]
    assert clips["a"].annotations == {}


@pytest.mark.parametrize(
    ("csv_text", "row", "column", "message"),
    [
        ("clip,joy\na,0.1\nb,much\n", 3, "joy", "expected a number"),
        ("clip,joy\na,0.1\nb,inf\n", 3, "joy", "expected a number"),
        ("clip,joy\na,0.1\nb,0.1\nb,0.2\n", 4, "clip", "one row per clip"),
        ("clip,frame,joy\nb,1.5,0.1\n", 2, "frame", "whole number from 0"),
        ("clip,frame,joy\nb,-1,0.1\n", 2, "frame", "whole number from 0"),
        ("clip,frame,joy\nb,,0.1\n", 2, "frame", "whole number from 0"),
        ("clip,frame,joy\nb,4,0.1\nb,4,0.2\n", 3, "frame", "once per clip"),
        ("clip,time_s,joy\nb,-0.1,0.1\n", 2, "time_s", "seconds from 0"),
        ("clip,joy,fear\nb,0.1\n", 2, "fear", "3 cells"),
        ("clip,joy\nb,0.1,0.2\n", 2, "joy", "2 cells"),
        ("clip,split,joy\nb,validation,0.1\n", 2, "split", "train, dev or test"),
        ("clip,split,frame,joy\nb,train,0,0\nb,dev,1,0\n", 3, "split", "'train', as in the clip's first row"),
        ("clip,joy\n,0.1\n", 2, "clip", "path of a video"),
        ("clip;joy\nb;0.1\n", 1, "clip", "header with the column 'clip'"),
        ("clip,joy,joy\nb,0.1,0.2\n", 1, "joy", "no name twice"),
    ],
)
def test_a_bad_cell_is_named(adapter, tmp_path, csv_text, row, column, message):
    labelled(tmp_path, csv_text)
    with pytest.raises(ManifestError, match=message) as raised:
        for clip in adapter.scan(tmp_path).clips:
            if clip.annotations:
                adapter.read_labels(clip)
    assert (raised.value.path, raised.value.row, raised.value.column) == (tmp_path / "labels.csv", row, column)
    assert f"row {row}" in str(raised.value)


def test_a_bad_row_stops_its_own_clip_only(adapter, tmp_path):
    labelled(tmp_path, "clip,joy\na,0.1\nb,much\n")
    clips = by_id(adapter.scan(tmp_path))
    assert adapter.read_labels(clips["a"]).values.tolist() == [[0.1]]


def test_a_name_of_two_videos_must_have_its_extension(adapter, tmp_path):
    labelled(tmp_path, "clip,joy\n001,0.1\n", videos=("001.mp4", "001.avi"))
    with pytest.raises(ManifestError, match=r"row 2, column 'clip': expected the name with its extension"):
        adapter.scan(tmp_path)


def test_rows_and_videos_without_each_other_are_noted(adapter, tmp_path):
    labelled(tmp_path, "clip,joy\na,0.1\ngone,0.2\n")
    notes = adapter.scan(tmp_path).notes
    assert any("matches no recording: gone" in note for note in notes)
    assert any("1 recording has no row in labels.csv: b" in note for note in notes)


def test_a_table_in_another_code_or_with_semicolons_says_so(adapter, tmp_path):
    labelled(tmp_path, "clip,joy\na,0.1\n")
    (tmp_path / "labels.csv").write_bytes("clip,joy\nMüller,0.1\n".encode("latin-1"))
    assert any(note.endswith("It is not UTF-8; save it as UTF-8.") for note in adapter.scan(tmp_path).notes)
    (tmp_path / "labels.csv").write_text("clip;joy\na;0.1\n")
    with pytest.raises(ManifestError, match="Columns are separated by commas"):
        adapter.scan(tmp_path)


def test_a_changed_table_is_read_again(adapter, tmp_path):
    labelled(tmp_path, "clip,joy\na,0.1\n")
    clip = by_id(adapter.scan(tmp_path))["a"]
    assert adapter.read_labels(clip).values[0, 0] == 0.1
    write(tmp_path, "labels.csv", "clip,joy\na,0.25\n")
    assert adapter.read_labels(clip).values[0, 0] == 0.25


def test_paths_that_climb_out_are_refused_and_the_rest_goes_on(adapter, tmp_path):
    root = tmp_path / "corpus"
    write(tmp_path, "secret.mp4")
    labelled(root, "clip,joy\na,0.1\n../secret,0.2\n..\\secret,0.2\n/etc/passwd,0.3\n")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    manifest = adapter.scan(root)
    assert [clip.clip_id for clip in manifest.clips] == ["a", "b"]
    assert [refusal.clip_id for refusal in manifest.refused] == ["link.mp4", "../secret", "/etc/passwd"]
    assert all("outside the corpus root" in refusal.reason for refusal in manifest.refused)


def test_a_folder_named_like_a_video_is_refused(adapter, tmp_path):
    write(tmp_path, "a.mp4")
    (tmp_path / "video.mp4").mkdir()
    manifest = adapter.scan(tmp_path)
    assert [clip.clip_id for clip in manifest.clips] == ["a"]
    assert [refusal.clip_id for refusal in manifest.refused] == ["video.mp4"]
    assert "a folder" in manifest.refused[0].reason


def test_links_to_folders_are_not_followed(adapter, tmp_path):
    write(tmp_path, "a.mp4")
    (tmp_path / "loop").symlink_to(tmp_path)
    manifest = adapter.scan(tmp_path)
    assert [clip.clip_id for clip in manifest.clips] == ["a"]
    assert manifest.notes == ("loop is a link to a folder and is not followed.",)


def test_names_that_are_not_utf8_meet_their_labels(adapter, tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")).write_bytes(b"x")
    write(tmp_path, "labels.csv", b"clip,joy\ncaf\xe9,0.5\n")
    manifest = adapter.scan(tmp_path)
    assert [clip.clip_id for clip in manifest.clips] == ["caf%E9"]
    assert adapter.read_labels(manifest.clips[0]).values.tolist() == [[0.5]]


def test_ten_thousand_labelled_clips_are_listed(adapter, tmp_path):
    for number in range(10_000):
        (tmp_path / f"{number}.mp4").touch()
    rows = "".join(f"{number}.mp4,train,s{number % 50},0.5\n" for number in range(10_000))
    write(tmp_path, "labels.csv", "clip,split,subject,joy\n" + rows)
    assert len(adapter.scan(tmp_path).select(["train"]).clips) == 10_000


# --- manifest and root


def test_select_takes_splits_and_a_limit_and_names_what_there_is(adapter, tmp_path):
    manifest = adapter.scan(make(tmp_path))
    assert [clip.clip_id for clip in manifest.select(limit=2).clips] == ["anna/take1", "anna/take2"]
    assert [clip.clip_id for clip in manifest.select(["dev"]).clips] == ["ben/001.avi"]
    assert len(manifest.select(["train", "dev"]).clips) == 3
    with pytest.raises(
        ManifestError, match=r"no clip is in split 'test'. Received: dev \(1\), none \(2\), train \(2\)"
    ):
        manifest.select(["test"])


def test_clip_ids_are_unique():
    clips = (Clip("a", Path("a.mp4")), Clip("a", Path("a.avi")))
    with pytest.raises(ManifestError, match=r"unique. Received: 'a' for a.mp4, a.avi"):
        Manifest("folder", Path("corpus"), clips)


def test_the_root_is_given_or_found_below_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EMOPIPE_DATA", str(tmp_path))
    assert resolve_root("affwild2") == tmp_path / "affwild2"
    assert resolve_root("affwild2", "x") == Path("x")
    monkeypatch.delenv("EMOPIPE_DATA")
    with pytest.raises(ConfigError, match=r"--root DIR, or \$EMOPIPE_DATA"):
        resolve_root("affwild2")
