"""python -m spacy elmo evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import runs
from helpers.commands import assert_refused, complete, invoke
from helpers.corpora import contents

from spacy_elmo import BiLM, save_bilm
from spacy_elmo.scoring.scorer import Scorer, perplexity
from spacy_elmo.text.tokenization import Tokenization

CHOICES: list[runs.Values] = [
    {"softmax": {"type": "sampled"}, "vocabulary": {"max_size": 15}},
    {"softmax": {"type": "full"}},
    {"softmax": {"type": "adaptive", "cutoffs": [6, 12], "div_value": 2.0}},
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def output(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training whose vocabulary lacks some of the words."""
    return runs.run(texts, tmp_path_factory.mktemp("out"), **CHOICES[0])


def figures(folder: Path, *arguments: object) -> dict[str, Any]:
    """The JSON that the command writes."""
    complete("evaluate", *arguments, "--output", folder / "new" / "figures.json")
    return json.loads((folder / "new" / "figures.json").read_text(encoding="utf8"))


def assert_figures(found: dict[str, Any], line: runs.Values) -> None:
    """Compare with a line of a training log."""
    for name, key in (
        ("forward", "forward_perplexity"),
        ("backward", "backward_perplexity"),
        ("mean", "perplexity"),
        ("oov_rate", "oov_rate"),
        ("n_words", "n_words"),
    ):
        assert found[name] == pytest.approx(line[key], rel=1e-6), name


@pytest.mark.parametrize("sections", CHOICES, ids=str)
def test_same_figures_as_in_training(
    texts: Path, tmp_path: Path, sections: runs.Values
) -> None:
    output = runs.run(texts, tmp_path / "out", **sections)
    lines = runs.log(output, "dev")
    best = next(line for line in reversed(lines) if line["best"])
    text = texts / "dev.txt"
    assert_figures(figures(tmp_path, output / "model-best", text), best)
    assert_figures(figures(tmp_path, output / "model-last", text), lines[-1])


def test_table(texts: Path, output: Path) -> None:
    before = contents(output), contents(texts)
    lines = complete("evaluate", output / "model-last", texts / "dev.txt")
    expected = runs.log(output, "dev")[-1]
    assert f"forward perplexity {expected['forward_perplexity']:.2f}" in lines
    assert f"backward perplexity {expected['backward_perplexity']:.2f}" in lines
    assert f"mean perplexity {expected['perplexity']:.2f}" in lines
    assert "words 135" in lines
    assert "vocabulary 15 words" in lines
    assert expected["oov_rate"] > 0
    assert f"out of vocabulary {expected['oov_rate']:.2%} of the words" in lines
    assert before == (contents(output), contents(texts)), "files were left behind"


def test_forms_of_text(texts: Path, output: Path, tmp_path: Path) -> None:
    """Files, a folder, a glob, JSON lines and prepared shards of the same text."""
    lines = (texts / "dev.txt").read_text(encoding="utf8").splitlines(keepends=True)
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a.txt").write_text("".join(lines[:7]), encoding="utf8")
    (folder / "b.txt").write_text("".join(lines[7:]), encoding="utf8")
    entry = {"text": "".join(lines)}
    (tmp_path / "dev.jsonl").write_text(json.dumps(entry) + "\n", encoding="utf8")
    shards = next(
        path.parent
        for path in (texts / "cache").glob("*/meta.json")
        if "dev.txt" in path.read_text(encoding="utf8")
    )
    model = output / "model-best"
    expected = figures(tmp_path, model, texts / "dev.txt")
    for text in (
        [folder],
        [folder / "*.txt"],
        [folder / "a.txt", folder / "b.txt"],
        [tmp_path / "dev.jsonl"],
        [shards],
    ):
        assert figures(tmp_path, model, *text) == pytest.approx(expected), text


