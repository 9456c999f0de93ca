"""Pictures of what was made: the right pixels in the right places."""

import numpy as np
import pytest
from PIL import Image

from emopipe.errors import StorageError
from emopipe.plots.pictures import annotate, contact_sheet, save_png

GAP = 4


def test_a_sheet_shows_every_crop_in_reading_order():
    crops = np.stack([np.full((96, 96, 3), 10 * (index + 1), np.uint8) for index in range(5)])
    sheet = contact_sheet(crops, np.ones(5, bool), num_columns=3)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * 100 + GAP, 3 * 100 + GAP, 3)
    for index in range(5):
        y, x = GAP + index // 3 * 100, GAP + index % 3 * 100
        np.testing.assert_array_equal(sheet[y : y + 96, x : x + 96], crops[index])
    assert len(np.unique(sheet[104:, 204:].reshape(-1, 3), axis=0)) == 1, "the last place is empty"


def test_a_row_without_a_face_is_crossed_out_and_its_crop_not_shown():
    crops = np.full((2, 96, 96, 3), 255, np.uint8)
    sheet = contact_sheet(crops, np.array([True, False]), num_columns=2)
    empty = sheet[GAP : GAP + 96, GAP + 100 : GAP + 196]
    assert not (empty == 255).all(axis=2).any()
    for corner in ((0, 0), (0, 95), (95, 0), (95, 95), (48, 48)):
        assert empty[corner][0] > 150 > empty[corner][1], "the cross is red"


def test_box_and_landmarks_are_drawn_where_they_are():
    frame = np.zeros((120, 160, 3), np.uint8)
    points = np.array([[30.0, 40.0], [np.nan, np.nan]])
    picture = annotate(frame, np.array([10.0, 20.0, 60.0, 80.0]), points)
    assert not frame.any(), "the frame itself is left alone"
    for y, x in ((20, 30), (80, 30), (50, 10), (50, 60), (40, 30)):
        assert picture[y, x].any(), (y, x)
    assert not picture[:15].any()
    assert not picture[:, 70:].any()


def test_nothing_is_drawn_without_a_face():
    frame = np.full((120, 160, 3), 7, np.uint8)
    np.testing.assert_array_equal(annotate(frame, np.full(4, np.nan), np.full((68, 2), np.nan)), frame)


def test_a_saved_picture_is_whole(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    save_png(picture, tmp_path / "deep" / "a.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "deep" / "a.png")), picture)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.png"]


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        save_png(np.zeros((4, 4, 3), np.uint8), tmp_path / "out" / "a.png")
