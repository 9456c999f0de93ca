import numpy as np
import pytest

from emopipe.errors import ConfigError
from emopipe.models.balance import balance, density


def crowd(counts: dict[tuple[float, float], int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels with so many frames at each place."""
    places = np.repeat(np.array(list(counts)), list(counts.values()), axis=0)
    return places[:, 0], places[:, 1]


SPREAD = {(0.01, 0.01): 4000, (0.51, 0.26): 1000, (-0.99, -0.99): 2, (0.0, 0.0): 500}


def kept(labels, keep) -> dict[tuple[float, float], int]:
    return {place: int((keep & (labels[0] == place[0]) & (labels[1] == place[1])).sum()) for place in SPREAD}


def test_density_counts_every_frame_once_on_its_own_axis():
    valence = np.array([-1.0, 1.0, 0.0, 0.049, 0.05, -0.001])
    arousal = np.array([-1.0, 1.0, 0.9, 0.9, 0.9, 0.9])
    counts = density(valence, arousal)
    assert counts.shape == (40, 40)
    assert counts.sum() == 6
    assert counts[0, 0] == counts[39, 39] == 1
    assert (counts[20, 38], counts[21, 38], counts[19, 38]) == (2, 1, 1)
    # numpy's own histogram agrees away from the edges, which float rounding decides
    draws = np.random.default_rng(0).uniform(-1, 1, (2, 500))
    edges = np.linspace(-1, 1, 41)
    np.testing.assert_array_equal(density(*draws), np.histogram2d(*draws, [edges, edges])[0])


def test_subset_1_never_keeps_the_largest_cell_and_drops_in_proportion():
    labels = crowd(SPREAD)
    result = balance(*labels, "max", np.random.default_rng(0))
    counts = kept(labels, result.keep)
    assert result.ceiling == 4000
    assert counts[(0.0, 0.0)] == 0
    assert counts[(0.01, 0.01)] == 0
    assert counts[(0.51, 0.26)] == pytest.approx(750, abs=60)  # 1 - 1000/4000, four standard deviations
    assert counts[(-0.99, -0.99)] == 2


def test_subset_2_and_3_take_the_mean_and_the_middle():
    lonely = {(0.06 + n / 20, -0.96 + n / 20): 1 for n in range(18)}
    labels = crowd({**SPREAD, **lonely})
    few = balance(*labels, "mean", np.random.default_rng(0))
    assert few.ceiling == pytest.approx(5020 / 1600)
    assert 0 < few.keep.sum() <= 20  # only cells of one or two frames are below 3.1
    middle = balance(*labels, "midpoint", np.random.default_rng(0))
    assert middle.ceiling == pytest.approx((4000 + 5020 / 1600) / 2)
    counts = kept(labels, middle.keep)
    assert counts[(0.01, 0.01)] == 0  # k >= k_max
    assert counts[(0.51, 0.26)] == pytest.approx(500, abs=65)


def test_the_printed_formula_keeps_the_crowd():
    labels = crowd(SPREAD)
    counts = kept(labels, balance(*labels, "max", np.random.default_rng(0), literal=True).keep)
    assert counts[(0.01, 0.01)] == 4000
    assert counts[(0.51, 0.26)] == pytest.approx(250, abs=60)
    assert counts[(-0.99, -0.99)] <= 1
    assert counts[(0.0, 0.0)] == 0


def test_the_draw_follows_from_the_generator():
    labels = crowd(SPREAD)
    one, same, other = (balance(*labels, "midpoint", np.random.default_rng(seed)).keep for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("labels", "ceiling", "message"),
    [
        (crowd({(0.3, 0.3): 10}), "max", "none is left"),
        (crowd({(0.0, 0.0): 10}), "max", "10 are labelled"),
        (crowd({(1.2, 0.0): 10}), "max", r"\[-1, 1\]. Received: 1.2"),
        (crowd({(np.nan, 0.0): 10}), "max", "nan"),
        (crowd({(0.1, 0.0): 10}), "median", "expected one of max, mean, midpoint"),
    ],
)
def test_labels_that_cannot_be_balanced_are_refused(labels, ceiling, message):
    with pytest.raises(ConfigError, match=message):
        balance(*labels, ceiling, np.random.default_rng(0))
