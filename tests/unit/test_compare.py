"""A paper's tables with ours beside them, from results that recipes of a small paper of our own really wrote."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from small_paper import BEST, CCC, FRAMES, OTHER, TARGETS, VARIED, WEAK, cells, table

from emopipe.errors import ConfigError, RecordError, UnknownNameError
from emopipe.metrics import paired_bootstrap
from emopipe.recipes.compare import compare_paper
from emopipe.recipes.comparison_text import comparison_text
from emopipe.recipes.predictions import Predictions, predictions_path, read_predictions
from emopipe.recipes.recipe import published_key
from emopipe.recipes.reproduce import run_recipe
from emopipe.recipes.table import read_results

pytestmark = pytest.mark.usefixtures("small_paper")


# === What is kept beside the results ===


def test_predictions_lie_beside_the_results_one_row_per_clip_and_seed(run, results):
    result = run(BEST, seed=1)
    assert result.predictions == results / "predictions" / "tests2020_best.csv"
    assert json.loads(json.dumps(result.to_dict()))["predictions"] == str(result.predictions)
    assert f"predictions: {result.predictions}" in result.to_text()
    run(BEST, seed=2)
    with result.predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ["dataset", "split", "seed", "clip", "group", *TARGETS, "valence_label", "arousal_label"]
    assert list(rows[0]) == columns
    assert [row["seed"] for row in rows] == ["1"] * 60 + ["2"] * 60
    assert {(row["dataset"], row["split"]) for row in rows} == {("omg", "test")}
    assert all(row["clip"].startswith(f"{row['group']}/utterance_") for row in rows)
    run(BEST, seed=1)
    assert [key[1] for key in read_predictions(result.predictions)] == [2, 1]
    assert run(FRAMES).predictions is None
    assert not predictions_path(results, FRAMES.name).exists()


def test_predictions_come_back_as_they_were(run, results):
    written = replace(BEST.experiment, seed=3).run(None).predictions.sorted()
    run(BEST, seed=3)
    read = read_predictions(predictions_path(results, BEST.name))["omg", 3]
    assert (read.clip_ids, read.groups, read.targets) == (written.clip_ids, written.groups, TARGETS)
    assert list(read.clip_ids) == sorted(read.clip_ids)
    np.testing.assert_allclose(read.truth, written.truth, rtol=1e-8)
    np.testing.assert_allclose(read.prediction, written.prediction, rtol=1e-8)
    for k, target in enumerate(TARGETS):
        np.testing.assert_array_equal(read.columns([target])[1][:, 0], read.prediction[:, k])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip_ids": ("a", "a")}, "each clip once. Received: 'a' twice"),
        ({"groups": ("g",)}, "one per clip.*Received: 1 for 2"),
        ({"truth": np.zeros((2, 1))}, r"truth: expected shape \(2, 2\)"),
        ({"prediction": np.array([[0, 0], [0, np.nan]])}, "prediction, clip 'b': expected finite"),
    ],
)
def test_predictions_are_checked(change, message):
    sound = {"clip_ids": ("a", "b"), "groups": ("g", "g"), "targets": TARGETS}
    sound |= {"truth": np.zeros((2, 2)), "prediction": np.zeros((2, 2))}
    Predictions(**sound)
    with pytest.raises(RecordError, match=message):
        Predictions(**{**sound, **change})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("valence_label", "valence_truth", "expected the columns dataset,split,seed,clip,group,valence"),
        ("utterance_1,", "utterance_2,", "expected each clip once"),
        ("omg,test,0,", "omg,test,zero,", "invalid literal"),
        ("omg,test,0,", "omg,test,", "line [0-9]+: expected 9 cells. Received: 8"),
    ],
)
def test_a_broken_file_is_named(run, results, old, new, message):
    path = run(BEST).predictions
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as raised:
        compare_paper("tests2020", results)
    assert str(path) in str(raised.value)


def test_a_smoke_run_never_replaces_measured_predictions(run, results, tmp_path):
    path = run(BEST).predictions
    kept = path.read_bytes()
    with pytest.raises(ConfigError, match="holds measured numbers"):
        run_recipe(BEST.smoke(), root=tmp_path, cache=tmp_path, runs=tmp_path, results=results)
    assert path.read_bytes() == kept
    other = results.with_name("other")
    for each in (WEAK.smoke(), WEAK):  # what was only smoke goes
        run_recipe(each, root=tmp_path, cache=tmp_path, runs=tmp_path, results=other)
    assert [key[0] for key in read_predictions(predictions_path(other, WEAK.name))] == ["omg"]


def test_results_know_how_many_rows_each_number_is_of(run, results):
    run(BEST)
    rows = {published_key(row.metric, row.target): row for row in read_results(results / f"{BEST.name}.csv")}
    assert rows["ccc_valence"].num_rows == rows["mse_overall_valence"].num_rows == 60
    assert 0 < rows["mse_positive_low_valence"].num_rows < 30
    assert rows["ccc_valence_raw"].published == 0.512
    assert rows["ccc_valence_raw"].ours < rows["ccc_valence"].ours


# === What is compared ===


def test_published_and_ours_stand_side_by_side(run, results):
    run(BEST), run(WEAK)
    comparison = compare_paper("tests2020", results)
    assert [each.table.name for each in comparison.tables] == ["Table 3", "Table 5", "Table 7"]
    measured = {published_key(row.metric, row.target): row for row in read_results(results / f"{WEAK.name}.csv")}
    for key, published in zip(CCC, (0.378, 0.203, 0.291), strict=True):
        cell, row = cells(comparison, "Table 3", "weak")[key], measured[key]
        assert (cell.published, cell.ours, cell.num_rows) == (published, row.ours, 60)
        assert (cell.low, cell.high, cell.spread) == (row.low, row.high, None)
    region = cells(comparison, "Table 7", "best")["mse_positive_low_valence"]
    assert region.published == 0.101
    assert 0 < region.num_rows < 30
    assert region.against_reference is None
    assert [row.recipe for row in table(comparison, "Table 5").rows] == ["tests2020/other", "tests2020/best"]
    missing = table(comparison, "Table 5").rows[0]
    assert (missing.dataset, missing.seeds, missing.cells[0].published, missing.cells[0].ours) == ("", (), 0.416, None)


def test_the_p_value_is_that_of_the_stored_predictions(run, results):
    run(BEST), run(WEAK)
    comparison = compare_paper("tests2020", results)
    assert table(comparison, "Table 3").reference == BEST.name
    assert table(comparison, "Table 7").reference is None
    pair = [replace(each.experiment).run(None).predictions.sorted() for each in (WEAK, BEST)]
    expected = paired_bootstrap(pair[0].truth, pair[0].prediction, pair[1].prediction, np.array(pair[0].groups))
    found = cells(comparison, "Table 3", "weak")
    assert found["ccc_mean"].against_reference == pytest.approx(expected, abs=1e-6)
    assert found["ccc_mean"].against_reference.p < 0.05
    assert found["ccc_mean"].against_reference.difference == pytest.approx(
        found["ccc_mean"].ours - cells(comparison, "Table 3", "best")["ccc_mean"].ours, abs=1e-5
    )
    of_valence = paired_bootstrap(
        pair[0].truth[:, 0], pair[0].prediction[:, 0], pair[1].prediction[:, 0], np.array(pair[0].groups)
    )
    assert found["ccc_valence"].against_reference == pytest.approx(of_valence, abs=1e-6)
    assert cells(comparison, "Table 3", "best")["ccc_mean"].against_reference is None


def test_another_reference_may_be_named(run, results):
    run(BEST), run(WEAK), run(OTHER)
    comparison = compare_paper("tests2020", results, against=WEAK.name)
    assert {each.reference for each in comparison.tables[:2]} == {WEAK.name}
    assert cells(comparison, "Table 3", "weak")["ccc_mean"].against_reference is None
    assert cells(comparison, "Table 5", "other")["ccc_mean"].against_reference.low > 0
    with pytest.raises(ConfigError, match="expected a recipe of tests2020"):
        compare_paper("tests2020", results, against="rangulov2020/cnn-gru3")
    with pytest.raises(UnknownNameError, match="Did you mean 'tests2020/weak'"):
        compare_paper("tests2020", results, against="tests2020/weka")


def test_seeds_are_averaged_whatever_their_number(run, results):
    for seed in (0, 1, 2):
        run(BEST, seed=seed)
    for seed in (0, 1):
        run(WEAK, seed=seed)
    comparison = compare_paper("tests2020", results)
    row = table(comparison, "Table 3").rows[0]
    assert row.seeds == (0, 1, 2)
    stored = [
        each for each in read_results(results / f"{BEST.name}.csv") if (each.metric, each.target) == ("ccc", "mean")
    ]
    cell = cells(comparison, "Table 3", "best")["ccc_mean"]
    assert cell.ours == pytest.approx(np.mean([each.ours for each in stored]))
    assert cell.spread == pytest.approx(np.std([each.ours for each in stored], ddof=1))
    assert cell.low == pytest.approx(np.mean([each.low for each in stored]))
    weak = cells(comparison, "Table 3", "weak")["ccc_mean"]
    assert weak.against_reference.difference == pytest.approx(weak.ours - cell.ours, abs=1e-5)


def test_seeds_with_corpora_of_their_own_are_compared_corpus_by_corpus(run, results):
    for seed in (0, 1, 2):
        run(BEST, seed=seed, own_corpus=True), run(WEAK, seed=seed, own_corpus=True)
    comparison = compare_paper("tests2020", results)
    assert table(comparison, "Table 3").notes == ()
    weak, best = (cells(comparison, "Table 3", name)["ccc_mean"] for name in ("weak", "best"))
    assert weak.against_reference.difference == pytest.approx(weak.ours - best.ours, abs=1e-5)
    stored = [read_predictions(predictions_path(results, each.name)) for each in (WEAK, BEST)]
    weaks, bests = ([found["omg", seed] for seed in (0, 1, 2)] for found in stored)
    expected = paired_bootstrap(
        np.concatenate([each.truth for each in bests]),
        np.concatenate([each.prediction for each in weaks]),
        np.concatenate([each.prediction for each in bests]),
        np.concatenate([each.groups for each in bests]),
        corpora=np.repeat((0, 1, 2), 60),
    )
    assert weak.against_reference == expected
    run(WEAK, seed=3, own_corpus=True)
    (note,) = table(compare_paper("tests2020", results), "Table 3").notes
    assert "each seed has clips of its own, and the seeds are not the reference's (0, 1, 2, 3 and 0, 1, 2)" in note


def test_rows_of_other_utterances_are_not_compared(run, results):
    run(BEST), run(WEAK, num_clips=57)
    comparison = compare_paper("tests2020", results)
    assert cells(comparison, "Table 3", "weak")["ccc_mean"].against_reference is None
    (note,) = table(comparison, "Table 3").notes
    assert "other clips than the reference (57 and 60): tests2020/weak" in note


def test_other_labels_of_the_same_utterances_are_not_compared(run, results):
    run(BEST)
    path = run(WEAK).predictions
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[5]["arousal_label"] = "0.123"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    comparison = compare_paper("tests2020", results)
    assert cells(comparison, "Table 3", "weak")["ccc_mean"].against_reference is None
    assert "other labels" in table(comparison, "Table 3").notes[0]


def test_without_predictions_there_is_no_p_value(run, results):
    run(BEST), run(FRAMES)
    comparison = compare_paper("tests2020", results)
    assert cells(comparison, "Table 3", "frames")["ccc_mean"].ours is not None
    assert cells(comparison, "Table 3", "frames")["ccc_mean"].against_reference is None
    assert "no predictions are stored" in table(comparison, "Table 3").notes[0]
    # Predictions that an older run left behind are not those of these results.
    run(WEAK), run(WEAK, seed=1, keeps=False)
    assert cells(compare_paper("tests2020", results), "Table 3", "weak")["ccc_mean"].against_reference is None


def test_a_reference_that_was_not_run_is_named(run, results):
    run(WEAK)
    comparison = compare_paper("tests2020", results)
    assert f"emopipe reproduce {BEST.name}" in table(comparison, "Table 3").notes[0]
    assert table(comparison, "Table 5").notes == ()


def test_smoke_results_are_marked_and_not_mixed_with_real_ones(run, results, tmp_path):
    run(BEST)
    for each in (WEAK, OTHER):
        run_recipe(each.smoke(), root=tmp_path, cache=tmp_path, runs=tmp_path, results=results)
    comparison = compare_paper("tests2020", results)
    phantoms = {row.recipe: row.is_phantom for row in table(comparison, "Table 3").rows if row.dataset}
    assert phantoms == {BEST.name: False, WEAK.name: True}
    assert cells(comparison, "Table 3", "weak")["ccc_mean"].against_reference is None
    assert "generated and real corpora do not mix" in table(comparison, "Table 3").notes[0]
    text = comparison_text(comparison)
    assert text.count("[phantom omg]") == 2
    assert "as in a smoke run" in text
    among_themselves = compare_paper("tests2020", results, against=OTHER.name)
    assert cells(among_themselves, "Table 3", "weak")["ccc_mean"].against_reference.p < 0.05


def test_variants_are_shown_where_they_were_run(run, results):
    run(VARIED), run(BEST)
    assert "varied@half" not in comparison_text(compare_paper("tests2020", results))
    run(VARIED.variant("half"))
    comparison = compare_paper("tests2020", results)
    (row,) = [row for row in table(comparison, "Table 3").rows if row.recipe == "tests2020/varied@half"]
    assert row.label == "VGG-Face @half"
    assert row.cells[2].against_reference.p < 0.05
    assert comparison.deviations[row.recipe][0].startswith("This is the variant half")
