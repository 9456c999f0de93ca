"""Intervals cover the truth about as often as they say, because clips are drawn and not rows."""

import numpy as np

from emopipe.metrics import regression_scores

NUM_CORPORA = 300
# Percentile intervals of so skewed a quantity cover about 93 % at 60 clips; three standard errors of a share of 300.
COVERAGE = (0.885, 0.975)


def clip_means(generator: np.random.Generator, num_clips: int, num_rows: int, spread: float):
    """Clips that differ in their mean and, by `spread`, inside: truth (N, 1), prediction (N, 1), clip of each row."""
    clip = np.repeat(np.arange(num_clips), num_rows)
    truth = generator.normal(0, 0.4, num_clips)[clip] + generator.normal(0, spread, len(clip))
    error = generator.normal(0, 0.3, num_clips)[clip] + generator.normal(0, spread, len(clip))
    return truth[:, None], (0.8 * truth + 0.1 + error)[:, None], clip


def test_intervals_cover_the_concordance_of_the_population():
    spread = 0.1
    variance = 0.4**2 + spread**2
    predicted = 0.8**2 * variance + 0.3**2 + spread**2
    population = 2 * 0.8 * variance / (variance + predicted + 0.1**2)
    generator = np.random.default_rng(0)
    hits = 0
    for number in range(NUM_CORPORA):
        truth, prediction, clip = clip_means(generator, 60, 8, spread)
        score = regression_scores(truth, prediction, ("valence",), clip, num_bootstrap=300, seed=number)[0]
        assert (score.metric, score.target) == ("ccc", "valence")
        hits += score.low <= population <= score.high
    assert COVERAGE[0] <= hits / NUM_CORPORA <= COVERAGE[1]


def test_copies_inside_a_clip_bring_no_certainty():
    truth, prediction, clip = clip_means(np.random.default_rng(1), 40, 1, 0.0)
    once = regression_scores(truth, prediction, ("valence",), clip)[0]
    rows = np.repeat(np.arange(40), 25)
    copied = regression_scores(truth[rows], prediction[rows], ("valence",), clip[rows])[0]
    assert abs((copied.high - copied.low) - (once.high - once.low)) < 1e-9
    as_if_independent = regression_scores(truth[rows], prediction[rows], ("valence",), np.arange(len(rows)))[0]
    ratio = (copied.high - copied.low) / (as_if_independent.high - as_if_independent.low)
    assert 3.5 < ratio < 7  # the square root of 25 copies is 5


def test_draws_depend_on_the_seed_alone():
    rows = clip_means(np.random.default_rng(2), 20, 5, 0.1)
    one, again, other = (regression_scores(*rows[:2], ("valence",), rows[2], seed=seed)[0] for seed in (1, 1, 2))
    assert one == again
    assert one.value == other.value
    assert (one.low, one.high) != (other.low, other.high)
