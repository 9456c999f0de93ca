"""`emopipe report` on real runs of a small cache: what stands on the page, and what it refuses."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import utterance_corpus
from csv_rows import rows_of
from feature_corpus import CLASSES, GAP, NUM_FEATURES, NUM_FRAMES, make_corpus, write_features
from html_pages import Page
from keras2_checkpoint import write_checkpoint
from PIL import Image as PillowImage

from emopipe.bootstrap import Score
from emopipe.errors import RunError
from emopipe.models.bundle import open_run
from emopipe.models.windows import WindowConfig
from emopipe.stages.evaluate import score
from emopipe.stages.fuse import fuse_decisions
from emopipe.stages.fusion import evaluate, predict_run
from emopipe.stages.import_head import import_head
from emopipe.stages.report import report_page, write_report
from emopipe.stages.report_scores import main_score
from emopipe.stages.rnn_config import TrainRnnConfig
from emopipe.stages.stored_evaluation import prediction_table, stored_evaluations, unscored_predictions
from emopipe.stages.train_rnn import train_rnn

SMALL = TrainRnnConfig(units=(8,), window=WindowConfig(8), epochs=4, batch_size=32, learning_rate=0.05)
NUM_BOOTSTRAP = 50
MAX_BYTES = 2_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a cache and two runs, numbers and classes, both evaluated on dev."""
    folder = tmp_path_factory.mktemp("made")
    root = make_corpus(folder)
    write_features(root, folder / "cache", "tiny")
    train_rnn(SMALL, cache=folder / "cache", run=folder / "numbers")
    train_rnn(replace(SMALL, task="expr"), cache=folder / "cache", run=folder / "classes")
    for name in ("numbers", "classes"):
        evaluate(folder / name, split="dev", cache=folder / "cache", num_bootstrap=NUM_BOOTSTRAP)
    return folder


@pytest.fixture
def numbers(made, tmp_path):
    """A copy of the run of numbers, to be spoilt."""
    return Path(shutil.copytree(made / "numbers", tmp_path / "run"))


def test_the_page_of_numbers_says_what_was_scored(made):
    found = evaluate(made / "numbers", split="dev", cache=made / "cache", num_bootstrap=NUM_BOOTSTRAP)
    source = report_page(made / "numbers")
    page, run = Page(source), open_run(made / "numbers").content
    assert page.fetched == []
    assert len(source) < MAX_BYTES
    assert "A GRU of 1 layer (8 units) on features, trained on the task va of affwild2 to predict valence" in page.text
    assert f"It has {run['num_parameters']:,} parameters." in page.text
    best = run["best"]
    assert f"Epoch {best['epoch']} of 4 is kept, the best by mean CCC on the split dev ({best['dev_ccc']:.3f})" in (
        page.text
    )
    scores = page.table("", "valence", "arousal", "mean")
    value = {(each.metric, each.target): each for each in found.scores}
    for column, target in enumerate(("valence", "arousal", "mean")):
        each = value["ccc", target]
        (ccc,) = (cells for name, cells in scores.items() if name.startswith("CCC"))
        assert ccc[column] == f"{each.value:.3f}{each.low:.3f} to {each.high:.3f}"
    assert "177 of 180 frames are scored. Intervals: 95 %, bootstrap over 3 clips." in page.text
    facts = page.facts()
    assert (facts["cells"], facts["learning rate"], facts["window.length"]) == ("gru", "0.05", "8")
    assert facts["features, fingerprint"] == "t" * 64
    assert facts["seed"] == "0"


def test_clips_stand_in_the_order_of_their_scores_and_three_are_drawn(made):
    page = Page(report_page(made / "numbers"))
    (stored,) = stored_evaluations(made / "numbers")
    ccc = {
        name: next(each.value for each in scores if (each.metric, each.target) == ("ccc", "mean"))
        for name, scores in stored.clips.items()
    }
    ranked = sorted(ccc, key=ccc.__getitem__, reverse=True)
    table = page.table("clip", "rows", "CCC valence")
    assert list(table) == ranked
    assert [row[3] for row in table.values()] == [f"{ccc[name]:.3f}" for name in ranked]
    assert {row[0] for row in table.values()} == {str(NUM_FRAMES - 1)}
    traces = [alt for alt in page.pictures if alt.endswith("over time")]
    assert traces == [f"valence, arousal of clip {name} over time" for name in ranked]
    assert all(np.ptp(picture) > 0 for picture in page.pictures.values())


