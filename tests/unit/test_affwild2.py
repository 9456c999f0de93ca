"""Aff-Wild2: every release layout, and every defect that its files were seen to have."""

import os
from pathlib import Path

import pytest
from fakes.affwild2.make import LISTS, RELEASES, make

from emopipe.datasets.adapter import load_adapter
from emopipe.errors import ManifestError


@pytest.fixture
def adapter():
    return load_adapter("affwild2")


def by_id(manifest):
    return {clip.clip_id: clip for clip in manifest.clips}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- layouts


@pytest.mark.parametrize("release", sorted(RELEASES))
def test_every_release_gives_the_same_clips(adapter, tmp_path, release):
    clips = by_id(adapter.scan(make(tmp_path, release)))
    assert {name: clip.split for name, clip in clips.items()} == {
        "10-60-1280x720": "train",  # EXPR says dev; VA decides
        "10-60-1280x720_right": "train",
        "103": "test",
        "122-60-1920x1080-4": "train",  # EXPR, before AU which says dev
        "7-60-1920x1080": None,
        "video10_1_left": "dev",
        "video10_1_right": "dev",
        "video45_2": "train",
    }
    assert set(clips["video45_2"].annotations) == {"va", "expr"}
    assert clips["103"].annotations == {}
    labels = adapter.read_labels(clips["video10_1_left"], "au")
    assert len(labels.targets) == (8 if release == "2020" else 12)
    classes = adapter.read_labels(clips["video45_2"], "expr").classes
    assert len(classes) == (7 if release in ("2020", "2021") else 8)
    assert classes[0] == "Neutral"


def test_folder_names_are_found_whatever_their_case_and_depth(adapter, tmp_path):
    write(tmp_path / "Annotations" / "Sixth Release" / "va_set" / "TRAIN" / "a.txt", "0,0\n")
    write(tmp_path / "Annotations" / "Sixth Release" / "va_set" / "validation_set" / "b.txt", "0,0\n")
    write(tmp_path / "videos" / "Batch1" / "a.MP4", "x")
    write(tmp_path / "videos" / "NEW_VIDS" / "b.avi", "x")
    clips = by_id(adapter.scan(tmp_path))
    assert {name: clip.split for name, clip in clips.items()} == {"a": "train", "b": "dev"}


def test_two_releases_below_one_root_are_refused(adapter, tmp_path):
    make(tmp_path, "2022")
    write(tmp_path / "annotations" / "VA_Set" / "Train_Set" / "a.txt", "0,0\n")
    with pytest.raises(ManifestError, match=r"(?s)one release.*Third ABAW Annotations.*Move one"):
        adapter.scan(tmp_path)


def test_a_clip_in_both_splits_of_a_task_is_refused(adapter, tmp_path):
    make(tmp_path)
    write(tmp_path / "Third ABAW Annotations/VA_Estimation_Challenge/Validation_Set/video45_2.txt", "0,0\n")
    with pytest.raises(ManifestError, match="one annotation of 'video45_2' for 'va'"):
        adapter.scan(tmp_path)


def test_each_task_has_its_own_division(adapter, tmp_path):
    manifest = adapter.scan(make(tmp_path))
    expr = by_id(manifest.for_task("expr"))
    assert {name: clip.split for name, clip in expr.items()} == {
        "10-60-1280x720": "dev",
        "122-60-1920x1080-4": "train",
        "video45_2": "train",
    }
    assert by_id(manifest.for_task("va"))["10-60-1280x720"].split == "train"
    assert any("different splits in different tasks" in note for note in manifest.notes)


# --- people and media


def test_two_people_share_a_video_and_a_number_in_a_name_is_no_person(adapter, tmp_path):
    clips = by_id(adapter.scan(make(tmp_path)))
    left, right = clips["video10_1_left"], clips["video10_1_right"]
    assert left.media == right.media == tmp_path / "new_vids" / "video10_1.mp4"
    assert (left.side, right.side) == ("left", "right")
    assert left.subject == right.subject == "video10_1"
    main, second = clips["10-60-1280x720"], clips["10-60-1280x720_right"]
    assert main.media == second.media
    assert (main.side, second.side) == ("left", "right")  # the name without suffix stands across
    assert clips["video45_2"].side == ""
    assert clips["video45_2"].subject == "video45_2"
    assert "video10_1" not in clips  # the video of two clips is not a third


