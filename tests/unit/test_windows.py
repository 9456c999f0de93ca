"""Index plans against their definition, spelled out window by window."""

import time
import tracemalloc

import numpy as np
import pytest

from emopipe.errors import ConfigError, RecordError
from emopipe.models.rows import Rows
from emopipe.models.windows import (
    NONE,
    SHORT,
    WINDOW,
    DensePlan,
    SparsePlan,
    WindowConfig,
    clips_without_window,
    hold_index,
    plan_windows,
    prediction_plan,
)


def table(lengths, seed=None, num_features=3, share_valid=0.9) -> Rows:
    """Clips of these lengths; with a seed some frames have no features and others no label."""
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    num_rows = int(starts[-1])
    random = np.random.default_rng(seed or 0)
    valid, label_valid = np.ones(num_rows, bool), np.ones(num_rows, bool)
    if seed is not None:
        valid, label_valid = random.random((2, num_rows)) < share_valid
    features = random.standard_normal((num_rows, num_features)).astype(np.float16)
    features[~valid] = np.nan
    labels = random.uniform(-1, 1, (num_rows, 2)).astype(np.float32)
    labels[~label_valid] = np.nan
    frame_index = np.concatenate([np.arange(length) for length in lengths] or [np.zeros(0, int)])
    return Rows(features, valid, labels, label_valid, starts, frame_index, tuple(f"c{n}" for n in range(len(lengths))))


def clips_of(rows):
    return list(zip(rows.clip_starts[:-1].tolist(), rows.clip_starts[1:].tolist(), strict=True))


def windows_by_hand(rows, config):
    """(first row, target row) of every window, by the words of the documentation."""
    found = []
    for begin, end in clips_of(rows):
        usable = [
            (config.gaps == "hold" or rows.valid[row]) and (config.labelled == "target" or rows.label_valid[row])
            for row in range(begin, end)
        ]
        for start in range(begin, end):
            steps = range(start, start + config.length)
            target = steps[-1] + (config.target == "next")
            needed = range(start, target + 1) if config.labelled == "every_step" else steps
            if target >= end or not all(usable[row - begin] for row in needed) or not rows.label_valid[target]:
                continue
            if not any(rows.valid[row] for row in steps):
                continue
            stretch = start
            while stretch > begin and usable[stretch - 1 - begin]:
                stretch -= 1
            if (start - stretch) % config.stride == 0:
                found.append((start, target))
    return found


def windows_of(plan):
    return list(zip(plan.starts.tolist(), plan.target_rows.tolist(), strict=True))


@pytest.mark.parametrize("gaps", ["drop", "hold"])
@pytest.mark.parametrize("target", ["next", "last"])
@pytest.mark.parametrize("labelled", ["every_step", "target"])
@pytest.mark.parametrize(("length", "stride"), [(1, 1), (3, 1), (4, 3)])
def test_windows_are_those_of_the_definition(gaps, target, labelled, length, stride):
    config = WindowConfig(length, stride, gaps, target, labelled)
    for seed in range(8):
        rows = table([0, 13, 3, 1, 40, 4, 0, 5], seed, share_valid=0.8)
        assert windows_of(plan_windows(rows, config)) == windows_by_hand(rows, config)


def test_the_published_rule_wants_101_clean_frames_in_a_row():
    rows = table([101, 100, 250])
    rows.valid[101 + 100 + 120] = False  # the third clip: 120 frames, a gap, 129 frames
    plan = plan_windows(rows, WindowConfig(target="next"))
    third = 101 + 100
    starts = [0, *range(third, third + 20), *range(third + 121, third + 150)]
    assert plan.starts.tolist() == starts
    assert (plan.target_rows - plan.starts == 100).all()
    rows.valid[:] = True
    rows.label_valid[101 + 100 + 120] = False  # a frame without a label is a gap as well
    assert plan_windows(rows, WindowConfig(target="next")).starts.tolist() == starts
    assert [rows.clip_ids[clip] for clip in clips_without_window(rows, plan)] == ["c1"]


def test_frame_after_the_window_is_not_in_it():
    rows = table([5])
    for target, rows_seen in (("next", [[0, 1, 2], [1, 2, 3]]), ("last", [[0, 1, 2], [1, 2, 3], [2, 3, 4]])):
        plan = plan_windows(rows, WindowConfig(3, target=target))
        assert plan.rows(np.arange(len(plan))).tolist() == rows_seen
        assert plan.target_rows.tolist() == [window[-1] + (target == "next") for window in rows_seen]


