"""From frames to clips, against numbers worked out by hand."""

import json

import numpy as np

from emopipe.config import to_dict
from emopipe.metrics import concordance
from emopipe.models.rows import Rows
from emopipe.models.windows import NONE, SHORT, WINDOW, WindowConfig, prediction_plan
from emopipe.stages.clip_values import (
    MEDIAN_SIZES,
    SMOOTHING_SIZES,
    FrameValues,
    PostProcessing,
    clip_labels,
    clip_values,
    fit_postprocessing,
    frame_values,
    from_settings,
    smoothed,
)

TARGETS = ("valence", "arousal")
TILES = WindowConfig(3, gaps="hold", target="every")


def table(lengths, names=(), invalid=(), labels=None) -> Rows:
    """Clips of these lengths; their one label each stands in all of their rows."""
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    valid = np.ones(starts[-1], bool)
    valid[list(invalid)] = False
    labels = np.zeros((len(lengths), 2)) if labels is None else np.asarray(labels)
    of_rows = np.repeat(labels, lengths, axis=0).astype(np.float32)
    names = tuple(names) or tuple(f"v/c{number}" for number in range(len(lengths)))
    frames = np.concatenate([np.arange(length) for length in lengths])
    return Rows(
        np.zeros((len(valid), 1), np.float32), valid, of_rows, np.isfinite(of_rows).all(axis=1), starts, frames, names
    )


def predicted(rows, *columns, window=TILES, targets=TARGETS) -> FrameValues:
    """Frame values of a head that predicts these numbers at the rows that it can predict."""
    values = np.stack(columns or [np.zeros(len(rows))] * 2, axis=1).astype(float)
    how = prediction_plan(rows, window).how if window is not None else np.where(rows.valid, WINDOW, NONE)
    values[how == NONE] = np.nan
    return frame_values(rows, values, how, window, targets)


def test_rows_count_in_the_sequence_of_their_window():
    rows = table([7, 2], invalid=[1, 8])
    assert predicted(rows).sequence.tolist() == [0, -1, 0, 1, 1, 1, 2, 3, -1]
    assert predicted(rows, window=WindowConfig(3, gaps="hold")).sequence.tolist() == [0, -1, 0, 0, 0, 0, 0, 1, -1]
    assert predicted(rows, window=None).sequence.tolist() == [0, -1, 0, 0, 0, 0, 0, 1, -1]
    drop = WindowConfig(3, target="every")  # a gap ends a sequence
    assert predicted(rows, window=drop).sequence.tolist() == [0, -1, 1, 1, 1, 2, 2, 3, -1]


def test_a_row_without_a_prediction_counts_nowhere():
    rows = table([4])
    how = np.array([NONE, SHORT, WINDOW, NONE], np.uint8)
    values = np.array([[np.nan], [2.0], [4.0], [np.nan]])
    found = frame_values(rows, values, how, None, ("valence",))
    assert found.sequence.tolist() == [-1, 0, 0, -1]
    assert clip_values(found, "mean").tolist() == [[3.0]]


def test_median_or_mean_of_a_sequence_and_the_mean_of_sequences():
    rows = table([7, 2])
    valence = [0, 0, 9, 1, 2, 6, 5, 0.2, 0.4]
    found = predicted(rows, valence, -np.array(valence))
    median = [(0 + 2 + 5) / 3, 0.3]
    mean = [(3 + 3 + 5) / 3, 0.3]
    np.testing.assert_allclose(clip_values(found, "median"), np.stack([median, np.negative(median)], axis=1))
    np.testing.assert_allclose(clip_values(found, "mean"), np.stack([mean, np.negative(mean)], axis=1))


