"""What a report shows of predictions beside what annotators gave: agreement, traces over time, a table of clips."""

from collections.abc import Sequence

import numpy as np

from emopipe.bootstrap import Score
from emopipe.models.windows import NONE
from emopipe.plots.page import Html, as_html, embedded_picture, folded, table
from emopipe.plots.scores import agreement_figure, confusion_figure, figure_image, trace_figure
from emopipe.stages.report_words import name_of, number
from emopipe.stages.stored_evaluation import PredictionTable, StoredEvaluation
from emopipe.stages.trained import Trained

_FEW_ROWS = 12  # a longer table is folded
_MANY_ROWS = 500  # a still longer one is cut
_NUM_TRACES = 3


def number_parts(stored: StoredEvaluation, found: PredictionTable, trained: Trained) -> list[str]:
    """Of numbers: prediction against truth, traces over time, and a row for every clip."""
    parts: list[str] = []
    keep = found.scored
    if keep.any():
        figure = agreement_figure(found.truth[keep], found.prediction[keep], trained.targets, what=stored.unit)
        caption = "Every scored row; on the dashed line prediction and truth are the same."
        parts += [
            "<h3>Prediction against truth</h3>",
            embedded_picture(figure_image(figure), f"Predicted against true {', '.join(trained.targets)}", caption),
        ]
    if stored.unit == "clips":
        return parts + _clip_labels(stored, found, trained.targets)
    parts += _traces(stored, found, trained)
    if stored.clips:
        parts += _clip_scores(stored, trained.targets)
    return parts


def _traces(stored: StoredEvaluation, found: PredictionTable, trained: Trained) -> list[str]:
    """Truth and prediction over time of the best, the median and the worst clip; without labels, of the first ones."""
    clips = {
        name: rows
        for name, rows in found.clips().items()
        if rows.stop - rows.start > 1 and (found.how[rows] != NONE).any()
    }
    if not clips:
        return ["<p>No clip has two rows and a prediction: nothing is drawn over time.</p>"]
    ranked = sorted((name for name in stored.clips if name in clips), key=lambda name: -_mean_ccc(stored.clips[name]))
    if ranked:
        chosen = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
        heading = "The best, the median and the worst clip by CCC" if len(ranked) > 2 else "Clips over time"
    else:
        chosen = {f"clip {place}": name for place, name in enumerate(list(clips)[:_NUM_TRACES], 1)}
        heading = "Clips over time, without labels"
    parts = [f"<h3>{heading}</h3>"]
    drawn: set[str] = set()
    for place, name in chosen.items():
        if name in drawn:
            continue
        drawn.add(name)
        rows = clips[name]
        known = f", CCC {number(_mean_ccc(stored.clips[name]))}" if name in stored.clips else ""
        which = f"{place}: " if len(ranked) > 1 else ""
        truth = found.truth[rows]
        figure = trace_figure(
            found.time_s[rows],
            truth if np.isfinite(truth).any() else None,
            found.prediction[rows],
            found.how[rows] != NONE,
            trained.targets,
            title=f"{which}{name}{known}",
        )
        parts.append(embedded_picture(figure_image(figure), f"{', '.join(trained.targets)} of clip {name} over time"))
    if any((found.how[clips[name]] == NONE).any() for name in drawn):
        parts.append('<p class="note">Grey: frames without a prediction.</p>')
    return parts


def _mean_ccc(scores: Sequence[Score]) -> float:
    """The mean over targets, or the one target's."""
    found = {score.target: score.value for score in scores if score.metric == "ccc"}
    return found.get("mean", float(np.mean(list(found.values()))))


def _clip_scores(stored: StoredEvaluation, targets: Sequence[str]) -> list[str]:
    """CCC and RMSE of every clip, the best first."""
    what = "subject" if stored.over_subjects else "clip"
    columns = [*(("ccc", name) for name in targets), *([("ccc", "mean")] if len(targets) > 1 else [])]
    columns += [("rmse", name) for name in targets]
    rows = []
    for name in sorted(stored.clips, key=lambda name: -_mean_ccc(stored.clips[name])):
        scores = stored.clips[name]
        value = {(score.metric, score.target): score.value for score in scores}
        rows.append([name, f"{scores[0].num_rows:,}", *(number(value.get(column, np.nan)) for column in columns)])
    heads = [what, "rows", *(f"{name_of(metric)} {target}" for metric, target in columns)]
    return [f"<h3>Each {what}, the best first</h3>", _long_table(heads, rows, f"{what}s", stored)]


