"""The service of projects/serve: each client gets the vectors of its own texts, and an
error stays with the requests that caused it."""

from __future__ import annotations

import asyncio
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pipelines import LISTENER, trainable
from helpers.project_copies import copy_project, good, run
from spacy.language import Language

PROJECT = Path(__file__).parents[2] / "projects" / "serve"
httpx = pytest.importorskip("httpx", reason="sends requests by httpx")
pytest.importorskip("uvicorn", reason="the service needs uvicorn")
pytest.importorskip("fastapi", reason="the service needs FastAPI")


@pytest.fixture
def pipeline(weights: Path) -> Language:
    return trainable({"ner": LISTENER}, weights)


@pytest.fixture
def service(
    pipeline: Language, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    pipeline.to_disk(tmp_path / "pipeline")
    monkeypatch.setenv("PIPELINE", str(tmp_path / "pipeline"))
    return runpy.run_path(str(PROJECT / "scripts" / "service.py"))


def post(service: dict[str, Any], *bodies: Any) -> list[Any]:
    """Send all requests at once, and return the responses in the same order."""
    app = service["app"]

    async def send() -> list[Any]:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            # Not `json=body`: httpx cannot send a lone surrogate.
            json_type = {"Content-Type": "application/json"}
            requests = [
                client.post("/annotate", content=json.dumps(body), headers=json_type)
                for body in bodies
            ]
            return list(await asyncio.gather(*requests))

    return asyncio.run(send())


def test_each_client_gets_its_own_texts(
    service: dict[str, Any], pipeline: Language
) -> None:
    batches = [[f"Ann {i} saw a bank .", "Rome ."][: i % 2 + 1] for i in range(40)]
    responses = post(service, *({"texts": texts} for texts in batches))
    for texts, response in zip(batches, responses):
        assert response.status_code == 200
        for text, answer in zip(texts, response.json(), strict=True):
            doc = pipeline(text)
            assert answer["n_tokens"] == len(doc)
            np.testing.assert_allclose(answer["vector"], doc.vector, atol=1e-6)
            found = [(ent["text"], ent["label"]) for ent in answer["entities"]]
            assert found == [(ent.text, ent.label_) for ent in doc.ents]


def test_empty_text(service: dict[str, Any]) -> None:
    (response,) = post(service, {"texts": ["", "bank"]})
    empty, word = response.json()
    assert empty["n_tokens"] == 0
    assert not any(empty["vector"])
    assert word["n_tokens"] == 1
    assert any(word["vector"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"texts": []},
        {"texts": [1]},
        {"texts": ["a"] * 65},
        {"texts": ["a" * 20_001]},
        {"texts": ["caf\ud800"]},
    ],
    ids=["no texts", "none", "a number", "too many", "too long", "lone surrogate"],
)
def test_bad_requests_are_refused(service: dict[str, Any], body: Any) -> None:
    bad, good_one = post(service, body, {"texts": ["bank"]})
    assert bad.status_code == 422
    (detail,) = bad.json()["detail"]
    assert "texts" in detail["loc"]
    assert detail["msg"]
    assert "caf" not in bad.text
    assert good_one.status_code == 200


def test_an_error_does_not_end_the_service(service: dict[str, Any]) -> None:
    """A pipeline that fails answers with status 500, and then works again."""

    async def scenario() -> list[Any]:
        nlp = service["load_pipeline"]()
        batcher = service["Batcher"](nlp)
        pipe, nlp.pipe = nlp.pipe, None
        task = asyncio.create_task(batcher.run())
        first = await asyncio.gather(batcher.annotate(["a"]), return_exceptions=True)
        nlp.pipe = pipe
        second = await batcher.annotate(["bank"])
        task.cancel()
        return [first[0], second]

    error, answers = asyncio.run(scenario())
    assert isinstance(error, TypeError)
    assert len(answers) == 1
    assert answers[0].n_tokens == 1


@pytest.mark.slow
def test_load_and_zones(
    service: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy_project(PROJECT, tmp_path / "copy")
    text = tmp_path / "text.txt"
    text.write_text("Ann saw the bank . " * 50, encoding="utf8")
    options = ("--clients", 4, "--seconds", 3, "--warm-up", 1, "--words", 10)
    good(
        run(
            project, "scripts/load_test.py", text, "load.json", *options, "--port", 8971
        )
    )
    result = json.loads((project / "load.json").read_text())
    assert result["errors"] == 0
    assert result["requests"] > 10
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99"]
    good(run(project, "scripts/zones.py", "zones.json", "--n-docs", 200))
    with_zones, without, tokens = json.loads((project / "zones.json").read_text())
    assert with_zones["strings"] < without["strings"] - 1000
    assert not tokens["elmo"]
    assert tokens["memory_mb"][-1] < with_zones["memory_mb"][-1]
