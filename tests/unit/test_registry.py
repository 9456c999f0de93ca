"""Names that stand for implementations, loaded when they are asked for."""

import sys

import pytest

from emopipe.errors import ConfigError, MissingDependencyError, UnknownNameError
from emopipe.registry import Registry


def test_listing_imports_nothing_and_loading_imports_the_one(tmp_path, monkeypatch):
    (tmp_path / "lazily_loaded.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("thing", {"seven": "lazily_loaded:VALUE", "broken": "no_such_module:x"})
    assert list(registry) == ["seven", "broken"]
    assert len(registry) == 2
    assert "seven" in registry
    assert 7 not in registry
    assert "lazily_loaded" not in sys.modules
    assert registry.load("seven") == 7


def test_a_name_that_is_taken_is_refused():
    registry = Registry("thing", {"pi": "math:pi"})
    with pytest.raises(ConfigError, match=r"thing 'pi' is registered already, as math:pi"):
        registry.register("pi", "math:tau")
    assert registry["pi"] == "math:pi"


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    registry = Registry("detector", {"retinaface": "a:b", "haar": "a:c"})
    with pytest.raises(UnknownNameError) as caught:
        registry.load("retinafce")
    assert str(caught.value) == ("Unknown detector 'retinafce'. Did you mean 'retinaface'? Known: haar, retinaface.")
    with pytest.raises(ValueError, match=r"^Unknown detector 'zzz'\. Known: haar, retinaface\.$"):
        registry["zzz"]


def test_a_missing_package_is_named_with_the_line_that_installs_it():
    registry = Registry("thing", {"a": "no_such_package.deep:x"})
    with pytest.raises(MissingDependencyError, match="pip install no_such_package"):
        registry.load("a")
    with pytest.raises(ImportError):
        registry.load("a")


def test_a_missing_module_of_our_own_is_a_programming_error():
    with pytest.raises(ModuleNotFoundError) as caught:
        Registry("thing", {"a": "emopipe.no_such_module:x"}).load("a")
    assert not isinstance(caught.value, MissingDependencyError)


def test_an_error_inside_the_module_is_not_a_missing_package(tmp_path, monkeypatch):
    (tmp_path / "raises_inside.py").write_text("raise RuntimeError('inside')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeError, match="inside"):
        Registry("thing", {"a": "raises_inside:x"}).load("a")
