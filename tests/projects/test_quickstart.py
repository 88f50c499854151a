"""Data and scripts of the project quickstart, and a run with tiny weights."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import srsly
from helpers.project_copies import copy_project, good, run, script
from spacy.tokens import Doc, DocBin

PROJECT = Path(__file__).parents[2] / "projects" / "quickstart"
DESCRIPTION: dict[str, Any] = srsly.read_yaml(PROJECT / "project.yml")
COMMANDS: dict[str, dict[str, Any]] = {
    command["name"]: command for command in DESCRIPTION["commands"]
}
SETS = ("train", "dev", "test")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy of the project as in a fresh clone."""
    return copy_project(PROJECT, tmp_path)


def module(name: str) -> dict[str, Any]:
    return runpy.run_path(str(PROJECT / "scripts" / f"{name}.py"))


def make_corpus(project: Path, target: str, *options: object) -> dict[str, list[Doc]]:
    script(project, "make_corpus", "assets/requests.yml", target, *options)
    vocab = spacy.blank("en").vocab
    return {
        part: list(
            DocBin().from_disk(project / target / f"{part}.spacy").get_docs(vocab)
        )
        for part in SETS
    }


# The corpus


def test_sets_share_no_name_and_no_sentence(project: Path) -> None:
    corpus = make_corpus(project, "corpus")
    assert {part: len(docs) for part, docs in corpus.items()} == {
        "train": 600,
        "dev": 150,
        "test": 300,
    }
    items = srsly.read_yaml(project / "assets" / "requests.yml")["names"]["item"]
    names: dict[str, set[str]] = {}
    texts: dict[str, set[str]] = {}
    for part, docs in corpus.items():
        texts[part] = {doc.text for doc in docs}
        assert len(texts[part]) == len(docs)
        entities = [entity for doc in docs for entity in doc.ents]
        assert {e.label_ for e in entities} == {"PERSON", "PLACE", "PRODUCT"}
        names[part] = {t.text for e in entities for t in e} - set(items)
        assert len(names[part]) > 30
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert not names[one] & names[other]
        assert not texts[one] & texts[other]


def test_names_are_ambiguous(project: Path) -> None:
    corpus = make_corpus(project, "corpus")
    for part in ("train", "test"):
        labels: dict[str, set[str]] = {}
        for doc in corpus[part]:
            for entity in doc.ents:
                labels.setdefault(entity[0].text, set()).add(entity.label_)
        assert sum(len(found) > 1 for found in labels.values()) >= 5, part


def test_seed_determines_the_corpus(project: Path) -> None:
    def texts(target: str, seed: int) -> list[tuple[str, str]]:
        small = ("--n-train", 20, "--n-dev", 5, "--n-test", 5, "--seed", seed)
        corpus = make_corpus(project, target, *small)
        return [(doc.text, str(doc.ents)) for docs in corpus.values() for doc in docs]

    assert texts("a", 0) == texts("b", 0)
    assert texts("a", 0) != texts("c", 1)


def test_templates_are_filled() -> None:
    """With entities of whole tokens, correct articles and an initial capital."""
    names = module("make_corpus")
    grammar = {
        "names": {"first": ["Ann"], "last": ["Lee"], "brand": ["Aeris"]}
        | {"item": ["oven"], "place": ["Oslo"]},
        "fillers": {"number": ["two"], "thing": ["umbrella"]},
    }
    rng = names["random"].Random(0)
    for template, expected, entities in (
        (
            "A {PRODUCT} and a {thing}.",
            "An Aeris oven and an umbrella.",
            ["Aeris oven"],
        ),
        ("{number} of {PLACE}, a {number}", "Two of Oslo, a two", ["Oslo"]),
        ("No names", "No names", []),
    ):
        text = names["fill"](template, grammar, rng)
        assert text.text == expected
        doc = names["make_doc"](text, spacy.blank("en"))
        assert [entity.text for entity in doc.ents] == entities
    with pytest.raises(ValueError, match="different sentences, found 1"):
        names["make_texts"]({**grammar, "templates": ["{PLACE}"]}, 2, rng)
    broken = names["Text"]("Oslo", [(0, 2, "PLACE")])
    with pytest.raises(ValueError, match="whole tokens"):
        names["make_doc"](broken, spacy.blank("en"))


