"""Parts of HTML pages: what is escaped, what is not, and pictures that keep their colours."""

import base64
import io
import re

import numpy as np
from PIL import Image as PillowImage

from emopipe.plots.page import Html, bullets, embedded_picture, folded, html_document, table


def test_texts_are_escaped_once_and_html_is_not():
    rows = [["<a>", Html("<b>bold</b>"), "x & y"]]
    text = table(["name", "<value>", ""], rows, num_left=2, kind="facts")
    assert '<th scope="row">&lt;a&gt;</th><td class="left"><b>bold</b></td><td>x &amp; y</td>' in text
    assert '<th scope="col" class="left">&lt;value&gt;</th><th scope="col"></th>' in text
    assert '<table class="facts">' in text
    assert bullets(["a < b", Html("<i>c</i>")]) == "<ul><li>a &lt; b</li><li><i>c</i></li></ul>"
    assert folded("1 < 2", text).startswith("<details><summary>1 &lt; 2</summary>")
    assert "<thead>" not in table((), rows)


def test_a_page_needs_nothing_from_outside():
    page = html_document("<run>", ["<p>here</p>"], source="a & b", style="p { margin: 0; }")
    assert "<title>&lt;run&gt;</title>" in page and "<h1>&lt;run&gt;</h1>" in page
    assert "p { margin: 0; }</style>" in page
    assert "from a &amp; b.</footer>" in page
    assert not re.search(r"url\(|@import|<script|<link|https?:", page)
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_a_picture_is_part_of_the_page():
    image = np.zeros((30, 50, 3), np.uint8)
    image[10:], image[20:, 25:] = (255, 255, 255), (213, 94, 0)
    text = embedded_picture(image, 'a "figure"', "what it <shows>")
    assert 'width="50" height="30" alt="a &quot;figure&quot;"' in text
    assert "<figcaption>what it &lt;shows&gt;</figcaption>" in text
    data = re.search(r"data:image/png;base64,([^\"]+)", text).group(1)
    found = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    np.testing.assert_array_equal(found, image)


def test_a_picture_of_many_colours_stays_close():
    image = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 40, 3))
    data = re.search(r"base64,([^\"]+)", embedded_picture(image, "grey")).group(1)
    found = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    assert np.abs(found.astype(int) - image).max() <= 2
