"""The project benchmark: the comparison of inputs of heads."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import srsly
import torch
from helpers.benchmark_project import PROJECT, ROOT, call, good, importable, summary

from spacy_elmo import BiLM, BiLMConfig, load_bilm, save_bilm

scripts = pytest.fixture(autouse=True)(importable)

SENTENCES = [
    ["Ada", "met", "Mr.", "Fox", "in", "Rome"],
    ["Rome", "is", "far"],
    ["Ada", "runs"],
]
ENTITIES = [
    ["B-person", "O", "B-person", "I-person", "O", "B-location"],
    ["B-location", "O", "O"],
    ["B-person", "O"],
]


def rows() -> list[dict[str, Any]]:
    from input_sets import every_word

    return [every_word(*pair) for pair in zip(SENTENCES, ENTITIES)]


# input_sets.py


def test_one_word_in_ten_is_misspelt() -> None:
    from input_sets import every_word, misspelt

    words = "a 1984 of , three word words" + " more" * 13
    clean = [every_word(words.split(), ["X"] * 20) for _ in range(5)]
    changed = misspelt(clean)
    differences = [
        (place, old)
        for before, after in zip(clean, changed)
        for place, (old, new) in enumerate(zip(before["words"], after["words"]))
        if old != new
    ]
    assert len(differences) == 10
    assert all(old.isalpha() and len(old) >= 3 for _, old in differences)
    assert [place for place, _ in differences] == [
        place for row in changed for place in row["misspelt"]
    ]
    assert misspelt(clean) == changed
    assert clean[0]["words"] == words.split()


def test_a_misspelling_is_one_edit() -> None:
    from input_sets import misspell

    generator = random.Random(0)
    for _ in range(200):
        new = misspell("letters", generator)
        assert new != "letters"
        assert new[0] in "le"
        assert abs(len(new) - 7) <= 1


def test_nouns_of_two_kinds_are_selected() -> None:
    from input_sets import senses

    def sentence(split: str, lemma: str, kind: str, pos: str = "n") -> dict[str, Any]:
        sense = {"span": [0, 1], "lemma": lemma, "pos": pos, "kind": kind}
        return {"split": split, "words": [lemma], "senses": [sense]}

    bank = [
        sentence(split, "bank", kind)
        for split in ("train", "train", "train", "test")
        for kind in ("object", "group")
    ]
    others = [
        *[sentence("train", "cat", "animal")] * 5,
        *[sentence("train", "bank", "event")],
        *[sentence("train", "run", kind, "v") for kind in ("motion", "social") * 3],
        sentence("test", "cat", "animal"),
        sentence("test", "bank", "event"),
    ]
    sets = senses([*bank, *others], min_kind=3, max_kind=2)
    labels = {
        name: sorted(label for row in some for label in row["labels"])
        for name, some in sets.items()
    }
    both = [("bank", "group"), ("bank", "object")]
    assert labels == {
        "senses-train": sorted(2 * both),
        "senses-dev": [],
        "senses-test": both,
    }


# input_results.py


def test_entities_are_read_from_any_tags() -> None:
    from input_results import entities

    assert entities(ENTITIES[0]) == {
        (0, 1, "person"),
        (2, 4, "person"),
        (5, 6, "location"),
    }
    assert entities(["I-a", "I-a", "I-b", "B-b", "O", "I-b"]) == {
        (0, 2, "a"),
        (2, 3, "b"),
        (3, 4, "b"),
        (5, 6, "b"),
    }
    assert entities([]) == entities(["O"]) == set()


def test_f1() -> None:
    from input_results import f1

    one, other = (0, 1, "a"), (2, 3, "a")
    assert f1([{one, other}, set()], [{one}, {other}]) == 0.5
    assert f1([set()], [set()]) == 0.0


def test_scores_with_the_same_weights_are_kept(tmp_path: Path) -> None:
    from input_results import update

    part, target = tmp_path / "set.jsonl", tmp_path / "part.json"
    part.write_text("{}")
    scored: list[str] = []

    def score(name: str) -> dict[str, Any]:
        scored.append(name)
        return {"scores": {"as it is": [len(scored)]}}

    def run(weights: str, seeds: int = 1) -> list[str]:
        scored.clear()
        identities = {"ours": {"weights": weights}, "theirs": {"weights": None}}
        for identity in identities.values():
            identity["versions"] = {}
        update(target, [part], identities, score, seeds=seeds)
        return list(scored)

    assert run("1") == ["ours", "theirs"]
    assert run("1") == []
    assert run("2") == ["ours"]
    found = srsly.read_json(target)
    assert list(found["inputs"]) == ["ours", "theirs"]
    assert found["inputs"]["ours"]["weights"] == "2"
    assert run("2", seeds=2) == ["ours", "theirs"]
    part.write_text("{ }")
    assert run("2", seeds=2) == ["ours", "theirs"]


# input_worker.py


def test_worker_encodes_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["", "--threads", "1"])
    import input_worker

    torch.manual_seed(0)
    config = BiLMConfig(filters=((1, 4), (2, 8)), dim=16, projection_dim=8)
    save_bilm(BiLM(config), tmp_path / "weights")
    identity = input_worker.load("elmo float32", str(tmp_path / "weights"))
    assert len(identity["weights"]) == 64
    spans = [[[0, 1], [2, 4]], [[0, 3]], [[1, 2]]]
    target = tmp_path / "vectors.npy"
    input_worker.encode(SENTENCES, spans, str(target))
    bilm = load_bilm(tmp_path / "weights")
    first, second, last = bilm.encode(SENTENCES)
    means = [first[:, 0], first[:, 2:4].mean(axis=1), second.mean(axis=1), last[:, 1]]
    expected = np.stack(means, axis=1)
    np.testing.assert_allclose(np.load(target), expected, atol=2e-3)
    assert input_worker.speed(SENTENCES)["cpu_seconds"] > 0


def test_pieces_of_a_word_are_averaged() -> None:
    import input_worker

    model = object.__new__(input_worker.MiniLM)
    layers = np.arange(10, dtype="f").reshape(1, 5, 2)
    found = model.words(layers, [None, 0, 0, 2, None], 3)
    np.testing.assert_array_equal(found, [[[3, 4], [0, 0], [6, 7]]])


# inputs.py, input_probes.py, input_heads.py


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sets of entities and their vectors. The first value of a vector marks a person,
    the second a location, and the third the beginning of an entity."""
    from inputs import IDENTITY, Features

    (tmp_path / "sets").mkdir()
    for suffix in ("train", "test", "test-lower", "test-capitals", "test-misspelt"):
        srsly.write_jsonl(tmp_path / "sets" / f"ner-{suffix}.jsonl", rows())
    vectors = np.zeros((2, 11, 3), dtype=np.float16)
    for row, tag in enumerate(tag for tags in ENTITIES for tag in tags):
        vectors[1, row] = ["person" in tag, "location" in tag, tag.startswith("B")]
    for name in ("minilm", "elmo float32"):
        found = Features(tmp_path / "vectors", name)
        found.folder.mkdir(parents=True)
        identity = {"weights": "0" * 64, "versions": {}}
        srsly.write_json(found.folder / IDENTITY, identity)
        for path in (tmp_path / "sets").glob("*.jsonl"):
            np.save(found.path(path), vectors)
    return tmp_path


