"""`emopipe report`: a run on one page that needs nothing but itself."""

from dataclasses import replace
from pathlib import Path

from emopipe.files import write_whole
from emopipe.models.bundle import Run
from emopipe.plots.page import Html, as_html, html_document
from emopipe.stages.fusion import is_fusion, open_fusion
from emopipe.stages.report_run import (
    balance_parts,
    members_table,
    provenance_parts,
    score_of_epochs,
    sentence,
    settings_parts,
    training_parts,
)
from emopipe.stages.report_scores import main_score, split_parts
from emopipe.stages.report_words import interval, name_of, number
from emopipe.stages.stored_evaluation import StoredEvaluation, stored_evaluations, unscored_predictions
from emopipe.stages.trained import Trained, open_trained

REPORT = "report.html"
_STYLE = """
.lead { font-size: 1.1rem; }
.quiet { color: var(--quiet); font-size: 0.85em; }
nav { color: var(--quiet); margin: 1rem 0; }
nav a { margin-right: 1rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 0.8rem; margin: 1.2rem 0; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 0.6rem 1rem;
  min-width: 10rem; break-inside: avoid; }
.tile strong { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
table.scores tr + tr, table.facts tr + tr, table.members tr + tr { border-top: 1px solid var(--faint); }
table.scores th, table.scores td { padding-top: 0.3rem; padding-bottom: 0.3rem; }
table.scores th .quiet { display: block; }
table.facts td { white-space: normal; overflow-wrap: anywhere; }
table.members td.left { white-space: normal; min-width: 18rem; }
details table { margin-top: 0.4rem; }
"""


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write what there is to know about a run as one HTML file, pictures and all.

    What it is and how good; every split that was evaluated, with its scores and what was predicted beside the truth;
    how training went; the settings; what it was made of. What a run does not have is left out with a sentence.

    Args:
        run: a finished run of any kind.
        out: the file; None for report.html in the run.

    Returns:
        The file.

    Raises:
        RunError: no run, an unfinished one, or one whose history or predictions are damaged.
        StorageError: the file cannot be written.
    """
    path = run / REPORT if out is None else out
    write_whole(path, report_page(run).encode("utf-8", "backslashreplace"))
    return path


def report_page(run: Path) -> str:
    """The page that `write_report` writes, with the same errors."""
    fusion = open_fusion(run) if is_fusion(run) else None
    trained = open_trained(run) if fusion is None else replace(fusion.members[0], run=fusion.run)
    evaluations = stored_evaluations(run)
    parts = [
        f'<p class="lead">{as_html(sentence(trained, fusion))}</p>',
        _tiles(trained, evaluations),
        _contents(evaluations),
    ]
    if fusion is not None:
        parts += ["<h2>Members</h2>", members_table(fusion)]
    for stored in evaluations:
        parts += split_parts(stored, trained)
    parts += _unscored(trained.run, evaluations)
    parts += ['<h2 id="training">Training</h2>', *training_parts(trained), *balance_parts(trained.run)]
    parts += ['<h2 id="settings">Settings</h2>', *settings_parts(trained.run)]
    parts += ['<h2 id="provenance">Provenance</h2>', *provenance_parts(trained, fusion)]
    return html_document(run.resolve().name, parts, source=str(run), style=_STYLE)


def _tiles(trained: Trained, evaluations: tuple[StoredEvaluation, ...]) -> Html:
    """The few numbers that one looks for first."""
    select = score_of_epochs(trained)
    tiles = []
    for stored in evaluations:
        if (score := main_score(stored, select)) is not None:
            mean = "mean " if score.target == "mean" else ""
            of = stored.split if stored.dataset == trained.dataset else f"{stored.split} of {stored.dataset}"
            tiles.append((f"{mean}{name_of(score.metric)}, {of}", number(score.value), interval(score)))
    content = trained.run.content
    if "num_parameters" in content:
        tiles.append(("size", f"{content['num_parameters']:,}", "parameters"))
    if "best" in content:
        tiles.append(("best epoch", f"{content['best']['epoch']}", f"of {content['num_epochs']}"))
    boxes = (
        f'<div class="tile"><span class="quiet">{as_html(name)}</span><strong>{as_html(value)}</strong>'
        f'<span class="quiet">{as_html(below)}</span></div>'
        for name, value, below in tiles
    )
    return Html(f'<div class="tiles">{"".join(boxes)}</div>' if tiles else "")


def _contents(evaluations: tuple[StoredEvaluation, ...]) -> Html:
    places = [(stored.file.stem, f"split {stored.file.stem}") for stored in evaluations]
    places += [(name, name) for name in ("training", "settings", "provenance")]
    links = (f'<a href="#{as_html(place)}">{as_html(words)}</a>' for place, words in places)
    return Html(f"<nav>{' '.join(links)}</nav>")


def _unscored(run: Run, evaluations: tuple[StoredEvaluation, ...]) -> list[str]:
    """What to do where there are no scores."""
    files = unscored_predictions(run.folder)
    sentences = [f"predictions/{path.name} has no scores beside it and is not shown." for path in files]
    if not evaluations:
        sentences.insert(0, "No split of this run is evaluated yet.")
    command = f"<code>emopipe evaluate {as_html(str(run.folder))} --split dev</code>"
    return [f"<p>{as_html(' '.join(sentences))} Run: {command}</p>"] if sentences else []
