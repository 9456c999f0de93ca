"""How well predicted numbers agree with labels: one number against another, and tables of scores with intervals.

Every score is computed once, over all rows given; rows without a valid label are left out by the caller. Moments are
population moments (divided by N). A score that its formula leaves undefined counts as 0, with an
`UndefinedMetricWarning`; the draws of the bootstrap follow the same rule without a warning. The error of a region that
has no row is NaN instead, for 0 would be the best.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emopipe.bootstrap import (
    Metric,
    Paired,
    Score,
    checked_pair,
    clip_groups,
    draw_clips,
    paired_difference,
    warn_undefined,
    with_intervals,
)
from emopipe.errors import MetricError
from emopipe.typing import Array, Bools, Floats, Ints

_MEAN = "mean"  # target of a score that is the mean over the targets
_AVERAGED = ("ccc", "pearson")  # the published mean scores: valence-arousal challenges, emotional reaction intensity
REGIONS = ("positive_low", "positive_high", "negative_low", "negative_high", "overall")  # of `region_scores`
# Below this part of the second moment about the median, a variance is what rounding leaves of a constant.
_ROUNDING = 1e-12


def concordance(truth: Floats, prediction: Floats) -> float:
    """Concordance correlation coefficient, ``2 cov / (var_t + var_p + (mean_t - mean_p)^2)``; in [-1, 1], 1 is best.

    Args:
        truth: (N,) what annotators gave.
        prediction: (N,) what the model gave, in the same unit.

    Returns:
        The coefficient, with population moments. When both are constant it is 0, with an `UndefinedMetricWarning`.

    Raises:
        MetricError: the shapes differ, there are no rows, or a number is not finite.

    Source:
        Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45(1), 1989.

    Examples:
        >>> from emopipe import concordance
        >>> concordance([0, 1, 2], [0, 1, 1])
        0.6666666666666666
    """
    return _agreement("ccc", truth, prediction)


def pearson(truth: Floats, prediction: Floats) -> float:
    """Pearson correlation; in [-1, 1]. 0 with an `UndefinedMetricWarning` when either is constant; errors as above."""
    return _agreement("pearson", truth, prediction)


def mse(truth: Floats, prediction: Floats) -> float:
    """Mean squared error, in squared units of the target; 0 is best. Arguments and errors as above."""
    return _agreement("mse", truth, prediction)


def rmse(truth: Floats, prediction: Floats) -> float:
    """Root of the mean squared error, in units of the target; 0 is best. Arguments and errors as above."""
    return _agreement("rmse", truth, prediction)


def sign_agreement(truth: Floats, prediction: Floats) -> float:
    """Part of the rows with the same sign, 0 agreeing with 0 only; in [0, 1]. Arguments and errors as above."""
    return _agreement("sign_agreement", truth, prediction)


METRICS: dict[str, Metric] = {
    "ccc": Metric(concordance, True),
    "pearson": Metric(pearson, True),
    "rmse": Metric(rmse, False),
    "mse": Metric(mse, False),
    "sign_agreement": Metric(sign_agreement, True),
}


def regression_scores(
    truth: Floats,
    prediction: Floats,
    targets: Sequence[str],
    clip_of_row: Array,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[Score]:
    """Every metric of `METRICS` for every target over all rows, then the mean over targets of `ccc` and `pearson`.

    The same draws of clips serve all targets and metrics, so the mean's interval knows how the targets vary together.

    Args:
        truth, prediction: (N, K), one column per target.
        targets: names of the K columns.
        clip_of_row: (N,) integers or strings, which clip each row is from.
        num_bootstrap: draws of clips; 0 for no intervals.
        seed: of the draws.

    Raises:
        MetricError: the shapes do not fit, there are no rows, or a number is not finite.
    """
    truth, prediction = checked_pair(truth, prediction, (len(targets),))
    clips, group = clip_groups(clip_of_row, len(truth))
    columns = range(len(targets))
    sums = np.stack([_row_sums(truth[:, k], prediction[:, k], group, len(clips)) for k in columns], axis=1)  # (G, K, 9)
    values, drawn = _from_sums(sums.sum(axis=0)), _from_sums(draw_clips(sums, num_bootstrap, seed))
    _warn_of_constants(_undefined(values, targets))
    return _number_scores(values, drawn, targets, len(truth), len(clips))


def per_clip_scores(
    truth: Floats, prediction: Floats, targets: Sequence[str], clip_of_row: Array
) -> dict[Any, list[Score]]:
    """As `regression_scores` without intervals, for the rows of each clip alone.

    Returns:
        Clip id, in sorted order -> its scores. One warning is about all clips in which a score is undefined.
    """
    truth, prediction = checked_pair(truth, prediction, (len(targets),))
    clips, group = clip_groups(clip_of_row, len(truth))
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=len(clips)))
    no_draws = {metric: np.empty((0, len(targets))) for metric in METRICS}
    result, undefined = {}, []
    for clip, rows in zip(clips.tolist(), np.split(order, ends[:-1]), strict=True):
        one = np.zeros(len(rows), np.int64)
        # Sums of its own, centred on its own medians: a clip may move little around a place far from the others.
        sums = [_row_sums(truth[rows, k], prediction[rows, k], one, 1)[0] for k in range(len(targets))]
        values = _from_sums(np.stack(sums))
        undefined += [f"{what} in clip {clip}" for what in _undefined(values, targets)]
        result[clip] = _number_scores(values, no_draws, targets, len(rows), 1)
    _warn_of_constants(undefined)
    return result


def region_scores(
    truth: Floats,
    prediction: Floats,
    targets: Sequence[str],
    clip_of_row: Array,
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> list[Score]:
    """Mean squared error of every target where the labels lie in one part of the valence-arousal plane.

    The labels decide, never the predictions. "positive" is a valence of 0 and above, "negative" one below; "low" is an
    arousal in [0, 0.5), "high" one of 0.5 and above. A row with an arousal below 0, which some corpora have, is in no
    region and counts in the overall error alone; a warning says how many there are.

    Args:
        truth, prediction: (N, K), one column per target.
        targets: names of the K columns, "valence" and "arousal" among them.
        clip_of_row, num_bootstrap, seed: as for `regression_scores`. A draw without a row in a region leaves that
            region's interval as it is.

    Returns:
        For each region and then each target a score "mse_positive_low", "mse_positive_high", "mse_negative_low",
        "mse_negative_high" or "mse_overall", with the rows and clips of the region. The error of a region without a
        row is NaN, with an `UndefinedMetricWarning`.

    Raises:
        MetricError: as `regression_scores`, or valence or arousal is not among the targets.

    Source:
        Kollias and Zafeiriou, arXiv:1910.01417, Table 7.

    Examples:
        >>> labels = np.array([[0.5, 0.2], [0.5, 0.7], [-0.5, 0.2], [-0.5, 0.7]])
        >>> scores = region_scores(labels, labels + [[0.5, 0], [0, 0], [1, 0], [0, 0]], ("valence", "arousal"), [0] * 4)
        >>> [(score.metric, score.value) for score in scores if score.target == "valence" and score.value]
        [('mse_positive_low', 0.25), ('mse_negative_low', 1.0), ('mse_overall', 0.3125)]
    """
    truth, prediction = checked_pair(truth, prediction, (len(targets),))
    for name in ("valence", "arousal"):
        if name not in targets:
            raise MetricError(
                f"region_scores: expected the targets valence and arousal. Received: {', '.join(targets)}."
            )
    clips, group = clip_groups(clip_of_row, len(truth))
    inside = _in_regions(truth[:, list(targets).index("valence")], truth[:, list(targets).index("arousal")])  # (N, R)
    columns = np.column_stack([np.ones(len(truth)), (truth - prediction) ** 2])  # (N, 1 + K)
    masked = inside[:, :, None] * columns[:, None, :]
    sums = np.zeros((len(clips), *masked.shape[1:]))
    np.add.at(sums, group, masked)
    total, drawn = sums.sum(axis=0), draw_clips(sums, num_bootstrap, seed)
    scores = []
    for number, region in enumerate(REGIONS):
        num_rows, num_clips = int(total[number, 0]), int((sums[:, number, 0] > 0).sum())
        values = total[number, 1:] / num_rows if num_rows else np.full(len(targets), np.nan)
        filled = drawn[drawn[:, number, 0] > 0, number]
        draws = filled[:, 1:] / filled[:, :1]
        scores += with_intervals(f"mse_{region}", targets, values, draws, num_rows, num_clips)
    _warn_of_regions(inside.sum(axis=0))
    return scores


def paired_bootstrap(
    truth: Floats,
    one: Floats,
    other: Floats,
    groups: Array,
    metric: str = "ccc",
    num_resamples: int = 10_000,
    seed: int = 0,
    corpora: Array | None = None,
) -> Paired:
    """How much better one prediction scores than another of the same rows, with an interval and a p-value.

    Every draw of groups scores both predictions, so what makes rows easy or hard for both of them cancels out; two
    intervals of their own may overlap although the one is better in every draw. Of simulated pairs that are equally
    good, 6 % have a p-value below 0.05 where there are 200 groups, 6.5 % with 60 and 9.5 % with 20.

    Args:
        truth, one, other: (N,), or (N, K) for the mean of the metric over K columns.
        groups: (N,) integers or strings, what is drawn: the clip, or the source video, of each row.
        metric: a name of `METRICS`.
        num_resamples: draws of groups.
        seed: of the draws.
        corpora: (N,) integers or strings, the corpus of each row: the metric is computed and groups are drawn in each
            for itself, and the mean over the corpora counts; None where all rows are of one.

    Returns:
        Metric of `one` minus metric of `other`; see `emopipe.bootstrap.paired_difference`.

    Raises:
        MetricError: the metric is unknown, the shapes do not fit, there are no rows, or a number is not finite.

    Examples:
        >>> truth = np.arange(20.0)
        >>> paired_bootstrap(truth, truth, truth[::-1], np.arange(20), num_resamples=999).p
        0.002
    """
    if metric not in METRICS:
        raise MetricError(f"metric: expected one of {', '.join(METRICS)}. Received: {metric!r}.")
    shape = np.shape(truth)[1:]
    given, first = checked_pair(truth, one, shape)
    _, second = checked_pair(truth, other, shape)
    names, corpus = clip_groups(np.zeros(len(given)) if corpora is None else corpora, len(given))
    clip_groups(groups, len(given))  # one per row
    given, first, second = (table.reshape(len(table), -1) for table in (given, first, second))

    def sums(prediction: Floats, rows: Bools) -> Floats:
        clips, group = clip_groups(np.asarray(groups)[rows], int(rows.sum()))
        pairs = zip(given[rows].T, prediction[rows].T, strict=True)
        return np.stack([_row_sums(x, y, group, len(clips)) for x, y in pairs], axis=1)  # (G, K, 9)

    parts = [(sums(first, rows), sums(second, rows)) for rows in (corpus == number for number in range(len(names)))]
    return paired_difference(parts, lambda each: _from_sums(each)[metric], num_resamples, seed)


def batch_mean_concordance(truth: Floats, prediction: Floats, batch_size: int) -> float:
    """Mean over batches of each batch's `concordance`: what a metric inside the training loop logs.

    It is not the metric of any challenge and depends on the order of the rows; it is there for comparison with
    published curves. A last, smaller batch weighs as much as it has rows; a batch of constants counts 0.

    Args:
        truth, prediction: (N,) in the order in which the batches are formed.
        batch_size: rows per batch.

    Raises:
        MetricError: as `concordance`, or the batch size is below 1.

    Source:
        The running mean of Keras over shuffled batches, as logged by the code of Rangulov and Fahim, arXiv:2006.11168.

    Examples:
        >>> batch_mean_concordance([0., 1., 0., 1.], [0., 1., 1., 0.], batch_size=2)
        0.0
    """
    if batch_size < 1:
        raise MetricError(f"batch_mean_concordance: expected a batch size of at least 1. Received: {batch_size}.")
    truth, prediction = checked_pair(truth, prediction, ())
    sums = []
    for start in range(0, len(truth), batch_size):
        rows = slice(start, start + batch_size)
        sums.append(_row_sums(truth[rows], prediction[rows], np.zeros(len(truth[rows]), np.int64), 1)[0])
    values = np.nan_to_num(_from_sums(np.stack(sums))["ccc"], nan=0.0)
    return float(np.average(values, weights=[each[0] for each in sums]))


def _agreement(metric: str, truth: Floats, prediction: Floats) -> float:
    truth, prediction = checked_pair(truth, prediction, ())
    value = _from_sums(_row_sums(truth, prediction, np.zeros(len(truth), np.int64), 1))[metric][0]
    if np.isnan(value):
        _warn_of_constants([metric])
        return 0.0
    return float(value)


def _row_sums(truth: Floats, prediction: Floats, group: Ints, num_groups: int) -> Floats:
    """(num_groups, 9) sums over rows from which every metric of numbers follows, whatever groups are added up.

    Both are centred on their medians: exact for a constant, and never further from the mean than the standard
    deviation, so the subtraction in the variance loses no digits.
    """
    x, y, difference = truth - np.median(truth), prediction - np.median(prediction), truth - prediction
    agree = np.sign(truth) == np.sign(prediction)
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y, difference, difference * difference, agree)
    return np.stack([np.bincount(group, column, num_groups) for column in columns], axis=-1)


def _from_sums(sums: Floats) -> dict[str, Floats]:
    """Metric -> (...,) from sums (..., 9); NaN where it is undefined."""
    count, x, y, xx, yy, xy, difference, squared, agree = np.moveaxis(sums, -1, 0)
    var_x, var_y = _variance(x, xx, count), _variance(y, yy, count)
    cov = np.where((var_x == 0) | (var_y == 0), 0.0, xy / count - x * y / count**2)
    constant = (var_x == 0) & (var_y == 0)
    with np.errstate(invalid="ignore", divide="ignore"):  # the rows without an answer are NaN on purpose
        ccc = np.where(constant, np.nan, 2 * cov / (var_x + var_y + (difference / count) ** 2))
        correlation = np.clip(cov / np.sqrt(var_x * var_y), -1.0, 1.0)
    error = squared / count
    return {
        "ccc": ccc,
        "pearson": correlation,
        "rmse": np.sqrt(error),
        "mse": error,
        "sign_agreement": agree / count,
    }


def _variance(total: Floats, squares: Floats, count: Floats) -> Floats:
    variance = squares / count - (total / count) ** 2
    return np.where(variance <= _ROUNDING * squares / count, 0.0, variance)


def _number_scores(
    values: Mapping[str, Floats], drawn: Mapping[str, Floats], targets: Sequence[str], num_rows: int, num_clips: int
) -> list[Score]:
    """Scores from metric -> (K,) over all rows and metric -> (B, K) over draws of clips, 0 in place of NaN."""
    scores = []
    for metric in METRICS:
        names = list(targets)
        value, draws = np.nan_to_num(values[metric], nan=0.0), np.nan_to_num(drawn[metric], nan=0.0)
        if metric in _AVERAGED:
            names.append(_MEAN)
            value = np.append(value, value.mean())
            draws = np.column_stack([draws, draws.mean(axis=1)])
        scores += with_intervals(metric, names, value, draws, num_rows, num_clips)
    return scores


def _undefined(values: Mapping[str, Floats], targets: Sequence[str]) -> list[str]:
    return [
        f"{metric} of {target}"
        for metric in METRICS
        for target, value in zip(targets, values[metric], strict=True)
        if np.isnan(value)
    ]


def _warn_of_constants(undefined: Sequence[str]) -> None:
    if undefined:
        more = f" and {len(undefined) - 1} more" if len(undefined) > 1 else ""
        warn_undefined(f"{undefined[0]}{more} undefined, because truth or prediction is constant; counts as 0.")


def _in_regions(valence: Floats, arousal: Floats) -> Bools:
    """(N, R) whether each row is in each of `REGIONS`."""
    positive, high, low = valence >= 0, arousal >= 0.5, (arousal >= 0) & (arousal < 0.5)
    everywhere = np.ones(len(valence), bool)
    return np.stack([positive & low, positive & high, ~positive & low, ~positive & high, everywhere], axis=1)


def _warn_of_regions(num_rows: Ints) -> None:
    empty = [region for region, count in zip(REGIONS, num_rows, strict=True) if count == 0]
    if empty:
        warn_undefined(f"mse undefined in {', '.join(empty)}: no row has such labels.")
    num_outside = num_rows[-1] - num_rows[:-1].sum()
    if num_outside:
        warn_undefined(
            f"region undefined for {num_outside} of {num_rows[-1]} rows: their arousal is below 0. They count in "
            "mse_overall alone."
        )