def test_videos_come_first_and_images_are_asked_for(adapter, tmp_path):
    make(tmp_path, source="both")
    assert {clip.kind for clip in adapter.scan(tmp_path).clips} == {"video"}
    clips = by_id(adapter.scan(tmp_path, source="images"))
    clip = clips["video10_1_left"]
    assert clip.kind == "images"
    assert clip.media == tmp_path / "cropped_aligned" / "video10_1_left"
    assert clip.source_video == tmp_path / "new_vids" / "video10_1.mp4"
    assert clips["10-60-1280x720"].media.parent.name == "cropped_aligned_new_50_vids"


def test_images_alone_are_used_without_being_asked_for(adapter, tmp_path):
    manifest = adapter.scan(make(tmp_path, source="images"))
    assert {clip.kind for clip in manifest.clips} == {"images"}
    assert {clip.source_video for clip in manifest.clips} == {None}


def test_images_asked_for_and_absent_are_an_error(adapter, tmp_path):
    with pytest.raises(ManifestError, match="official images.*Expected cropped_aligned"):
        adapter.scan(make(tmp_path), source="images")


def test_looser_crops_are_read_only_when_there_is_nothing_better(adapter, tmp_path):
    write(tmp_path / "cropped" / "batch1" / "a" / "00001.jpg", "x")
    manifest = adapter.scan(tmp_path)
    assert [clip.clip_id for clip in manifest.clips] == ["a"]
    assert any("looser" in note for note in manifest.notes)
    write(tmp_path / "cropped_aligned" / "b" / "00001.jpg", "x")
    assert [clip.clip_id for clip in adapter.scan(tmp_path).clips] == ["b"]


def test_missing_media_are_named_and_do_not_stop_the_rest(adapter, tmp_path):
    make(tmp_path, source="both")
    (tmp_path / "batch1" / "video45_2.avi").unlink()
    manifest = adapter.scan(tmp_path)
    assert [clip.clip_id for clip in manifest.missing] == ["video45_2"]
    assert "video45_2" not in by_id(manifest)
    assert len(manifest.clips) == 7
    assert any("video45_2" in note and "1 of them have official images" in note for note in manifest.notes)


def test_a_name_with_two_videos_is_noted(adapter, tmp_path):
    make(tmp_path)
    write(tmp_path / "new_vids" / "video45_2.mp4", "x")
    manifest = adapter.scan(tmp_path)
    assert by_id(manifest)["video45_2"].media.parent.name == "batch1"
    assert any("two videos are named 'video45_2'" in note for note in manifest.notes)


# --- test lists


def test_the_official_list_names_the_test_part(adapter, tmp_path):
    make(tmp_path)
    write(tmp_path / LISTS["va"], b"\xef\xbb\xbf103\r\n\r\n7-60-1920x1080.mp4\r\nvideo45_2\r\n")
    manifest = adapter.scan(tmp_path)
    clips = by_id(manifest)
    assert clips["103"].split == clips["7-60-1920x1080"].split == "test"
    assert clips["video45_2"].split == "train"
    assert any("the annotation decides: video45_2" in note for note in manifest.notes)


def test_sample_files_with_one_row_per_frame_are_not_lists_of_clips(adapter, tmp_path):
    make(tmp_path)
    write(tmp_path / "CVPR_5th_ABAW_VA_test_set_sample.txt", "image_location,valence,arousal\n2-30/00001.jpg,\n")
    assert not any("00001" in clip.clip_id for clip in (*adapter.scan(tmp_path).clips, *adapter.scan(tmp_path).missing))


def test_a_list_that_leads_out_of_the_root_is_refused_and_the_rest_goes_on(adapter, tmp_path):
    root = make(tmp_path / "corpus")
    write(tmp_path / "secret.mp4", "x")
    write(root / LISTS["va"], "../secret\n/etc/passwd\n103\n")
    manifest = adapter.scan(root)
    assert [refusal.clip_id for refusal in manifest.refused] == ["../secret", "etc/passwd"]
    assert "line 1" in manifest.refused[0].reason
    assert "outside the corpus root" in manifest.refused[0].reason
    assert by_id(manifest)["103"].split == "test"
    assert not any("secret" in clip.clip_id for clip in (*manifest.clips, *manifest.missing))


# --- what must not be read


def test_a_link_out_of_the_root_is_refused(adapter, tmp_path):
    root = make(tmp_path / "corpus")
    outside = write(tmp_path / "outside.mp4", "x")
    (root / "batch1" / "link.mp4").symlink_to(outside)
    (root / "batch1" / "inner.mp4").symlink_to(root / "batch1" / "10-60-1280x720.mp4")
    (root / "batch1" / "nowhere.mp4").symlink_to(root / "gone.mp4")
    manifest = adapter.scan(root)
    reasons = {refusal.clip_id: refusal.reason for refusal in manifest.refused}
    assert set(reasons) == {"link", "nowhere"}
    assert "outside the corpus root" in reasons["link"]
    assert "no file" in reasons["nowhere"]
    assert "link" not in by_id(manifest)
    assert "inner" in by_id(manifest)


