"""Loading a run's texts: their tokenization is checked and stored with the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import spacy
from helpers import runs
from helpers.corpora import corpus_refused

from spacy_elmo.pretraining.data.prepare import prepare
from spacy_elmo.pretraining.data.shards import META
from spacy_elmo.text.tokenization import Tokenization

SHORT = {"max_steps": 2, "eval_frequency": 0}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return runs.make_texts(tmp_path / "texts")


def prepare_shards(
    texts: Path, name: str, tokenizer: str, sentences: str = "lines"
) -> Path:
    """Prepare the shards of a text. RETURNS: their folder."""
    chosen = Tokenization(tokenizer, sentences)
    cache = texts / f"{name} {sentences}"
    return prepare([texts / f"{name}.txt"], cache, chosen).folder


def stored_tokenization(output: Path) -> tuple[str, str]:
    """The tokenization stored with the model."""
    path = output / "model-last" / "pretraining.json"
    found = json.loads(path.read_text(encoding="utf8"))
    return found["tokenizer"], found["sentences"]


def run(texts: Path, train: Path, dev: Path | None, *settings: str) -> Path:
    tokenizer, sentences = (*settings, "lines")[:2]
    output = texts / "out"
    corpus = {
        "train": str(train),
        "dev": None if dev is None else str(dev),
        "tokenizer": tokenizer,
        "sentences": sentences,
    }
    return runs.run(texts, output, corpus=corpus, training=SHORT)


def test_models_store_the_tokenization_of_ready_shards(texts: Path) -> None:
    """The config's tokenizer was not used."""
    train = prepare_shards(texts, "train", "en", "split")
    for dev in (
        None,
        prepare_shards(texts, "dev", "en", "split"),
        prepare_shards(texts, "dev", "en"),
    ):
        assert stored_tokenization(run(texts, train, dev, "whitespace")) == (
            "en",
            "split",
        )
        shutil.rmtree(texts / "out")


def test_raw_dev_text_with_the_tokenizer_of_the_shards(texts: Path) -> None:
    train = prepare_shards(texts, "train", "whitespace")
    assert stored_tokenization(run(texts, train, texts / "dev.txt", "whitespace")) == (
        "whitespace",
        "lines",
    )
    assert runs.log(texts / "out", "dev")[-1]["oov_rate"] < 0.1


@pytest.mark.parametrize(
    ("made", "settings", "remedy"),
    [
        (("whitespace",), ("en",), "give --corpus.tokenizer whitespace, or"),
        (("en", "split"), ("en",), "give --corpus.sentences split, or"),
        (
            ("whitespace",),
            ("en", "split"),
            "--corpus.tokenizer whitespace --corpus.sentences lines, or",
        ),
    ],
)
def test_raw_dev_text_with_another_tokenizer(
    texts: Path, made: tuple[str, ...], settings: tuple[str, ...], remedy: str
) -> None:
    """Few of its words would be known, and perplexities would be meaningless."""
    train = prepare_shards(texts, "train", *made)
    parts = [repr(name) for name in (*made, *settings)]
    with corpus_refused("corpus.dev", remedy, *parts):
        run(texts, train, texts / "dev.txt", *settings)
    assert not (texts / "out" / "corpus").exists()


def test_ready_shards_of_two_tokenizers(texts: Path) -> None:
    train, dev = (
        prepare_shards(texts, "train", "en"),
        prepare_shards(texts, "dev", "whitespace"),
    )
    with corpus_refused("corpus.dev", "'en'", "'whitespace'", "shards of one text"):
        run(texts, train, dev, "en")


def test_raw_text_and_dev_shards_of_another_tokenizer(texts: Path) -> None:
    dev = prepare_shards(texts, "dev", "whitespace")
    with corpus_refused("corpus.dev", "'en'", "give --corpus.tokenizer whitespace"):
        run(texts, texts / "train.txt", dev, "en")
    output = run(texts, texts / "train.txt", dev, "whitespace")
    assert stored_tokenization(output) == ("whitespace", "lines")


@pytest.mark.parametrize("settings", [None, {}, "settings"])
def test_shards_without_a_tokenization(texts: Path, settings: object) -> None:
    """Shards written by other tools: the config's tokenization is assumed."""
    train = prepare_shards(texts, "train", "whitespace")
    meta = json.loads((train / META).read_text(encoding="utf8"))
    meta["settings"] = settings
    (train / META).write_text(json.dumps(meta), encoding="utf8")
    for dev in (texts / "dev.txt", prepare_shards(texts, "dev", "en")):
        assert stored_tokenization(run(texts, train, dev, "en")) == ("en", "lines")
        shutil.rmtree(texts / "out")


def test_tokenizer_given_by_its_path(texts: Path) -> None:
    """A pipeline that was moved is recognized by its contents."""
    nlp = spacy.blank("en")
    nlp.to_disk(texts / "nlp")
    train = prepare_shards(texts, "train", str(texts / "nlp"))
    dev = prepare_shards(texts, "dev", str(texts / "nlp"))
    (texts / "nlp").rename(texts / "moved")
    for text in (texts / "dev.txt", dev):
        output = run(texts, train, text, str(texts / "moved"))
        assert stored_tokenization(output) == (str(texts / "moved"), "lines")
        shutil.rmtree(output)
    assert stored_tokenization(run(texts, train, dev, "whitespace")) == (
        str(texts / "nlp"),
        "lines",
    )
    nlp.tokenizer.add_special_case("Ann", [{"ORTH": "A"}, {"ORTH": "nn"}])
    nlp.to_disk(texts / "moved")
    with corpus_refused(texts / "nlp", texts / "moved"):
        run(texts, train, texts / "dev.txt", str(texts / "moved"))


def test_shards_without_a_pipeline_hash(texts: Path) -> None:
    """Shards written by earlier versions."""
    spacy.blank("en").to_disk(texts / "nlp")
    train = prepare_shards(texts, "train", str(texts / "nlp"))
    meta = json.loads((train / META).read_text(encoding="utf8"))
    del meta["pipeline"]
    (train / META).write_text(json.dumps(meta), encoding="utf8")
    name = f"{texts}/other/../nlp"
    (texts / "other").mkdir()
    output = run(texts, train, texts / "dev.txt", name)
    assert stored_tokenization(output) == (name, "lines")


def test_warns_about_a_text_smaller_than_a_step(texts: Path) -> None:
    output = runs.run(texts, texts / "out", training={**SHORT, "batch_size": 100})
    (note,) = [text for text in runs.messages(output) if "each step is" in text]
    assert "100 x 5 = 500" in note
    assert "Lower training.batch_size or unroll_steps" in note
