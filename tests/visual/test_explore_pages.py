"""The pages of `elmo explore`, without a browser."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import Iterator

import numpy as np
import pytest
from helpers.explorers import CORPUS, make_explorer, make_scorer, served
from helpers.html_pages import Page, assert_accessible, assert_self_contained

from spacy_elmo.embedding.neighbors import Occurrence, find_neighbors
from spacy_elmo.pipeline.head_mixes import HeadMix
from spacy_elmo.visual.explore.explorer import MAX_WORDS, Explorer, Model

pytest.importorskip("fastapi")
import httpx

from spacy_elmo.visual.explore.app import MAX_CHARACTERS, PAGES, create_app

SENTENCE = "We sat on the bank ."
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    return make_explorer()


@contextmanager
def client_of(explorer: Explorer) -> Iterator[httpx.Client]:
    with (
        served(create_app(explorer)) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client(explorer: Explorer) -> Iterator[httpx.Client]:
    with client_of(explorer) as client:
        yield client


def get(client: httpx.Client, path: str, status: int = 200, **query: str) -> Page:
    response = client.get(path, params=query)
    assert response.status_code == status, response.text
    page = Page(response.text)
    assert_self_contained(page)
    assert_accessible(page)
    return page


@pytest.mark.parametrize("name", ["", *PAGES])
def test_empty_pages(client: httpx.Client, name: str) -> None:
    page = get(client, f"/{name}")
    assert page.find("a", aria_current="page")[0]["href"] == f"/{name or 'surprisal'}"
    assert "a model" in page.text
    assert "a text, 28 words" in page.words()
    assert not page.find("section", id="result")


def test_surprisal(client: httpx.Client, explorer: Explorer) -> None:
    page = get(client, "/surprisal", text=SENTENCE, unit="bits")
    assert page.find("input", id="text")[0]["value"] == SENTENCE
    (scores,) = make_scorer().log_probs([SENTENCE.split()])
    shown = re.findall(r"surprisal (\S+) given", page.text)
    expected = [f"{-value / np.log(2):.2f}" for value in scores.forward]
    assert shown == expected


def test_without_an_output_layer(explorer: Explorer) -> None:
    reason = "no output layer here."
    model = Model("m", explorer.model.bilm, None, reason)
    with client_of(make_explorer(model)) as client:
        page = get(client, "/")
        assert reason in page.text
        assert not page.find("form")
        assert reason in get(client, "/surprisal", 400, text="a").text
        assert get(client, "/senses", word="bank").find("section", id="result")


def test_compare(client: httpx.Client, explorer: Explorer) -> None:
    query = {"first": SENTENCE, "second": CORPUS[1]}
    page = get(client, "/compare", word="bank", **query)
    layers = explorer.model.bilm.encode([SENTENCE.split(), CORPUS[1].split()])
    left, right = layers[0][:, 4], layers[1][:, 1]
    for a, b in zip(left, right):
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert f"{cosine:.3f}" in page.text
    left, right = (each[2].mean(axis=0) for each in layers)
    cosine = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
    assert f"{cosine:.3f}" in get(client, "/compare", **query).text
    refused = get(client, "/compare", 400, word="river", **query)
    assert "expected a sentence with the word 'river'" in refused.text


def test_senses(client: httpx.Client) -> None:
    page = get(client, "/senses", word="Bank", clusters="2", layer="1")
    points = [a for a in page.find("g") if "tabindex" in a]
    contexts = {point["aria-label"].partition(": ")[2] for point in points}
    assert contexts == set(CORPUS)
    refused = get(client, "/senses", 400, word="zzz")
    assert "'zzz': expected a word of the text" in refused.text
    for query in ({"clusters": "7"}, {"clusters": "x"}, {"layer": "9"}):
        assert "found" in get(client, "/senses", 400, word="bank", **query).text
    refused = get(client, "/senses", 400, word="bank", projection="tsne")
    assert "found 'tsne'" in refused.text


@pytest.mark.parametrize("layer", ["top", "mean", "0"])
def test_neighbors(client: httpx.Client, explorer: Explorer, layer: str) -> None:
    query = {"text": SENTENCE, "word": "bank", "layer": layer, "among": "same"}
    page = get(client, "/neighbors", **query)
    expected = find_neighbors(
        explorer.model.bilm,
        Occurrence(None, 4, tuple(SENTENCE.split())),
        [line.split() for line in CORPUS],
        layer=layer,
        among="same",
    )
    found = re.findall(r"-?\d\.\d{3}", page.text)
    assert found == [f"{cosine:.3f}" for cosine, _ in expected.nearest]
    assert "river" in page.text
    query["among"] = "x"
    assert "found 'x'" in get(client, "/neighbors", 400, **query).text


def test_mixes(explorer: Explorer) -> None:
    mixes = [
        HeadMix("tagger", "learned", np.array([0.125, 0.25, 0.625]), 1.5),
        HeadMix("<ner>", "learned", None, None),
    ]
    model = Model("m", explorer.model.bilm, mixes=mixes)
    with client_of(make_explorer(model)) as client:
        page = get(client, "/mixes")
    assert "tagger learned 0.125 0.250 0.625 1.500" in page.words()
    assert "<ner> learned not initialized" in page.words()


def test_what_users_type_is_escaped(client: httpx.Client) -> None:
    for path, query, status in (
        ("/surprisal", {"text": HOSTILE, "unit": "nats"}, 200),
        ("/surprisal", {"text": "a", "unit": HOSTILE}, 400),
        ("/compare", {"first": HOSTILE, "second": HOSTILE, "word": HOSTILE}, 200),
        ("/senses", {"word": HOSTILE}, 400),
        ("/senses", {"word": "bank", "layer": HOSTILE}, 400),
        ("/neighbors", {"text": HOSTILE, "word": HOSTILE}, 200),
        ("/neighbors", {"text": "a", "word": HOSTILE, "among": HOSTILE}, 400),
    ):
        page = get(client, path, status, **query)
        (script,) = page.find("script")
        assert script["src"] == "/static/keyboard.js"
        assert "alert(1)" in page.text


def test_limits(client: httpx.Client) -> None:
    long = "a " * (MAX_WORDS + 1)
    assert "found 501" in get(client, "/surprisal", 400, text=long).text
    for text in (" ", "\t\n"):
        assert "found 0" in get(client, "/surprisal", 400, text=text).text
    assert get(client, "/surprisal", text="x" * MAX_CHARACTERS).find("ol")
    refused = client.get("/surprisal", params={"text": "x" * (MAX_CHARACTERS + 1)})
    assert refused.status_code == 422
    assert "text: String should have at most 2000" in refused.text
    assert "x" * 20 not in refused.text
    assert client.get("/senses", params={"word": "x" * 101}).status_code == 422


def test_texts_with_many_occurrences() -> None:
    sentences = [["the"] * 300] * 40
    with client_of(make_explorer(sentences=sentences)) as client:
        page = get(client, "/senses", word="the")
        assert "200 of 12,000 occurrences of “the”, evenly spaced" in page.words()
        page = get(client, "/neighbors", text="the end", word="the")
    compared = re.search(r"Compared with ([\d,]+) words", page.words())
    assert compared is not None
    assert 9000 < int(compared[1].replace(",", "")) <= 10000


def test_static_files_and_unknown_pages(client: httpx.Client) -> None:
    for name in ("page.css", "style.css", "keyboard.js"):
        assert client.get(f"/static/{name}").status_code == 200
    for path in ("/static/../html.py", "/static/%2e%2e/html.py", "/docs", "/x"):
        response = client.get(path)
        assert response.status_code == 404
        assert "The pages are /surprisal" in response.text
    assert client.get("/openapi.json").status_code == 404


def test_requests_of_other_sites_are_refused(client: httpx.Client) -> None:
    for headers in (
        {"host": "evil.example"},
        {"host": "evil.example:8000"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ):
        response = client.get("/surprisal", params={"text": "a"}, headers=headers)
        assert response.status_code == 403, headers
        assert response.text.startswith("expected")
    assert client.post("/", content="a=1").status_code == 403
    assert client.post("/").status_code == 405


def test_headers_of_every_response(client: httpx.Client) -> None:
    for path in ("/", "/static/style.css", "/x"):
        for headers in ({}, {"host": "evil.example"}):
            found = client.get(path, headers=headers).headers
            policy = found["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert found["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in found
