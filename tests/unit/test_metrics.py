"""Scores of numbers, against a second derivation, against rows computed by hand, and where they are undefined."""

import warnings

import audmetric
import numpy as np
import pytest
from sklearn.metrics import mean_squared_error, root_mean_squared_error

from emopipe.bootstrap import UndefinedMetricWarning
from emopipe.errors import MetricError
from emopipe.metrics import (
    METRICS,
    batch_mean_concordance,
    concordance,
    mse,
    pearson,
    per_clip_scores,
    regression_scores,
    rmse,
    sign_agreement,
)

ROUNDING = 1e-12  # float64 sums of some thousand terms
TARGETS = ("valence", "arousal")


def pair(seed: int, num_rows: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.uniform(-1, 1, num_rows)
    return truth, 0.6 * truth + 0.1 + generator.normal(0, 0.3, num_rows)


def corpus(seed: int = 0, num_clips: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips of different lengths: truth (N, 2), prediction (N, 2), clip of each row."""
    generator = np.random.default_rng(seed)
    clip = np.repeat(np.arange(num_clips), generator.integers(5, 60, num_clips))
    truth = generator.normal(0, 0.4, (num_clips, 2))[clip] + generator.normal(0, 0.1, (len(clip), 2))
    return truth, 0.5 * truth + generator.normal(0, 0.2, truth.shape), clip


def by_name(scores):
    return {(score.metric, score.target): score for score in scores}


@pytest.mark.parametrize("seed", range(5))
def test_agree_with_other_implementations(seed):
    truth, prediction = pair(seed)
    assert concordance(truth, prediction) == pytest.approx(audmetric.concordance_cc(truth, prediction), abs=ROUNDING)
    assert pearson(truth, prediction) == pytest.approx(audmetric.pearson_cc(truth, prediction), abs=ROUNDING)
    assert mse(truth, prediction) == pytest.approx(mean_squared_error(truth, prediction), abs=ROUNDING)
    assert rmse(truth, prediction) == pytest.approx(root_mean_squared_error(truth, prediction), abs=ROUNDING)


def test_rows_computed_by_hand():
    truth, prediction = [-1.0, 0.0, 1.0, 0.0], [-0.5, 0.0, 1.0, 0.5]
    # means 0 and 1/4; variances 1/2 and 5/16; covariance 3/8; errors 1/2, 0, 0, 1/2.
    assert concordance(truth, prediction) == pytest.approx(0.75 / (0.5 + 0.3125 + 0.0625))
    assert pearson(truth, prediction) == pytest.approx(0.375 / np.sqrt(0.5 * 0.3125))
    assert mse(truth, prediction) == pytest.approx(0.125)
    assert rmse(truth, prediction) == pytest.approx(0.125**0.5)
    assert sign_agreement(truth, prediction) == pytest.approx(0.75)  # 0 and 0.5 do not agree


def test_consistency_of_the_concordance():
    x = pair(0)[0]
    x = x - x.mean()
    variance = x.var()
    assert concordance(x, x) == pytest.approx(1, abs=ROUNDING)
    assert concordance(x, -x) == pytest.approx(-1, abs=ROUNDING)
    for offset in (0.3, -2.0):
        expected = 2 * variance / (2 * variance + offset**2)
        assert concordance(x, x + offset) == pytest.approx(expected, abs=ROUNDING)
    for factor in (0.5, 3.0, -2.0):
        assert concordance(x, factor * x) == pytest.approx(2 * factor / (1 + factor**2), abs=ROUNDING)


def test_moments_are_of_the_population():
    # With N - 1 in some places and N in others, two rows would show it most.
    assert concordance([0, 1], [0.5, 1.5]) == pytest.approx(2 * 0.25 / (0.25 + 0.25 + 0.25))


def test_a_large_offset_loses_no_digits():
    truth, prediction = pair(1)
    assert concordance(truth + 1e6, prediction + 1e6) == pytest.approx(concordance(truth, prediction), abs=1e-8)
    small = concordance(0.5 + 1e-7 * truth, 0.5 + 1e-7 * prediction)
    assert small == pytest.approx(concordance(truth, prediction), abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -0.7])
@pytest.mark.parametrize("other", [0.1, 0.3])
def test_both_constant_is_zero_with_a_warning(value, other):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.warns(UndefinedMetricWarning, match="ccc undefined.*constant; counts as 0"):
            assert concordance(np.full(7, value), np.full(7, other)) == 0.0


def test_one_constant():
    varied = np.linspace(-1, 1, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert concordance(varied, np.full(9, 0.1)) == 0.0  # defined: covariance 0, variance not
        assert concordance(np.full(9, 0.1), varied) == 0.0
    with pytest.warns(UndefinedMetricWarning, match="pearson"):
        assert pearson(varied, np.full(9, 0.1)) == 0.0
    with pytest.warns(UndefinedMetricWarning, match="pearson"):
        assert pearson(np.full(9, 0.1), varied) == 0.0


def test_a_single_row():
    with pytest.warns(UndefinedMetricWarning):
        assert concordance([0.2], [0.2]) == 0.0
    assert mse([0.2], [0.5]) == pytest.approx(0.09)


@pytest.mark.parametrize("name", METRICS)
def test_refuse_what_cannot_be_scored(name):
    function = METRICS[name].function
    with pytest.raises(MetricError, match=r"truth, row 1: expected finite numbers\. Received: nan"):
        function([0.0, np.nan], [0.0, 1.0])
    with pytest.raises(MetricError, match="prediction, row 0.*inf"):
        function([0.0, 1.0], [np.inf, 1.0])
    with pytest.raises(MetricError, match=r"same shape.*\(2,\) and \(3,\)"):
        function([0.0, 1.0], [0.0, 1.0, 2.0])
    with pytest.raises(MetricError, match=r"same shape \(N\)"):
        function(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(MetricError, match="at least one row"):
        function([], [])


def test_direction_belongs_to_the_metric():
    truth = pair(0)[0]
    generator = np.random.default_rng(0)
    near, far = truth + generator.normal(0, 0.05, len(truth)), truth + generator.normal(0, 0.8, len(truth))
    for function, higher_is_better in METRICS.values():
        assert (function(truth, near) > function(truth, far)) == higher_is_better


def test_scores_are_global_and_not_means_over_clips():
    truth, prediction, clip = corpus()
    scores = by_name(regression_scores(truth, prediction, TARGETS, clip, num_bootstrap=0))
    for metric, (function, _) in METRICS.items():
        for k, target in enumerate(TARGETS):
            score = scores[metric, target]
            assert score.value == pytest.approx(function(truth[:, k], prediction[:, k]), abs=ROUNDING)
            assert (score.num_rows, score.num_clips) == (len(truth), 12)
    for metric in ("ccc", "pearson"):
        parts = [scores[metric, target].value for target in TARGETS]
        assert scores[metric, "mean"].value == pytest.approx(np.mean(parts), abs=ROUNDING)
    assert ("mse", "mean") not in scores


def test_the_order_of_rows_and_the_kind_of_clip_id_do_not_matter():
    truth, prediction, clip = corpus()
    order = np.random.default_rng(3).permutation(len(clip))
    names = np.array([f"clip-{number:03d}" for number in clip])
    first = regression_scores(truth, prediction, TARGETS, clip, num_bootstrap=50)
    second = regression_scores(truth[order], prediction[order], TARGETS, names[order], num_bootstrap=50)
    for one, other in zip(first, second, strict=True):
        assert (one.metric, one.target) == (other.metric, other.target)
        np.testing.assert_allclose([one.value, one.low, one.high], [other.value, other.low, other.high], atol=1e-10)


def test_intervals_equal_a_bootstrap_written_out():
    truth, prediction, clip = corpus(num_clips=6)
    scores = by_name(regression_scores(truth, prediction, TARGETS, clip, num_bootstrap=40, seed=5))
    generator = np.random.default_rng(5)
    drawn = []
    for _ in range(40):
        chosen = generator.integers(6, size=6)
        rows = np.concatenate([np.flatnonzero(clip == number) for number in chosen])
        drawn.append([audmetric.concordance_cc(truth[rows, k], prediction[rows, k]) for k in range(2)])
    drawn = np.column_stack([drawn, np.mean(drawn, axis=1)])
    for k, target in enumerate([*TARGETS, "mean"]):
        low, high = np.percentile(drawn[:, k], [2.5, 97.5])
        assert (scores["ccc", target].low, scores["ccc", target].high) == pytest.approx((low, high), abs=1e-10)


def test_no_interval_without_draws_or_with_one_clip():
    truth, prediction, clip = corpus()
    for scores in (
        regression_scores(truth, prediction, TARGETS, clip, num_bootstrap=0),
        regression_scores(truth, prediction, TARGETS, np.zeros(len(clip), int), num_bootstrap=10),
    ):
        assert np.isnan([[score.low, score.high] for score in scores]).all()


def test_a_constant_target_is_named():
    truth, prediction, clip = corpus()
    truth[:, 1] = 0.3
    with pytest.warns(UndefinedMetricWarning, match="pearson of arousal"):
        scores = by_name(regression_scores(truth, prediction, TARGETS, clip, num_bootstrap=20))
    assert [scores["pearson", "arousal"].value, scores["ccc", "arousal"].value] == [0.0, 0.0]
    assert scores["ccc", "arousal"].low == scores["ccc", "arousal"].high == 0.0
    assert scores["ccc", "mean"].value == pytest.approx(scores["ccc", "valence"].value / 2)


def test_draws_of_constant_clips_count_zero():
    truth = np.repeat([[0.1], [0.37], [0.9]], 7, axis=0)
    clip = np.repeat([0, 1, 2], 7)
    score = by_name(regression_scores(truth, truth, ("valence",), clip, num_bootstrap=400))["ccc", "valence"]
    # A ninth of the draws takes one clip three times; what rounding leaves of its variance is not agreement.
    assert (score.value, score.low, score.high) == pytest.approx((1.0, 0.0, 1.0))


def test_per_clip():
    truth, prediction, clip = corpus()
    result = per_clip_scores(truth, prediction, TARGETS, clip)
    assert list(result) == list(range(12))
    for number, scores in result.items():
        rows = clip == number
        for score in scores:
            if score.target == "mean":
                continue
            k = TARGETS.index(score.target)
            expected = METRICS[score.metric].function(truth[rows, k], prediction[rows, k])
            assert score.value == pytest.approx(expected, abs=ROUNDING)
            assert (score.num_rows, score.num_clips) == (rows.sum(), 1)
            assert np.isnan([score.low, score.high]).all()


def test_per_clip_warns_once_of_constant_clips():
    truth, prediction, clip = corpus()
    truth[clip == 3] = prediction[clip == 3] = 0.2
    with pytest.warns(UndefinedMetricWarning, match="ccc of valence in clip 3 and 3 more undefined") as caught:
        result = per_clip_scores(truth, prediction, TARGETS, clip)
    assert len(caught) == 1
    assert by_name(result[3])["ccc", "valence"].value == 0.0


def test_tables_are_checked():
    truth, prediction, clip = corpus()
    with pytest.raises(MetricError, match=r"same shape \(N, 3\)"):
        regression_scores(truth, prediction, ("valence", "arousal", "dominance"), clip)
    with pytest.raises(MetricError, match="one clip per row"):
        regression_scores(truth, prediction, TARGETS, clip[:-1])
    prediction[4, 1] = np.nan
    with pytest.raises(MetricError, match="prediction, row 4"):
        per_clip_scores(truth, prediction, TARGETS, clip)


def test_batch_mean_is_another_number_than_the_global_one():
    truth, prediction, _ = corpus()
    x, y = truth[:, 0], prediction[:, 0]
    parts = [audmetric.concordance_cc(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)]
    sizes = [len(x[i : i + 16]) for i in range(0, len(x), 16)]
    assert sizes[-1] < 16  # the last batch is partial, and counts
    value = batch_mean_concordance(x, y, 16)
    assert value == pytest.approx(np.average(parts, weights=sizes), abs=ROUNDING)
    assert abs(value - concordance(x, y)) > 0.05
    assert batch_mean_concordance(x, y, len(x)) == pytest.approx(concordance(x, y), abs=ROUNDING)


def test_batch_mean_counts_a_constant_batch_as_zero():
    varied = np.array([0.0, 1.0])
    joined = np.concatenate([varied, np.full(2, 0.3)])
    assert batch_mean_concordance(joined, joined, 2) == pytest.approx(0.5)
    with pytest.raises(MetricError, match="batch size"):
        batch_mean_concordance(joined, joined, 0)
