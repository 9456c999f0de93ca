"""What the documents say is true: commands parse, links lead somewhere, targets exist, code runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from emopipe_cli.main import emopipe

import emopipe as emopipe_package

ROOT = Path(__file__).parents[1]
FOLDERS = ("", "docs", "benchmarks", "results")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))


def code_blocks(page: Path, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def command_lines() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        lines = [line.strip() for block in code_blocks(page) for line in block.splitlines()]
        lines += re.findall(r"`(emopipe [^`\n]+)`", page.read_text())
        for part in (part for line in lines for part in line.split("&&")):
            words = part.split("#")[0].strip()
            if re.match(r"(\.venv/bin/)?emopipe ", words) and "|" not in words and "NAME" not in words:
                found.append((page.name, words))
    return sorted(set(found))


def test_there_are_pages_and_commands():
    assert len(PAGES) >= 5
    assert len(command_lines()) >= 8


@pytest.mark.parametrize(("page", "line"), command_lines(), ids=lambda value: value)
def test_every_command_line_parses(page, line):
    context = click.Context(emopipe)
    command: click.Command = emopipe
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        if not words:
            return  # a group named alone, as in "emopipe cache"
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{page}: there is no command '{name}'"
        command = found
    words = [word for word in words if word != "..."]
    if not words:
        return  # the command is named, not used
    command.make_context(line, words, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"(?:`|^)make ([a-z][a-z0-9-]*)", (ROOT / "README.md").read_text(), re.MULTILINE))
    known = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets and targets <= known


def test_the_site_holds_every_page_and_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    nav = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in nav, f"{page.name} has no line in mkdocs.yml"
    start = (tmp_path / "index.html").read_text()
    for inside in ('href="predict/"', 'href="contributing/"', 'href="results/"', 'src="images/faces.png"'):
        assert inside in start
    reference = (tmp_path / "reference" / "emopipe" / "index.html").read_text()
    for name in emopipe_package.__all__:
        assert f'id="emopipe.{name}"' in reference


@pytest.mark.slow
def test_the_python_of_the_readme_runs_on_the_cache_that_its_commands_make(tmp_path, face_videos):
    (tmp_path / "my_videos").mkdir()
    (tmp_path / "my_videos" / "one.mp4").write_bytes(face_videos["ann"].read_bytes())
    script = code_blocks(ROOT / "README.md", "python")[0]
    command = [sys.executable, "-c", "from emopipe_cli.main import main; main()"]
    extract = [*command, "extract", "--dataset", "folder", "--root", "my_videos", "--only", "faces"]
    subprocess.run(extract, cwd=tmp_path, check=True, capture_output=True)
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True)
    clip_id, num_frames, share = result.stdout.split()
    assert (clip_id, float(share)) == ("one", 1.0)
    assert int(num_frames) > 10
