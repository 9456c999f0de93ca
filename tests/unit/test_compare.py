"""A paper's tables with ours beside them, from results that recipes of a small paper of our own really wrote."""

import csv
import json
import sys
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from types import ModuleType

import numpy as np
import pytest

from emopipe.errors import ConfigError, RecordError, UnknownNameError
from emopipe.metrics import paired_bootstrap, region_scores, regression_scores
from emopipe.recipes.compare import compare_paper
from emopipe.recipes.comparison_text import WIDTH, comparison_text
from emopipe.recipes.page import html_page
from emopipe.recipes.predictions import Predictions, predictions_path, read_predictions
from emopipe.recipes.recipe import RECIPES, Outcome, Paper, Place, Recipe, Table, published_key
from emopipe.recipes.reproduce import run_recipe
from emopipe.recipes.table import read_results

TARGETS = ("valence", "arousal")
CCC = ("ccc_valence", "ccc_arousal", "ccc_mean")
REGIONS = ("mse_positive_low_valence", "mse_overall_valence")
PAPER = Paper(
    "A. Author and <B>. & Co, A paper of tests",
    "arXiv:0000.00000",
    (
        Table("Table 3", "CCC on the test split.", CCC, with_raw=True),
        Table("Table 5", "CCC of other layers.", CCC),
        Table("Table 7", "Errors by region.", REGIONS),
    ),
)
SHARED = "The detector is another one than the paper's."


@dataclass(frozen=True)
class Given:
    """An experiment that predicts the labels with some noise."""

    noise: float
    seed: int = 0
    num_clips: int = 60
    raw: bool = False
    keeps: bool = True
    datasets: tuple[str, ...] = ("omg",)

    def smoke(self):
        return replace(self, num_clips=40)

    def run(self, bench):
        labels = np.random.default_rng(100)  # the same corpus for all
        truth = np.column_stack([labels.uniform(-1, 1, self.num_clips), labels.uniform(0, 1, self.num_clips)])
        generator = np.random.default_rng([self.seed, round(1000 * self.noise)])
        prediction = truth + generator.normal(0, self.noise, truth.shape)
        clips = tuple(f"video{number // 3}/utterance_{number}" for number in range(self.num_clips))
        groups = tuple(clip.partition("/")[0] for clip in clips)
        scores = regression_scores(truth, prediction, TARGETS, np.array(groups), num_bootstrap=50)
        scores += region_scores(truth, prediction, TARGETS, np.array(groups), num_bootstrap=50)
        if self.raw:
            worse = regression_scores(
                truth, truth + 2 * (prediction - truth), TARGETS, np.array(groups), num_bootstrap=0
            )
            scores += [replace(score, metric=f"{score.metric}_raw") for score in worse]
        order = generator.permutation(self.num_clips)  # rows are matched by name, not by place
        kept = Predictions(
            tuple(clips[row] for row in order),
            tuple(groups[row] for row in order),
            TARGETS,
            truth[order],
            prediction[order],
        )
        return Outcome("test", tuple(scores), self.num_clips, self.seed, 3, predictions=kept if self.keeps else None)


def recipe(name, places, published, experiment, **more):
    values = dict(zip(("ccc_valence", "ccc_arousal", "ccc_mean"), published, strict=False))
    deviations = (SHARED, f"Of {name} alone: <i> & more.")
    return Recipe(f"tests2020/{name}", PAPER, places, experiment, {**values, **more}, deviations, {})


