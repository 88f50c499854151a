"""python -m spacy elmo neighbors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from helpers import runs
from typer.testing import CliRunner

from spacy_elmo import BiLM
from spacy_elmo.cli import elmo_cli
from spacy_elmo.embedding.neighbors import Occurrence, find_neighbors
from spacy_elmo.layers import weights as shipped

LINES = """\
She sat on the bank of the river .
The bank lent him money .

Bank robbers rob a bank .
Ah , here are eight words , and a bank , and at last some more of it .
"""
SENTENCES = [line.split() for line in LINES.splitlines() if line]
AT = "We met by the bank ."


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(LINES, encoding="utf8")
    return path


def neighbors(*arguments: object) -> Result:
    command = ["neighbors", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(elmo_cli, command)


def figures(*arguments: object, folder: Path) -> dict[str, Any]:
    """What is written as JSON."""
    result = neighbors(*arguments, "--json", folder / "found.json")
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(
        (folder / "found.json").read_text(encoding="utf8")
    )
    return found


def places(found: dict[str, Any]) -> list[tuple[int, int]]:
    return [(entry["sentence"], entry["position"]) for entry in found["neighbors"]]


def assert_refused(result: Result, *parts: object) -> None:
    """Status 1, a message, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    for part in parts:
        assert str(part) in result.output, result.output


def shown_lines(result: Result) -> list[str]:
    assert result.exit_code == 0, (result.output, result.exception)
    return [re.sub(r"\s+", " ", line).strip() for line in result.output.splitlines()]


def test_of_a_sentence_of_mine(
    text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    options = ("--model", weights, "--at", AT, "--n", 5)
    found = figures("bank", text, *options, folder=tmp_path)
    query = Occurrence(None, 4, tuple(AT.split()))
    expected = find_neighbors(tiny_bilm, query, SENTENCES, n=5)
    assert places(found) == [
        (n.occurrence.sentence, n.occurrence.position) for n in expected.nearest
    ]
    cosines = [entry["cosine"] for entry in found["neighbors"]]
    assert cosines == pytest.approx([n.cosine for n in expected.nearest], abs=1e-5)
    assert found["query"] == query.to_json()
    assert found["layer"] == "top"
    assert found["n_sentences"] == 4
    assert found["n_compared"] == sum(map(len, SENTENCES))


def test_of_a_sentence_of_the_text(
    text: Path, weights: Path, tiny_bilm: BiLM, tmp_path: Path
) -> None:
    """Its own word is no neighbour, its other words are."""
    options = ("-m", weights, "--sentence", 2, "--nth", 2, "--layer", 1)
    for among, n_expected in (("same", 4), ("other", 10), ("all", 10)):
        found = figures("BANK", text, *options, "-w", among, folder=tmp_path)
        assert found["query"]["position"] == 4
        expected = find_neighbors(
            tiny_bilm,
            Occurrence(2, 4, tuple(SENTENCES[2])),
            SENTENCES,
            layer="1",
            among=among,
        )
        assert len(found["neighbors"]) == n_expected
        assert places(found) == [
            (n.occurrence.sentence, n.occurrence.position) for n in expected.nearest
        ]
        assert (2, 4) not in places(found)


def test_what_is_shown(text: Path, weights: Path) -> None:
    lines = shown_lines(neighbors("bank", text, "-m", weights, "-a", AT, "-w", "same"))
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


def test_without_a_sentence_its_occurrences_are_shown(
    text: Path, weights: Path, tmp_path: Path
) -> None:
    lines = shown_lines(neighbors("bank", text, "-m", weights, "--n", 3))
    assert "sentence bank (5 times)" in lines
    assert "0 She sat on the [bank] of the river ." in lines
    assert "2 [Bank] robbers rob a bank ." in lines
    assert not any(line.startswith("3 ") for line in lines)
    assert any("--sentence NUMBER" in line for line in lines)
    found = figures("bank", text, "-m", weights, folder=tmp_path)
    assert found["n_occurrences"] == 5
    assert [entry["sentence"] for entry in found["occurrences"]] == [0, 1, 2, 2, 3]


def test_a_word_that_stands_alone(text: Path, weights: Path) -> None:
    result = neighbors("river", text, "-m", weights, "-s", 0, "-w", "same")
    assert any("no other occurrence" in line for line in shown_lines(result))


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
    assert (4, 1) in places(found)


def test_what_is_refused(
    text: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object, parts: tuple[object, ...]) -> None:
        assert_refused(neighbors(*arguments, "-m", weights), *parts)

    refused("banks", text, parts=("'banks'", "none of its 4 sentences", "whitespace"))
    refused("bank", text, "--at", "No.", parts=("--at: expected", "found 0", "'No.'"))
    refused("bank", text, "-s", 3, "--nth", 2, parts=("--sentence 3", "found 1"))
    for number in (4, -1):
        refused("bank", text, "-s", number, parts=(f"found {number}", "--sentence"))
    refused("bank", text, "-s", 0, "-a", AT, parts=("found both",))
    refused("bank", text, "--n", 0, parts=("--n: expected",))
    refused("bank", text, "-a", AT, "-l", "all", parts=("layer: expected top, mean",))
    refused("bank", tmp_path / "none.txt", parts=("found none",))
    monkeypatch.setattr(shipped, "BUNDLED", tmp_path / "none")
    assert_refused(neighbors("bank", text, "-a", AT), "ships none", "--model WEIGHTS")


def test_as_a_process(text: Path, weights: Path) -> None:
    command = ("-m", "spacy", "elmo", "neighbors", "bank", text, "--model", weights)
    shown = runs.complete(*command, "--at", AT)
    assert "We met by the [bank] ." in shown