def test_hold_repeats_the_last_valid_row_of_the_clip_and_gives_it_no_weight():
    rows = table([4, 5])
    rows.valid[[1, 4, 5, 7, 8]] = False
    assert hold_index(rows).tolist() == [0, 0, 2, 3, -1, -1, 6, 6, 6]
    plan = plan_windows(rows, WindowConfig(3, gaps="hold"))
    everything = np.arange(len(plan))
    assert plan.rows(everything).tolist() == [[0, 0, 2], [0, 2, 3], [-1, -1, 6], [-1, 6, 6], [6, 6, 6]]
    assert plan.weights(everything).tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert plan.mask(everything).all()  # held steps are no padding: recurrent kernels refuse holes
    assert not plan.padded


def test_a_window_that_would_only_hold_is_left_out():
    rows = table([6])
    rows.valid[1:] = False
    assert plan_windows(rows, WindowConfig(2, gaps="hold")).starts.tolist() == [0]


@pytest.mark.parametrize("target", ["next", "last"])
@pytest.mark.parametrize("gaps", ["drop", "hold"])
def test_every_row_that_can_be_predicted_is(gaps, target):
    length = 4
    config = WindowConfig(length, gaps=gaps, target=target)
    for seed in range(8):
        rows = table([0, 13, 3, 1, 30, 4], seed, share_valid=0.8)
        prediction = prediction_plan(rows, config)
        plan, numbers = prediction.plan, np.arange(len(prediction.plan))
        assert len(set(plan.target_rows.tolist())) == len(plan)
        steps, mask = plan.own_rows(numbers), plan.mask(numbers)
        assert set(np.flatnonzero(prediction.how != NONE)) == set(plan.target_rows.tolist())
        if gaps == "drop":
            assert set(plan.target_rows.tolist()) == set(np.flatnonzero(rows.valid))
        for target_row, window, real in zip(plan.target_rows, steps, mask, strict=True):
            begin = rows.clip_starts[np.searchsorted(rows.clip_starts, target_row, side="right") - 1]
            while gaps == "drop" and not rows.valid[begin:target_row].all():
                begin += 1
            last = max(target_row - (target == "next"), begin)
            seen = list(range(max(begin, last - length + 1), last + 1))
            assert window[real].tolist() == seen
            assert real.tolist() == [True] * len(seen) + [False] * (length - len(seen))  # padding is at the right
            full = len(seen) == length and last == target_row - (target == "next")
            assert prediction.how[target_row] == (WINDOW if full else SHORT)


@pytest.mark.parametrize("target", ["next", "last"])
@pytest.mark.parametrize("gaps", ["drop", "hold"])
def test_predicting_takes_the_windows_that_training_takes(gaps, target):
    config = WindowConfig(5, gaps=gaps, target=target)
    rows = table([30, 4, 50], seed=3)
    trained, predicted = plan_windows(rows, config), prediction_plan(rows, config).plan
    number_of = {row: number for number, row in enumerate(predicted.target_rows.tolist())}
    assert len(trained) > 5
    same = np.array([number_of[row] for row in trained.target_rows.tolist()])
    np.testing.assert_array_equal(predicted.rows(same), trained.rows(np.arange(len(trained))))
    assert predicted.mask(same).all()


def test_a_row_is_predicted_from_what_the_clip_has_before_it():
    rows = table([3, 120])
    prediction = prediction_plan(rows, WindowConfig(target="last"))
    assert prediction.how.tolist() == [SHORT] * 3 + [SHORT] * 99 + [WINDOW] * 21
    assert prediction.plan.num_steps.tolist() == [1, 2, 3, *range(1, 100), *[100] * 21]
    following = prediction_plan(rows, WindowConfig(target="next"))
    assert following.how.tolist() == [SHORT] * 3 + [SHORT] * 100 + [WINDOW] * 20
    assert following.plan.num_steps.tolist() == [1, 1, 2, 1, *range(1, 100), *[100] * 20]


