"""RAVDESS: names that are labels, and one clip for each utterance whatever is there of it."""

from pathlib import Path

import pytest
from fakes.ravdess.make import make

from emopipe.datasets.adapter import describe, load_adapter
from emopipe.datasets.ravdess import CLASSES, EXPECTED
from emopipe.errors import ManifestError


@pytest.fixture
def adapter():
    return load_adapter("ravdess")


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.rpartition("/")[2].encode())
    return root


def found_in(adapter, root) -> dict[str, tuple[str, str, str, float]]:
    """Clip id -> kind, subject, name of the emotion, intensity."""
    found = {}
    for clip in adapter.scan(root).clips:
        labels, strength = adapter.read_labels(clip, "expr"), adapter.read_labels(clip, "intensity")
        assert (labels.targets, labels.classes, labels.frame_index, labels.time_s) == (
            ("expression",), CLASSES, None, None,
        )  # fmt: skip
        assert (strength.targets, strength.classes) == (("intensity",), ())
        found[clip.clip_id] = (
            clip.kind, clip.subject, labels.classes[int(labels.values[0, 0])], strength.values[0, 0],
        )  # fmt: skip
    return found


def test_a_name_is_a_label_in_any_folder(adapter, tmp_path):
    assert found_in(adapter, make(tmp_path)) == {
        "01-01-01-01-01-01-01": ("video", "01", "neutral", 0),
        "01-01-05-02-02-02-24": ("video", "24", "anger", 1),
        "02-01-03-01-02-01-02": ("video", "02", "happy", 0),
        "02-02-04-02-02-01-02": ("video", "02", "sadness", 1),
        "03-01-02-02-01-02-01": ("sound", "01", "calm", 1),
        "03-01-06-01-01-01-24": ("sound", "24", "fear", 0),
        "03-01-07-01-01-01-24": ("sound", "24", "disgust", 0),
        "03-01-08-02-01-01-24": ("sound", "24", "surprise", 1),
    }
    assert adapter.tasks == ("expr", "intensity")
    assert {clip.split for clip in adapter.scan(tmp_path).clips} == {None}


def test_what_is_left_out_beside_a_clip_is_counted(adapter, tmp_path):
    manifest = adapter.scan(make(tmp_path))
    assert manifest.refused == ()
    assert manifest.notes == (
        "utterances with a video and a sound file, of which the video is the clip: 2.",
        "utterances with a video with and one without sound, of which the one with sound is the clip: 1.",
        "clips without sound, because the one video that is there has none (modality 02): 2.",
    )


@pytest.mark.parametrize(
    ("there", "clip"),
    [
        (("01", "02", "03"), "01"),
        (("02", "03"), "02"),
        (("01", "03"), "01"),
        (("02",), "02"),
        (("03",), "03"),
    ],
)
def test_an_utterance_is_one_clip(adapter, tmp_path, there, clip):
    for modality in there:
        write(tmp_path, f"{modality}-01-06-01-02-01-12.{'wav' if modality == '03' else 'mp4'}")
    (only,) = adapter.scan(tmp_path).clips
    assert only.clip_id == f"{clip}-01-06-01-02-01-12"
    assert only.kind == ("sound" if clip == "03" else "video")


def test_speech_and_song_and_two_repetitions_are_other_utterances(adapter, tmp_path):
    names = [f"03-{channel}-03-01-01-{again}-05.wav" for channel in ("01", "02") for again in ("01", "02")]
    assert len(adapter.scan(write(tmp_path, *names)).clips) == 4


def test_copies_are_one_clip_and_different_files_of_one_name_are_refused(adapter, tmp_path):
    name = "03-01-05-01-01-01-01.wav"
    write(tmp_path, f"Actor_01/{name}", f"all/Actor_01/{name}", "Actor_02/03-01-05-01-01-01-02.wav")
    manifest = adapter.scan(tmp_path)
    assert [clip.media.relative_to(tmp_path).as_posix() for clip in manifest.clips] == [
        f"Actor_01/{name}", "Actor_02/03-01-05-01-01-01-02.wav",
    ]  # fmt: skip
    assert manifest.notes == ("files that are left out, because another one has their name: 1.",)
    (tmp_path / "all" / "Actor_01" / name).write_bytes(b"other")
    manifest = adapter.scan(tmp_path)
    assert [clip.clip_id for clip in manifest.clips] == ["03-01-05-01-01-01-02"]
    (refusal,) = manifest.refused
    assert refusal.clip_id == "01-05-01-01-01-01"
    assert "which differ. Remove one." in refusal.reason
    assert refusal.reason.count(name) == 2


