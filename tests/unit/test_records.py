"""Records cannot exist in a wrong shape."""

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from emopipe.errors import RecordError
from emopipe.records import FACE_FIELDS, Clip, Detections, FaceRows, Labels


def labels(**changes):
    values = {"targets": ("valence", "arousal"), "values": np.zeros((3, 2)), "valid": np.ones(3, bool)}
    return Labels(**{**values, **changes})


def detections(**changes):
    values = {
        "boxes": np.zeros((2, 4), np.float32),
        "scores": np.ones(2, np.float32),
        "points": np.zeros((2, 5, 2), np.float32),
    }
    return Detections(**{**values, **changes})


def test_sound_records_are_made():
    assert labels(frame_index=np.arange(3)).time_s is None
    assert len(detections()) == 2
    assert len(Detections(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2)))) == 0


@pytest.mark.parametrize(
    ("make", "field", "array"),
    [
        (labels, "values", np.zeros((3, 1))),
        (labels, "values", np.zeros(3)),
        (labels, "valid", np.ones(2, bool)),
        (labels, "frame_index", np.arange(4)),
        (labels, "time_s", np.zeros((3, 1))),
        (detections, "boxes", np.zeros((2, 5))),
        (detections, "scores", np.ones(3)),
        (detections, "points", np.zeros((2, 2, 5))),
    ],
)
def test_a_wrong_shape_is_refused_and_named(make, field, array):
    with pytest.raises(RecordError, match=rf"{make.__name__.capitalize()}\.{field}: expected shape") as caught:
        make(**{field: array})
    assert f"Received: {array.shape}" in str(caught.value)


@pytest.mark.parametrize("name", FACE_FIELDS)
def test_face_rows_refuse_wrong_shapes_and_dtypes(name):
    rows = FaceRows.empty(4)
    array = getattr(rows, name)
    with pytest.raises(RecordError, match=rf"FaceRows\.{name}: expected shape"):
        replace(rows, **{name: array[..., None]})
    wrong = np.int16 if array.dtype != np.int16 else np.int32
    with pytest.raises(RecordError, match=rf"FaceRows\.{name}: expected dtype {array.dtype}"):
        replace(rows, **{name: np.nan_to_num(array).astype(wrong)})


def test_a_row_that_nobody_filled_in_says_that_there_is_no_face():
    rows = FaceRows.empty(3)
    assert len(rows) == 3
    assert not rows.valid.any()
    assert not rows.crop.any()
    for name in ("time_s", "box", "score", "landmarks", "transform", "residual_px"):
        assert np.isnan(getattr(rows, name)).all(), name
    assert (rows.track == -1).all()
    assert (rows.frame_index == -1).all()


def test_arrays_are_in_the_order_of_the_file():
    assert list(FaceRows.empty(0).arrays()) == list(FACE_FIELDS)


def test_records_do_not_change():
    clip = Clip("a", Path("a.mp4"))
    with pytest.raises(FrozenInstanceError):
        clip.clip_id = "b"
    assert (clip.kind, clip.side, clip.split, dict(clip.annotations)) == ("video", "", None, {})
