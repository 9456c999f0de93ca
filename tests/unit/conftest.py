"""The small paper's recipes, for the files that test what is made of a paper's results."""

from functools import partial

import pytest
from small_paper import register, reproduce


@pytest.fixture
def small_paper(monkeypatch):
    """Its recipes are known."""
    register(monkeypatch)


@pytest.fixture
def results(tmp_path):
    """Where `run` writes to."""
    return tmp_path / "results"


@pytest.fixture
def run(small_paper, tmp_path):
    """``run(BEST, seed=1)`` -> the result of the recipe, written below `results`."""
    return partial(reproduce, tmp_path)
