"""One window per clip: which rows it takes, where its prediction stands, and what is padding."""

from dataclasses import replace

import numpy as np
import pytest

from emopipe.errors import ConfigError, RecordError
from emopipe.models.clip_windows import sampled
from emopipe.models.rows import Rows
from emopipe.models.windows import (
    NONE,
    SHORT,
    WINDOW,
    WindowConfig,
    clips_without_window,
    hold_index,
    plan_windows,
    prediction_plan,
)

LENGTHS = (40, 5, 0, 12, 7, 3)
FACELESS, UNLABELLED = 4, 5  # numbers of clips
SAMPLINGS = ("uniform", "all", "random", "motion")


def table(lengths=LENGTHS, seed=0, share_valid=0.7) -> Rows:
    """Clips with one label each; one has no face and one no label."""
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    num_rows = int(starts[-1])
    valid = random.random(num_rows) < share_valid
    labels = np.repeat(random.random((len(lengths), 3)), lengths, axis=0).astype(np.float32)
    if len(lengths) > UNLABELLED:
        valid[starts[FACELESS] : starts[FACELESS + 1]] = False
        labels[starts[UNLABELLED] :] = np.nan
        valid[starts[UNLABELLED]] = True
        valid[starts[1] - 1] = False  # the last row of the first clip
    frames = np.concatenate([np.arange(length) for length in lengths])
    return Rows(
        features=random.standard_normal((num_rows, 2)).astype(np.float32),
        valid=valid,
        labels=labels,
        label_valid=np.isfinite(labels).all(axis=1),
        clip_starts=starts,
        frame_index=frames,
        clip_ids=tuple(f"c{number}" for number in range(len(lengths))),
        motion=np.where(frames == 0, np.nan, random.exponential(size=num_rows)),
    )


def config(length=8, sampling="uniform", gaps="drop"):
    return WindowConfig(length, gaps=gaps, target="clip", sampling=sampling)


@pytest.mark.parametrize("length", [1, 2, 16, 32])
def test_uniform_takes_both_ends_and_even_steps_between(length):
    for num_rows in range(1, 200):
        places = sampled(num_rows, length, "uniform")
        assert places.tolist() == [round(place) for place in np.linspace(0, num_rows - 1, length).tolist()]
        if length > 1:
            assert (places[0], places[-1]) == (0, num_rows - 1)
            assert np.ptp(np.diff(places)) <= 1
        if num_rows < length:
            assert set(places.tolist()) == set(range(num_rows))


def test_all_takes_the_first_rows_and_pads_at_the_right():
    assert sampled(3, 5, "all").tolist() == [0, 1, 2, -1, -1]
    assert sampled(5, 5, "all").tolist() == sampled(50, 5, "all").tolist() == [0, 1, 2, 3, 4]


def test_random_draws_without_repetition_and_always_the_same():
    for num_rows in (8, 9, 100):
        places = sampled(num_rows, 8, "random")
        assert places.tolist() == sorted(set(places.tolist()))
        np.testing.assert_array_equal(places, sampled(num_rows, 8, "random"))
    assert places.tolist() != sampled(100, 8, "uniform").tolist()
    drawn = np.concatenate([sampled(num_rows, 8, "random") / num_rows for num_rows in range(100, 500)])
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert sampled(3, 5, "random").tolist() == [0, 0, 1, 2, 2]


def test_motion_looks_often_where_the_face_moves():
    motion = np.zeros(100)
    motion[0], motion[40:60], motion[70] = np.nan, 1.0, np.inf
    places = sampled(100, 11, "motion", motion)
    assert places.tolist() == [0, *range(41, 60, 2)]
    np.testing.assert_array_equal(sampled(100, 11, "motion", motion * 1e-6), places)  # whatever the unit
    np.testing.assert_array_equal(sampled(100, 11, "motion", np.ones(100)), sampled(100, 11, "uniform"))
    np.testing.assert_array_equal(sampled(100, 11, "motion", np.zeros(100)), sampled(100, 11, "uniform"))
    before = np.zeros(100)
    before[0] = 5  # the way to the first row is none of the clip
    np.testing.assert_array_equal(sampled(100, 11, "motion", before), sampled(100, 11, "uniform"))


