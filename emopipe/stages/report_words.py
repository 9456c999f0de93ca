"""How a report calls scores and writes numbers."""

import numpy as np

from emopipe.bootstrap import Score
from emopipe.class_metrics import CLASS_METRICS
from emopipe.metrics import METRICS, REGIONS
from emopipe.plots.page import Html, as_html

_NAMES = {
    "ccc": "CCC",
    "pearson": "Pearson's r",
    "rmse": "RMSE",
    "mse": "MSE",
    "sign_agreement": "same sign",
    "ccc_raw": "CCC before post-processing",
    "ccc_per_video": "CCC per video, mean",
    "ccc_source_disjoint": "CCC, sources of no earlier split",
    "f1": "F1",
    "macro_f1": "macro F1",
    "unweighted_average_recall": "unweighted average recall",
    "expression_score_2020": "0.67 macro F1 + 0.33 accuracy",
}
_SIGNED = "\N{MINUS SIGN}1 to 1"
_RANGES = {"ccc": _SIGNED, "pearson": _SIGNED, "rmse": "unit of the target", "mse": "its unit squared"}
REGION = "mse_"


def name_of(metric: str) -> str:
    """What a report calls a metric."""
    return _NAMES.get(metric, metric.replace("_", " "))


def number(value: float) -> str:
    """A score with three decimals."""
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def interval(score: Score) -> str:
    """The interval of a score; "" where there is none."""
    return f"{number(score.low)} to {number(score.high)}" if np.isfinite(score.low) else ""


def metric_cell(metric: str) -> Html:
    """A metric's name, its range and its direction."""
    region = metric.removeprefix(REGION)
    if region in REGIONS:
        return as_html("everywhere" if region == "overall" else f"{region.replace('_', ' valence, ')} arousal")
    known = METRICS.get(metric) or CLASS_METRICS.get(metric)
    if known is None:
        return as_html(name_of(metric))
    words = f"{_RANGES.get(metric, '0 to 1')}, {'higher' if known.higher_is_better else 'lower'} is better"
    return Html(f'{as_html(name_of(metric))} <span class="quiet">{as_html(words)}</span>')


def score_cell(score: Score | None) -> Html:
    """A score above its interval."""
    if score is None:
        return Html("")
    below = f'<br><span class="quiet">{as_html(interval(score))}</span>' if interval(score) else ""
    return Html(f"{as_html(number(score.value))}{below}")
