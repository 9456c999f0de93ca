"""Labels and sound meet frames by number or by time, never by row order."""

import numpy as np
import pytest

from emopipe.errors import RecordError
from emopipe.records import Labels
from emopipe.spectrograms import SpectrogramConfig, window_axis
from emopipe.timeline import compare_counts, join_audio, join_labels


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


def track(random, rate_hz):
    """A random sound on a random axis: window and hop in seconds, middles of its windows, and which are valid."""
    window_s, hop_s = random.uniform(0.05, 1.5), random.uniform(0.02, 0.8)
    config = SpectrogramConfig(rate_hz=rate_hz, window_s=round(window_s, 3), hop_s=round(hop_s, 3), num_fft=64)
    num_samples = int(random.uniform(0.01, 12) * rate_hz)
    start_s = random.choice([0.0, random.uniform(-2, 3)])
    time_s, valid = window_axis(num_samples, rate_hz, start_s, config)
    return config, start_s, start_s + num_samples / rate_hz, time_s, valid


def test_sound_and_picture_never_differ_by_a_step():
    random = np.random.default_rng(5)
    num_inside = num_behind = 0
    for _ in range(3000):
        frame_rate = random.choice([5, 12.5, 24000 / 1001, 25, 30000 / 1001, 60])
        first_s = random.choice([0.0, random.uniform(-1, 2)])
        frames_s = first_s + np.arange(random.integers(1, 300)) / frame_rate
        if random.random() < 0.3:  # variable rate
            frames_s = np.sort(frames_s + random.uniform(-0.4, 0.4, len(frames_s)) / frame_rate)
        config, start_s, end_s, time_s, valid = track(random, int(random.choice([8000, 16000, 44100])))
        row, has_sound = join_audio(frames_s, time_s, valid, config.window_s, config.hop_s)
        assert row.shape == has_sound.shape == frames_s.shape
        assert row.dtype == np.int64
        distance = np.abs(frames_s[:, None] - time_s)
        nearest = distance.min(axis=1)
        near = nearest <= config.window_s / 2
        clear = np.abs(nearest - config.window_s / 2) > 1e-5  # at the border itself rounding decides
        np.testing.assert_array_equal((row >= 0)[clear], near[clear])
        found = row >= 0
        np.testing.assert_allclose(distance[found, row[found]], nearest[found], atol=1e-9)
        np.testing.assert_array_equal(has_sound[found], valid[row[found]])
        assert not has_sound[~found].any()
        behind = (frames_s > time_s[-1] + config.window_s / 2 + 1e-5) | (frames_s < start_s - 1e-5)
        assert not has_sound[behind].any()
        num_behind += int(behind.sum())
        if config.hop_s < config.window_s and valid.all():
            inside = (frames_s > start_s + 1e-5) & (frames_s < min(end_s, time_s[-1] + config.window_s / 2) - 1e-5)
            assert has_sound[inside].all()
            num_inside += int(inside.sum())
    assert min(num_inside, num_behind) > 10_000


def test_a_track_that_begins_late_keeps_its_place():
    frames_s, middles = np.arange(10) / 10, 0.34 + np.arange(4) / 10
    row, valid = join_audio(frames_s, middles, np.array([True, True, False, True]), 0.1, 0.1)
    assert row.tolist() == [-1, -1, -1, 0, 1, 2, 3, -1, -1, -1]
    assert valid.tolist() == [False, False, False, True, True, False, True, False, False, False]


def test_half_a_window_is_inside_and_frames_between_windows_have_no_sound():
    frames_s = np.array([0.0, 0.5, 1.0, 1.25, np.nan, 1.5])
    row, valid = join_audio(frames_s, np.array([0.25, 1.75]), np.ones(2, bool), 0.5, 1.5)
    assert row.tolist() == [0, 0, -1, -1, -1, 1]
    assert valid.tolist() == [True, True, False, False, False, True]


def test_an_axis_that_is_none_is_refused():
    for time_s, valid in ((np.array([0.5, 1.0]), np.ones(3, bool)), (np.array([0.5, 1.0, 1.2]), np.ones(3, bool))):
        with pytest.raises(RecordError, match="expected 3 windows every 0.5 s"):
            join_audio(np.arange(3.0), time_s, valid, 1.0, 0.5)