def test_what_is_read_back_is_what_was_predicted(made):
    (stored,) = stored_evaluations(made / "numbers")
    found = predict_run(made / "numbers", split="dev", cache=made / "cache")
    table = prediction_table(stored, ("valence", "arousal"))
    np.testing.assert_allclose(table.prediction, found.values, atol=1e-6)
    np.testing.assert_allclose(table.truth, found.rows.labels, atol=1e-6)
    np.testing.assert_array_equal(table.how, found.how)
    np.testing.assert_allclose(table.time_s, np.tile(np.arange(NUM_FRAMES) / 25, 3), atol=1e-6)
    assert table.scored.sum() == stored.num_scored
    assert list(table.clips()) == ["dev0", "dev1", "dev2"]
    assert not table.scored[table.clips()["dev1"]][GAP]
    scores = score(found, num_bootstrap=NUM_BOOTSTRAP)
    assert stored_evaluations(made / "numbers")[0].scores == scores.scores
    assert str(stored.clips) == str(scores.clips)  # their intervals are NaN, which equals nothing


def test_the_page_of_classes_has_a_confusion_matrix(made):
    page = Page(report_page(made / "classes"))
    (stored,) = stored_evaluations(made / "classes")
    each = page.table("class", "frames so labelled", "F1", "recall")
    assert {name: int(row[0]) for name, row in each.items()} == dict(
        zip(CLASSES, stored.confusion.sum(axis=1).tolist(), strict=True)
    )
    assert f"Confusion matrix of {', '.join(CLASSES)}" in page.pictures
    assert not any("over time" in alt for alt in page.pictures)
    shares = page.table("clip", "rows", "share predicted right")
    rows = [row for row in rows_of(stored.file) if row["label"] and row["expression_label"]]
    for name, (count, share) in shares.items():
        right = [row["label"] == row["expression_label"] for row in rows if row["clip"] == name]
        assert (int(count), share) == (len(right), f"{np.mean(right):.3f}")
    value = main_score(stored, "uar")
    assert value.metric == "unweighted_average_recall"


def test_a_fusion_lists_its_members_and_has_no_curves(made, tmp_path):
    run = tmp_path / "fused"
    twin = shutil.copytree(made / "numbers", tmp_path / "twin")
    found = fuse_decisions([made / "numbers", twin], run=run, cache=made / "cache")
    page = Page(report_page(run))
    assert "The average of 2 heads" in page.text and "each is weighed in every target by its CCC" in page.text
    members = page.table("member", "what it is", "CCC of valence, dev")
    assert list(members) == ["members/0", "members/1"]
    assert members["members/1"][1:] == [*(f"{value:.3f}" for value in found.dev_scores[1]), "0.500", "0.500"]
    assert "Nothing was trained in this folder" in page.text
    assert "No split of this run is evaluated yet." in page.text
    assert f"emopipe evaluate {run} --split dev" in page.text
    assert page.pictures == {}
    score(predict_run(run, split="dev", cache=made / "cache"), num_bootstrap=0)
    page = Page(report_page(run))
    assert "Predicted against true valence, arousal" in page.pictures
    assert "No intervals" in page.text


def test_an_imported_head_is_said_to_be_one(made, tmp_path):
    write_checkpoint(tmp_path / "gru.hdf5", units=(4, 3), num_features=NUM_FEATURES)
    import_head(tmp_path / "gru.hdf5", tmp_path / "run", cache=made / "cache")
    page = Page(report_page(tmp_path / "run"))
    assert "A GRU of 2 layers (4 and 3 units) on features, imported from a Keras 2 checkpoint" in page.text
    assert "Nothing was trained in this folder" in page.text
    assert page.facts()["checkpoint, SHA-256"] == open_run(tmp_path / "run").content["settings"]["checkpoint"]


def test_clips_with_one_label_have_a_row_each(tmp_path):
    corpus = utterance_corpus.make(tmp_path)
    config = replace(SMALL, window=WindowConfig(8, target="clip"), epochs=2, taps=(utterance_corpus.LOW,))
    train_rnn(config, cache=corpus.cache, run=tmp_path / "run")
    found = evaluate(tmp_path / "run", split="dev", cache=corpus.cache, num_bootstrap=NUM_BOOTSTRAP)
    page = Page(report_page(tmp_path / "run"))
    assert "to predict valence and arousal of a clip as a whole" in page.text
    table = page.table("clip", "valence, true", "valence, predicted", "arousal, true")
    assert len(table) == found.num_scored
    for row in rows_of(found.predictions):
        if row["valence"]:
            truth, guess = (np.array([float(row[f"{name}{end}"]) for name in ("valence", "arousal")])
                            for end in ("_label", ""))  # fmt: skip
            pairs = [f"{value:.3f}" for pair in zip(truth, guess, strict=True) for value in pair]
            assert table[row["clip"]] == [*pairs, f"{np.abs(truth - guess).mean():.3f}"]
    errors = [float(row[-1]) for row in table.values()]
    assert errors == sorted(errors, reverse=True)
    assert sum(row[:1] == ["everywhere"] for table in page.tables for row in table) == 1  # of the regions
    assert not re.search(r"\bnan\b", page.text.lower())
    assert unscored_predictions(tmp_path / "run") == ()  # the frames of the clips are no split of their own


