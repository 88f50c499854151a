"""Minimal pairs: accuracy, ties, and malformed files."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Sequence

import pytest

from spacy_elmo.scoring.minimal_pairs import Pair, read_pairs, score_pairs, table_rows

from .test_scorer import make_scorer


def split(texts: Sequence[str]) -> list[list[str]]:
    return [text.split() for text in texts]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pairs.jsonl"


def test_reads_blimp_and_other_keys(path: Path) -> None:
    blimp = {"sentence_good": "a b", "sentence_bad": "b a", "UID": "order"}
    other = {"yes": "a b", "no": "b a"}
    path.write_text("\n".join([json.dumps(blimp), " ", json.dumps(blimp)]))
    assert list(read_pairs(path)) == [Pair("a b", "b a", "order")] * 2
    packed = path.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(json.dumps(other).encode()))
    assert list(read_pairs(packed, good="yes", bad="no")) == [Pair("a b", "b a", "")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "pairs.jsonl, line 2: expected a JSON object, found"),
        ("[1]", "line 2: expected a JSON object with 'sentence_good'"),
        ('{"sentence_good": "a"}', "and 'sentence_bad'"),
        ('{"sentence_good": "a", "sentence_bad": 1}', "to be strings"),
        ('{"sentence_good": " ", "sentence_bad": "b"}', "with words"),
        ("[" * 100_000, "line 2: expected a JSON object"),
        ('{"sentence_good": "a", "sentence_bad": "\\ud800"}', "surrogates not allowed"),
    ],
)
def test_bad_lines_are_named(path: Path, line: str, message: str) -> None:
    path.write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        list(read_pairs(path))


def test_accuracy_by_group_and_direction() -> None:
    scorer = make_scorer()
    texts = [f"w{a} w{b}" for a in range(4) for b in range(3)]
    pairs = [Pair(x, y, x[:2]) for x, y in zip(texts, reversed(texts))]
    results = score_pairs(scorer, pairs, split)
    scores = {t: scorer.log_probs([t.split()])[0] for t in texts}
    for direction, total in (
        ("forward", lambda s: s.forward_total),
        ("backward", lambda s: s.backward_total),
        ("both", lambda s: s.forward_total + s.backward_total),
    ):
        right = [total(scores[p.good]) > total(scores[p.bad]) for p in pairs]
        assert results.overall.accuracy(direction) == sum(right) / len(pairs)
        of_group = [ok for ok, pair in zip(right, pairs) if pair.group == "w2"]
        assert results.groups["w2"].accuracy(direction) == sum(of_group) / 3
    # The mirrored list has each pair twice, with good and bad exchanged.
    assert results.overall.accuracy("forward") == 0.5
    assert list(results.groups) == ["w0", "w1", "w2", "w3"]
    assert [row[0] for row in table_rows(results)] == ["w0", "w1", "w2", "w3", "all"]


def test_ties_count_as_wrong_and_are_reported() -> None:
    results = score_pairs(make_scorer(), [Pair("w1 w2", "w1 w2", "g")], split)
    assert results.overall.accuracy("both") == 0
    assert results.to_json()["overall"]["n_ties"] == {
        "forward": 1,
        "backward": 1,
        "both": 1,
    }
