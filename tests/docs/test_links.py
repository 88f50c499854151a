"""Links of all Markdown files: files and headings exist, addresses are well formed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator
from urllib.parse import urlsplit

import pytest
from helpers.documentation import DOCUMENTS, ROOT, name
from markdown_it import MarkdownIt
from markdown_it.token import Token

PAGES = [
    *DOCUMENTS,
    ROOT / "CHANGELOG.md",
    ROOT / "spacy_elmo" / "weights" / "md" / "README.md",
    *sorted((ROOT / "projects").glob("*/README.md")),
    *sorted((ROOT / "projects").glob("*/results/README.md")),
]


def tokens(path: Path) -> Iterator[Token]:
    parser = MarkdownIt().enable("table")
    for token in parser.parse(path.read_text(encoding="utf8")):
        yield token
        yield from token.children or ()


def links(path: Path) -> list[str]:
    found = []
    for token in tokens(path):
        for attribute in ("href", "src"):
            if token.type in ("link_open", "image") and attribute in token.attrs:
                found.append(str(token.attrs[attribute]))
    return found


def anchors(path: Path) -> set[str]:
    """The names that GitHub gives to headings."""
    found: set[str] = set()
    is_heading = False
    for token in tokens(path):
        if token.type == "inline" and is_heading:
            text = re.sub(r"[^\w\- ]", "", token.content.lower())
            found.add(text.strip().replace(" ", "-"))
        is_heading = token.type == "heading_open"
    return found


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in links(path):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("http", "https"), link
            assert re.fullmatch(r"[\w.-]+\.[a-z]{2,}", parts.netloc), link
            continue
        target = path.parent / parts.path if parts.path else path
        assert target.exists(), link
        if parts.fragment:
            assert parts.fragment in anchors(target), link


@pytest.mark.parametrize("path", DOCUMENTS[1:], ids=name)
def test_the_readme_links_to_every_document(path: Path) -> None:
    assert name(path) in links(ROOT / "README.md")


def test_anchors_of_headings(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`: three\n\ntext\n\n## What's where\n", encoding="utf8")
    assert anchors(page) == {"one-two-three", "whats-where"}