def test_frames_without_a_face_are_left_out_and_a_clip_without_any_has_no_value():
    lost = [1, 4, 8]  # 3 of the first 10 frames
    rows = table([10, 4], invalid=[*lost, 10, 11, 12, 13])
    valence = np.where(np.isin(np.arange(14), lost), 100.0, np.arange(14))
    values = clip_values(predicted(rows, valence, valence), "mean")
    np.testing.assert_allclose(values[0], [(1 + 4 + 6.5 + 9) / 4] * 2)  # 0 2, 3 5, 6 7, 9
    assert np.isnan(values[1]).all()
    nobody = table([3], invalid=[0, 1, 2])
    assert np.isnan(clip_values(predicted(nobody), "median")).all()


def test_the_median_filter_stays_within_its_sequence_and_its_target():
    rows = table([5])
    window = WindowConfig(5, gaps="hold", target="every")
    found = predicted(rows, [0, 8, 1, 2, 9], [0, 8, 1, 2, 9], window=window)
    # filtered with 3, the ends repeated: 0 1 2 2 9
    filtered = clip_values(found, "mean", PostProcessing({"valence": 3}))
    np.testing.assert_allclose(filtered, [[14 / 5, 20 / 5]])
    two = predicted(table([6]), [0, 8, 1, 2, 9, 0], np.zeros(6))
    # of 0 8 1 it makes 0 1 1, of 2 9 0 it makes 2 2 0; across the border it would make 0 1 2 2 2 0
    np.testing.assert_allclose(clip_values(two, "mean", PostProcessing({"valence": 3}))[0, 0], (2 / 3 + 4 / 3) / 2)


def test_smoothing_goes_over_the_clips_of_one_video_in_their_natural_order():
    names = ["a/utterance_10", "a/utterance_9", "b/utterance_1", "a/utterance_11", "b/utterance_2", "x1", "x2"]
    column = np.array([3.0, 0.0, 100.0, 9.0, 200.0, 7.0, 8.0])
    # a: 9, 10, 11 -> 0 3 9; b: 1, 2 -> 100 200; names without a video stay
    np.testing.assert_allclose(smoothed(column, names, 3), [4, 1.5, 150, 6, 150, 7, 8])
    np.testing.assert_allclose(smoothed(column, names, 7), [4, 4, 150, 4, 150, 7, 8])
    assert smoothed(column, names, 1).tolist() == column.tolist()
    assert column.tolist() == [3, 0, 100, 9, 200, 7, 8]


def test_clips_without_a_prediction_are_stepped_over_and_stay_without():
    names = [f"a/{number}" for number in range(4)]
    found = smoothed(np.array([0.0, np.nan, 4.0, 8.0]), names, 3)
    np.testing.assert_allclose(found, [2, np.nan, 4, 6])


def test_names_of_any_kind_can_be_ordered():
    names = ["a/2x", "a/x2", "a/10", "a/x", "a/\u00b2", "a/7\u00b27"]
    assert np.isfinite(smoothed(np.arange(6.0), names, 3)).all()


def test_smoothing_comes_after_the_sequences_are_one_value():
    rows = table([3, 3], names=["a/1", "a/2"])
    found = predicted(rows, [0, 0, 3, 1, 5, 5], np.zeros(6))
    chain = PostProcessing({"valence": 1, "arousal": 1}, {"valence": 3, "arousal": 1})
    np.testing.assert_allclose(clip_values(found, "median", chain)[:, 0], [2.5, 2.5])
    np.testing.assert_allclose(clip_values(found, "median", None)[:, 0], [0, 5])


def test_labels_are_the_first_row_of_each_clip():
    rows = table([3, 2], labels=[[0.5, 0.25], [np.nan, np.nan]])
    np.testing.assert_array_equal(clip_labels(rows), np.array([[0.5, 0.25], [np.nan, np.nan]]))
    empty = table([3, 0, 2], labels=[[0.5, 0.25], [0, 0], [1, 1]])
    np.testing.assert_array_equal(clip_labels(empty), np.array([[0.5, 0.25], [np.nan, np.nan], [1, 1]]))