BEST = recipe(
    "best",
    (Place("Table 3", "Fusion & RNN <best>"), Place("Table 5", "2nd pool", 2), Place("Table 7", "Fusion")),
    (0.535, 0.365, 0.450),
    Given(0.1, raw=True),
    ccc_valence_raw=0.512,
    mse_positive_low_valence=0.101,
)
WEAK = recipe("weak", (Place("Table 3", "VGG-Face"),), (0.378, 0.203, 0.291), Given(0.6))
OTHER = recipe("other", (Place("Table 5", "8th conv", 1),), (0.416, 0.261), Given(0.11))
FRAMES = recipe("frames", (Place("Table 3", "frame by frame"),), (0.36, 0.19), Given(0.5, keeps=False))
VARIED = replace(WEAK, name="tests2020/varied", variants={"half": Given(0.3)})
ALL = (BEST, WEAK, OTHER, FRAMES, VARIED)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The paper of this file is the only one with such recipes."""
    module = ModuleType("paper_of_tests")
    entries = dict(RECIPES._entries)
    for each in ALL:
        attribute = each.name.partition("/")[2]
        setattr(module, attribute, each)
        entries[each.name] = f"paper_of_tests:{attribute}"
    monkeypatch.setitem(sys.modules, "paper_of_tests", module)
    monkeypatch.setattr(RECIPES, "_entries", entries)


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def run(tmp_path, results):
    """``run(BEST, seed=1)`` -> the result of the recipe, written below `results`."""

    def reproduce(each, seed=0, **changes):
        each = replace(each, experiment=replace(each.experiment, seed=seed, **changes))
        return run_recipe(each, root=tmp_path, cache=tmp_path, runs=tmp_path, results=results)

    return reproduce


def table(comparison, name):
    (found,) = [each for each in comparison.tables if each.table.name == name]
    return found


def cells(comparison, name, recipe):
    (row,) = [row for row in table(comparison, name).rows if row.recipe == f"tests2020/{recipe}"]
    return {cell.key: cell for cell in row.cells}


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


# === How it looks ===


def test_text_is_aligned_and_fits_a_wide_terminal(run, results):
    run(BEST), run(WEAK)
    lines = comparison_text(compare_paper("tests2020", results)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    begin = next(number for number, line in enumerate(lines) if line.startswith("Table 3"))
    assert "Reference: Fusion & RNN <best> (tests2020/best)." in " ".join(lines[begin : begin + 2])
    block = lines[begin : lines.index("", begin)]
    head = next(line for line in block if line.startswith("recipe"))
    best = next(line for line in block if line.startswith("Fusion"))
    ends = {
        name: head.index(name) + len(name) for name in ("published", "ours", "95 % interval", "p  ", "rows", "seeds")
    }
    assert best[: ends["published"]].endswith("ccc valence  0.535 (0.512)")
    ours = best[: ends["ours"]].split("  ")[-1]
    value, raw = ours.replace("(", "").replace(")", "").split()
    assert 0.9 < float(value) <= 1 and float(raw) < float(value)
    assert best[ends["ours"] : ends["95 % interval"]].strip().count(" to ") == 1
    assert best[: ends["rows"]].endswith(" 60") and best.endswith(" 0")
    assert "reference" in best
    weak = next(line for line in block if line.startswith("VGG-Face"))
    assert "<0.001" in weak
    assert sum("not run" in line for line in block) == 2 * 3  # frames and varied
    narrow = next(line for line in lines if line.startswith("8th conv"))
    assert "not run" in narrow


def test_long_labels_are_broken_and_not_cut(run, results, monkeypatch):
    long = "CNN-3RNN-2nd-pool_last-pool_fc, pre-trained on Aff-Wild2, then on OMG-Emotion, end to end, best of all"
    wordy = replace(BEST, places=(Place("Table 3", long), Place("Table 7", long)))
    monkeypatch.setattr(sys.modules["paper_of_tests"], "best", wordy)
    run(wordy)
    text = comparison_text(compare_paper("tests2020", results))
    assert max(map(len, text.splitlines())) <= WIDTH
    lines = text[text.index("Table 7. ") :].splitlines()
    width = next(line.index("quantity") for line in lines if line.startswith("recipe"))
    assert width < len(long)
    assert long.replace(" ", "") in "".join(line[:width].strip() for line in lines).replace(" ", "")


class Page(HTMLParser):
    """Collects what a browser would show, and what it would fetch; tags must be closed in order."""

    VOID = ("meta", "br")

    def __init__(self, page):
        super().__init__()
        self.open, self.tables, self.fetched, self.text, self.style = [], [], [], "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.fetched += [value for name, value in attributes if name in ("src", "href", "srcset")]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.style += data
        else:
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data


def test_the_page_holds_the_tables_and_fetches_nothing(run, results):
    run(BEST), run(BEST, seed=1), run(WEAK)
    comparison = compare_paper("tests2020", results)
    source = html_page(comparison)
    page = Page(source)
    assert page.open == [] and page.fetched == []
    assert "url(" not in page.style and "@import" not in page.style and "<script" not in source
    assert len(page.tables) == 3
    heads, first, second, third, *_ = page.tables[0]
    assert heads[:4] == ["recipe", "quantity", "published", "ours"]
    assert first[0].startswith("Fusion & RNN <best>")
    assert first[1:3] == ["ccc valence", "0.535 (0.512)"]
    assert (len(second), len(third)) == (len(first) - 1, len(first) - 1)  # the label spans the lines of its row
    assert third[:2] == ["ccc mean", "0.450"]
    weak = cells(comparison, "Table 3", "weak")["ccc_valence"]
    row = next(row for row in page.tables[0] if row[0].startswith("VGG-Face"))
    assert row[3] == f"{weak.ours:.3f}"
    assert row[4] == ""
    assert row[5] == f"{weak.low:.3f} to {weak.high:.3f}"
    assert row[6].startswith(f"{weak.against_reference.difference:+.3f} (")
    assert row[7:] == ["<0.001", "60", "0"]
    best = cells(comparison, "Table 3", "best")["ccc_valence"]
    assert first[4] == f"{best.spread:.3f}"
    assert "<B>. & Co" in page.text  # escaped, or the parser would have taken it for a tag
    assert page.text.count(SHARED) == 1
    for each in (BEST, WEAK, OTHER):
        assert f"Of {each.name.partition('/')[2]} alone: <i> & more." in page.text


def test_the_command(run, results, call, tmp_path):
    for seed in (0, 1):
        run(BEST, seed=seed)
    run(WEAK)
    shown = call("recipes", "compare", "tests2020", "--results", results)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == comparison_text(compare_paper("tests2020", results)) + "\n"
    page = tmp_path / "pages" / "tests.html"
    found = call(
        "recipes", "compare", "tests2020", "--results", results, "--html", page, "--json", "--against", WEAK.name
    )
    assert found.code == 0, found.err
    assert Page(page.read_text()).tables
    first = found.json["tables"][0]
    assert first["reference"] == WEAK.name
    best, weak, *_ = first["rows"]
    assert best["seeds"] == [0, 1] and weak["is_reference"]
    assert best["cells"][2]["against_reference"].keys() == {"difference", "low", "high", "p"}
    assert best["cells"][0]["published_raw"] == 0.512
    assert found.json["deviations"][WEAK.name][0] == SHARED
    assert "NaN" not in found.out


def test_nothing_run_names_the_command_that_runs_it(results, call):
    outcome = call("recipes", "compare", "tests2020", "--results", results)
    assert outcome.code == 1
    assert outcome.out == ""
    assert "emopipe reproduce tests2020/best" in outcome.err
    assert "--results" in outcome.err


def test_unknown_names_are_wrong_usage(results, call):
    outcome = call("recipes", "compare", "test2020", "--results", results)
    assert outcome.code == 2
    assert "Did you mean 'tests2020'?" in outcome.err
    assert "rangulov2020" in outcome.err


def test_the_first_paper_is_compared_without_predictions(tmp_path, results, call):
    from emopipe.recipes.recipe import find_recipe
    from emopipe.recipes.table import result_rows, write_results

    scores = replace(BEST.experiment, keeps=False).run(None).scores
    for name in ("cnn-gru3", "cnn-gru1"):
        each = find_recipe(f"rangulov2020/{name}")
        write_results(results / f"{each.name}.csv", result_rows(each, Outcome("dev", scores, 60, 0, 20, best_epoch=17)))
    outcome = call("recipes", "compare", "rangulov2020", "--results", results)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    heads = [line for line in lines if line.startswith(("Table", "Fig", "Section"))]
    for head, name in zip(heads, ("Fig. 3. ", "Table I. ", "Section V. ", "Table III. "), strict=True):
        assert head.startswith(name)
    (row,) = [line for line in lines if "ccc arousal" in line and "0.39" in line]
    assert row.split()[-1] == "reference"
    assert any("best epoch" in line and line.split()[3:4] == ["17"] for line in lines)
    assert "no predictions are stored of it or of the reference: rangulov2020/cnn-gru1" in " ".join(outcome.out.split())
    assert "accuracy" in outcome.out


def test_a_recipe_stands_in_tables_that_its_paper_has():
    with pytest.raises(ConfigError, match="Table 3, Table 5, Table 7. Received: Table 4"):
        replace(BEST, places=(Place("Table 3", "x"), Place("Table 4", "y")))
    with pytest.raises(ConfigError, match="Received: none"):
        replace(BEST, places=())
    assert BEST.row == "Table 3, Fusion & RNN <best> (also Table 5, Table 7)"
    assert WEAK.row == "Table 3, VGG-Face"
