"""Video files: what is declared, every frame with its own time, upright and in RGB, and what broken files say.

Every file is made here with PyAV, mostly past `write_video`, so that the reader is not tested against its own writer.
"""

import os
import resource
import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition
from videos import BLUE, GREEN, RED, WHITE, assert_corners, encode, moving, patches, remux, times, write_sound

from emopipe.errors import DecodeError, EmptyMediaError
from emopipe.media.video import _Clock, probe, read_frames, write_video

QUIET = {"x265-params": "log-level=none"}


# Frames and times


def test_constant_rate_every_frame_once_in_order_with_the_containers_time(tmp_path):
    path = encode(tmp_path / "a.mp4", moving(120), rate=Fraction(30000, 1001), options={"crf": "4"})
    frames = list(read_frames(path))
    assert [frame.frame_index for frame in frames] == list(range(120))
    assert [frame.time_s for frame in frames] == [float(index * Fraction(1001, 30000)) for index in range(120)]
    levels = [frame.image.mean() for frame in frames]
    assert np.abs(np.diff(levels) - 1).max() < 0.5  # one grey level a frame: none dropped, repeated or swapped
    info = probe(path)
    assert (info.width, info.height, info.rotation, info.codec) == (64, 48, 0, "h264")
    assert (info.frame_rate, info.num_frames) == (Fraction(30000, 1001), 120)
    assert info.duration_s == pytest.approx(120 * 1001 / 30000, abs=1e-3)
    assert (info.has_audio, info.num_video_streams) == (False, 1)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_decoder_with_threads_and_b_frames_keeps_its_last_frames(tmp_path, num_threads):
    path = encode(tmp_path / "a.mp4", moving(37), options={"bf": "5", "b_strategy": "0"})
    assert times(path, num_threads=num_threads) == [float(index * Fraction(1, 25)) for index in range(37)]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_rate_keeps_each_frames_own_time(tmp_path, suffix):
    stamps = [0, 40, 100, 110, 300, 1000, 1033, 2500]
    path = encode(tmp_path / f"a.{suffix}", moving(8), stamps=stamps, unit=Fraction(1, 1000))
    assert times(path) == [stamp / 1000 for stamp in stamps]


def test_times_that_do_not_start_at_zero_stay_as_they_are(tmp_path):
    path = encode(tmp_path / "a.ts", moving(20), options={"bf": "0"})
    with av.open(os.fspath(path)) as container:
        start_s = container.streams.video[0].start_time * container.streams.video[0].time_base
    assert times(path)[0] == float(start_s)
    assert np.diff(times(path)) == pytest.approx(0.04)


def test_mpeg1_declares_no_frame_count(tmp_path):
    path = encode(tmp_path / "a.mpg", moving(60), "mpeg1video", options={"bf": "2"})
    info = probe(path)
    assert (info.num_frames, info.codec, info.frame_rate) == (None, "mpeg1video", 25)
    assert np.diff(times(path)) == pytest.approx(0.04)
    assert len(times(path)) == 60


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_has_no_presentation_times_and_its_frames_still_come_in_even_steps(tmp_path, codec):
    path = encode(tmp_path / "a.avi", moving(60), codec, options={"bf": "2"})
    for num_threads in (1, 2):
        seen = times(path, num_threads=num_threads)
        assert len(seen) == 60
        assert np.diff(seen) == pytest.approx(0.04)
        assert seen[0] <= 0.08  # at most the two frames by which the decoder reorders


def test_without_any_time_the_frame_rate_counts(tmp_path):
    path = encode(tmp_path / "a.h264", moving(30), format="h264")
    assert times(path) == pytest.approx([index / 25 for index in range(30)])


def test_times_that_go_back_are_replaced_by_steps_of_the_frame_rate(tmp_path):
    once = encode(tmp_path / "once.ts", moving(30), options={"bf": "0"})
    twice = tmp_path / "twice.ts"
    twice.write_bytes(once.read_bytes() * 2)
    seen = times(twice)
    assert seen[:30] == times(once)
    assert len(seen) == 60
    assert np.diff(seen) == pytest.approx(0.04)