def test_whole_folders_linked_from_outside_are_refused(adapter, tmp_path):
    root = make(tmp_path / "corpus")
    write(tmp_path / "elsewhere" / "stolen.mp4", "x")
    (root / "batch3").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "labels" / "stolen.txt", "0,0\n")
    va = root / "Third ABAW Annotations" / "VA_Estimation_Challenge"
    (va / "Train_Set_more").symlink_to(tmp_path / "labels")
    manifest = adapter.scan(root)
    assert {refusal.clip_id for refusal in manifest.refused} == {"batch3", "Train_Set_more"}
    assert not any("stolen" in clip.clip_id for clip in (*manifest.clips, *manifest.missing))


def test_a_linked_annotation_refuses_its_clip(adapter, tmp_path):
    root = make(tmp_path / "corpus")
    path = root / "Third ABAW Annotations/VA_Estimation_Challenge/Train_Set/video45_2.txt"
    path.unlink()
    path.symlink_to(write(tmp_path / "outside.txt", "valence,arousal\n0,0\n"))
    manifest = adapter.scan(root)
    assert [refusal.clip_id for refusal in manifest.refused] == ["video45_2"]
    assert "video45_2" not in by_id(manifest)


def test_a_folder_named_like_a_video_is_not_a_video(adapter, tmp_path):
    make(tmp_path)
    (tmp_path / "batch1" / "video45_2.avi").unlink()
    (tmp_path / "batch1" / "video45_2.avi").mkdir()
    manifest = adapter.scan(tmp_path)
    assert [refusal.clip_id for refusal in manifest.refused] == ["video45_2"]
    assert "Received: a folder" in manifest.refused[0].reason
    assert "video45_2" not in by_id(manifest)
    assert manifest.missing == ()


def test_a_refused_video_refuses_both_of_its_people_once(adapter, tmp_path):
    make(tmp_path, source="both")
    (tmp_path / "new_vids" / "video10_1.mp4").unlink()
    (tmp_path / "new_vids" / "video10_1.mp4").mkdir()
    manifest = adapter.scan(tmp_path)
    assert [refusal.clip_id for refusal in manifest.refused] == ["video10_1"]
    assert not any("video10_1" in clip.clip_id for clip in (*manifest.clips, *manifest.missing))
    images = adapter.scan(tmp_path, source="images")
    assert images.refused == ()
    assert by_id(images)["video10_1_left"].source_video is None


def test_linked_images_are_refused_only_when_images_are_read(adapter, tmp_path):
    root = make(tmp_path / "corpus", source="both")
    write(tmp_path / "outside" / "00001.jpg", "x")
    (root / "cropped_aligned" / "video45_3").symlink_to(tmp_path / "outside")
    write(root / "Third ABAW Annotations/VA_Estimation_Challenge/Train_Set/video45_3.txt", "0,0\n")
    assert adapter.scan(root).refused == ()
    images = adapter.scan(root, source="images")
    assert [refusal.clip_id for refusal in images.refused] == ["video45_3"]
    assert not any(clip.clip_id == "video45_3" for clip in (*images.clips, *images.missing))


def test_names_that_are_not_utf8_and_hidden_files(adapter, tmp_path):
    make(tmp_path)
    bad = os.fsencode(tmp_path / "batch1") + b"/caf\xe9.mp4"
    Path(os.fsdecode(bad)).write_bytes(b"x")
    write(tmp_path / "batch1" / "._video45_2.avi", "resource fork")
    clips = by_id(adapter.scan(tmp_path))
    assert clips["caf%E9"].media.exists()
    assert not any("._" in name for name in clips)
    "".join(clips).encode()


def test_names_composed_differently_are_the_same_name(adapter, tmp_path):
    write(tmp_path / "VA_Set" / "Train_Set" / "caf\u00e9.txt", "0,0\n")
    write(tmp_path / "batch1" / "cafe\u0301.mp4", "x")
    assert [clip.split for clip in adapter.scan(tmp_path).clips] == ["train"]


def test_ten_thousand_clips_are_listed(adapter, tmp_path):
    for folder in ("batch1", "VA_Set/Train_Set", "VA_Set/Validation_Set"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(10_000):
        (tmp_path / "batch1" / f"{number}.mp4").touch()
        (tmp_path / "VA_Set" / ("Train_Set" if number % 5 else "Validation_Set") / f"{number}.txt").touch()
    assert len(adapter.scan(tmp_path).select(["train"]).clips) == 8_000
