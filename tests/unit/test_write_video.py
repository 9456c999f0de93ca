"""Writing videos: pictures, times, sound, and what is left behind when it fails."""

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from videos import BLUE, GREEN, WHITE, assert_corners, moving, patches

from emopipe.errors import ConfigError, MediaError, StorageError
from emopipe.media.video import probe, read_frames, write_video

# Writing


def test_write_video_keeps_pictures_times_and_colours(tmp_path):
    path = tmp_path / "new folder" / "a.mp4"
    write_video(path, [patches(64, 48, (10 * index, 30, 40)) for index in range(20)], Fraction(24000, 1001))
    frames = list(read_frames(path))
    assert [frame.time_s for frame in frames] == [float(index * Fraction(1001, 24000)) for index in range(20)]
    for index, frame in enumerate(frames):
        assert_corners(frame.image, [(10 * index, 30, 40), GREEN, BLUE, WHITE])
    assert probe(path).frame_rate == Fraction(24000, 1001)
    with av.open(os.fspath(path)) as container:
        assert container.streams.video[0].codec_context.colorspace == 6  # BT.601 is declared, as it was used
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
def test_write_video_sound_is_in_step_with_the_picture(tmp_path, name):
    audio = np.zeros(48000 * 3, np.float32)
    audio[72000:72480] = 0.9  # a click at 1.5 s
    black, white = np.zeros((48, 64, 3), np.uint8), np.full((48, 64, 3), 255, np.uint8)
    pictures = [white if index == 45 else black for index in range(60)]  # a flash at 1.5 s, and sound goes on for 1 s
    write_video(tmp_path / name, pictures, Fraction(30), audio)
    assert probe(tmp_path / name).has_audio
    with av.open(os.fspath(tmp_path / name)) as container:
        heard = [(frame.time, frame.to_ndarray()) for frame in container.decode(audio=0)]
    loud_s = [start + np.argmax(np.abs(part[0]) > 0.4) / 48000 for start, part in heard if np.abs(part[0]).max() > 0.4]
    flash_s = max(read_frames(tmp_path / name), key=lambda frame: frame.image.mean()).time_s
    assert loud_s[0] == pytest.approx(flash_s, abs=1 / 15)
    assert heard[-1][0] > 2.9
    assert {part.shape[0] for _, part in heard} == {1}


def test_write_video_makes_the_same_bytes_twice(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, moving(30), Fraction(25), np.sin(np.arange(57600) / 9).astype(np.float32))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_write_video_hevc(tmp_path):
    write_video(tmp_path / "a.mp4", [patches()] * 4, Fraction(25), codec="libx265")
    assert probe(tmp_path / "a.mp4").codec == "hevc"


def test_write_video_refuses_what_it_cannot_write_and_leaves_nothing_behind(tmp_path):
    good = np.zeros((48, 64, 3), np.uint8)
    refused = [
        ([], "there is no frame to write"),
        ([good[:47]], "frame 0 cannot be written. Expected .* height and width even"),
        ([good, good[:, :62]], "frame 1 cannot be written"),
        ([good, good.astype(np.float32)], "frame 1 cannot be written"),
        ([good[..., 0]], "frame 0 cannot be written"),
    ]
    for frames, expected in refused:
        with pytest.raises(MediaError, match=expected):
            write_video(tmp_path / "a.mp4", frames, Fraction(25))
    with pytest.raises(ConfigError, match=r"expected a name ending in .mp4, .mov"):
        write_video(tmp_path / "a.gif", [good], Fraction(25))
    assert list(tmp_path.iterdir()) == []


def test_write_video_interrupted_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, moving(3), Fraction(25))
    before = path.read_bytes()

    def breaking():
        yield from moving(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, breaking(), Fraction(25))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_write_video_says_when_the_folder_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        write_video(tmp_path / "file" / "a.mp4", moving(2), Fraction(25))


FULL_DISK = """
import resource, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from emopipe.errors import StorageError
from emopipe.media.video import write_video
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))  # the kernel then refuses to write on
rng = np.random.default_rng(0)
frames = (rng.integers(0, 255, (240, 320, 3), dtype=np.uint8) for _ in range(40))
try:
    write_video(Path(sys.argv[1]), frames, Fraction(25))
except StorageError as error:
    print("refused:", error)
"""


def test_write_video_on_a_full_disk_leaves_no_file(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.mp4")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "refused:" in result.stdout
    assert "cannot be written" in result.stdout
    assert list(tmp_path.iterdir()) == []