def test_vectors_are_named_by_weights_and_sentences(folder: Path) -> None:
    from inputs import IDENTITY, Features

    found = Features(folder / "vectors", "minilm")
    part = folder / "sets" / "ner-test.jsonl"
    before = found.path(part)
    srsly.write_json(found.folder / IDENTITY, {"weights": "1" * 64})
    assert found.path(part) != before
    srsly.write_json(found.folder / IDENTITY, {"weights": "0" * 64})
    assert found.path(part) == before
    srsly.write_jsonl(part, rows()[:1])
    assert found.path(part) != before


def test_probe_of_entities(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import input_probes
    from inputs import Features

    monkeypatch.setitem(input_probes.EPOCHS, "ner", 60)
    found = input_probes.ner(
        Features(folder / "vectors", "minilm"), folder / "sets", seeds=2
    )
    assert found["scores"]["as it is"] == [1.0, 1.0]
    assert found["mix"][1] >= found["mix"][0]


def test_heads_read_the_stored_layers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that reads other vectors of the same words finds other entities."""
    import input_heads
    from inputs import Features

    monkeypatch.setattr(input_heads, "TRAINING", folder / "training")
    arguments = (folder / "sets", folder / "vectors", 1, 40)
    found = input_heads.score_heads("ner", "elmo float32", *arguments)
    others = Features(folder / "vectors", "elmo int8")
    others.folder.mkdir()
    identity = Features(folder / "vectors", "elmo float32").folder / "input.json"
    (others.folder / "input.json").write_bytes(identity.read_bytes())
    for path in (folder / "sets").glob("*.jsonl"):
        np.save(others.path(path), np.zeros((2, 11, 3), dtype=np.float16))
    again = input_heads.score_heads("ner", "elmo int8", *arguments)
    (first,), (second,) = (one["scores"]["as it is"] for one in (found, again))
    assert first > 0.5 > second
    assert len(list((folder / "training").iterdir())) == 1


def test_nearest_centroid_of_a_lemma() -> None:
    from input_probes import nearest

    train = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [-1.0, -1.0]])
    known = [["bank", "object"], ["bank", "group"], ["cat", "animal"], ["cat", "act"]]
    test = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]])
    labels = [["bank", "object"], ["cat", "animal"], ["bank", "object"]]
    assert nearest(train, known, test, labels) == pytest.approx(2 / 3)


# input_table.py


def test_report_tells_where_ours_loses(tmp_path: Path) -> None:
    from input_table import NAMES, SCORES

    forms = ("as it is", "lower case", "capitals", "misspelt", "misspelt words")
    machine = {"processor": "P", "features": [], "cores": 2, "memory_gb": 8}
    for part in (*SCORES.values(), "upos_head"):
        scores = {
            name: {"scores": {form: [0.5, 0.7] for form in forms}} for name in NAMES
        }
        if part == "wic":
            scores["minilm"]["scores"]["as it is"] = [0.65]
        record = {"settings": {"seeds": 2}, "inputs": scores}
        srsly.write_json(tmp_path / f"{part}.json", record)
    speeds = {name: summary(100 * len(name)) for name in NAMES}
    srsly.write_json(
        tmp_path / "speed.json",
        {
            "machine": machine,
            "n_rounds": 3,
            "words_per_cpu_second": speeds,
            "relative_to_ours": {**speeds, "minilm": summary(0.25)},
        },
    )
    readme = tmp_path / "short.md"
    readme.write_text("<!-- inputs -->\n<!-- /inputs -->\n", encoding="utf8")
    good(call("input_table", tmp_path, readme))
    report = (tmp_path / "README.md").read_text(encoding="utf8")
    assert "| MiniLM-L6 | 60.0 ± 14.1 |" in report
    assert "* definitions: MiniLM-L6 by 5.0" in report
    losses = report.partition("## Where ELMo loses")[2]
    assert losses.count("* ") == 1
    text = " ".join(readme.read_text(encoding="utf8").split())
    assert "4.0 × as many words per CPU second" in text
    assert "; lower in definitions 60.0 (65.0)." in text
    assert (tmp_path / "inputs.png").is_file()
    good(call("input_table", tmp_path, readme, "--check"))
    readme.write_text("<!-- inputs -->\n<!-- /inputs -->\n", encoding="utf8")
    assert call("input_table", tmp_path, readme, "--check").exit_code == 1


def test_committed_documents_are_up_to_date() -> None:
    results = PROJECT / "results" / "inputs"
    good(call("input_table", results, ROOT / "README.md", "--check"))
