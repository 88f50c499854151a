"""python -m spacy elmo pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import runs
from helpers.commands import assert_refused, complete, invoke

from spacy_elmo import BiLM, save_bilm
from spacy_elmo.scoring.scorer import Scorer

PAIRS = [("the dog sees a cat", "dog the sees cat a"), ("it runs", "runs it")] * 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = runs.make_texts(tmp_path_factory.mktemp("texts"))
    return runs.run(texts, tmp_path_factory.mktemp("out")) / "model-last"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    records = [
        {"sentence_good": good, "sentence_bad": bad, "UID": f"group{number % 2}"}
        for number, (good, bad) in enumerate(PAIRS)
    ]
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf8")
    return path


def test_accuracy_of_each_direction(model: Path, pairs: Path, tmp_path: Path) -> None:
    output = tmp_path / "accuracy.json"
    lines = complete("pairs", model, pairs, "--output", output)
    results = json.loads(output.read_text(encoding="utf8"))
    scorer = Scorer.load(model)
    texts = [text.split() for pair in PAIRS[:2] for text in pair]
    scores = scorer.log_probs(texts)
    for direction in ("forward", "backward"):
        totals = [getattr(sentence, f"{direction}_total") for sentence in scores]
        for number in range(2):
            is_right = totals[2 * number] > totals[2 * number + 1]
            group = results["groups"][f"group{number}"]
            assert group["n_pairs"] == 3
            assert group["accuracy"][direction] == float(is_right)
    accuracy = results["overall"]["accuracy"]
    row = f"all 6 {' '.join(f'{100 * share:.1f}' for share in accuracy.values())} 0"
    assert row in lines


def test_the_output_is_no_input(model: Path, pairs: Path) -> None:
    before = pairs.read_bytes()
    assert_refused(invoke("pairs", model, pairs, "-o", pairs), pairs, "another name")
    assert pairs.read_bytes() == before


def test_bad_input_is_refused(
    model: Path, pairs: Path, tmp_path: Path, tiny_bilm: BiLM
) -> None:
    assert_refused(invoke("pairs", model, tmp_path / "absent.jsonl"), "absent.jsonl")
    refused = invoke("pairs", model, pairs, "--good", "better")
    assert_refused(refused, "pairs.jsonl, line 1", "'better'")
    pairs.write_text("\n", encoding="utf8")
    assert_refused(invoke("pairs", model, pairs), "found none")
    save_bilm(tiny_bilm, tmp_path / "weights")
    assert_refused(invoke("pairs", tmp_path / "weights", pairs), "output layer")
