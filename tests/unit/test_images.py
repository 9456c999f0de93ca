"""Official image sequences and pictures that stand alone: numbering, gaps, and pictures that do not decode."""

import os
from fractions import Fraction

import numpy as np
import PIL.Image
import pytest

from emopipe.errors import DecodeError
from emopipe.media.images import last_image_number, picture_size, read_images, read_picture

JPEG_TOLERANCE = 6  # grey levels; flat colours through quality 75 and 4:2:0


def save(folder, name, colour=(200, 30, 60), mode="RGB", size=(16, 12)):
    PIL.Image.new(mode, size, colour).save(folder / name)


def test_the_number_in_the_name_is_the_frame_and_a_gap_is_a_frame_without_picture(tmp_path):
    for number in (1, 2, 5):
        save(tmp_path, f"{number:05d}.jpg", (10 * number, 0, 0))
    frames = list(read_images(tmp_path, 7, Fraction(30000, 1001)))
    assert [frame.frame_index for frame in frames] == [0, 1, 2, 3, 4, 5, 6]
    assert [frame.image is not None for frame in frames] == [True, True, False, False, True, False, False]
    assert [frame.time_s for frame in frames] == [float(index * Fraction(1001, 30000)) for index in range(7)]
    assert [round(frame.image[..., 0].mean(), -1) for frame in frames if frame.image is not None] == [10, 20, 50]


def test_pictures_above_the_asked_for_number_are_left_out(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path, f"{number:05d}.jpg")
    assert len(list(read_images(tmp_path, 2, 25.0))) == 2


def test_order_survives_999_and_99999_pictures(tmp_path):
    save(tmp_path, "00001.png", (1, 0, 0))
    source = tmp_path / "00001.png"
    colours = {1: 1, 2: 2, 999: 9, 1000: 10, 1001: 11, 99999: 99, 100000: 100, 100001: 101}
    for number, red in colours.items():
        save(tmp_path, f"{number:05d}.png", (red, 0, 0))
    for number in range(3, 1300):
        if number not in colours:
            os.link(source, tmp_path / f"{number:05d}.png")
    assert last_image_number(tmp_path) == 100001
    seen = {f.frame_index + 1: int(f.image[0, 0, 0]) for f in read_images(tmp_path, 100001, 25) if f.image is not None}
    assert len(seen) == 1299 + 3
    assert {number: seen[number] for number in colours} == colours


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "JPG"])
def test_red_stays_red(tmp_path, suffix):
    save(tmp_path, f"00001.{suffix}", (250, 20, 40))
    image = next(read_images(tmp_path, 1, 25)).image
    assert image.shape == (12, 16, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - (250, 20, 40)).max() <= JPEG_TOLERANCE


@pytest.mark.parametrize(("mode", "colour"), [("L", 90), ("RGBA", (90, 90, 90, 10)), ("LA", (90, 10)), ("P", 0)])
def test_other_kinds_of_picture_become_rgb(tmp_path, mode, colour):
    save(tmp_path, "00001.png", colour, mode)
    image = next(read_images(tmp_path, 1, 25)).image
    assert image.shape == (12, 16, 3)
    assert np.unique(image).tolist() == [0 if mode == "P" else 90]


def test_sixteen_bit_samples_are_refused_and_not_clipped(tmp_path):
    PIL.Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "00001.png")
    with pytest.raises(DecodeError, match="00001.png: does not decode. Expected an 8-bit"):
        next(read_images(tmp_path, 1, 25))


