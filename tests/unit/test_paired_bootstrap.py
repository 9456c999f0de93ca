"""The paired bootstrap, against one written out, where the answer is known, and that it is the pairs that are drawn."""

import audmetric
import numpy as np
import pytest

from emopipe.bootstrap import paired_difference
from emopipe.errors import MetricError
from emopipe.metrics import METRICS, concordance, paired_bootstrap, regression_scores

NUM_CORPORA = 200
# A test at 5 % on 60 groups rejects about 6.5 %; four standard errors of a share of 200 to either side.
LEVEL = (0.01, 0.135)


def corpus(seed=0, num_groups=30, num_rows=8):
    """Truth (N, 2), a fair prediction of it, and the group of each row."""
    generator = np.random.default_rng(seed)
    group = np.repeat(np.arange(num_groups), num_rows)
    truth = generator.normal(0, 0.3, (num_groups, 2))[group] + generator.normal(0, 0.15, (len(group), 2))
    return truth, predicted(truth, group, generator), group


def predicted(truth, group, generator, noise=0.2):
    of_group = generator.normal(0, noise, (group.max() + 1, truth.shape[1]))[group]
    return 0.6 * truth + of_group + generator.normal(0, noise, truth.shape)


def test_equals_a_loop_written_out():
    truth, one, group = corpus(num_groups=7)
    other = predicted(truth, group, np.random.default_rng(9))
    found = paired_bootstrap(truth, one, other, group, num_resamples=60, seed=4)
    generator = np.random.default_rng(4)
    drawn = []
    for _ in range(60):
        rows = np.concatenate([np.flatnonzero(group == number) for number in generator.integers(7, size=7)])
        both = [
            np.mean([audmetric.concordance_cc(truth[rows, k], prediction[rows, k]) for k in range(2)])
            for prediction in (one, other)
        ]
        drawn.append(both[0] - both[1])
    drawn = np.array(drawn)
    means = [np.mean([concordance(truth[:, k], each[:, k]) for k in range(2)]) for each in (one, other)]
    assert found.difference == pytest.approx(means[0] - means[1], abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=1e-10)
    fewer = min((drawn <= 0).sum(), (drawn >= 0).sum())
    assert 0 < fewer < 30, "a p-value of 1 or the smallest one would prove little"
    assert found.p == pytest.approx(2 * (fewer + 1) / 61)


def test_of_several_corpora_the_mean_counts_and_each_is_drawn_for_itself():
    parts = [corpus(seed, num_groups=groups) for seed, groups in ((0, 7), (1, 12))]
    others = [predicted(truth, group, np.random.default_rng(9)) for truth, _, group in parts]
    alone = [
        paired_bootstrap(*part[:2], other, part[2], num_resamples=400, seed=seed)
        for part, other, seed in zip(parts, others, (4, 5), strict=True)
    ]
    truth, one, group = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    of_row = np.repeat(("a", "b"), [len(part[0]) for part in parts])  # groups of either have the same names
    found = paired_bootstrap(truth, one, np.concatenate(others), group, num_resamples=400, seed=4, corpora=of_row)
    assert found.difference == pytest.approx(np.mean([each.difference for each in alone]), abs=1e-12)
    widths = [each.high - each.low for each in alone]
    # The variance of a mean of two independent numbers.
    assert found.high - found.low == pytest.approx(np.hypot(*widths) / 2, rel=0.15)


@pytest.mark.parametrize("metric", METRICS)
def test_identical_predictions_do_not_differ(metric):
    truth, one, group = corpus()
    assert paired_bootstrap(truth, one, one, group, metric, 200) == (0, 0, 0, 1)


def test_a_clearly_better_one_has_the_smallest_p_that_the_draws_allow():
    truth, one, group = corpus()
    near = truth + np.random.default_rng(1).normal(0, 0.02, truth.shape)
    found = paired_bootstrap(truth, near, one, group, num_resamples=999)
    assert 0 < found.low < found.difference < found.high
    assert found.p == pytest.approx(2 / 1000)
    turned = paired_bootstrap(truth, one, near, group, num_resamples=999)
    assert turned == pytest.approx((-found.difference, -found.high, -found.low, found.p))