def test_a_split_without_labels_is_shown_and_not_scored(made, numbers):
    found = predict_run(numbers, split="dev", cache=made / "cache")
    nothing = replace(
        found.rows, labels=np.full_like(found.rows.labels, np.nan), label_valid=np.zeros(len(found.rows), bool)
    )
    score(replace(found, rows=nothing, split=replace(found.split, split="test")))
    dev, test = stored_evaluations(numbers)
    assert (dev.split, test.split, test.scores, test.num_scored) == ("dev", "test", (), 0)
    source = report_page(numbers)
    page = Page(source)
    assert "0 of 180 frames are scored." in page.text
    assert "Clips over time, without labels" in page.text
    assert source.count(' over time"') == 3 + 3
    assert sum(alt.startswith("Predicted against true") for alt in page.pictures) == 1
    assert page.text.count("Each clip, the best first") == 1


def test_balanced_frames_are_shown(numbers):
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20] = 200
    PillowImage.fromarray(picture).save(numbers / "histogram.png")
    page = Page(report_page(numbers))
    np.testing.assert_array_equal(page.pictures["Valence and arousal of the training frames"], picture)
    (numbers / "histogram.png").write_bytes(b"no picture")
    with pytest.raises(RunError, match=r"histogram\.png: cannot be read as a picture"):
        report_page(numbers)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "run.json").unlink(), "is not a run folder"),
        (lambda run: edit(run / "run.json", finished=None), "its training is not over"),
        (lambda run: cut(run / "predictions" / "dev.csv"), r"dev\.csv: is not the file that dev\.json has the scores"),
        (lambda run: (run / "predictions" / "dev.csv").unlink(), r"dev\.csv: is missing.*\n.*--split dev"),
        (lambda run: cut(run / "predictions" / "dev.json"), r"dev\.json: is not readable"),
        (lambda run: edit(run / "predictions" / "dev.json", scores=[{"metric": "ccc"}]), "is not readable"),
        (lambda run: edit(run / "predictions" / "dev.json", **{"encoding-version": 9}), "Update emopipe"),
        (lambda run: cut(run / "history.csv"), r"history\.csv: is not as training writes it"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused(numbers, spoil, message):
    spoil(numbers)
    with pytest.raises(RunError, match=message) as caught:
        write_report(numbers)
    assert len(str(caught.value).splitlines()) <= 3
    assert not (numbers / "report.html").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_predictions_without_scores_are_named(numbers):
    (numbers / "predictions" / "dev.json").rename(numbers / "predictions" / "test.json")
    (numbers / "predictions" / "test.csv").write_bytes((numbers / "predictions" / "dev.csv").read_bytes())
    page = Page(report_page(numbers))
    assert "predictions/dev.csv has no scores beside it and is not shown." in page.text


def test_names_are_escaped(numbers):
    odd = numbers.with_name("<b>&run")
    numbers.rename(odd)
    path = odd / "predictions" / "dev.csv"
    path.write_text(path.read_text().replace("dev1", "<i>clip"))
    stored = odd / "predictions" / "dev.json"
    from emopipe.files import sha256_of_file

    stored.write_text(stored.read_text().replace("dev1", "<i>clip"))
    edit(stored, predictions_sha256=sha256_of_file(path))
    page = Page(report_page(odd))
    assert "<b>&run" in page.text
    assert "<i>clip" in page.table("clip", "rows")


def test_the_command(call, numbers, tmp_path):
    done = call("report", numbers)
    assert (done.code, done.out, done.err) == (0, f"{numbers / 'report.html'}\n", "")
    other = call("report", numbers, "--out", tmp_path / "pages" / "one.html")
    assert other.out == f"{tmp_path / 'pages' / 'one.html'}\n"
    assert (tmp_path / "pages" / "one.html").read_text() == (numbers / "report.html").read_text()
    assert re.search(r"<title>run</title>", (numbers / "report.html").read_text())
    wrong = call("report", tmp_path)
    assert wrong.code == 1
    assert "is not a run folder" in wrong.err


def test_scores_that_are_not_finite_come_back():
    from emopipe.stages.stored_evaluation import _scores

    (found,) = _scores([{"metric": "ccc", "target": "valence", "value": 0.5, "low": None, "high": None,
                         "num_rows": 3, "num_clips": 1}])  # fmt: skip
    assert isinstance(found, Score)
    assert found.value == 0.5 and np.isnan(found.low)