def test_a_picture_that_does_not_decode_is_named_with_its_frame(tmp_path):
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    for content in (b"", b"no picture", whole[: len(whole) // 2]):
        (tmp_path / "00003.jpg").write_bytes(content)
        save(tmp_path, "00001.jpg")
        frames = read_images(tmp_path, 3, 25)
        assert [next(frames).image is None, next(frames).image is None] == [False, True]
        with pytest.raises(DecodeError, match=r"00003\.jpg: does not decode") as caught:
            next(frames)
        assert caught.value.frame_index == 2
        assert caught.value.path == tmp_path / "00003.jpg"


def test_other_files_are_ignored(tmp_path):
    save(tmp_path, "00002.jpg")
    for name in ("._00007.jpg", "00008.txt", "00009.jpg.part", "frame00010.jpg", ".DS_Store", "\u0664.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert last_image_number(tmp_path) == 2
    assert [frame.image is not None for frame in read_images(tmp_path, 2, 25)] == [False, True]


def test_an_empty_folder_is_all_gaps(tmp_path):
    assert last_image_number(tmp_path) == 0
    assert [frame.image for frame in read_images(tmp_path, 2, 25)] == [None, None]


def test_a_missing_folder_a_number_zero_and_a_number_twice_are_errors(tmp_path):
    with pytest.raises(DecodeError, match="expected a folder of numbered pictures. Received: No such file"):
        last_image_number(tmp_path / "missing")
    (tmp_path / "zero").mkdir()
    save(tmp_path / "zero", "00000.jpg")
    with pytest.raises(DecodeError, match="00000.jpg: numbered 0"):
        last_image_number(tmp_path / "zero")
    (tmp_path / "twice").mkdir()
    save(tmp_path / "twice", "00004.jpg")
    save(tmp_path / "twice", "4.png")
    with pytest.raises(DecodeError, match=r"'00004.jpg' and '4.png' have the same number"):
        last_image_number(tmp_path / "twice")


def test_a_folder_name_that_is_not_utf8(tmp_path):
    folder = tmp_path / os.fsdecode(b"clip_\xff\xe9")
    folder.mkdir()
    save(folder, "00001.png", (1, 2, 3))
    assert next(read_images(folder, 1, 25)).image[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "mode", "colour", "expected"),
    [
        ("KA.AN1.39.tiff", "L", 90, (90, 90, 90)),
        ("S005_001_00000011.png", "RGB", (250, 20, 40), (250, 20, 40)),
        ("S005_001_00000011.png", "LA", (90, 10), (90, 90, 90)),
        ("a.TIF", "RGB", (250, 20, 40), (250, 20, 40)),
        ("b.jpg", "L", 90, (90, 90, 90)),
    ],
)
def test_a_picture_is_a_clip_of_one_frame(tmp_path, name, mode, colour, expected):
    save(tmp_path, name, colour, mode, size=(20, 12))
    (frame,) = read_picture(tmp_path / name)
    assert (frame.frame_index, frame.time_s) == (0, 0.0)
    assert frame.image.shape == (12, 20, 3)
    assert frame.image.dtype == np.uint8
    assert np.unique(frame.image.reshape(-1, 3), axis=0).tolist() == [list(expected)]
    assert picture_size(tmp_path / name) == (20, 12)


def test_a_lone_picture_that_does_not_decode_is_named(tmp_path):
    rng = np.random.default_rng(0)
    PIL.Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(tmp_path / "whole.tiff")
    whole = (tmp_path / "whole.tiff").read_bytes()
    for content in (b"", b"no picture", whole[: len(whole) // 2]):
        (tmp_path / "KA.AN1.39.tiff").write_bytes(content)
        with pytest.raises(DecodeError, match=r"KA.AN1.39.tiff: does not decode. Expected an 8-bit") as caught:
            list(read_picture(tmp_path / "KA.AN1.39.tiff"))
        assert caught.value.frame_index == 0
    for content in (b"", b"no picture"):
        (tmp_path / "KA.AN1.39.tiff").write_bytes(content)
        with pytest.raises(DecodeError, match=r"KA.AN1.39.tiff: does not decode"):
            picture_size(tmp_path / "KA.AN1.39.tiff")
    with pytest.raises(DecodeError, match=r"absent.png: does not decode"):
        picture_size(tmp_path / "absent.png")
    PIL.Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.tiff")
    with pytest.raises(DecodeError, match="deep.tiff: does not decode. Expected an 8-bit"):
        list(read_picture(tmp_path / "deep.tiff"))
