"""`emopipe reproduce` and `list recipes`: names, corpora that are not there, and what a smoke run leaves alone."""

import csv
import dataclasses

import pytest

from emopipe.errors import ConfigError, UnknownNameError
from emopipe.recipes.recipe import RECIPES, Outcome, find_recipe
from emopipe.recipes.reproduce import recipe_roots, run_recipe
from emopipe.recipes.table import result_rows, write_results

PAPER = "rangulov2020/"


def test_unknown_names_are_wrong_usage(call):
    unknown = call("reproduce", f"{PAPER}cnn-gru33", "--smoke")
    assert unknown.code == 2
    assert "Did you mean 'rangulov2020/cnn-gru3'?" in unknown.err
    variant = call("reproduce", f"{PAPER}cnn-gru3@paper", "--smoke")
    assert variant.code == 2
    assert "paper-batch" in variant.err


def test_a_missing_corpus_names_option_and_variable(call, monkeypatch):
    monkeypatch.delenv("EMOPIPE_DATA", raising=False)
    for name in ("cnn-gru3", "cnn-jaffe"):
        missing = call("reproduce", PAPER + name)
        assert missing.code == 1
        assert "--root" in missing.err
        assert "$EMOPIPE_DATA" in missing.err


def test_where_the_corpora_are_looked_for(monkeypatch, tmp_path):
    one, two = find_recipe(f"{PAPER}cnn-gru3"), find_recipe(f"{PAPER}cnn-jaffe")
    assert recipe_roots(one, tmp_path) == {"affwild2": tmp_path}
    both = {"ckplus": tmp_path / "ckplus", "jaffe": tmp_path / "jaffe"}
    assert recipe_roots(two, tmp_path) == both
    monkeypatch.setenv("EMOPIPE_DATA", str(tmp_path))
    assert recipe_roots(one, None) == {"affwild2": tmp_path / "affwild2"}
    assert recipe_roots(two, None) == both


def test_recipes_are_listed(call):
    lines = call("list", "recipes").out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    assert any("Table III, CNN + GRU, 3 layer" in line for line in lines)


def test_a_smoke_run_never_replaces_measured_rows(tmp_path):
    recipe, path = find_recipe(f"{PAPER}cnn-gru3"), tmp_path / "table.csv"
    outcome = Outcome("dev", (), 100, 0, 3, best_epoch=2)
    write_results(path, result_rows(recipe.smoke(), outcome))
    write_results(path, result_rows(recipe, outcome))  # what was only smoke goes
    assert _seeds(path) == ["0"]
    write_results(path, result_rows(recipe, dataclasses.replace(outcome, seed=1)))
    write_results(path, result_rows(recipe, dataclasses.replace(outcome, best_epoch=3)))
    assert _seeds(path) == ["1", "0"]
    kept = path.read_bytes()
    with pytest.raises(ConfigError, match="holds measured numbers"):
        write_results(path, result_rows(recipe.smoke(), outcome))
    assert path.read_bytes() == kept
    path.write_text("something,else\n")
    with pytest.raises(ConfigError, match="expected the columns"):
        write_results(path, result_rows(recipe, outcome))


def _seeds(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["dataset"] for row in rows} == {"affwild2"}
    return [row["seed"] for row in rows]


def test_a_smoke_run_does_not_write_into_a_corpus(tmp_path):
    (tmp_path / "annotations").mkdir()
    where = {part: tmp_path / part for part in ("cache", "runs", "results")}
    with pytest.raises(ConfigError, match="phantom"):
        run_recipe(find_recipe(f"{PAPER}cnn-whole").smoke(), root=tmp_path, **where)
    assert [path.name for path in tmp_path.iterdir()] == ["annotations"]


def test_an_unknown_variant_is_refused():
    with pytest.raises(UnknownNameError, match="no variant 'other'"):
        find_recipe(f"{PAPER}cnn-jaffe@other")