def noisy(num_clips=30, length=9, spikes=0.0, wander=0.0, seed=0):
    """Labels that drift slowly from clip to clip, and predictions of frames that are spoilt for valence only."""
    random = np.random.default_rng(seed)
    labels = np.stack([np.sin(np.arange(num_clips) / 5), np.cos(np.arange(num_clips) / 5)], axis=1)
    rows = table([length] * num_clips, names=[f"v/utterance_{number}" for number in range(num_clips)], labels=labels)
    valence, arousal = rows.labels.T.astype(float)
    is_spike = random.random(len(rows)) < spikes
    valence = valence + 40 * is_spike * random.choice([-1, 1], len(rows))
    valence += wander * np.repeat(random.standard_normal(num_clips), length)
    window = WindowConfig(length, gaps="hold", target="every")
    return predicted(rows, valence, arousal, window=window), labels


def ccc_of(found, labels, reduce, chain=None):
    values = clip_values(found, reduce, chain)
    return [concordance(labels[:, number], values[:, number]) for number in (0, 1)]


def test_a_step_is_kept_for_the_target_that_it_helps():
    found, labels = noisy(spikes=0.08)
    chain = fit_postprocessing(found, labels, "mean")
    assert chain.median["valence"] in MEDIAN_SIZES
    assert chain.median["arousal"] == chain.smoothing["arousal"] == 1
    assert ccc_of(found, labels, "mean", chain)[0] > ccc_of(found, labels, "mean")[0] + 0.1
    assert str(chain).startswith(f"median valence {chain.median['valence']}")


def test_smoothing_is_kept_where_neighbours_know_more():
    found, labels = noisy(wander=0.8)
    chain = fit_postprocessing(found, labels, "median")
    assert chain.smoothing["valence"] > 1
    assert chain.smoothing["arousal"] == 1
    assert chain.median == {"valence": 1, "arousal": 1}  # within a clip nothing differs
    assert ccc_of(found, labels, "median", chain)[0] > ccc_of(found, labels, "median")[0] + 0.02


def test_nothing_is_done_to_what_is_right_already():
    found, labels = noisy()
    chain = fit_postprocessing(found, labels, "median")
    assert {*chain.median.values(), *chain.smoothing.values()} == {1}
    assert str(chain) == "none"


def test_the_chosen_sizes_are_the_best_of_those_offered():
    """Smoothing is judged on what the median filter leaves."""
    for seed in range(12):
        found, labels = noisy(spikes=0.15, wander=0.1, seed=seed)
        chain = fit_postprocessing(found, labels, "mean")
        best = ccc_of(found, labels, "mean", PostProcessing(chain.median))[0]
        for size in (1, *MEDIAN_SIZES):
            assert ccc_of(found, labels, "mean", PostProcessing({"valence": size}))[0] <= best
        final = ccc_of(found, labels, "mean", chain)[0]
        for size in (1, *SMOOTHING_SIZES):
            assert ccc_of(found, labels, "mean", PostProcessing(chain.median, {"valence": size}))[0] <= final


def test_clips_without_a_label_or_a_face_have_no_say_in_the_sizes():
    found, labels = noisy(spikes=0.08)
    expected = fit_postprocessing(found, labels, "mean")
    more = table(
        [9] * 32, names=[*found.clip_ids, "w/1", "w/2"], labels=[*labels, [np.nan] * 2, [0, 0]], invalid=range(279, 288)
    )
    columns = np.vstack([found.values, np.full((18, 2), 50.0)]).T
    window = WindowConfig(9, gaps="hold", target="every")
    assert fit_postprocessing(predicted(more, *columns, window=window), clip_labels(more), "mean") == expected


def test_it_survives_the_way_through_run_json():
    chain = PostProcessing({"valence": 81, "arousal": 3}, {"valence": 5, "arousal": 1})
    assert from_settings(json.loads(json.dumps(to_dict(chain)))) == chain
    assert from_settings(None) is None
    assert str(chain) == "median valence 81, median arousal 3, smoothing valence 5"
