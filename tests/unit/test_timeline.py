"""Labels meet frames by number or by time, never by row order."""

import numpy as np
import pytest

from emopipe.errors import RecordError
from emopipe.records import Labels
from emopipe.timeline import compare_counts, join_labels


def make_labels(values, **place):
    values = np.array(values, np.float64)[:, None]
    return Labels(("valence",), values, np.isfinite(values[:, 0]), **place)


def test_joins_by_frame_number_and_not_by_row():
    labels = make_labels([0.3, 0.1, 0.2], frame_index=np.array([3, 1, 2]))
    values, valid = join_labels(labels, np.array([0, 1, 2, 3, 4]), np.full(5, np.nan))
    np.testing.assert_array_equal(values[:, 0], [np.nan, 0.1, 0.2, 0.3, np.nan])
    np.testing.assert_array_equal(valid, [False, True, True, True, False])


def test_a_dropped_frame_does_not_shift_the_labels_after_it():
    labels = make_labels(np.arange(10) / 10, frame_index=np.arange(10))
    frames = np.array([0, 1, 5, 6])
    values, _ = join_labels(labels, frames, frames / 25)
    np.testing.assert_array_equal(values[:, 0], frames / 10)


def test_invalid_labels_stay_invalid():
    labels = Labels(("valence",), np.array([[0.5], [0.7]]), np.array([True, False]), frame_index=np.arange(2))
    values, valid = join_labels(labels, np.arange(2), np.arange(2) / 25)
    assert valid.tolist() == [True, False]
    assert np.isnan(values[1, 0])


def test_joins_by_time_to_the_nearest_within_half_a_period():
    labels = make_labels([0.2, 0.1, 0.3], time_s=np.array([0.1, 0.0, 0.2]))  # 10 Hz, unsorted
    times = np.array([0.0, 0.04, 0.06, 0.14, 0.25, 0.251, np.nan, -0.06])
    values, valid = join_labels(labels, np.arange(8), times)
    np.testing.assert_array_equal(values[:, 0], [0.1, 0.1, 0.2, 0.2, 0.3, np.nan, np.nan, np.nan])
    assert valid.tolist() == [True] * 5 + [False] * 3


def test_of_two_labels_equally_near_the_earlier_counts():
    labels = make_labels([0.1, 0.2], time_s=np.array([0.0, 1.0]))
    values, _ = join_labels(labels, np.arange(1), np.array([0.5]))
    assert values[0, 0] == 0.1


def test_tolerance_is_obeyed():
    labels = make_labels([0.1, 0.2], time_s=np.array([0.0, 1.0]))
    _, valid = join_labels(labels, np.arange(3), np.array([0.0, 0.3, 1.1]), tolerance_s=0.2)
    assert valid.tolist() == [True, False, True]


def test_one_label_with_a_time_reaches_half_a_frame():
    labels = make_labels([0.1], time_s=np.array([0.08]))
    _, valid = join_labels(labels, np.arange(5), np.arange(5) / 25)
    assert valid.tolist() == [False, False, True, False, False]


def test_variable_frame_rate_joins_the_same_as_brute_force():
    rng = np.random.default_rng(0)
    label_times = np.sort(rng.uniform(0, 10, 200))
    labels = make_labels(rng.uniform(-1, 1, 200), time_s=label_times)
    times = np.sort(rng.uniform(-1, 11, 500))
    values, valid = join_labels(labels, np.arange(500), times, tolerance_s=0.05)
    for time, value, is_valid in zip(times, values[:, 0], valid, strict=True):
        distance = np.abs(label_times - time)
        assert is_valid == (distance.min() <= 0.05)
        if is_valid:
            assert value == labels.values[distance.argmin(), 0]


def test_a_label_of_the_whole_clip_goes_to_every_frame():
    values, valid = join_labels(make_labels([0.4]), np.arange(4), np.full(4, np.nan))
    assert values[:, 0].tolist() == [0.4] * 4
    assert valid.all()


def test_no_labels_at_all_is_no_label_everywhere():
    empty = Labels(("valence",), np.empty((0, 1)), np.empty(0, bool), frame_index=np.empty(0, np.int64))
    values, valid = join_labels(empty, np.arange(3), np.arange(3) / 25)
    assert np.isnan(values).all()
    assert not valid.any()


def test_several_rows_without_a_place_are_refused():
    with pytest.raises(RecordError, match="frame_index or time_s"):
        join_labels(make_labels([0.1, 0.2]), np.arange(2), np.arange(2) / 25)


@pytest.mark.parametrize(
    ("declared", "decoded", "labelled", "expected"),
    [
        (100, 100, 100, []),
        (None, 100, None, []),
        (100, 100, 101, ["1 more label than decoded frames", "usual"]),
        (100, 100, 98, ["2 fewer labels", "usual"]),
        (100, 100, 103, ["3 more labels than decoded frames", "left out"]),
        (100, None, 90, ["10 fewer labels than declared frames", "without a label stay"]),
        (100, 60, None, ["40 fewer decoded frames than declared", "cut short"]),
        (99, 100, None, ["1 more decoded frame than declared frames (100, 99)."]),
    ],
)
def test_counts_that_differ_are_put_in_words(declared, decoded, labelled, expected):
    lines = compare_counts(declared, decoded, labelled)
    assert len(lines) == bool(expected)
    for part in expected:
        assert part in lines[0]
