"""HTML as a browser and its user see it: balanced tags, links, labels, text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr"}
LOADING = {"src", "srcset", "data", "poster", "background", "action", "formaction"}


class Page(HTMLParser):
    """A parsed page or fragment.

    text: Visible and spoken text, without scripts and styles.
    tags: Name and attributes of each start tag.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.text = ""
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, (tag, self.getpos())
        if tag in ("td", "th", "li"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.text += data

    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())

    def find(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Attributes of the tags that have these attributes among theirs."""
        wanted = {key.replace("_", "-"): value for key, value in attributes.items()}
        return [a for t, a in self.tags if t == tag and wanted.items() <= a.items()]


def assert_self_contained(page: Page) -> None:
    """No request leaves the page: no address, in attributes, scripts or styles."""
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            if name in LOADING or (name == "href" and tag != "a"):
                assert re.match(r"data:|/(?!/)", value), value
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttp", page.html)


def assert_accessible(page: Page) -> None:
    """Rules that a program can check: language, names of controls, headers of tables,
    unique ids, no handler or style that a strict policy would block."""
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag in ("html", "title", "main", "h1"):
        assert len(page.find(tag)) == 1, tag
    assert page.find("html")[0]["lang"]
    labels = {attributes["for"] for attributes in page.find("label")}
    for tag in ("input", "select", "textarea"):
        assert {attributes["id"] for attributes in page.find(tag)} <= labels
    for _ in page.find("table"):
        assert page.find("caption")
        assert page.find("th", scope="col")
    for svg in page.find("svg"):
        assert svg.get("aria-hidden") == "true" or svg.get("aria-label")
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "style" not in attributes, tag
