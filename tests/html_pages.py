"""What a browser makes of a page."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image as PillowImage

TEXT_OF = str.maketrans({"\N{MINUS SIGN}": "-"})


class Page(HTMLParser):
    """Collects what a browser would show and fetch, and checks that tags are closed in order."""

    VOID = ("meta", "br", "img")

    def __init__(self, page: str):
        super().__init__()
        self.open, self.tables, self.fetched, self.pictures, self.text = [], [], [], {}, ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "img":
            head, data = given["src"].split(",", 1)
            assert head == "data:image/png;base64"
            image = PillowImage.open(io.BytesIO(base64.b64decode(data)))
            assert image.size == (int(given["width"]), int(given["height"]))
            self.pictures[given["alt"]] = np.asarray(image.convert("RGB"))
        else:
            links = (given[name] for name in ("src", "href", "srcset") if name in given)
            self.fetched += [link for link in links if link[0] != "#"]
        assert tag not in ("script", "link")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            assert "url(" not in data and "@import" not in data
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, *heads: str) -> dict[str, list[str]]:
        """The rows of the first table whose head begins so: first cell -> the others."""
        found = next(table for table in self.tables if table[0][: len(heads)] == list(heads))
        return {row[0]: [cell.translate(TEXT_OF) for cell in row[1:]] for row in found[1:]}

    def facts(self) -> dict[str, str]:
        """What the tables of names and values say."""
        found = {}
        for row in (row for table in self.tables for row in table if len(row) == 2):
            found.setdefault(*row)  # those that matter first stand first
        return found
