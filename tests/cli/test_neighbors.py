"""python -m spacy elmo neighbors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import assert_refused, complete, invoke

from spacy_elmo import BiLM
from spacy_elmo.embedding.neighbors import Neighbors, Occurrence, find_neighbors
from spacy_elmo.formats.bundled import BUNDLED

TEXT = """\
She sat on the bank of the river .
The bank lent him money .

Bank robbers rob a bank .
Ah , here are eight words , and a bank , and at last some more of it .
"""
SENTENCES = [line.split() for line in TEXT.splitlines() if line]
AT = "We met by the bank ."


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf8")
    return path


def figures(*arguments: object, folder: Path) -> dict[str, Any]:
    """The JSON that the command writes."""
    complete("neighbors", *arguments, "--output", folder / "found.json")
    return json.loads((folder / "found.json").read_text(encoding="utf8"))


def assert_same(found: dict[str, Any], expected: Neighbors) -> None:
    assert [(entry["sentence"], entry["position"]) for entry in found["neighbors"]] == [
        (n.occurrence.sentence, n.occurrence.position) for n in expected.nearest
    ]
    cosines = [entry["cosine"] for entry in found["neighbors"]]
    assert cosines == pytest.approx([n.cosine for n in expected.nearest], abs=1e-5)


def test_a_sentence_on_the_command_line(
    text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    options = ("--model", weights, "--at", AT, "--n", 5)
    found = figures("bank", text, *options, folder=tmp_path)
    query = Occurrence(None, 4, tuple(AT.split()))
    assert_same(found, find_neighbors(tiny_bilm, query, SENTENCES, n=5))
    assert found["query"] == query.to_json()
    assert found["layer"] == "top"
    assert found["n_sentences"] == 4
    assert found["n_compared"] == sum(map(len, SENTENCES))


@pytest.mark.parametrize(("among", "n"), [("same", 4), ("other", 10), ("all", 10)])
def test_a_sentence_of_the_text(
    text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path, among: str, n: int
) -> None:
    options = ("-m", weights, "--sentence", 2, "--nth", 2, "--layer", 1, "-w", among)
    found = figures("BANK", text, *options, folder=tmp_path)
    query = Occurrence(2, 4, tuple(SENTENCES[2]))
    assert found["query"] == query.to_json()
    assert len(found["neighbors"]) == n
    expected = find_neighbors(tiny_bilm, query, SENTENCES, layer="1", among=among)
    assert_same(found, expected)


def test_table_of_neighbors(text: Path, weights: Path) -> None:
    options = ("-m", weights, "-a", AT, "-w", "same")
    lines = complete("neighbors", "bank", text, *options)
    assert "cosine sentence We met by the [bank] ." in lines
    rows = [line.split(" ", 2) for line in lines if re.match(r"-?\d\.\d{3} ", line)]
    assert sorted((row[1], row[2]) for row in rows) == [
        ("0", "She sat on the [bank] of the river ."),
        ("1", "The [bank] lent him money ."),
        ("2", "Bank robbers rob a [bank] ."),
        ("2", "[Bank] robbers rob a bank ."),
        (
            "3",
            "… , here are eight words , and a [bank] , and at last some more of it …",
        ),
    ]
    cosines = [float(row[0]) for row in rows]
    assert cosines == sorted(cosines, reverse=True)
    assert any("Layer top" in line and "whitespace" in line for line in lines)
    options = ("-m", weights, "-s", 0, "-w", "same")
    lines = complete("neighbors", "river", text, *options)
    assert any("no other occurrence" in line for line in lines)


def test_list_of_occurrences(text: Path, weights: Path, tmp_path: Path) -> None:
    lines = complete("neighbors", "bank", text, "-m", weights, "--n", 3)
    assert "sentence bank (5 times)" in lines
    assert "0 She sat on the [bank] of the river ." in lines
    assert "2 [Bank] robbers rob a bank ." in lines
    assert not any(line.startswith("3 ") for line in lines)
    assert any("--sentence NUMBER" in line for line in lines)
    found = figures("bank", text, "-m", weights, folder=tmp_path)
    assert found["n_occurrences"] == 5
    assert [entry["sentence"] for entry in found["occurrences"]] == [0, 1, 2, 2, 3]


def test_several_files_and_a_tokenizer(
    text: Path, weights: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("The bank's closed.\n", encoding="utf8")
    found = figures(
        *("bank", text, other, "-m", weights, "--tokenizer", "en"),
        *("--at", "A bank's open.", "--words", "same"),
        folder=tmp_path,
    )
    assert found["tokenizer"] == "en"
    assert found["query"]["words"] == ["A", "bank", "'s", "open", "."]
    assert found["n_sentences"] == 5
    assert 4 in [entry["sentence"] for entry in found["neighbors"]]


def test_invalid_arguments(
    text: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*arguments: object, parts: tuple[object, ...]) -> None:
        assert_refused(invoke("neighbors", *arguments, "-m", weights), *parts)

    check("banks", text, parts=("'banks'", "none of the 4 sentences", "whitespace"))
    check("bank", text, "--at", "No.", parts=("--at: expected", "found 0", "'No.'"))
    check("bank", text, "-s", 3, "--nth", 2, parts=("--sentence 3", "found 1"))
    for number in (4, -1):
        check("bank", text, "-s", number, parts=(f"found {number}", "--sentence"))
    check("bank", text, "-s", 0, "-a", AT, parts=("found both",))
    check("bank", text, "--n", 0, parts=("--n: expected",))
    check("bank", text, "-a", AT, "-l", "all", parts=("layer: expected top, mean",))
    check("bank", tmp_path / "none.txt", parts=("found none",))
    monkeypatch.setitem(BUNDLED, "md", tmp_path / "none")
    result = invoke("neighbors", "bank", text, "-a", AT)
    assert_refused(result, "this version ships", "--model WEIGHTS")


def test_output_without_utf8(text: Path, weights: Path, tmp_path: Path) -> None:
    text.write_text(TEXT.replace("river", "\u0395\u03bb\u03bb"), encoding="utf8")
    target = tmp_path / "found.json"
    options = ("--model", weights, "--at", AT, "--json", target)
    lines = complete("neighbors", "bank", text, *options, charset="ascii")
    assert any("[bank] of the ???" in line for line in lines)
    assert "\u0395\u03bb\u03bb" in target.read_text(encoding="utf8")
