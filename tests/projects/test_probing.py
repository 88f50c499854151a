"""Data, probes and scores of the project probing."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import srsly
import torch
from helpers.probing_project import (
    PROJECT,
    TREES,
    importable,
    semcor_text,
    write_semcor,
    write_wic,
)
from helpers.project_copies import call, copy_project, script

from spacy_elmo import BiLM, load_bilm
from spacy_elmo.embedding.neighbors import Occurrence

scripts = pytest.fixture(autouse=True)(importable)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(PROJECT, tmp_path, "results")


# vectors.py


def test_vectors_of_spans(tiny_bilm: BiLM) -> None:
    from vectors import embed

    sentences = [["a", "b", "c"], ["d"], ["e", "f"]]
    found = embed(tiny_bilm, sentences, [[(0, 1), (1, 3)], [], [(0, 2)]]).numpy()
    first, third = tiny_bilm.encode([sentences[0], sentences[2]])
    expected = [first[:, 0], first[:, 1:].mean(axis=1), third.mean(axis=1)]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=2e-3)


@pytest.mark.parametrize(("bias", "message"), [(1e6, "float16"), (np.nan, "NaN")])
def test_diverged_weights_are_refused(bilm: BiLM, bias: float, message: str) -> None:
    from vectors import embed

    with torch.no_grad():
        bilm.character_encoder.projection.bias.fill_(bias)
    with pytest.raises(ValueError, match=message):
        embed(bilm, [["a"]], [[(0, 1)]])


# probe.py


def test_probe_finds_the_informative_layer() -> None:
    from probe import Examples, probe_layers

    torch.manual_seed(0)
    layers = torch.randn(3, 600, 8)
    labels = (layers[1] @ torch.randn(8, 3)).argmax(dim=1)
    # The scale and the mean of a layer do not matter.
    layers = layers * torch.tensor([100.0, 0.01, 1.0])[:, None, None] + 5
    train, test = (
        Examples(layers[:, r], labels[r]) for r in (slice(500), slice(500, 600))
    )
    settings = {"n_epochs": 20, "batch_size": 32}
    right, runs = probe_layers(train, test, n_classes=3, seeds=2, **settings)
    scores = {name: found.mean() for name, found in right.items()}
    assert list(scores) == ["0", "1", "2", "mix"]
    assert min(scores["1"], scores["mix"]) > 0.9
    assert max(scores["0"], scores["2"]) < 0.6
    for run in runs["mix"]:
        assert sum(run["weights"]) == pytest.approx(1)
        assert run["weights"][1] > 0.6
    assert [run["accuracy"] for run in runs["1"]] == pytest.approx(
        [scores["1"]] * 2, abs=0.05
    )


def test_unknown_label_is_never_right() -> None:
    from probe import Examples, fit, is_right

    train = Examples(torch.randn(1, 20, 4), torch.zeros(20, dtype=torch.long))
    probe = fit(train, n_classes=2, seed=0, n_epochs=5)
    test = Examples(torch.randn(1, 3, 4), torch.tensor([0, -1, -1]))
    assert is_right(probe, test).tolist() == [True, False, False]


# results.py


def test_intervals_resample_whole_groups() -> None:
    from results import figures, interval

    right = np.asarray([0, 1] * 50, dtype=bool)
    low, high = interval(right, range(100))
    assert low < 0.5 < high
    assert low > 0.35
    # Ten documents of ten words that are all right or all wrong
    wide = interval(np.sort(right), np.repeat(range(10), 10))
    assert wide[0] < low
    assert wide[1] > high
    # Right on the same words: the difference is certain.
    some = {"0": right, "1": right, "mix": np.ones(100)}
    found = figures(some, range(100))
    assert found["differences"]["1 - 0"] == {"mean": 0, "interval": [0, 0]}
    assert found["differences"]["mix - 1"]["mean"] == 0.5
    assert found["layers"]["mix"] == {"mean": 1, "interval": [1, 1]}


# upos.py


def test_treebank_is_read(tmp_path: Path) -> None:
    from upos import form_baseline, read_treebank

    path = tmp_path / "a.conllu"
    path.write_text(TREES.rstrip("\n"), encoding="utf8")
    bank = read_treebank(path)
    assert bank.words == [["do", "n't"], ["Rome", "sings"]]
    assert bank.tags == [["AUX", "PART"], ["PROPN", "VERB"]]
    other = bank._replace(words=[["do", "Rome"]], tags=[["VERB", "PROPN"]])
    assert form_baseline(bank, other) == 0.5
    path.write_text(TREES + "3\tbroken\n", encoding="utf8")
    with pytest.raises(ValueError, match="line 11: expected 10 fields"):
        read_treebank(path)


# semcor.py


def test_senses_of_semcor_are_read() -> None:
    from semcor import read_sentences

    first, second = read_sentences(semcor_text(1), "br-a01")
    shown = '" The Jury took place at bank fish is late .'
    assert " ".join(first["words"]) == shown
    assert second["words"][7] == "line"
    found = [(s["span"], s["lemma"], s["pos"], s["numbers"]) for s in first["senses"]]
    assert found == [
        ([3, 5], "take_place", "v", [1]),
        ([6, 7], "bank", "n", [2]),
        ([7, 8], "fish", "n", [2, 1]),
        ([9, 10], "late", "a", [1]),
    ]
    assert [s["kind"] for s in first["senses"]] == [
        "change",
        "group",
        "artifact",
        "all",
    ]
    with pytest.raises(ValueError, match="br-a01, sentence 1: expected <wf"):
        list(read_sentences("<s snum=1>\n<wf cmd=done>a\n</s>", "br-a01"))


def test_splits_are_disjoint() -> None:
    from semcor import split_documents

    names = [f"brown{1 + n % 2}/tagfiles/br-{'abc'[n % 3]}{n:02}" for n in range(40)]
    splits = split_documents([*names, "brownv/tagfiles/br-a99"])
    counts = {split: list(splits.values()).count(split) for split in splits.values()}
    assert counts == {"train": 29, "dev": 4, "test": 8}
    assert splits["brownv/tagfiles/br-a99"] == "train"
    # From every genre
    assert {n[-3] for n in names if splits[n] == "test"} == set("abc")


def test_semcor_is_checked(project: Path) -> None:
    write_semcor(project / "semcor.tar")
    shown = script(project, "semcor", "semcor.tar", "corpus/semcor.jsonl")
    assert "32 sentences, 352 words" in shown
    sentences = list(srsly.read_jsonl(project / "corpus" / "semcor.jsonl"))
    assert {s["split"] for s in sentences} == {"train", "dev", "test"}
    result = call(project, "semcor", "semcor.tar", "no.jsonl", "--checksum", "0" * 32)
    assert result.exit_code == 1
    assert "expected SemCor" in result.output
    with tarfile.open(project / "empty.tar", "w"):
        pass
    assert call(project, "semcor", "empty.tar", "no.jsonl").exit_code == 1
    assert not (project / "no.jsonl").exists()


# wsd.py


def test_nearest_centroid_or_first_sense() -> None:
    from wsd import (
        Instances,
        baselines,
        best_mix,
        is_right,
        layer_scales,
        make_inventory,
        predict,
    )

    bank, line = ("bank", "n"), ("line", "n")
    # Only layer 1 knows the sense.
    static = [[1.0, 0.0]] * 5
    vectors = np.asarray([static, [[1, 0], [1, 0.2], [0, 1], [1, 1], [1, 1]]], "f2")
    numbers = [[1], [1], [3], [2], [2]]
    train = Instances([bank] * 3 + [line] * 2, numbers, ["d"] * 5, vectors)
    inventory = make_inventory(train)
    assert inventory[bank].numbers.tolist() == [1, 3]
    assert inventory[bank].most_frequent == 1
    np.testing.assert_allclose(
        inventory[bank].centroids[1], [[1, 0.1], [0, 1]], atol=1e-3
    )
    lemmas = [bank, bank, line, ("river", "n")]
    probes = np.asarray([[[1, 0]] * 4, [[0.1, 2], [2, 0.1], [1, 0], [1, 0]]], "f2")
    test = Instances(lemmas, [[3], [1], [1], [1]], ["a", "b", "c", "d"], probes)
    assert predict(inventory, test, np.asarray([0, 1])).tolist() == [3, 1, 2, 1]
    assert is_right(predict(inventory, test, np.asarray([0, 1])), test).sum() == 3
    mix = best_mix(inventory, test, layer_scales(vectors), 4)
    assert mix[1] > 0
    assert mix.sum() == 1
    expected = {"WordNet's first sense": 0.75, "most frequent sense": 0.5}
    assert baselines(inventory, test) == expected


def test_ties_are_broken_at_random() -> None:
    from wsd import Instances, make_inventory, predict

    lemmas = [("bank", "n")] * 200
    vectors = np.ones((1, 200, 2), "f2")
    numbers = [[1 + row % 2] for row in range(200)]
    some = Instances(lemmas, numbers, ["d"] * 200, vectors)
    found = predict(make_inventory(some), some, np.ones(1))
    assert 60 < (found == 1).sum() < 140


def test_split_without_senses_is_refused(tiny_bilm: BiLM) -> None:
    from wsd import collect

    with pytest.raises(ValueError, match="senses in dev"):
        collect(tiny_bilm, [{"split": "train"}], "dev")


# wic.py


def test_pairs_of_word_and_definition(tmp_path: Path, tiny_bilm: BiLM) -> None:
    from wic import make_examples, read_pairs

    write_wic(tmp_path)
    pairs = read_pairs(tmp_path, "train")
    assert len(pairs) == 16
    expected = [
        "something",
        "like",
        "springs",
        ";",
        "time",
        "of",
        "year",
        ",",
        "season",
    ]
    assert pairs[0].definition == expected
    assert (pairs[0].sentence, pairs[0].position) == (["the", "spring", "of", "it"], 1)
    examples = make_examples(tiny_bilm, pairs[:2])
    assert examples.labels.tolist() == [0, 1]
    sentence, gloss = tiny_bilm.encode([pairs[0].sentence, ["spring", ":", *expected]])
    word, definition = sentence[:, 1], gloss[:, 2:].mean(axis=1)
    cosines = (word * definition).sum(axis=1)
    cosines /= np.linalg.norm(word, axis=1) * np.linalg.norm(definition, axis=1)
    found = examples.layers[:, 0].sum(dim=1).numpy()
    np.testing.assert_allclose(found, cosines, atol=2e-3)


def test_malformed_pairs_are_refused(tmp_path: Path) -> None:
    from wic import read_pairs

    for broken in ("word\tx\ta word", "word\t2\ta word", "word"):
        write_wic(tmp_path, 1)
        (tmp_path / "dev_examples.txt").write_text(broken, encoding="utf8")
        with pytest.raises(ValueError, match="expected WORD, POSITION, SENTENCE"):
            read_pairs(tmp_path, "dev")
    write_wic(tmp_path)
    (tmp_path / "dev_labels.txt").write_text("T\n", encoding="utf8")
    with pytest.raises(ValueError, match="as many lines a file"):
        read_pairs(tmp_path, "dev")


def test_folds_share_no_word() -> None:
    """The vector of a word gives its label, and says nothing about other words."""
    from probe import Examples
    from wic import cross_validate

    numbers = np.arange(200) % 20
    labels = torch.from_numpy(np.random.default_rng(0).integers(2, size=20)[numbers])
    layers = torch.eye(20)[numbers][None]
    words = [f"w{number}" for number in numbers]
    examples = Examples(layers, labels)
    right, runs = cross_validate(examples, words, 5, 20)
    assert len(runs["0"]) == 5
    assert right["0"].mean() < 0.8
    # If all words differ, an example may be in any fold.
    right, _ = cross_validate(examples, [str(n) for n in range(200)], 5, 20)
    assert right["0"].mean() > 0.95


# word.py


def test_occurrences_are_compared_across_documents() -> None:
    from word import compare

    vectors = np.asarray([[1, 0], [1, 0], [0.6, 0.8], [0, 1]], "f")
    senses = np.asarray(["a", "b", "a", "b"])
    documents = ["1", "1", "2", "3"]
    found = compare(vectors, senses, documents)
    assert found["nearest"].tolist() == [1, 0, 0, 0]
    assert found["separation"].tolist() == [1, 0, 0.25, 0.25]
    same = compare(np.ones((4, 1), "f"), senses, documents)
    assert same["separation"].tolist() == [0.5] * 4
    np.testing.assert_allclose(same["nearest"], [0.5, 0.5, 1 / 3, 1 / 3])


def test_uses_of_a_word(project: Path) -> None:
    from word import find_uses
    from word import project as project_vectors

    write_semcor(project / "semcor.tar")
    script(project, "semcor", "semcor.tar", "semcor.jsonl")
    sentences = list(srsly.read_jsonl(project / "semcor.jsonl"))
    uses = find_uses("Bank", sentences, 5)
    assert len(uses.occurrences) == 32
    assert set(uses.senses) == {"bank n1 (object)", "bank n2 (group)"}
    assert all(use.word == "bank" for use in uses.occurrences)
    for word, n in (("bank", 17), ("late", 1), ("none", 1)):
        with pytest.raises(ValueError, match="Choose another word"):
            find_uses(word, sentences, n)
    points = project_vectors(np.eye(3) * [3, 2, 1])
    assert points.shape == (3, 2)
    assert points[:, 0].var() > points[:, 1].var() > 0


def test_nouns_of_two_kinds(project: Path, weights: Path) -> None:
    from nouns import find_nouns

    write_semcor(project / "semcor.tar")
    script(project, "semcor", "semcor.tar", "semcor.jsonl")
    sentences = list(srsly.read_jsonl(project / "semcor.jsonl"))
    nouns = find_nouns(sentences, 5)
    assert list(nouns) == ["bank"]
    assert set(nouns["bank"].senses) == {"object", "group"}
    assert len(nouns["bank"].documents) == 32
    assert find_nouns(sentences, 17) == {}
    # One kind occurs in a single document.
    others = [s for s in sentences if s["document"] in ("br-a00", "br-a01", "br-a02")]
    assert find_nouns(others, 1) == {}
    few = ("semcor.jsonl", weights, "nouns.json", "--min-count", 17)
    result = call(project, "nouns", *few)
    assert result.exit_code == 1
    assert "lower --min-count" in result.output


def test_neighbors_of_typical_occurrences(weights: Path) -> None:
    from word import Uses, neighbors_in_context, static_neighbors

    bilm = load_bilm(weights)
    texts = [["the", "bank", "of", "it"], ["a", "Bank"], ["no", "word"], ["bank", "!"]]
    places = [(0, 1), (1, 1), (3, 0)]
    occurrences = [Occurrence(n, place, tuple(texts[n])) for n, place in places]
    senses, documents = np.asarray(["a", "b", "b"]), ["1", "2", "3"]
    vectors = np.asarray([[1, 0], [0, 1], [0, 1]], "f")
    found = neighbors_in_context(
        bilm, Uses(occurrences, senses, documents), vectors, texts, 2
    )
    assert [query["sense"] for query in found] == ["b", "a"]
    assert found[0]["words"] == ["a", "Bank"]
    assert {n["sense"] for n in found[0]["neighbors"]} == {"a", "b"}
    static = static_neighbors(bilm, "bank", texts, 3)
    assert len(static) == 3
    assert not {"bank", "Bank"} & set(static)
