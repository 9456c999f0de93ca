"""What a report says of a split that was evaluated: scores, and what was predicted beside what annotators gave."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from emopipe.bootstrap import Score
from emopipe.metrics import REGIONS
from emopipe.models.windows import HOW_NAMES
from emopipe.plots.page import Html, as_html, bullets, table
from emopipe.stages.report_clips import class_parts, number_parts
from emopipe.stages.report_words import REGION, metric_cell, name_of, score_cell
from emopipe.stages.stored_evaluation import PredictionTable, StoredEvaluation, prediction_table
from emopipe.stages.trained import Trained

_MAIN = {"uar": "unweighted_average_recall"}  # what training calls it -> what evaluation does
_OF_ALL_CLASSES = "label"  # target of a score that is about all classes together
_HOW = {
    "window": "from a full window",
    "short": "from a shorter one",
    "frame": "from the frame itself",
    "interpolated": "on a line between neighbours",
    "none": "without a prediction",
}


def main_score(stored: StoredEvaluation, select: str) -> Score | None:
    """The score by which a run was selected, over all targets; None where the split has no labels."""
    of_metric = [score for score in stored.scores if score.metric == _MAIN.get(select, select)]
    return next((score for score in of_metric if score.target == "mean"), of_metric[0] if of_metric else None)


def split_parts(stored: StoredEvaluation, trained: Trained) -> list[str]:
    """The section of one split, from its stored scores and predictions.

    Raises:
        RunError: the predictions are damaged.
    """
    found = prediction_table(stored, trained.targets)
    of = "" if stored.dataset == trained.dataset else f" of {stored.dataset}"
    parts = [f'<h2 id="{as_html(stored.file.stem)}">Split {as_html(stored.split + of)}</h2>']
    parts += [f"<p>{as_html(sentence)}</p>" for sentence in _amounts(stored, found)]
    if stored.scores:
        parts += _class_tables(stored) if stored.classes else _number_tables(stored, trained.targets)
    if stored.notes:
        parts.append(bullets(stored.notes))
    if stored.classes:
        parts += class_parts(stored, found)
    else:
        parts += number_parts(stored, found, trained)
    return parts


def _amounts(stored: StoredEvaluation, found: PredictionTable) -> list[str]:
    """How much was scored, over what its intervals are, and how rows came by their predictions."""
    sentences = [f"{stored.num_scored:,} of {stored.num_units:,} {stored.unit} are scored."]
    if stored.scores:
        count, drawn = stored.scores[0].num_clips, "subjects" if stored.over_subjects else "clips"
        has_any = any(np.isfinite(score.low) for score in stored.scores)
        one = f"No intervals: they are drawn over {drawn}, of which there are {count}."
        sentences[0] += f" Intervals: 95 %, bootstrap over {count:,} {drawn}." if has_any else f" {one}"
    if stored.unit == "frames":
        counts = Counter(HOW_NAMES[code] for code in found.how.tolist())
        sentences.append(
            "Rows by how they came by their prediction: "
            + ", ".join(f"{counts[name]:,} {words}" for name, words in _HOW.items() if counts[name])
            + "."
        )
    return sentences


def _number_tables(stored: StoredEvaluation, targets: Sequence[str]) -> list[str]:
    """Metrics down, targets across; the errors of the regions apart."""
    of_region = [score for score in stored.scores if score.metric.removeprefix(REGION) in REGIONS]
    columns = [*targets, *(["mean"] if any(score.target == "mean" for score in stored.scores) else [])]
    parts: list[str] = [_pivot([score for score in stored.scores if score not in of_region], columns)]
    defined = [score for score in of_region if np.isfinite(score.value)]
    if defined:
        parts += ["<h3>Mean squared error by region of the valence-arousal plane</h3>", _pivot(defined, targets)]
    return parts


def _pivot(scores: Sequence[Score], targets: Sequence[str]) -> Html:
    by_place = {(score.metric, score.target): score for score in scores}
    rows = []
    for metric in dict.fromkeys(score.metric for score in scores):
        cells = [score_cell(by_place.get((metric, target))) for target in targets]
        rows.append([metric_cell(metric), *cells])
    return table(["", *targets], rows, kind="scores")


def _class_tables(stored: StoredEvaluation) -> list[str]:
    """Scores of all classes together, then of each; a class that nobody shows has none, which a note says."""
    together = [score for score in stored.scores if score.target == _OF_ALL_CLASSES]
    by_place = {(score.metric, score.target): score for score in stored.scores}
    each = list(dict.fromkeys(score.metric for score in stored.scores if score not in together))
    labelled = np.zeros(len(stored.classes), int) if stored.confusion is None else stored.confusion.sum(axis=1)
    rows = [
        [name, f"{count:,}", *(score_cell(by_place.get((metric, name)) if count else None) for metric in each)]
        for name, count in zip(stored.classes, labelled, strict=True)
    ]
    return [
        table((), [[metric_cell(score.metric), score_cell(score)] for score in together], kind="scores"),
        "<h3>Each class</h3>",
        table(["class", f"{stored.unit} so labelled", *(name_of(metric) for metric in each)], rows, kind="scores"),
    ]
