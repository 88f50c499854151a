"""python -m spacy elmo score."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import spacy
import torch
from click.testing import Result
from helpers.commands import assert_refused, complete, invoke
from helpers.language_models import write_weights
from spacy.tokens import Doc, DocBin

from spacy_elmo.scoring import score_file
from spacy_elmo.scoring.scorer import Scorer

TEXTS = ['She "sat", on\nthe bank.', "", "The river\nHe robbed the bank"]
SENTENCES = [
    ["She", '"', "sat", '"', ",", "on"],
    ["the", "bank", "."],
    ["The", "river"],
    ["He", "robbed", "the", "bank"],
]
PLACES = [(0, 0, 0), (0, 1, 6), (2, 0, 0), (2, 1, 2)]
"""(document, sentence, index of the first word) of each sentence."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["the", "bank", "She", "sat", "on", ",", ".", "He", "robbed", "a"]
    return write_weights(tmp_path_factory.mktemp("model"), words)


def test_a_process_of_a_cluster_does_not_wait_for_others(
    text: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some launchers set these variables for every process."""
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    complete("score", text, tmp_path / "scores.csv", "-m", model)
    assert not torch.distributed.is_initialized()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.jsonl"
    path.write_text("\n".join(json.dumps({"text": t}) for t in TEXTS))
    return path


def score(*arguments: object) -> Result:
    return invoke("score", *arguments)


def rows(path: Path) -> list[dict[str, Any]]:
    """Read an output file of any format."""
    if path.suffix == ".parquet":
        table: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return table
    lines = path.read_text(encoding="utf8").splitlines()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in lines]
    return [
        {k: v if k == "text" else json.loads(v.lower()) for k, v in row.items()}
        for row in csv.DictReader(lines)
    ]


def expected_rows(
    model: Path, sentences: list[list[str]] = SENTENCES, places: Any = PLACES
) -> list[dict[str, Any]]:
    scores = Scorer.load(model).log_probs(sentences)
    return [
        {
            "document": document,
            "sentence": sentence,
            "index": first + i,
            "text": word,
            "forward_log_prob": float(s.forward[i]),
            "backward_log_prob": float(s.backward[i]),
            "forward_entropy": float(s.forward_entropy[i]),
            "backward_entropy": float(s.backward_entropy[i]),
            "known": bool(s.known[i]),
        }
        for words, s, (document, sentence, first) in zip(sentences, scores, places)
        for i, word in enumerate(words)
    ]


def assert_rows(path: Path, expected: list[dict[str, Any]]) -> None:
    found = rows(path)
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected):
        assert list(row) == list(wanted)
        for name, value in wanted.items():
            if isinstance(value, float):
                assert row[name] == pytest.approx(value, rel=1e-5, abs=1e-5)
            else:
                assert row[name] == value


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_one_row_per_word(model: Path, text: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    lines = complete("score", text, output, "--model", model)
    assert any("4 sentences" in line for line in lines)
    assert_rows(output, expected_rows(model))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, text.name])


def test_bits(model: Path, text: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    complete("score", text, output, "-m", model, "--bits")
    for row, nats in zip(rows(output), expected_rows(model)):
        for name in ("forward_log_prob", "backward_entropy"):
            assert row[name] * math.log(2) == pytest.approx(nats[name], abs=1e-5)


def test_docs_are_scored_at_their_sentence_boundaries(
    model: Path, tmp_path: Path
) -> None:
    nlp = spacy.blank("en")
    words = ["He", " ", "sat", ".", "\n", "the", "bank"]
    starts = [True, False, False, False, False, True, False]
    docs = [Doc(nlp.vocab, words=words, sent_starts=starts), Doc(nlp.vocab)]
    docs.append(Doc(nlp.vocab, words=["a"] * 130))
    docs[0].user_data["array"] = np.zeros(5)
    path = tmp_path / "docs.spacy"
    DocBin(docs=docs, store_user_data=True).to_disk(path)
    output = tmp_path / "out.parquet"
    complete("score", path, output, "--model", model)
    sentences = [["He", "sat", "."], ["the", "bank"], ["a"] * 65, ["a"] * 65]
    places = [(0, 0, 0), (0, 1, 5), (2, 0, 0), (2, 1, 65)]
    expected = expected_rows(model, sentences, places)
    for row, index in zip(expected, (0, 2, 3, 5, 6)):
        row["index"] = index  # as in the doc, whitespace included
    assert_rows(output, expected)
    refused = score(path, tmp_path / "b.csv", "-m", model, "--tokenizer", "en")
    assert_refused(refused, "--tokenizer")
    path.write_bytes(b"not docs")
    assert_refused(score(path, tmp_path / "c.csv", "-m", model), path, "damaged")
    DocBin(docs=[Doc(nlp.vocab)]).to_disk(path)
    assert_refused(score(path, tmp_path / "d.csv", "-m", model), "with words")


def test_words_of_conllu_files(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    words = ["the", "bank", "", "He", ""]
    lines = [f"{n}\t{word}" + "\t_" * 8 if word else "" for n, word in enumerate(words)]
    path.write_text("\n".join(lines), encoding="utf8")
    complete("score", path, tmp_path / "out.jsonl", "-m", model)
    sentences, places = [["the", "bank"], ["He"]], [(0, 0, 0), (0, 1, 2)]
    assert_rows(tmp_path / "out.jsonl", expected_rows(model, sentences, places))
    refused = score(path, tmp_path / "b.csv", "-m", model, "--sentences", "lines")
    assert_refused(refused, "tokenized already")


def test_the_output_is_no_input(model: Path, text: Path, tmp_path: Path) -> None:
    """Not even with --force, nor if it is below a folder of text."""
    before = text.read_bytes()
    assert_refused(score(text, text, "-m", model, "--force"), text, "another name")
    assert text.read_bytes() == before
    below = tmp_path / "scores.jsonl"
    complete("score", tmp_path, below, "-m", model)
    refused = score(tmp_path, below, "-m", model, "--force")
    assert_refused(refused, below, "another name")


def test_words_with_line_breaks(model: Path, tmp_path: Path) -> None:
    words = ["the", "a\rb", "c,d", '"', "bank"]
    nlp = spacy.blank("en")
    DocBin(docs=[Doc(nlp.vocab, words=words)]).to_disk(tmp_path / "a.spacy")
    complete("score", tmp_path / "a.spacy", tmp_path / "a.csv", "-m", model)
    with (tmp_path / "a.csv").open(encoding="utf8", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == words


def test_malformed_line_is_named_and_the_run_resumes(
    model: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.jsonl"
    n_texts = score_file.WORDS_PER_PART // 8
    good = json.dumps({"text": "the bank " * 8}) + "\n"
    text.write_text(good * n_texts + '{"txt": "a"}\n')
    output = tmp_path / "out.csv"
    place = f"{text}, line {n_texts + 1}"
    assert_refused(score(text, output, "-m", model), place, '"text"')
    assert not output.exists()
    text.write_text(good * n_texts)
    refused = score(text, output, "-m", model, "--bits")
    assert_refused(refused, "bits = False (now True)")
    resumed = score(text, output, "-m", model).output
    assert f"Resuming after {score_file.WORDS_PER_PART // 16:,} sentences" in resumed
    assert [row["document"] for row in rows(output)[::16]] == list(range(n_texts))


@pytest.mark.slow
def test_killed_run_resumes(model: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the bank . \n\n" * 12_000, encoding="utf8")
    output = tmp_path / "out.csv"
    command = [sys.executable, "-m", "spacy", "elmo", "score", text, output]
    command += ["-m", model]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    parts = tmp_path / "out.csv.parts"
    deadline = time.monotonic() + 60
    while not (parts / "state.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert_refused(score(text, output, "-m", model), "another process")
    process.kill()
    process.wait()
    assert not output.exists()
    assert "Resuming after" in score(text, output, "-m", model).output
    found = rows(output)
    assert [row["document"] for row in found[::3]] == list(range(12_000))
    assert [row["text"] for row in found] == ["the", "bank", "."] * 12_000
    assert not parts.exists()


def test_bad_input_is_refused(
    model: Path,
    text: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "out.csv"
    assert_refused(score(text, output, "-m", weights), "softmax_steps")
    pair = f"{weights}/options.json,{weights}/weights.hdf5"
    assert_refused(score(text, output, "-m", pair), "softmax_steps")
    assert_refused(score(text, tmp_path / "out.xls", "-m", model), ".csv, .jsonl")
    assert_refused(score(tmp_path / "none.txt", output, "-m", model), "found none")
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    assert_refused(score(empty, output, "-m", model), "no words")
    output.write_text("mine")
    assert_refused(score(text, output, "-m", model), output, "--force")
    assert output.read_text() == "mine"
    complete("score", text, output, "-m", model, "--force")
    assert_rows(output, expected_rows(model))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = score(text, tmp_path / "out.parquet", "-m", model)
    assert_refused(refused, "spacy-elmo[parquet]")
    assert not list(tmp_path.glob("*.parts"))