@pytest.mark.parametrize("gaps", ["drop", "hold"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_clip_is_one_window_of_its_own_rows(gaps, sampling):
    rows = table()
    plan = plan_windows(rows, config(sampling=sampling, gaps=gaps))
    begins, ends = rows.clip_starts[:-1], rows.clip_starts[1:]
    clips = [0, 1, 3]
    assert clips_without_window(rows, plan).tolist() == [2, FACELESS, UNLABELLED]
    assert len(plan) == len(clips)
    for number, clip in enumerate(clips):
        valid = begins[clip] + np.flatnonzero(rows.valid[begins[clip] : ends[clip]])
        assert plan.target_rows[number] == valid[-1]
        candidates = valid if gaps == "drop" else np.arange(begins[clip], ends[clip])
        places = sampled(len(candidates), 8, sampling, rows.motion[candidates])
        own = plan.own_rows(np.array([number]))[0]
        np.testing.assert_array_equal(own[places >= 0], candidates[places[places >= 0]])
        assert (own[places < 0] == -1).all()
    taken = plan.rows(np.arange(len(plan)))
    assert rows.valid[taken[taken >= 0]].all()


def test_held_rows_repeat_the_last_face_without_weight():
    rows = table()
    plan = plan_windows(rows, config(32, gaps="hold"))
    numbers = np.arange(len(plan))
    own, held = plan.own_rows(numbers), plan.rows(numbers)
    np.testing.assert_array_equal(held, hold_index(rows)[own])
    assert (held != own).any()
    np.testing.assert_array_equal(plan.weights(numbers), rows.valid[own].astype(np.float32))
    assert plan.mask(numbers).all()
    assert not plan.padded


def test_a_window_that_sees_nothing_is_left_out():
    rows = table((12,))
    rows.valid[:] = np.arange(12) >= 6
    assert len(plan_windows(rows, config(4, "all", "hold"))) == 0
    assert len(plan_windows(rows, config(4, "all", "drop"))) == 1
    assert plan_windows(rows, config(8, "all", "hold")).rows(np.array([0])).tolist() == [[-1] * 6 + [6, 7]]


def test_only_all_pads_and_only_clips_that_are_too_short():
    rows = table((40, 5), share_valid=1.1)
    for sampling in SAMPLINGS:
        plan = plan_windows(rows, config(8, sampling))
        assert plan.mask(np.array([0, 1])).sum(axis=1).tolist() == [8, 5 if sampling == "all" else 8]
        assert plan.padded == (sampling == "all")


@pytest.mark.parametrize("gaps", ["drop", "hold"])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_prediction_sees_what_training_saw_and_unlabelled_clips_too(gaps, sampling):
    rows, chosen = table(), config(sampling=sampling, gaps=gaps)
    trained, prediction = plan_windows(rows, chosen), prediction_plan(rows, chosen)
    assert clips_without_window(rows, prediction.plan).tolist() == [2, FACELESS]
    np.testing.assert_array_equal(prediction.plan.table[: len(trained)], trained.table)
    np.testing.assert_array_equal(prediction.plan.target_rows[: len(trained)], trained.target_rows)
    is_full = prediction.plan.table[:, -1] >= 0
    expected = np.full(len(rows), NONE)
    expected[prediction.plan.target_rows] = np.where(is_full, WINDOW, SHORT)
    np.testing.assert_array_equal(prediction.how, expected)
    assert (prediction.how == SHORT).any() == (sampling == "all")


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_clip_is_sampled_alike_alone_and_among_others(sampling):
    rows = table()
    together = plan_windows(rows, config(sampling=sampling)).table[2]
    start, stop = rows.clip_starts[3:5]
    part = slice(start, stop)
    alone = Rows(
        rows.features[part], rows.valid[part], rows.labels[part], rows.label_valid[part], np.array([0, stop - start]),
        rows.frame_index[part], ("c3",), rows.motion[part],
    )  # fmt: skip
    found = plan_windows(alone, config(sampling=sampling)).table[0]
    np.testing.assert_array_equal(np.where(found >= 0, found + start, -1), together)


def test_motion_that_nobody_measured_is_one_message():
    rows = replace(table(), motion=None)
    for make in (plan_windows, prediction_plan):
        with pytest.raises(ConfigError, match='sampling "motion": expected rows that know') as caught:
            make(rows, config(sampling="motion"))
    assert len(str(caught.value).splitlines()) <= 3
    assert len(plan_windows(rows, config())) == 3


def test_a_table_without_clips_has_no_window():
    rows = table((0,))
    for sampling in SAMPLINGS:
        assert len(plan_windows(rows, config(sampling=sampling))) == 0
        assert len(prediction_plan(rows, config(sampling=sampling)).plan) == 0


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r"WindowConfig\.sampling: expected one of uniform, all, random, motion"):
        WindowConfig(sampling="first")
    with pytest.raises(RecordError, match=r"Rows\.motion: expected shape \(67,\)"):
        replace(table(), motion=np.zeros(3))
