"""The public names, and every example in a docstring: those of public names run in a folder made as the docs say."""

import ast
import doctest
import importlib
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from emopipe_cli.main import emopipe as program

import emopipe

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"
WITH_EXAMPLES = [path for path in sorted((ROOT / "emopipe").rglob("*.py")) if ">>> " in path.read_text()]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """The folder that the examples of public names run in: what the commands of docs/python.md leave."""
    folder = tmp_path_factory.mktemp("workplace")
    commands = re.findall(r"^\.venv/bin/emopipe (.+)$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) == 3
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for words in commands:
            program.main(shlex.split(words), standalone_mode=False)
    return folder


def run_examples(test: doctest.DocTest) -> None:
    """Run the examples of one docstring; what differs from what it shows becomes the message."""
    said: list[str] = []
    outcome = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not outcome.failed, "".join(said)


def owner_of(name: str) -> str:
    return f"{getattr(emopipe, name).__module__}.{name}"


def test_the_public_names_are_few_and_where_the_type_checker_thinks():
    assert len(emopipe.__all__) <= 10
    assert list(emopipe.__all__) == sorted(emopipe.__all__)
    assert set(emopipe.__all__) <= set(dir(emopipe))
    tree = ast.parse((ROOT / "emopipe" / "__init__.py").read_text())
    [checked] = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {alias.name: node.module for node in checked.body for alias in node.names}
    assert imported == {name: getattr(emopipe, name).__module__ for name in emopipe.__all__}


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'emopipe' has no attribute 'exract'"):
        _ = emopipe.exract
    with pytest.raises(ImportError):
        exec("from emopipe import exract")


def test_the_package_itself_loads_nothing():
    code = "import sys, emopipe; dir(emopipe); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert [name for name in loaded if name.startswith("emopipe.")] == ["emopipe.version"]
    assert "numpy" not in loaded


@pytest.mark.slow
@pytest.mark.parametrize("name", emopipe.__all__)
def test_the_example_of_a_public_name_runs_as_it_stands(name, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    text = inspect.getdoc(getattr(emopipe, name)) or ""
    assert re.search(rf"^ *>>> from emopipe import .*\b{name}\b", text, re.MULTILINE), "it shows where the name is from"
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert not any(example.options.get(doctest.SKIP) for example in test.examples)
    run_examples(test)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_other_examples_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    public = {owner_of(name) for name in emopipe.__all__}
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, module.__name__):
        if test.examples and test.name not in public:
            run_examples(test)


@pytest.mark.slow
def test_the_scripts_of_the_page_run(workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    over_videos, of_units = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    exec(over_videos, {})
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        [clip, target] for clip in ("2-25-320x240", "video3_2") for target in ("valence", "arousal")
    ]
    exec(of_units, {})
    assert [line.split()[:3] for line in capsys.readouterr().out.splitlines()] == [
        ["f1", "AU1", "1.0"], ["f1", "AU4", "0.667"], ["f1", "mean", "0.833"]
    ]  # fmt: skip


def test_examples_stand_under_a_heading_that_the_site_knows():
    for path in WITH_EXAMPLES:
        assert not re.search(r"^ *Example:$", path.read_text(), re.MULTILINE), f"{path.name}: call it Examples:"


def test_the_page_names_every_public_name():
    table = PAGE.read_text().split("\n\n")[2]
    assert set(re.findall(r"`(\w+)`", table)) == set(emopipe.__all__)
