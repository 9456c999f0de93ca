"""What mkdocs calls: pages that lie outside this folder, pages of the reference, and links between all of them.

On a git host links lead from file to file. On the site README.md and its like are pages beside those of this folder, so
that their links, and links to them, are written anew.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# File below the repository's root -> its page on the site.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "results/README.md": "results.md",
}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
_SHARED = re.compile(r"^    (\w+(?:, \w+)+):(?= )", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of this folder: those of `OUTSIDE`, and each reference/<module>.md of the nav."""
    for source, place in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for place in _places(config.nav):
        if place.startswith("reference/"):
            module = posixpath.basename(place).removesuffix(".md")
            files.append(File.generated(config, place, content=f"# {module}\n\n::: {module}\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write links between files as links between pages."""
    here = page.file.src_uri
    source = next((each for each, place in OUTSIDE.items() if place == here), f"docs/{here}")

    def rewritten(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        place = OUTSIDE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    return _LINK.sub(rewritten, markdown)


def _places(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from _places(each)


class SharedDescriptions(griffe.Extension):
    """Lets arguments or attributes be described together: "low, high: ..." becomes "low: and `high`: ..."."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = _SHARED.sub(_under_the_first, obj.docstring.value)


def _under_the_first(found: re.Match[str]) -> str:
    first, *others = found[1].split(", ")
    return f"    {first}: and {', '.join(f'`{name}`' for name in others)}:"