def class_parts(stored: StoredEvaluation, found: PredictionTable) -> list[str]:
    """Of classes: the confusion matrix, and a row for every clip."""
    parts: list[str] = []
    if stored.confusion is not None:
        figure = confusion_figure(stored.confusion, stored.classes, title=f"Split {stored.split}")
        caption = f"How many {stored.unit} of each true class (row) were taken for which class (column)."
        parts += [
            "<h3>Confusion</h3>",
            embedded_picture(figure_image(figure), f"Confusion matrix of {', '.join(stored.classes)}", caption),
        ]
    if not found.scored.any():
        return parts
    if len(found.clips()) == len(found.clip_ids):
        return parts + _answers(stored, found)
    return parts + _shares_right(stored, found)


def _clip_labels(stored: StoredEvaluation, found: PredictionTable, targets: Sequence[str]) -> list[str]:
    """What was given and predicted for clips with one label each, the largest error first."""
    known = np.flatnonzero(found.scored)
    if not len(known):
        return []
    errors = np.abs(found.prediction[known] - found.truth[known]).mean(axis=1)
    heads = ["clip", *(f"{name}, {what}" for name in targets for what in ("true", "predicted"))]
    heads.append("mean error" if len(targets) > 1 else "error")
    rows = []
    for place in np.argsort(-errors, kind="stable"):
        pairs = zip(found.truth[known[place]], found.prediction[known[place]], strict=True)
        rows.append([found.clip_ids[known[place]], *(number(value) for pair in pairs for value in pair)])
        rows[-1].append(number(float(errors[place])))
    return ["<h3>Each clip, the largest absolute error first</h3>", _long_table(heads, rows, "clips", stored)]


def _answers(stored: StoredEvaluation, found: PredictionTable) -> list[str]:
    """The class that was given and the likeliest one of clips with one row each, the surest mistakes first."""
    rows = []
    for row in np.flatnonzero(found.scored):
        given, answer = int(found.truth[row, 0]), int(found.prediction[row].argmax())
        probability = float(found.prediction[row, answer])
        verdict = "right" if given == answer else "wrong"
        cells = [found.clip_ids[row], stored.classes[given], stored.classes[answer], verdict, number(probability)]
        rows.append((given == answer, -probability, cells))
    rows.sort(key=lambda each: each[:2])
    heads = ["clip", "true", "predicted", "", "its probability"]
    listed = _long_table(heads, [cells for _, _, cells in rows], "clips", stored, num_left=4)
    return ["<h3>Each clip, the surest mistakes first</h3>", listed]


def _shares_right(stored: StoredEvaluation, found: PredictionTable) -> list[str]:
    """How many rows of every clip are predicted right, the best clip first."""
    shares = []
    for name, rows in found.clips().items():
        keep = found.scored[rows]
        if keep.any():
            right = found.truth[rows][keep, 0] == found.prediction[rows][keep].argmax(axis=1)
            shares.append((-float(right.mean()), name, int(keep.sum())))
    cells = [[name, f"{count:,}", number(-share)] for share, name, count in sorted(shares)]
    heads = ["clip", "rows", "share predicted right"]
    return ["<h3>Each clip, the best first</h3>", _long_table(heads, cells, "clips", stored)]


def _long_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], what: str, stored: StoredEvaluation, num_left: int = 1
) -> Html:
    """A table, folded where it is long, and cut where it is very long."""
    listed = table(heads, rows[:_MANY_ROWS], num_left=num_left)
    if len(rows) > _MANY_ROWS:
        words = f"The first {_MANY_ROWS} of {len(rows):,}; predictions/{stored.file.name} has all of them."
        listed = Html(f'{listed}\n<p class="note">{as_html(words)}</p>')
    return listed if len(rows) <= _FEW_ROWS else folded(f"{len(rows):,} {what}", listed)