def test_a_lower_error_is_a_negative_difference():
    truth, one, group = corpus()
    found = paired_bootstrap(truth[:, 0], truth[:, 0], one[:, 0], group, "rmse", 99)
    assert found.high < 0
    assert found.difference == pytest.approx(-np.sqrt(((truth - one)[:, 0] ** 2).mean()))


def test_pairs_see_what_two_intervals_do_not():
    truth, one, group = corpus(num_groups=20)
    slightly = one + 0.1 * (truth - one)
    scores = [regression_scores(truth, each, ("valence", "arousal"), group)[2] for each in (slightly, one)]
    assert [(score.metric, score.target) for score in scores] == [("ccc", "mean")] * 2
    assert scores[0].low < scores[1].value, "apart, the two intervals overlap"
    assert paired_bootstrap(truth, slightly, one, group).p < 0.001
    # The same two predictions, each scored on draws of its own, are not told apart.
    generator = np.random.default_rng(0)
    apart = []
    for _ in range(500):
        drawn = [
            np.concatenate([np.flatnonzero(group == g) for g in generator.integers(20, size=20)]) for _ in range(2)
        ]
        means = [
            np.mean([concordance(truth[rows, k], each[rows, k]) for k in range(2)])
            for rows, each in zip(drawn, (slightly, one), strict=True)
        ]
        apart.append(means[0] - means[1])
    assert min(np.mean(np.array(apart) <= 0), np.mean(np.array(apart) >= 0)) > 0.05


def test_groups_are_drawn_and_not_rows():
    truth, one, group = corpus(num_groups=12, num_rows=1)
    other = predicted(truth, group, np.random.default_rng(3))
    rows = np.repeat(np.arange(12), 40)
    once = paired_bootstrap(truth, one, other, group, num_resamples=500)
    copied = paired_bootstrap(truth[rows], one[rows], other[rows], group[rows], num_resamples=500)
    assert copied == pytest.approx(once, abs=1e-9)
    as_if_independent = paired_bootstrap(truth[rows], one[rows], other[rows], np.arange(len(rows)), num_resamples=500)
    assert (as_if_independent.high - as_if_independent.low) < 0.5 * (once.high - once.low)


def test_equally_good_predictions_are_rarely_told_apart():
    rejected = 0
    for seed in range(NUM_CORPORA):
        truth, one, group = corpus(seed, num_groups=60)
        other = predicted(truth, group, np.random.default_rng(seed + NUM_CORPORA))
        rejected += paired_bootstrap(truth, one, other, group, num_resamples=300, seed=seed).p < 0.05
    assert LEVEL[0] <= rejected / NUM_CORPORA <= LEVEL[1]


def test_depends_on_the_seed_alone():
    truth, one, group = corpus()
    other = predicted(truth, group, np.random.default_rng(2))
    first, again, another = (paired_bootstrap(truth, one, other, group, "ccc", 200, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.difference == another.difference
    assert first.low != another.low
    order = np.random.default_rng(5).permutation(len(group))
    names = np.array([f"video-{number:03d}" for number in group])
    shuffled = paired_bootstrap(truth[order], one[order], other[order], names[order], "ccc", 200, 1)
    assert shuffled == pytest.approx(first, abs=1e-10)


def test_one_group_has_a_difference_and_nothing_else():
    truth, one, group = corpus()
    found = paired_bootstrap(truth, truth, one, np.zeros(len(group), int))
    assert found.difference > 0
    assert np.isnan([found.low, found.high, found.p]).all()


def test_what_cannot_be_compared_is_refused():
    truth, one, group = corpus()
    with pytest.raises(MetricError, match="expected one of ccc, pearson.*Received: 'accuracy'"):
        paired_bootstrap(truth, one, one, group, "accuracy")
    with pytest.raises(MetricError, match="same shape"):
        paired_bootstrap(truth, one, one[:-1], group)
    with pytest.raises(MetricError, match="row 3: expected finite"):
        paired_bootstrap(truth[:, 0], one[:, 0], np.where(np.arange(len(group)) == 3, np.nan, 0.0), group)
    with pytest.raises(MetricError, match="one clip per row"):
        paired_bootstrap(truth, one, one, group[:-1])
    with pytest.raises(MetricError, match="num_resamples: expected at least 1"):
        paired_difference([(np.ones((3, 1)), np.ones((3, 1)))], lambda sums: sums, 0, 0)
