"""What the documents say is true: commands parse, links lead somewhere, targets exist, code runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from emopipe_cli.main import emopipe

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])


def code_blocks(page: Path, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def command_lines() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        lines = [line.strip() for block in code_blocks(page) for line in block.splitlines()]
        lines += re.findall(r"`(emopipe [^`\n]+)`", page.read_text())
        for line in lines:
            words = line.split("#")[0].strip()
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
