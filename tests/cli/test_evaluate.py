"""python -m spacy elmo evaluate."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from helpers import runs
from helpers.corpora import contents
from typer.testing import CliRunner

from spacy_elmo import BiLM, save_bilm
from spacy_elmo.cli import elmo_cli

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
    """A run whose vocabulary does not have all words."""
    return runs.run(texts, tmp_path_factory.mktemp("out"), **CHOICES[0])


def evaluate(*arguments: object) -> Result:
    command = ["evaluate", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(elmo_cli, command)


def figures(folder: Path, *arguments: object) -> dict[str, Any]:
    """What is written as JSON."""
    result = evaluate(*arguments, "--output", folder / "figures.json")
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(
        (folder / "figures.json").read_text(encoding="utf8")
    )
    return found


def assert_figures(found: dict[str, Any], line: runs.Values) -> None:
    """They are those of an evaluation in a log."""
    for name, key in (
        ("forward", "forward_perplexity"),
        ("backward", "backward_perplexity"),
        ("mean", "perplexity"),
        ("oov_rate", "oov_rate"),
        ("n_words", "n_words"),
    ):
        assert found[name] == pytest.approx(line[key], rel=1e-6), name


@pytest.mark.parametrize("sections", CHOICES, ids=str)
def test_figures_are_those_of_the_training(
    texts: Path, tmp_path: Path, sections: runs.Values
) -> None:
    output = runs.run(texts, tmp_path / "out", **sections)
    lines = runs.log(output, "dev")
    best = next(line for line in reversed(lines) if line["best"])
    text = texts / "dev.txt"
    assert_figures(figures(tmp_path, output / "model-best", text), best)
    assert_figures(figures(tmp_path, output / "model-last", text), lines[-1])


def test_what_is_shown(texts: Path, output: Path) -> None:
    result = evaluate(output / "model-last", texts / "dev.txt")
    assert result.exit_code == 0, result.output
    line = runs.log(output, "dev")[-1]
    shown = [re.sub(r"\s+", " ", text).strip() for text in result.output.splitlines()]
    assert f"forward perplexity {line['forward_perplexity']:.2f}" in shown
    assert f"backward perplexity {line['backward_perplexity']:.2f}" in shown
    assert f"mean perplexity {line['perplexity']:.2f}" in shown
    assert "words 135" in shown
    assert "vocabulary 15 words" in shown
    assert line["oov_rate"] > 0
    assert f"out of vocabulary {line['oov_rate']:.2%} of the words" in shown


def test_nothing_is_left_beside_the_text_and_the_model(
    texts: Path, output: Path
) -> None:
    before = contents(output), contents(texts)
    assert evaluate(output / "model-last", texts / "dev.txt").exit_code == 0
    assert before == (contents(output), contents(texts))


def test_the_text_in_other_forms(texts: Path, output: Path, tmp_path: Path) -> None:
    """Files, a folder, a glob, JSON, ready shards: the same text, the same figures."""
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


def test_the_tokenizer_is_that_of_the_training_text(
    texts: Path, tmp_path: Path
) -> None:
    """Unless another one is named."""
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


def test_sentences_are_split_as_the_training_text_was(
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


def test_several_tokenizers(texts: Path, output: Path, tmp_path: Path) -> None:
    model, text = output / "model-last", texts / "dev.txt"
    one = figures(tmp_path, model, text)
    assert figures(tmp_path, model, text, "--n-process", 2) == one


def assert_refused(result: Result, *parts: object) -> None:
    """Status 1, a message, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    for part in parts:
        assert str(part) in result.output, result.output


@pytest.mark.parametrize("form", ["safetensors", "hdf5"])
def test_weights_without_an_output_layer(
    texts: Path, tmp_path: Path, tiny_bilm: BiLM, form: Any
) -> None:
    """As published ones: they have no perplexity."""
    save_bilm(tiny_bilm, tmp_path, format=form)
    assert_refused(
        evaluate(tmp_path, texts / "dev.txt"),
        f"{tmp_path}: expected a model-best or model-last",
        "softmax.safetensors",
        "no perplexity",
    )


def test_a_run_in_place_of_a_model(texts: Path, output: Path) -> None:
    result = evaluate(output, texts / "dev.txt")
    assert_refused(result, output, "expected a model-best or model-last")


def test_texts_that_are_refused(output: Path, tmp_path: Path) -> None:
    model = output / "model-last"
    none = tmp_path / "none.txt"
    assert_refused(evaluate(model, none), none)
    (tmp_path / "empty.txt").write_text("\n\n", encoding="utf8")
    assert_refused(evaluate(model, tmp_path / "empty.txt"), "no words")
    assert_refused(evaluate(tmp_path / "nowhere", none), "nowhere")


def test_a_tokenizer_that_is_not_there(texts: Path, output: Path) -> None:
    model, text = output / "model-last", texts / "dev.txt"
    assert_refused(evaluate(model, text, "--tokenizer", "no_such"), "no_such")


def test_help() -> None:
    result = evaluate("--help")
    assert result.exit_code == 0
    for part in ("MODEL", "TEXT", "--tokenizer", "--sentences", "--output", "--gpu-id"):
        assert part in result.output


def test_as_a_process(texts: Path, output: Path, tmp_path: Path) -> None:
    command = ("-m", "spacy", "elmo", "evaluate")
    model, text = output / "model-last", texts / "dev.txt"
    target = tmp_path / "deep" / "figures.json"
    shown = runs.complete(*command, model, text, "--output", target)
    assert "mean perplexity" in shown
    assert json.loads(target.read_text(encoding="utf8"))["n_words"] == 135