def tiles_by_hand(rows, config, wanted):
    """(first row, number of rows) of every window under the target "every", by the words of the documentation."""
    found = []
    for begin, end in clips_of(rows):
        start = begin
        while start < end:
            stop = start
            while stop < end and stop - start < config.length and (config.gaps == "hold" or rows.valid[stop]):
                stop += 1
            if wanted[start:stop].any():
                found.append((start, stop - start))
            start = max(stop, start + 1)
    return found


@pytest.mark.parametrize("gaps", ["drop", "hold"])
@pytest.mark.parametrize("length", [1, 3, 4, 50])
def test_tiles_are_those_of_the_definition(gaps, length):
    for seed in range(20):
        rows = table([0, 13, 3, 1, 40, 4, 0, 5], seed, share_valid=0.7)
        # neither stride nor the rule for labels has a say
        config = WindowConfig(length, 1 + seed % 3, gaps, "every", ("every_step", "target")[seed % 2])
        trained, predicted = plan_windows(rows, config), prediction_plan(rows, config).plan
        for plan, wanted in ((trained, rows.valid & rows.label_valid), (predicted, rows.valid)):
            expected = tiles_by_hand(rows, config, wanted)
            assert list(zip(plan.starts.tolist(), plan.num_steps.tolist(), strict=True)) == expected
            np.testing.assert_array_equal(plan.target_rows, plan.starts + plan.num_steps - 1)
            assert (plan.hold_index is None) == (gaps == "drop")


@pytest.mark.parametrize("gaps", ["drop", "hold"])
def test_every_valid_row_is_in_one_tile(gaps):
    for seed in range(20):
        rows = table([0, 13, 3, 1, 40, 4, 5], seed, share_valid=0.8)
        prediction = prediction_plan(rows, WindowConfig(4, gaps=gaps, target="every"))
        steps = prediction.plan.own_rows(np.arange(len(prediction.plan)))
        counts = np.bincount(steps[steps >= 0], minlength=len(rows))
        assert counts.max() == 1
        assert counts[rows.valid].min() == 1
        if gaps == "drop":
            assert not counts[~rows.valid].any()
        np.testing.assert_array_equal(prediction.how != NONE, counts == 1)
        for window in steps:  # padding is at the right
            assert (window[np.count_nonzero(window >= 0) :] < 0).all()
        is_full = (steps >= 0).all(axis=1)
        assert set(prediction.how[steps[is_full]].ravel()) == {WINDOW}
        assert set(prediction.how[steps[~is_full][steps[~is_full] >= 0]]) == {SHORT}


def test_a_remainder_and_a_short_clip_are_windows_of_their_own():
    rows = table([7, 2, 6])
    prediction = prediction_plan(rows, WindowConfig(3, gaps="hold", target="every"))
    assert prediction.plan.starts.tolist() == [0, 3, 6, 7, 9, 12]
    assert prediction.plan.num_steps.tolist() == [3, 3, 1, 2, 3, 3]
    assert prediction.plan.padded
    assert prediction.plan.rows(np.array([2, 3])).tolist() == [[6, -1, -1], [7, 8, -1]]
    assert prediction.how.tolist() == [WINDOW] * 6 + [SHORT] * 3 + [WINDOW] * 6
    assert not prediction_plan(table([6]), WindowConfig(3, target="every")).plan.padded


def test_tiles_begin_anew_behind_a_gap_or_hold_across_it():
    rows = table([8])
    rows.valid[[2, 3]] = False
    drop = plan_windows(rows, WindowConfig(3, target="every"))
    assert drop.rows(np.arange(3)).tolist() == [[0, 1, -1], [4, 5, 6], [7, -1, -1]]
    hold = plan_windows(rows, WindowConfig(3, gaps="hold", target="every"))
    assert hold.rows(np.arange(3)).tolist() == [[0, 1, 1], [1, 4, 5], [6, 7, -1]]
    assert hold.weights(np.arange(3)).tolist() == [[1, 1, 0], [0, 1, 1], [1, 1, 0]]
    assert hold.mask(np.arange(3)).tolist() == [[True] * 3, [True] * 3, [True, True, False]]


