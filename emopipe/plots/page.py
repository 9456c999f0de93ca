"""HTML pages that need nothing from outside: the frame with its style, tables, and pictures as part of the file."""

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image as PillowImage

from emopipe.typing import Image
from emopipe.version import __version__

_PALETTE = 256  # a figure has fewer colours that the eye tells apart, and takes a third of the room
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --quiet: #5a5a5a; --line: #c9c9c9; --faint: #ececec;
  --paper: #ffffff; --panel: #f4f6f9; --marked: #f0f4fa; --warm: #6b4a00; --link: #005a9c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --quiet: #a3a3a3; --line: #4a4a4a; --faint: #2c2c2c;
  --paper: #17181a; --panel: #212327; --marked: #1f2a38; --warm: #e0b050; --link: #7ab8ea; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
  background: var(--paper); }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 0.6rem; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 0.6rem; font-size: 1.25rem; }
h3 { margin: 1.6rem 0 0.4rem; font-size: 1rem; }
p, li { max-width: 60rem; overflow-wrap: anywhere; }
a { color: var(--link); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.15rem 0.7rem; text-align: right; white-space: nowrap; vertical-align: top; }
th:first-child { padding-left: 0; }
th[scope=rowgroup], th[scope=row] { text-align: left; font-weight: normal; }
.left { text-align: left; }
th[scope=rowgroup] { white-space: normal; max-width: 20rem; }
thead th { border-bottom: 2px solid var(--ink); font-weight: bold; }
tbody { border-bottom: 1px solid var(--line); }
code { font-size: 0.85em; }
.legend, .note, figcaption, footer { color: var(--quiet); font-size: 0.9rem; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; padding: 0.5rem; background: #ffffff;
  border: 1px solid var(--line); border-radius: 6px; }
figcaption { margin-top: 0.3rem; }
details { margin: 0.8rem 0; }
summary { cursor: pointer; color: var(--link); }
footer { margin-top: 3rem; padding-top: 0.6rem; border-top: 1px solid var(--line); }
@media print { :root { --ink: #000000; --quiet: #444444; --line: #bbbbbb; --faint: #eeeeee; --paper: #ffffff;
  --panel: #ffffff; --marked: #f4f4f4; --warm: #6b4a00; --link: #000000; color-scheme: light; }
  body { font-size: 10pt; margin: 0; max-width: none; } figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; } .wide { overflow: visible; } nav { display: none; } }
"""


class Html(str):
    """A text that is HTML already and stands in a page as it is."""


def html_document(title: str, parts: Sequence[str], *, source: str, style: str = "") -> str:
    """A whole page.

    Args:
        title: of the page.
        parts: HTML of its body, below the title.
        source: what it was made from, for the foot of the page.
        style: rules behind those that all pages have.
    """
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *parts,
        f"<footer>Made by emopipe {escape(__version__)} from {escape(source)}.</footer>",
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def as_html(text: str) -> Html:
    """A text with what HTML takes for itself escaped; an `Html` as it is."""
    return text if isinstance(text, Html) else Html(escape(text))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, num_left: int = 1, kind: str = "") -> Html:
    """A table whose first column names the rows.

    Args:
        heads: of the columns; () for a table without a head.
        rows: their cells.
        num_left: so many of the first columns stand left, the others right.
        kind: class of the table, for the style.
    """
    parts = [f'<div class="wide"><table class="{kind}">' if kind else '<div class="wide"><table>']
    if heads:
        cells = (f'<th scope="col"{_left(number, num_left)}>{as_html(head)}</th>' for number, head in enumerate(heads))
        parts.append(f"<thead><tr>{''.join(cells)}</tr></thead>")
    parts.append("<tbody>")
    for first, *others in rows:
        cells = (f"<td{_left(number, num_left)}>{as_html(cell)}</td>" for number, cell in enumerate(others, 1))
        parts.append(f'<tr><th scope="row">{as_html(first)}</th>{"".join(cells)}</tr>')
    return Html("\n".join([*parts, "</tbody></table></div>"]))


def bullets(sentences: Sequence[str]) -> Html:
    """Sentences as a list."""
    return Html("<ul>" + "".join(f"<li>{as_html(sentence)}</li>" for sentence in sentences) + "</ul>")


def folded(summary: str, content: str) -> Html:
    """HTML that is shown when its summary is clicked."""
    return Html(f"<details><summary>{as_html(summary)}</summary>\n{content}\n</details>")


def embedded_picture(image: Image, alt: str, caption: str = "") -> Html:
    """A picture as part of the page.

    Args:
        image: (H, W, 3) uint8 RGB.
        alt: what it shows, for those who do not see it.
        caption: a sentence below it; "" for none.
    """
    file = io.BytesIO()
    few = PillowImage.fromarray(image).quantize(_PALETTE, dither=PillowImage.Dither.NONE)
    few.save(file, format="PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    height, width = image.shape[:2]
    below = f"<figcaption>{as_html(caption)}</figcaption>" if caption else ""
    return Html(
        f'<figure><img width="{width}" height="{height}" alt="{escape(alt)}" '
        f'src="data:image/png;base64,{data}">{below}</figure>'
    )


def _left(number: int, num_left: int) -> str:
    return ' class="left"' if number < num_left else ""
