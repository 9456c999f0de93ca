"""Video files that are cut, damaged, oddly named or no video: what is said, and what is still read."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import encode, moving, patches, remux, times

from emopipe.errors import DecodeError, MediaError
from emopipe.media.video import probe, read_frames, write_video

# Broken files


def whole_clip(tmp_path, **settings):
    return encode(tmp_path / "whole.mp4", moving(200, 160, 120), **settings)


def test_what_cannot_be_opened_says_what_it_is(tmp_path):
    whole = whole_clip(tmp_path).read_bytes()
    cases = {
        "empty.mp4": (b"", r"empty\.mp4: cannot be opened as a video\. The file is empty \(0 bytes\)"),
        "text.mp4": (b"These are not the frames\n" * 99, r"It is text that begins with 'These are not the frames"),
        "stub.mp4": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        "cut.mp4": (whole[: len(whole) // 2], r"begins like an MP4 of \d+ bytes, but its index \(moov\) is missing"),
        "noise.mp4": (np.random.default_rng(0).bytes(4096), "No known container begins with the bytes"),
    }
    for name, (content, expected) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        for read in (probe, lambda path: next(read_frames(path))):
            with pytest.raises(DecodeError, match=expected) as caught:
                read(path)
            assert caught.value.path == path
            assert len(str(caught.value).splitlines()) <= 3


def test_a_missing_file_and_a_folder_named_like_a_video(tmp_path):
    with pytest.raises(DecodeError, match=r"no\.mp4: cannot be opened as a video\. There is no such file"):
        probe(tmp_path / "no.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(DecodeError, match="It is a folder"):
        next(read_frames(tmp_path / "folder.mp4"))


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.9])
def test_a_cut_file_with_its_index_in_front_yields_what_it_has_and_then_fails(tmp_path, fraction):
    whole = remux(whole_clip(tmp_path), tmp_path / "front.mp4", options={"movflags": "faststart"})
    content = whole.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: int(len(content) * fraction)])
    frames = read_frames(cut)
    seen = []
    with pytest.raises(DecodeError, match="decoding breaks off at frame") as caught:
        for frame in frames:
            seen.append(frame)
    assert caught.value.frame_index == len(seen)
    assert 0 < len(seen) < 200
    assert [frame.time_s for frame in seen] == times(whole)[: len(seen)]
    assert probe(cut).num_frames == 200  # what the file still claims


def test_a_file_whose_pictures_are_all_cut_off_has_no_frame(tmp_path):
    content = remux(whole_clip(tmp_path), tmp_path / "front.mp4", options={"movflags": "faststart"}).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(content[: content.index(b"mdat") + 4])
    for read in (probe, lambda path: next(read_frames(path))):
        with pytest.raises(MediaError, match=r"cut\.mp4"):
            read(path)


def test_a_stream_without_index_that_ends_inside_a_picture_is_found_out(tmp_path):
    whole = encode(tmp_path / "whole.mpg", moving(100, 160, 120), "mpeg1video", options={"bf": "2", "threads": "2"})
    assert len(times(whole)) == 100
    content = whole.read_bytes()
    cut = tmp_path / "cut.mpg"
    cut.write_bytes(content[: len(content) // 2])
    seen = []
    with pytest.raises(DecodeError, match=r"cut\.mpg: the file ends in the middle of frame \d+"):
        seen.extend(read_frames(cut))
    cut_avi = tmp_path / "cut.avi"
    content = encode(tmp_path / "whole.avi", moving(100, 160, 120), "mpeg4").read_bytes()
    cut_avi.write_bytes(content[: len(content) // 2])
    with pytest.raises(DecodeError, match=r"cut\.avi: the file ends in the middle of frame \d+"):
        seen.extend(read_frames(cut_avi))


def test_damage_in_the_middle_fails_at_its_frame_and_earlier_frames_are_good(tmp_path):
    whole = whole_clip(tmp_path)
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    seen = []
    with pytest.raises(DecodeError, match="Invalid data") as caught:
        for frame in read_frames(damaged):
            seen.append(frame.time_s)
    assert caught.value.frame_index == len(seen)
    assert seen == times(whole)[: len(seen)]


# Names, metadata, memory


def test_names_that_are_not_utf8_and_names_that_look_like_protocols(tmp_path, monkeypatch):
    content = encode(tmp_path / "a.mp4", moving(3)).read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in (os.fsdecode(b"\xff\xe9 clip.mp4"), "take:1.mp4", "http:x.mp4", "-"):
        path = Path(name)
        path.write_bytes(content)
        assert len(times(path)) == 3
        assert probe(path).num_frames == 3
        assert probe(path).path == path
    written = tmp_path / os.fsdecode(b"\xe9.mp4")
    write_video(written, moving(3), Fraction(25))
    assert len(times(written)) == 3


def test_a_title_that_is_not_utf8_does_not_matter(tmp_path):
    path = tmp_path / "a.avi"
    with av.open(os.fspath(path), "w") as container:
        container.metadata["title"] = "Theatre"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(patches(), format="rgb24")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    assert content.count(b"Theatre") == 1
    path.write_bytes(content.replace(b"Theatre", b"Th\xe9atre"))
    assert len(times(path)) == 1
