"""How a comparison looks: as text of a wide terminal, and as one HTML page."""

import sys
from dataclasses import replace

import pytest
from html_pages import Page
from small_paper import BEST, OTHER, SHARED, WEAK, cells

from emopipe.errors import ConfigError
from emopipe.recipes.compare import compare_paper
from emopipe.recipes.comparison_text import WIDTH, comparison_text
from emopipe.recipes.page import html_page
from emopipe.recipes.recipe import Outcome, Place

pytestmark = pytest.mark.usefixtures("small_paper")


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


def test_the_page_holds_the_tables_and_fetches_nothing(run, results):
    run(BEST), run(BEST, seed=1), run(WEAK)
    comparison = compare_paper("tests2020", results)
    page = Page(html_page(comparison))
    assert page.fetched == []
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
    assert row[7:] == ["<0.001", "60"]
    assert (row[0].endswith("seeds 0"), first[0].endswith("seeds 0, 1")) == (True, True)
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