def test_the_tokenizer_of_the_training_text_is_the_default(
    texts: Path, tmp_path: Path
) -> None:
    corpus = {"tokenizer": "en", "cache": str(tmp_path / "cache")}
    output = runs.run(texts, tmp_path / "out", corpus=corpus)
    glued = tmp_path / "glued.txt"
    text = (texts / "dev.txt").read_text(encoding="utf8")
    glued.write_text(text.replace(" .", ".").replace(" !", "!"), encoding="utf8")
    model = output / "model-last"
    line = runs.log(output, "dev")[-1]
    assert_figures(figures(tmp_path, model, glued), line)
    other = figures(tmp_path, model, glued, "--tokenizer", "whitespace")
    assert other["n_words"] == line["n_words"] - 20
    assert other["oov_rate"] > line["oov_rate"]


def test_sentences_are_split_as_in_the_training_text_by_default(
    texts: Path, tmp_path: Path
) -> None:
    corpus = {"tokenizer": "en", "sentences": "split", "cache": str(tmp_path / "cache")}
    output = runs.run(texts, tmp_path / "out", corpus=corpus)
    paragraph = tmp_path / "paragraph.txt"
    text = (texts / "dev.txt").read_text(encoding="utf8")
    paragraph.write_text(text.replace("\n", " ") + "\n", encoding="utf8")
    model = output / "model-last"
    whole = figures(tmp_path, model, paragraph, "--sentences", "lines")
    split = figures(tmp_path, model, paragraph)
    assert_figures(split, runs.log(output, "dev")[-1])
    assert split["n_words"] == whole["n_words"]
    assert split["mean"] != pytest.approx(whole["mean"], rel=1e-3)


@pytest.mark.parametrize("form", ["safetensors", "hdf5"])
def test_weights_without_an_output_layer(
    texts: Path, tmp_path: Path, tiny_bilm: BiLM, form: Any
) -> None:
    save_bilm(tiny_bilm, tmp_path, format=form)
    assert_refused(
        invoke("evaluate", tmp_path, texts / "dev.txt"),
        f"{tmp_path}: expected a model-best or model-last",
        "softmax.safetensors",
        "no perplexity",
    )


def test_invalid_arguments(texts: Path, output: Path, tmp_path: Path) -> None:
    model, text = output / "model-last", texts / "dev.txt"
    missing, empty = tmp_path / "none.txt", tmp_path / "empty.txt"
    empty.write_text("\n\n", encoding="utf8")
    result = invoke("evaluate", output, text)
    assert_refused(result, output, "expected a model-best or model-last")
    assert_refused(invoke("evaluate", tmp_path / "nowhere", text), "nowhere")
    assert_refused(invoke("evaluate", model, missing), missing)
    assert_refused(invoke("evaluate", model, empty), "no words")
    assert_refused(invoke("evaluate", model, text, "--tokenizer", "none"), "'none'")


def test_help() -> None:
    shown = " ".join(complete("evaluate", "--help"))
    for part in ("MODEL", "TEXT", "--tokenizer", "--sentences", "--output", "--gpu-id"):
        assert part in shown


def test_sentences_by_themselves(texts: Path, output: Path, tmp_path: Path) -> None:
    """The mean of the scores of `Scorer`, which has no context beyond a sentence."""
    model, text = output / "model-last", texts / "dev.txt"
    scorer = Scorer.load(model)
    sentences = list(Tokenization().read_sentences([text]))
    expected = perplexity(scorer.log_probs(sentences))
    assert figures(tmp_path, model, text, "--context", "sentence") == pytest.approx(
        {**expected._asdict(), "n_vocabulary": len(scorer.words)}
    )
    one = tmp_path / "one.txt"
    one.write_text(" ".join(sentences[0]), encoding="utf8")
    by_context = [
        figures(tmp_path, model, one, "--context", context)
        for context in ("text", "sentence")
    ]
    assert by_context[0] == pytest.approx(by_context[1], rel=1e-4)