def test_predicting_needs_no_label_and_nothing_is_predicted_without_a_face():
    rows = table([6, 5])
    rows.label_valid[:] = False
    rows.valid[:6] = False
    config = WindowConfig(4, gaps="hold", target="every")
    assert len(plan_windows(rows, config)) == 0
    prediction = prediction_plan(rows, config)
    assert prediction.plan.starts.tolist() == [6, 10]
    assert prediction.how.tolist() == [NONE] * 6 + [WINDOW] * 4 + [SHORT]
    assert clips_without_window(rows, prediction.plan).tolist() == [0]


def test_sparse_plans_pad_at_the_right_only():
    plan = SparsePlan(np.array([[4, 2, 9], [7, -1, -1]], np.int32), np.array([9, 7]))
    assert plan.padded
    assert plan.mask(np.array([1, 0])).tolist() == [[True, False, False], [True, True, True]]
    assert plan.weights(np.array([1])).tolist() == [[1, 0, 0]]
    for wrong in ([[4, -1, 9]], [[-1, 3, 4]], [[-1, -1, -1]]):
        with pytest.raises(RecordError, match="window 0: expected rows, then -1 for padding"):
            SparsePlan(np.array(wrong, np.int32), np.array([0]))


def test_sparse_and_dense_plans_of_the_same_rows_agree():
    rows = table([20], seed=5)
    starts = np.array([0, 3, 11])
    dense = DensePlan(starts, starts + 6, length=4, step=2, hold_index=hold_index(rows))
    sparse = SparsePlan(starts[:, None] + 2 * np.arange(4), starts + 6, hold_index=hold_index(rows))
    order = np.array([2, 0, 1])
    for what in ("rows", "mask", "weights"):
        np.testing.assert_array_equal(getattr(dense, what)(order), getattr(sparse, what)(order))


def test_a_corpus_is_planned_in_moments_and_without_copies():
    num_clips, length = 800, 2000  # 1.6 million rows, as Aff-Wild2 has
    rows = table([length] * num_clips, num_features=1)
    rows.valid[::997] = False
    start = time.process_time()
    for gaps in ("drop", "hold"):
        for target in ("next", "every"):
            plan_windows(rows, WindowConfig(gaps=gaps, target=target))
            prediction_plan(rows, WindowConfig(gaps=gaps, target=target))
    assert time.process_time() - start < 4  # 0.5 s when nothing else runs; a loop over rows takes longer
    tracemalloc.start()
    plan = plan_windows(rows, WindowConfig(target="next"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(plan) > 1_000_000
    assert peak < 100 * len(rows)  # bytes; one row of 300 float16 has 600, one window 60,000


def test_no_rows_and_no_window_are_no_error():
    rows = table([])
    for config in (WindowConfig(target="every"), WindowConfig()):
        assert len(plan_windows(rows, config)) == len(prediction_plan(rows, config).plan) == 0
    short = table([7, 50])
    plan = plan_windows(short, config)
    assert len(plan) == 0
    assert clips_without_window(short, plan).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("what", "setting"),
    [("features", {"valid": np.ones(9, bool)}), ("labels", {"label_valid": np.ones(9, bool)})],
)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_none_are_refused_with_clip_and_frame(what, setting, number):
    rows = table([4, 5])
    rows.check()
    array = getattr(rows, what)
    array[6, 1] = number
    with pytest.raises(RecordError, match=f"clip 'c1', frame 2: its {what}"):
        rows.check()
    getattr(rows, next(iter(setting)))[6] = False
    rows.check()  # rows that are not called valid may hold anything


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": np.ones(4, bool)}, "Rows.features: expected 4 rows"),
        ({"features": np.zeros(5, np.float16)}, r"features \(R, D\)"),
        ({"clip_starts": np.array([0, 4])}, "clip_starts"),
        ({"clip_starts": np.array([0, 4, 3, 5]), "clip_ids": ("a", "b", "c")}, "clip_starts"),
        ({"frame_index": np.array([0, 1, 3, 4, 5])}, "Jumps at clip 'c0', frame 3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    rows = table([5])
    fields = {name: getattr(rows, name) for name in rows.__dataclass_fields__}
    with pytest.raises(RecordError, match=message):
        Rows(**fields | changes)


@pytest.mark.parametrize(
    "setting", [{"length": 0}, {"stride": 0}, {"gaps": "keep"}, {"target": "first"}, {"labelled": "none"}]
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        WindowConfig(**setting)