def test_all_templates_can_be_filled() -> None:
    grammar = srsly.read_yaml(PROJECT / "assets" / "requests.yml")
    templates = grammar["templates"]
    assert len(set(templates)) == len(templates)
    known = {"PERSON", "PLACE", "PRODUCT", *grammar["fillers"]}
    assert set(re.findall(r"\{(.*?)\}", " ".join(templates))) == known
    for names in grammar["names"].values():
        assert len(set(names)) == len(names)


# The senses


def test_sentences_of_the_senses() -> None:
    entries = list(srsly.read_jsonl(PROJECT / "assets" / "senses.jsonl"))
    assert f"{len(entries)} sentences" in DESCRIPTION["description"]
    assert len({entry["text"] for entry in entries}) == len(entries)
    senses: dict[str, list[str]] = {}
    nlp = spacy.blank("en")
    for entry in entries:
        words = [token.lower_ for token in nlp(entry["text"])]
        assert entry["word"] in words, entry
        senses.setdefault(entry["word"], []).append(entry["sense"])
    assert len(senses) == 6
    for found in senses.values():
        counts = {found.count(sense) for sense in found}
        assert len(set(found)) >= 2
        assert len(counts) == 1, "senses must be equally frequent"


def test_accuracy_of_nearest_neighbors() -> None:
    accuracy = module("senses")["accuracy"]
    labels = np.asarray(["a", "a", "b", "b"])
    apart = np.asarray([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype="f")
    assert accuracy(apart, labels) == 1
    assert accuracy(apart, labels[[0, 2, 1, 3]]) == 0
    # Identical vectors: one of the three others has the sense.
    assert accuracy(np.ones((4, 2), dtype="f"), labels) == pytest.approx(1 / 3)


def test_senses_with_random_weights(project: Path, weights: Path) -> None:
    arguments = ("assets/senses.jsonl", weights, "metrics/senses.json")
    shown = script(project, "senses", *arguments)
    assert "bank river, money" in shown
    scores = json.loads((project / "metrics/senses.json").read_text(encoding="utf8"))
    assert len(scores["all"]["layers"]) == 3
    assert len(scores["words"]) == 6
    # With 24 sentences, 11 of 23 neighbors have the same sense; "Bank" does not occur.
    assert scores["words"]["bank"]["layers"][0] == pytest.approx(11 / 23)


def test_similarity(project: Path, weights: Path) -> None:
    shown = script(project, "similarity", weights)
    assert "Vectors: (3, 9, 16)" in shown
    assert shown.count("1.00") >= 4
    assert "A bank opened an account for her." in shown


@pytest.mark.slow
def test_whole_project_runs_and_is_skipped_when_run_again(
    project: Path, weights: Path
) -> None:
    variables = ("--vars.weights", weights, "--vars.max_steps", 100)
    command = ("-m", "spacy", "project", "run", "all", ".", *variables)
    shown = good(run(project, *command))
    assert "[bank] of the river" in shown
    assert "en_elmo_quickstart: elmo, ner" in shown
    scores = json.loads((project / "metrics" / "ner.json").read_text(encoding="utf8"))
    assert 0 <= scores["ents_f"] <= 1
    (archive,) = (project / "packages").glob("*/dist/*.tar.gz")
    assert archive.stat().st_size > 10_000
    again = good(run(project, *command))
    for name, step in COMMANDS.items():
        # Steps without outputs run again.
        is_skipped = "outputs" in step and not step.get("no_skip", False)
        assert (f"Skipping '{name}'" in again) == is_skipped, name
    text = "Ruth Berg lives in Oslo."
    package = archive.parents[1].relative_to(project)
    assert text in good(run(project, "scripts/try_package.py", package, text))
