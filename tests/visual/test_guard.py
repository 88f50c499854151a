"""Which requests are answered."""

from __future__ import annotations

import pytest

from spacy_elmo.visual.explore.guard import is_own_host, refuse

HOST = {"host": "127.0.0.1:8000"}
SITE, MODE, DEST = "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest"


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("localhost", True),
        ("LocalHost:8000", True),
        ("127.0.0.1:8000", True),
        ("192.168.1.5", True),
        ("[::1]:8000", True),
        ("box.local:80", True),
        ("", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:8000", False),
        ("localhost@evil.example", False),
        ("127.1", False),
        ("0x7f.1", False),
        ("[::1", False),
        ("box.local.", False),
    ],
)
def test_hosts(host: str, is_own: bool) -> None:
    assert is_own_host(host, ["box.local"]) == is_own


@pytest.mark.parametrize(
    ("headers", "is_answered"),
    [
        ({}, True),
        ({SITE: "none", MODE: "navigate", DEST: "document"}, True),
        ({SITE: "same-origin", MODE: "no-cors", DEST: "style"}, True),
        # A link on another site.
        ({SITE: "cross-site", MODE: "navigate", DEST: "document"}, True),
        ({SITE: "cross-site", MODE: "navigate", DEST: "iframe"}, False),
        ({SITE: "cross-site", MODE: "no-cors", DEST: "script"}, False),
        ({SITE: "same-site", MODE: "cors", DEST: "empty"}, False),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"origin": "http://127.0.0.1:9000"}, False),
        ({"origin": "null"}, False),
        ({"content-length": "0"}, True),
        ({"content-length": "1"}, False),
        ({"transfer-encoding": "chunked"}, False),
    ],
)
def test_requests(headers: dict[str, str], is_answered: bool) -> None:
    assert (refuse({**HOST, **headers}, "GET", []) is None) == is_answered


def test_forms_of_other_sites() -> None:
    headers = {**HOST, SITE: "cross-site", MODE: "navigate", DEST: "document"}
    assert refuse(headers, "POST", []) is not None