def test_neither_time_nor_rate_is_an_error_and_not_a_guess(tmp_path):
    stream = SimpleNamespace(time_base=None, average_rate=None, guessed_rate=None)
    clock = _Clock(tmp_path / "a.mp4", stream)
    timeless = SimpleNamespace(pts=None, dts=None)
    assert clock.time_s(timeless, 0) == 0.0
    with pytest.raises(DecodeError, match="frame 1 has no usable time"):
        clock.time_s(timeless, 1)


# The picture


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [("a.mp4", "libx264", "yuv420p"), ("a.mp4", "libx265", "yuv420p10le"), ("a.mpg", "mpeg1video", "yuv420p")],
)
def test_red_stays_red(tmp_path, name, codec, pix_fmt):
    path = encode(tmp_path / name, [patches()] * 3, codec, pix_fmt, options=QUIET)
    assert probe(path).codec == {"libx264": "h264", "libx265": "hevc", "mpeg1video": "mpeg1video"}[codec]
    for frame in read_frames(path):
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        assert_corners(frame.image, [RED, GREEN, BLUE, WHITE])


def flat_yuv(path, luma, blue, red, colorspace, color_range):
    """A video of one flat colour given as YCbCr numbers, with its matrix and range declared."""
    frame = av.VideoFrame(64, 48, "yuv420p")
    for plane, value in zip(frame.planes, (luma, blue, red), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = colorspace, color_range
        frame.colorspace, frame.color_range = colorspace, color_range
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return path


@pytest.mark.parametrize(
    ("yuv", "colorspace", "color_range"),
    # (200, 40, 90) by the matrices of ITU-R BT.601-7 and BT.709-6, section 3, limited (1) and full (2) range
    [
        ((96, 126, 195), 6, 1),
        ((83, 134, 196), 1, 1),
        ((94, 126, 204), 6, 2),
        ((78, 135, 206), 1, 2),
        ((96, 126, 195), 2, 0),
    ],
)
def test_the_declared_colour_matrix_and_range_are_used(tmp_path, yuv, colorspace, color_range):
    path = flat_yuv(tmp_path / "a.mp4", *yuv, colorspace, color_range)
    image = next(read_frames(path)).image
    assert np.abs(image.astype(int) - (200, 40, 90)).max() <= 4


# ISO/IEC 14496-12, 6.2.2: the picture's point (x, y) is shown at (a x + c y, b x + d y); y points down.
MATRICES = {
    0: ((1, 0, 0, 1), [RED, GREEN, BLUE, WHITE]),
    90: ((0, -1, 1, 0), [GREEN, WHITE, RED, BLUE]),
    180: ((-1, 0, 0, -1), [WHITE, BLUE, GREEN, RED]),
    270: ((0, 1, -1, 0), [BLUE, RED, WHITE, GREEN]),
}


def set_matrix(path, matrix):
    """Overwrite the display matrix in the track header of an MP4 file with one track."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version, dates, track, duration, layer, volume
    a, b, c, d = (value << 16 for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize("rotation", MATRICES)
def test_rotation_metadata_stands_the_picture_upright(tmp_path, rotation):
    path = encode(tmp_path / "a.mp4", [patches()] * 5)
    matrix, expected = MATRICES[rotation]
    set_matrix(path, matrix)
    info = probe(path)
    assert info.rotation == rotation
    assert (info.width, info.height) == ((48, 64) if rotation in (90, 270) else (64, 48))
    frames = list(read_frames(path))
    assert len(frames) == 5
    for frame in frames:
        assert frame.image.shape == (info.height, info.width, 3)
        assert frame.image.flags.c_contiguous
        assert_corners(frame.image, expected)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "yuv444p"), ("ffv1", "yuv420p"), ("libx264", "yuv444p")])
def test_odd_sizes(tmp_path, codec, pix_fmt):
    path = encode(tmp_path / "a.mkv", [patches(101, 75)] * 3, codec, pix_fmt)
    assert (probe(path).width, probe(path).height) == (101, 75)
    for frame in read_frames(path):
        assert frame.image.shape == (75, 101, 3)
        assert frame.image.flags.c_contiguous
        assert_corners(frame.image, [RED, GREEN, BLUE, WHITE])


def test_a_video_of_one_pixel(tmp_path):
    path = encode(tmp_path / "a.mkv", [np.full((1, 1, 3), RED, np.uint8)] * 4, "ffv1", "bgr0")
    assert [frame.image.tolist() for frame in read_frames(path)] == [[[list(RED)]]] * 4
    assert (probe(path).width, probe(path).height) == (1, 1)


def test_alpha_is_dropped_and_not_composited(tmp_path):
    path = tmp_path / "a.mov"
    image = np.dstack([patches(), np.full((48, 64), 10, np.uint8)])  # almost transparent
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "argb"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgba")))
        container.mux(stream.encode(None))
    (frame,) = read_frames(path)
    assert frame.image.shape == (48, 64, 3)
    assert_corners(frame.image, [RED, GREEN, BLUE, WHITE])


def test_a_size_that_changes_in_mid_stream_is_brought_to_the_first(tmp_path):
    first = encode(tmp_path / "a.h264", [patches(64, 48)] * 5, format="h264")
    second = encode(tmp_path / "b.h264", [patches(128, 96)] * 7, format="h264")
    both = tmp_path / "both.h264"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    frames = list(read_frames(both))
    assert len(frames) == 12
    for frame in frames:
        assert frame.image.shape == (48, 64, 3)
        assert_corners(frame.image, [RED, GREEN, BLUE, WHITE])


# Streams


def test_of_two_video_streams_the_first_is_read(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(os.fspath(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, num_frames, colour in zip(streams, (4, 9), (BLUE, RED), strict=True):
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            image = np.full((48, 64, 3), colour, np.uint8)
            for _ in range(num_frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream in streams:
            container.mux(stream.encode(None))
    assert probe(path).num_video_streams == 2
    frames = list(read_frames(path))
    assert len(frames) == 4
    assert_corners(frames[0].image, [BLUE] * 4)


def test_sound_alone_is_no_video(tmp_path):
    path = write_sound(tmp_path / "a.m4a")
    for read in (probe, lambda path: next(read_frames(path))):
        with pytest.raises(EmptyMediaError, match=r"a\.m4a: holds no video stream.* Received: sound\.$"):
            read(path)


def test_subtitles_alone_are_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n\n")
    with pytest.raises(EmptyMediaError, match=r"Received: neither picture nor sound\.$"):
        probe(path)


def test_an_unknown_codec_is_named_as_the_fault(tmp_path):
    path = encode(tmp_path / "a.mp4", moving(3))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(DecodeError, match="FFmpeg has no decoder for its video"):
        probe(path)


def test_a_cover_picture_is_no_video_and_is_not_counted(tmp_path):
    picture = encode(tmp_path / "picture.mp4", [patches()], "mjpeg", "yuvj420p")
    cover = remux(picture, tmp_path / "cover.mp4", cover=True)
    with pytest.raises(EmptyMediaError, match=r"Received: a cover picture\.$"):
        probe(cover)
    clip = encode(tmp_path / "clip.mp4", [np.full((48, 64, 3), BLUE, np.uint8)] * 6)
    path = tmp_path / "both.mp4"
    with av.open(os.fspath(picture)) as one, av.open(os.fspath(clip)) as two, av.open(os.fspath(path), "w") as writer:
        copies = [writer.add_stream_from_template(reader.streams.video[0]) for reader in (one, two)]
        copies[0].disposition = Disposition.attached_pic
        for reader, copy in zip((one, two), copies, strict=True):
            for packet in reader.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    writer.mux(packet)
    with av.open(os.fspath(path)) as container:
        assert len(container.streams.video) == 2
    assert probe(path).num_video_streams == 1
    frames = list(read_frames(path))
    assert len(frames) == 6
    assert_corners(frames[0].image, [BLUE] * 4)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_memory_does_not_grow_with_length(tmp_path):
    # 1,400 pictures of 160 x 120 are 81 MB; if they were kept, or if anything a tenth as large leaked, this would fail.
    path = tmp_path / "a.mp4"
    write_video(path, (moving(20, 160, 120)[index % 20] for index in range(1600)), Fraction(25))
    at_frame = {frame.frame_index: resident_bytes() for frame in read_frames(path) if frame.frame_index in (100, 1500)}
    assert at_frame[1500] - at_frame[100] < 8 << 20
