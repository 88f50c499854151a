"""Minimal pairs: accuracy, ties, and files that are not what they should be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from spacy_elmo.scoring.minimal_pairs import Pair, read_pairs, score_pairs, table_rows

from .test_scorer import make_scorer

PATH = Path("pairs.jsonl")


def test_reads_blimp_and_other_keys() -> None:
    blimp = {"sentence_good": "a b", "sentence_bad": "b a", "UID": "order"}
    other = {"yes": "a b", "no": "b a"}
    lines = [json.dumps(blimp), " \n", json.dumps(blimp)]
    assert list(read_pairs(PATH, lines=lines)) == [Pair("a b", "b a", "order")] * 2
    named = read_pairs(PATH, good="yes", bad="no", lines=[json.dumps(other)])
    assert list(named) == [Pair("a b", "b a", "")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "pairs.jsonl, line 2: expected a JSON object, found"),
        ("[1]", "line 2: expected a JSON object with 'sentence_good'"),
        ('{"sentence_good": "a"}', "and 'sentence_bad'"),
        ('{"sentence_good": "a", "sentence_bad": 1}', "to be strings"),
        ("[" * 100_000, "line 2: expected a JSON object"),
    ],
)
def test_bad_lines_are_named(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        list(read_pairs(PATH, lines=["", line]))


def test_accuracy_by_group_and_direction() -> None:
    scorer = make_scorer()
    texts = [f"w{a} w{b}" for a in range(4) for b in range(3)]
    pairs = [Pair(x, y, x[:2]) for x, y in zip(texts, reversed(texts))]
    results = score_pairs(scorer, pairs, str.split)
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
    results = score_pairs(make_scorer(), [Pair("w1 w2", "w1 w2", "g")], str.split)
    assert results.overall.accuracy("both") == 0
    assert results.to_json()["overall"]["n_ties"] == {
        "forward": 1,
        "backward": 1,
        "both": 1,
    }
