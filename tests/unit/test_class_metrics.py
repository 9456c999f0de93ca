"""Scores of classes and action units, against scikit-learn and audmetric, and by hand."""

import audmetric
import numpy as np
import pytest
from sklearn import metrics as reference

from emopipe.bootstrap import UndefinedMetricWarning
from emopipe.class_metrics import (
    CLASS_METRICS,
    action_unit_scores,
    classification_scores,
    confusion_matrix,
    expression_score_2020,
    macro_f1,
)
from emopipe.errors import MetricError

ROUNDING = 1e-12
CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
LABELS = list(range(len(CLASSES)))


def corpus(seed: int = 0, num_rows: int = 600, absent: int | None = None):
    """truth (N,), predicted (N,), clip of each row; right in about half the rows."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(LABELS, num_rows, p=[0.4, 0.05, 0.05, 0.1, 0.2, 0.1, 0.1])
    if absent is not None:
        truth[truth == absent] = 0
    predicted = np.where(generator.random(num_rows) < 0.5, truth, generator.choice(LABELS, num_rows))
    return truth, predicted, np.repeat(np.arange(num_rows // 20), 20)


def by_name(scores):
    return {(score.metric, score.target): score for score in scores}


@pytest.mark.filterwarnings("ignore::emopipe.bootstrap.UndefinedMetricWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("absent", [None, 5])
@pytest.mark.parametrize("seed", range(3))
def test_agree_with_other_implementations(seed, absent):
    truth, predicted, clip = corpus(seed, absent=absent)
    scores = by_name(classification_scores(truth, predicted, CLASSES, clip, num_bootstrap=0))
    values = {metric: scores[metric, "label"].value for metric in list(CLASS_METRICS)[:4]}
    options = {"labels": LABELS, "zero_division": 0}
    f1 = reference.f1_score(truth, predicted, average="macro", **options)
    accuracy = reference.accuracy_score(truth, predicted)
    assert values["accuracy"] == pytest.approx(accuracy, abs=ROUNDING)
    assert values["macro_f1"] == pytest.approx(f1, abs=ROUNDING)
    recall = audmetric.unweighted_average_recall(truth, predicted, LABELS)
    assert values["unweighted_average_recall"] == pytest.approx(recall, abs=ROUNDING)
    assert values["expression_score_2020"] == pytest.approx(0.67 * f1 + 0.33 * accuracy, abs=ROUNDING)
    for metric, function in (("f1", reference.f1_score), ("recall", reference.recall_score)):
        ours = [scores[metric, name].value for name in CLASSES]
        np.testing.assert_allclose(ours, function(truth, predicted, average=None, **options), atol=ROUNDING)
    counts = confusion_matrix(truth, predicted, len(CLASSES))
    np.testing.assert_array_equal(counts, reference.confusion_matrix(truth, predicted, labels=LABELS))


def test_rows_computed_by_hand():
    counts = confusion_matrix([0, 0, 0, 1, 1], [0, 0, 1, 1, 0], 3)
    np.testing.assert_array_equal(counts, [[2, 1, 0], [1, 1, 0], [0, 0, 0]])  # row = truth
    assert macro_f1(counts) == pytest.approx((4 / 6 + 2 / 4 + 0) / 3)
    assert expression_score_2020(counts) == pytest.approx(0.67 * (4 / 6 + 2 / 4) / 3 + 0.33 * 3 / 5)


def test_an_absent_class_counts_zero_and_is_named():
    truth, predicted, clip = corpus(absent=5)
    with pytest.warns(UndefinedMetricWarning, match="labelled sadness:"):
        scores = by_name(classification_scores(truth, predicted, CLASSES, clip, num_bootstrap=20))
    assert scores["f1", "sadness"].value == scores["recall", "sadness"].value == 0.0
    present = [scores["recall", name].value for name in CLASSES if name != "sadness"]
    assert scores["unweighted_average_recall", "label"].value == pytest.approx(sum(present) / 7)


def test_intervals_equal_a_bootstrap_written_out():
    truth, predicted, clip = corpus(num_rows=200)
    scores = by_name(classification_scores(truth, predicted, CLASSES, clip, num_bootstrap=30, seed=4))
    generator = np.random.default_rng(4)
    drawn = []
    for _ in range(30):
        rows = np.concatenate([np.flatnonzero(clip == number) for number in generator.integers(10, size=10)])
        options = {"labels": LABELS, "average": "macro", "zero_division": 0}
        drawn.append(reference.f1_score(truth[rows], predicted[rows], **options))
    score = scores["macro_f1", "label"]
    assert (score.low, score.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=ROUNDING)
    assert (score.num_rows, score.num_clips) == (200, 10)


def test_whole_floats_are_classes_and_others_are_not():
    np.testing.assert_array_equal(confusion_matrix([0.0, 1.0], [1.0, 1.0], 2), [[0, 1], [0, 1]])
    with pytest.raises(MetricError, match=r"truth, row 1: expected a class number from 0 to 1\. Received: 0\.5"):
        confusion_matrix([0.0, 0.5], [0, 1], 2)
    with pytest.raises(MetricError, match="prediction, row 0.*Received: 2"):
        confusion_matrix([0, 1], [2, 1], 2)
    with pytest.raises(MetricError, match="truth, row 0.*Received: -1"):
        confusion_matrix([-1, 1], [0, 1], 2)
    with pytest.raises(MetricError, match="truth, row 1.*nan"):
        confusion_matrix([0, np.nan], [0, 1], 2)
    with pytest.raises(MetricError, match="at least one row"):
        classification_scores([], [], CLASSES, [])


def test_action_units():
    generator = np.random.default_rng(0)
    units = ("AU1", "AU4", "AU12")
    truth = (generator.random((400, 3)) < [0.5, 0.2, 0.05]).astype(int)
    probability = np.clip(0.6 * truth + generator.normal(0.2, 0.25, truth.shape), 0, 1)
    scores = by_name(action_unit_scores(truth, probability, units, np.repeat(np.arange(20), 20)))
    expected = [reference.f1_score(truth[:, k], probability[:, k] >= 0.5) for k in range(3)]
    np.testing.assert_allclose([scores["f1", unit].value for unit in units], expected, atol=ROUNDING)
    mean = scores["f1", "mean"]
    assert mean.value == pytest.approx(np.mean(expected), abs=ROUNDING)
    assert mean.low < mean.value < mean.high


def test_action_units_at_the_threshold_and_absent_ones():
    with pytest.warns(UndefinedMetricWarning, match="no row has AU2:"):
        scores = by_name(action_unit_scores([[1, 0], [0, 0]], [[0.5, 0.1], [0.49, 0.2]], ("AU1", "AU2"), [0, 1]))
    assert (scores["f1", "AU1"].value, scores["f1", "AU2"].value) == (1.0, 0.0)
    with pytest.raises(MetricError, match=r"truth, row 0: expected a class number from 0 to 1\. Received: 3"):
        action_unit_scores([[3]], [[0.1]], ("AU1",), [0])
