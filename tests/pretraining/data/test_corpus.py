"""The texts of a run: by which tokenizer they are made, and what models say of it."""

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


def ready(texts: Path, name: str, tokenizer: str, sentences: str = "lines") -> Path:
    """The folder of shards of a text."""
    chosen = Tokenization(tokenizer, sentences)
    cache = texts / f"{name} {sentences}"
    return prepare([texts / f"{name}.txt"], cache, chosen).folder


def said(output: Path) -> tuple[str, str]:
    """How the model says that its text was tokenised."""
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


def test_models_say_how_their_shards_were_made(texts: Path) -> None:
    """Whatever the config has: its tokenizer had nothing to do."""
    train = ready(texts, "train", "en", "split")
    for dev in (None, ready(texts, "dev", "en", "split"), ready(texts, "dev", "en")):
        assert said(run(texts, train, dev, "whitespace")) == ("en", "split")
        shutil.rmtree(texts / "out")


def test_raw_held_out_text_by_the_tokenizer_of_the_shards(texts: Path) -> None:
    train = ready(texts, "train", "whitespace")
    assert said(run(texts, train, texts / "dev.txt", "whitespace")) == (
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
def test_raw_held_out_text_by_another_tokenizer(
    texts: Path, made: tuple[str, ...], settings: tuple[str, ...], remedy: str
) -> None:
    """It would have few of the training text's words, and nobody would know."""
    train = ready(texts, "train", *made)
    parts = [repr(name) for name in (*made, *settings)]
    with corpus_refused("corpus.dev", remedy, *parts):
        run(texts, train, texts / "dev.txt", *settings)
    assert not (texts / "out" / "corpus").exists()


def test_shards_of_two_tokenizers(texts: Path) -> None:
    train, dev = ready(texts, "train", "en"), ready(texts, "dev", "whitespace")
    with corpus_refused("corpus.dev", "'en'", "'whitespace'", "shards of one text"):
        run(texts, train, dev, "en")


def test_raw_text_and_held_out_shards_of_another_tokenizer(texts: Path) -> None:
    dev = ready(texts, "dev", "whitespace")
    with corpus_refused("corpus.dev", "'en'", "give --corpus.tokenizer whitespace"):
        run(texts, texts / "train.txt", dev, "en")
    output = run(texts, texts / "train.txt", dev, "whitespace")
    assert said(output) == ("whitespace", "lines")


@pytest.mark.parametrize("settings", [None, {}, "settings"])
def test_shards_that_do_not_say(texts: Path, settings: object) -> None:
    """As of other tools: the config is believed."""
    train = ready(texts, "train", "whitespace")
    meta = json.loads((train / META).read_text(encoding="utf8"))
    meta["settings"] = settings
    (train / META).write_text(json.dumps(meta), encoding="utf8")
    for dev in (texts / "dev.txt", ready(texts, "dev", "en")):
        assert said(run(texts, train, dev, "en")) == ("en", "lines")
        shutil.rmtree(texts / "out")


def test_a_tokenizer_that_is_named_by_its_path(texts: Path) -> None:
    """Elsewhere it lies at another one, which is what the model says."""
    nlp = spacy.blank("en")
    nlp.to_disk(texts / "nlp")
    train = ready(texts, "train", str(texts / "nlp"))
    dev = ready(texts, "dev", str(texts / "nlp"))
    (texts / "nlp").rename(texts / "moved")
    for text in (texts / "dev.txt", dev):
        output = run(texts, train, text, str(texts / "moved"))
        assert said(output) == (str(texts / "moved"), "lines")
        shutil.rmtree(output)
    assert said(run(texts, train, dev, "whitespace")) == (str(texts / "nlp"), "lines")
    # Another one is another one, wherever it lies.
    nlp.tokenizer.add_special_case("Ann", [{"ORTH": "A"}, {"ORTH": "nn"}])
    nlp.to_disk(texts / "moved")
    with corpus_refused(texts / "nlp", texts / "moved"):
        run(texts, train, texts / "dev.txt", str(texts / "moved"))


def test_shards_without_the_hash_of_their_pipeline(texts: Path) -> None:
    """As earlier versions have written them."""
    spacy.blank("en").to_disk(texts / "nlp")
    train = ready(texts, "train", str(texts / "nlp"))
    meta = json.loads((train / META).read_text(encoding="utf8"))
    del meta["pipeline"]
    (train / META).write_text(json.dumps(meta), encoding="utf8")
    name = f"{texts}/other/../nlp"
    (texts / "other").mkdir()
    output = run(texts, train, texts / "dev.txt", name)
    assert said(output) == (name, "lines")


def test_a_text_of_less_than_a_step_is_told(texts: Path) -> None:
    output = runs.run(texts, texts / "out", training={**SHORT, "batch_size": 100})
    (note,) = [text for text in runs.messages(output) if "each step is" in text]
    assert "100 x 5 = 500" in note
    assert "Lower training.batch_size or unroll_steps" in note
