"""Aff-Wild (2017): two files per video, no labels for the test part."""

import warnings

import numpy as np
import pytest
from fakes.affwild.make import make

from emopipe.datasets.adapter import load_adapter
from emopipe.errors import ManifestError


@pytest.fixture
def adapter():
    return load_adapter("affwild")


def by_id(manifest):
    return {clip.clip_id: clip for clip in manifest.clips}


def test_splits_and_labels(adapter, tmp_path):
    clips = by_id(adapter.scan(make(tmp_path)))
    assert {name: clip.split for name, clip in clips.items()} == {"105": "train", "318": "train", "42": "test"}
    assert clips["42"].annotations == {}
    labels = adapter.read_labels(clips["105"])
    assert labels.targets == ("valence", "arousal")
    np.testing.assert_allclose(labels.values, [[-index / 10, index / 10] for index in range(10)])
    assert labels.frame_index.tolist() == list(range(10))


def test_files_of_different_length_are_cut_to_the_shorter_with_a_warning(adapter, tmp_path):
    make(tmp_path)
    (tmp_path / "annotations/train/arousal/105.txt").write_text("0.1\n0.2\n")
    clip = by_id(adapter.scan(tmp_path))["105"]
    with pytest.warns(UserWarning, match="clip '105': 10 labels of valence and 2 of arousal; the first 2 are used"):
        labels = adapter.read_labels(clip)
    assert labels.values.tolist() == [[0, 0.1], [-0.1, 0.2]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapter.read_labels(by_id(adapter.scan(tmp_path))["318"])


def test_a_bad_line_in_either_file_is_named(adapter, tmp_path):
    make(tmp_path)
    path = tmp_path / "annotations/train/arousal/105.txt"
    path.write_text("0.1\n0.2,0.3\n")
    with pytest.raises(ManifestError) as raised:
        adapter.read_labels(by_id(adapter.scan(tmp_path))["105"])
    assert str(raised.value) == f"{path}, line 2: expected one number in [-1, 1]. Received: '0.2,0.3'."


def test_a_number_out_of_range_is_no_label(adapter, tmp_path):
    make(tmp_path)
    (tmp_path / "annotations/train/arousal/105.txt").write_text("0.1\n500\n" + "0\n" * 8)
    labels = adapter.read_labels(by_id(adapter.scan(tmp_path))["105"])
    assert labels.valid.tolist() == [True, False] + [True] * 8
    assert np.isnan(labels.values[1]).all()


def test_one_of_two_files_counts_as_unlabelled(adapter, tmp_path):
    make(tmp_path)
    (tmp_path / "annotations/train/arousal/105.txt").unlink()
    manifest = adapter.scan(tmp_path)
    assert by_id(manifest)["105"].annotations == {}
    assert any("only one of valence and arousal" in note and "105" in note for note in manifest.notes)


def test_labels_without_a_video_are_missing(adapter, tmp_path):
    make(tmp_path)
    (tmp_path / "videos/train/105.avi").unlink()
    manifest = adapter.scan(tmp_path)
    assert [clip.clip_id for clip in manifest.missing] == ["105"]
    assert set(by_id(manifest)) == {"318", "42"}


def test_an_id_in_both_parts_is_two_clips(adapter, tmp_path):
    make(tmp_path)
    (tmp_path / "videos/test/105.mp4").write_bytes(b"x")
    clips = by_id(adapter.scan(tmp_path))
    assert set(clips) == {"train/105", "test/105", "318", "42"}
    assert clips["test/105"].annotations == {}
    assert clips["train/105"].annotations


def test_links_and_folders_that_are_no_videos_are_refused(adapter, tmp_path):
    root = make(tmp_path / "corpus")
    (tmp_path / "outside.mp4").write_bytes(b"x")
    (root / "videos/train/7.mp4").symlink_to(tmp_path / "outside.mp4")
    (root / "videos/train/8.mp4").mkdir()
    manifest = adapter.scan(root)
    assert {refusal.clip_id for refusal in manifest.refused} == {"7", "8"}
    assert set(by_id(manifest)) == {"105", "318", "42"}
