"""python -m spacy elmo explore."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from helpers.commands import assert_refused, complete, invoke
from helpers.explorers import make_scorer, served, write_scorer
from helpers.html_pages import Page
from helpers.pipelines import LISTENER, blank, train, trainable
from spacy.language import Language

pytest.importorskip("fastapi")
import httpx

from spacy_elmo.formats.bundled import BUNDLED
from spacy_elmo.visual.explore import server

TEXT = "We sat on the bank .\nHe robbed the <bank> .\n"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf8")
    return path


def pages(
    monkeypatch: pytest.MonkeyPatch, *arguments: object, paths: list[str]
) -> list[Page]:
    """Run the command, and get pages from its server."""
    found: list[Page] = []

    def serve(app: Any, listener: socket.socket) -> None:
        with served(app, listener) as address:
            for path in paths:
                response = httpx.get(address + path, trust_env=False)
                found.append(Page(response.text))

    monkeypatch.setattr(server, "serve", serve)
    lines = complete("explore", *arguments, "--port", 0)
    assert any("Serving on http://127.0.0.1:" in line for line in lines)
    return found


def test_weights_without_output_layer(
    weights: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ["", "senses?word=bank", "mixes"]
    start, senses, mixes = pages(monkeypatch, text, "-m", weights, paths=paths)
    assert f"surprisal needs an output layer, found none in {weights}" in start.text
    assert str(text) in start.text
    assert "11 words" in start.text
    assert "1 occurrence of “bank”" in senses.text
    assert f"expected a trained pipeline, found weights: {weights}" in mixes.text


def test_weights_with_output_layer(
    tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_scorer(tmp_path / "model")
    query = "surprisal?text=We+sat"
    (page,) = pages(monkeypatch, text, "-m", folder, paths=[query])
    assert page.text.count("given the words before,") == 2


def test_a_trained_pipeline(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = trainable({"tagger": LISTENER}, weights)
    train(nlp, 3)
    nlp.to_disk(tmp_path / "pipeline")
    loaded = []

    def load(path: Path) -> Language:
        loaded.append(path)
        return load_model(path)

    load_model = spacy.util.load_model
    monkeypatch.setattr(spacy.util, "load_model", load)
    # spaCy's tokenizer is the pipeline's own.
    paths = ["mixes", "neighbors?text=bank!&word=bank"]
    mixes, neighbors = pages(monkeypatch, "-m", tmp_path / "pipeline", paths=paths)
    assert loaded == [tmp_path / "pipeline"]
    assert "tagger learned 0." in mixes.words()
    assert "bank !" in neighbors.words()


def test_a_pipeline_that_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = blank({}, elmo={"score": True})
    nlp.get_pipe("elmo").set_scorer(make_scorer())  # type: ignore[attr-defined]
    nlp.to_disk(tmp_path)
    query = "surprisal?text=We+sat"
    page, mixes = pages(monkeypatch, "-m", tmp_path, paths=[query, "mixes"])
    assert page.text.count("given the words before,") == 2
    assert f"no component of {tmp_path} mixes layers" in mixes.text


def test_the_text_that_ships(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUNDLED, "md", weights)
    (page,) = pages(monkeypatch, paths=["senses"])
    assert "Try one of bank, bark" in page.words()
    options = ("--max-words", 100)
    (page,) = pages(monkeypatch, *options, paths=["senses"])
    assert "100 words (the first ones; set with --max-words)" in page.words()


def test_a_port_in_use(text: Path, weights: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = invoke("explore", text, "-m", weights, "--port", port)
    assert_refused(result, f"127.0.0.1:{port}, found it in use", "--port (0")


def test_invalid_arguments(text: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    for arguments, expected in (
        ((text, "--port", 70000), "from 0 to 65535, found 70000"),
        ((text, "--host", "no such host"), "--host no such host: expected"),
        ((text, "--max-words", 0), "max_words: expected a positive number, found 0"),
        ((tmp_path / "none.txt",), "none.txt"),
        ((tmp_path / "empty.txt",), "expected text, found no words"),
        ((text, "-m", tmp_path / "none"), "none: expected"),
        ((text, "-m", "numpy"), "an installed package that is not a pipeline"),
    ):
        options = () if "-m" in arguments else ("-m", weights)
        port = () if "--port" in arguments else ("--port", 0)
        assert_refused(invoke("explore", *arguments, *options, *port), expected)


def test_a_pipeline_without_a_bilm(tmp_path: Path) -> None:
    spacy.blank("en").to_disk(tmp_path)
    result = invoke("explore", "-m", tmp_path, "--port", 0)
    assert_refused(result, "expected a pipeline with a biLM, found no components")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spacy_elmo.cli.explore.find_spec", lambda name: None)
    result = invoke("explore")
    assert_refused(result, "found no package fastapi", "pip install 'spacy-elmo[expl")


@pytest.mark.slow
def test_an_interrupt_ends_the_command(weights: Path, text: Path) -> None:
    """With status 0 and no traceback."""
    command = ("-m", "spacy", "elmo", "explore", text, "-m", weights, "--port", "0")
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ANSI_COLORS_DISABLED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            while "Ctrl+C" not in (line := process.stdout.readline()):
                assert line or process.poll() is None
                if "Serving on " in line:
                    address = line.split()[-1]
            with httpx.Client(base_url=address, trust_env=False) as client:
                assert client.get("/").status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
            assert not process.stderr.read()
        finally:
            process.kill()
