"""Errors in the four parts of the valence-arousal plane: where its borders run, what counts, what is undefined."""

import warnings

import numpy as np
import pytest

from emopipe.bootstrap import UndefinedMetricWarning
from emopipe.errors import MetricError
from emopipe.metrics import REGIONS, region_scores, regression_scores

TARGETS = ("valence", "arousal")
PARTS = REGIONS[:-1]


def corpus(num_clips=15, seed=0, lowest_arousal=0.0):
    generator = np.random.default_rng(seed)
    clip = np.repeat(np.arange(num_clips), generator.integers(4, 12, num_clips))
    truth = np.column_stack([generator.uniform(-1, 1, len(clip)), generator.uniform(lowest_arousal, 1, len(clip))])
    return truth, truth + generator.normal(0, 0.3, truth.shape), clip


def by_name(scores):
    return {(score.metric.removeprefix("mse_"), score.target): score for score in scores}


def rows_of(truth):
    """Region -> mask, as the paper's Table 7 prints the borders."""
    valence, arousal = truth.T
    return {
        "positive_low": (valence >= 0) & (valence <= 1) & (arousal >= 0) & (arousal < 0.5),
        "positive_high": (valence >= 0) & (valence <= 1) & (arousal >= 0.5) & (arousal <= 1),
        "negative_low": (valence >= -1) & (valence < 0) & (arousal >= 0) & (arousal < 0.5),
        "negative_high": (valence >= -1) & (valence < 0) & (arousal >= 0.5) & (arousal <= 1),
        "overall": np.ones(len(truth), bool),
    }


def test_equal_the_error_of_the_rows_of_each_region():
    truth, prediction, clip = corpus()
    scores = region_scores(truth, prediction, TARGETS, clip)
    assert [(score.metric, score.target) for score in scores] == [
        (f"mse_{region}", target) for region in REGIONS for target in TARGETS
    ]
    for (region, target), score in by_name(scores).items():
        rows, k = rows_of(truth)[region], TARGETS.index(target)
        assert score.value == pytest.approx(((truth - prediction)[rows, k] ** 2).mean(), abs=1e-12)
        assert (score.num_rows, score.num_clips) == (rows.sum(), len(set(clip[rows])))
        assert score.low < score.value < score.high
    plain = {(score.metric, score.target): score for score in regression_scores(truth, prediction, TARGETS, clip)}
    for target in TARGETS:
        overall, mse = by_name(scores)["overall", target], plain["mse", target]
        assert (overall.value, overall.low, overall.high) == pytest.approx((mse.value, mse.low, mse.high), abs=1e-10)


@pytest.mark.parametrize(
    ("valence", "arousal", "region"),
    [
        (0.0, 0.0, "positive_low"),
        (1.0, 0.49999, "positive_low"),
        (0.0, 0.5, "positive_high"),
        (-0.00001, 0.0, "negative_low"),
        (-1.0, 0.5, "negative_high"),
        (-1.0, 1.0, "negative_high"),
    ],
)
@pytest.mark.filterwarnings("ignore::emopipe.bootstrap.UndefinedMetricWarning")
def test_borders_belong_to_one_side(valence, arousal, region):
    scores = by_name(region_scores([[valence, arousal]], [[-valence - 0.3, 0.1]], TARGETS, ["a"], num_bootstrap=0))
    assert {name for name in PARTS if scores[name, "valence"].num_rows} == {region}


def test_labels_decide_and_not_predictions():
    truth, prediction, clip = corpus()
    moved = region_scores(truth, prediction - 5, TARGETS, clip, num_bootstrap=0)
    kept = region_scores(truth, prediction, TARGETS, clip, num_bootstrap=0)
    assert [score.num_rows for score in moved] == [score.num_rows for score in kept]


def test_the_order_of_the_targets_is_theirs():
    truth, prediction, clip = corpus()
    one = by_name(region_scores(truth, prediction, TARGETS, clip))
    other = by_name(region_scores(truth[:, ::-1], prediction[:, ::-1], TARGETS[::-1], clip))
    assert one == other


def test_intervals_equal_a_bootstrap_written_out():
    truth, prediction, clip = corpus(num_clips=6)
    scores = by_name(region_scores(truth, prediction, TARGETS, clip, num_bootstrap=50, seed=3))
    generator = np.random.default_rng(3)
    draws = [
        np.concatenate([np.flatnonzero(clip == number) for number in generator.integers(6, size=6)]) for _ in range(50)
    ]
    for region, inside in rows_of(truth).items():
        drawn = [((truth - prediction)[rows[inside[rows]], 1] ** 2).mean() for rows in draws if inside[rows].any()]
        score = scores[region, "arousal"]
        assert (score.low, score.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=1e-10)


def test_a_draw_without_the_region_is_left_out():
    truth = np.array([[0.5, 0.2], [0.5, 0.3], [-0.5, 0.8], [-0.5, 0.9], [0.5, 0.8], [-0.5, 0.1]])
    clip = np.array([0, 1, 2, 3, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = by_name(region_scores(truth, truth + 0.5, TARGETS, clip, num_bootstrap=300))
    # Of four draws of four clips a sixteenth lacks both 2 and 3; the error is the same in all others.
    assert (scores["negative_high", "valence"].low, scores["negative_high", "valence"].high) == (0.25, 0.25)
    alone = scores["positive_high", "valence"]
    assert (alone.value, alone.num_clips) == (0.25, 1)
    assert np.isnan([alone.low, alone.high]).all(), "one clip has no interval"


def test_an_empty_region_is_nan_with_a_warning():
    truth, prediction, clip = corpus()
    keep = (truth[:, 0] >= 0) | (truth[:, 1] < 0.5)
    with pytest.warns(UndefinedMetricWarning, match="mse undefined in negative_high: no row") as caught:
        scores = by_name(region_scores(truth[keep], prediction[keep], TARGETS, clip[keep]))
    assert len(caught) == 1
    for target in TARGETS:
        score = scores["negative_high", target]
        assert np.isnan([score.value, score.low, score.high]).all()
        assert (score.num_rows, score.num_clips) == (0, 0)
    assert np.isfinite(scores["overall", "valence"].value)


def test_arousal_below_0_is_in_no_region_and_is_counted():
    truth, prediction, clip = corpus(lowest_arousal=-1.0)
    num_below = int((truth[:, 1] < 0).sum())
    assert num_below > 10
    with pytest.warns(UndefinedMetricWarning, match=f"for {num_below} of {len(truth)} rows.*mse_overall alone"):
        scores = by_name(region_scores(truth, prediction, TARGETS, clip))
    assert sum(scores[region, "valence"].num_rows for region in PARTS) == len(truth) - num_below
    assert scores["overall", "valence"].num_rows == len(truth)
    low = rows_of(truth)["negative_low"]
    assert scores["negative_low", "valence"].value == pytest.approx(((truth - prediction)[low, 0] ** 2).mean())


def test_what_has_no_plane_is_refused():
    truth, prediction, clip = corpus()
    with pytest.raises(MetricError, match="targets valence and arousal. Received: valence, dominance"):
        region_scores(truth, prediction, ("valence", "dominance"), clip)
    with pytest.raises(MetricError, match="same shape"):
        region_scores(truth, prediction[:-1], TARGETS, clip)