@pytest.mark.parametrize(
    "name",
    [
        "03-01-09-01-01-01-01.wav", "03-01-00-01-01-01-01.wav", "04-01-01-01-01-01-01.mp4", "03-03-01-01-01-01-01.wav",
        "03-01-01-03-01-01-01.wav", "03-01-01-01-03-01-01.wav", "03-01-01-01-01-03-01.wav", "03-01-01-01-01-01-25.wav",
        "03-01-01-01-01-01-00.wav", "03-01-01-01-01-01.wav", "03-01-01-01-01-01-01 (1).wav", "song.mp3",
    ],
)  # fmt: skip
def test_a_name_that_does_not_fit_is_refused_with_a_line(adapter, tmp_path, name):
    manifest = adapter.scan(write(tmp_path, name, "03-01-01-01-01-01-01.wav"))
    (refusal,) = manifest.refused
    assert refusal.clip_id == name
    assert refusal.reason.startswith(f"{name}: expected a name like 01-01-06-01-02-01-12.mp4")
    assert "\n" not in refusal.reason
    assert len(manifest.clips) == 1


def test_a_modality_that_contradicts_the_file_is_refused(adapter, tmp_path):
    write(tmp_path, "01-01-01-01-01-01-01.wav", "03-01-01-01-01-01-02.mp4", "03-01-01-01-01-01-03.wav")
    manifest = adapter.scan(tmp_path)
    assert [refusal.reason for refusal in manifest.refused] == [
        "01-01-01-01-01-01-01.wav: expected modality 03, as a sound file has. Received: 01.",
        "03-01-01-01-01-01-02.mp4: expected modality 01 or 02, as a video has. Received: 03.",
    ]
    assert [clip.subject for clip in manifest.clips] == ["03"]


def test_links_out_and_folders_named_like_media_are_refused_and_hidden_files_ignored(adapter, tmp_path):
    root = make(tmp_path / "corpus")
    write(tmp_path, "out.wav")
    (root / "03-01-01-01-01-01-05.wav").symlink_to(tmp_path / "out.wav")
    (root / "Actor_09").symlink_to(tmp_path)
    (root / "01-01-01-01-01-01-06.mp4").mkdir()
    (root / "._03-01-01-01-01-01-07.wav").write_bytes(b"finder")
    manifest = adapter.scan(root)
    refused = {refusal.clip_id: refusal.reason for refusal in manifest.refused}
    assert set(refused) == {"03-01-01-01-01-01-05", "Actor_09", "01-01-01-01-01-01-06"}
    assert "leads outside" in refused["03-01-01-01-01-01-05"]
    assert "leads outside" in refused["Actor_09"]
    assert "Received: a folder" in refused["01-01-01-01-01-01-06"]
    assert len(manifest.clips) == 8


def test_a_link_within_the_corpus_is_not_read_twice(adapter, tmp_path):
    write(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav")
    (tmp_path / "again").symlink_to(tmp_path / "Actor_01")
    manifest = adapter.scan(tmp_path)
    assert (len(manifest.clips), manifest.notes, manifest.refused) == (1, (), ())


def test_pictures_are_refused_and_no_such_file_is_no_corpus(adapter, tmp_path):
    (tmp_path / "cover.jpg").write_bytes(b"x")
    with pytest.raises(ManifestError) as raised:
        adapter.scan(tmp_path)
    assert f"no RAVDESS corpus here. Expected {EXPECTED}." in str(raised.value)
    with pytest.raises(ManifestError, match="RAVDESS has no pictures"):
        adapter.scan(tmp_path, source="images")


def test_the_counts_of_the_official_corpus_fit_together():
    totals = describe("ravdess")["totals"]
    assert sum(totals["files"].values()) == 7356
    assert sum(totals["speech_clips_by_class"].values()) == totals["clips"]["speech"] == 24 * 60
    assert list(totals["speech_clips_by_class"]) == list(CLASSES)
    assert totals["clips"]["song"] == 23 * 44
