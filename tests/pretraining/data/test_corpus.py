"""Loading a run's texts: they must be tokenized alike, and the run knows how."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import spacy
import torch
from helpers import runs
from helpers.corpora import corpus_refused

from spacy_elmo.bilm.characters import ByteCharacters
from spacy_elmo.pretraining.data.corpus import Corpus, load_corpus
from spacy_elmo.pretraining.data.prepare import prepare
from spacy_elmo.pretraining.data.shards import META
from spacy_elmo.pretraining.distributed import Group
from spacy_elmo.pretraining.sections import CorpusSettings, VocabularySettings
from spacy_elmo.text.tokenization import Tokenization


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return runs.make_texts(tmp_path / "texts")


def prepare_shards(
    texts: Path, name: str, tokenizer: str, sentences: str = "lines"
) -> Path:
    """Prepare the shards of a text. RETURNS: their folder."""
    cache = texts / f"{name} {sentences}"
    tokenization = Tokenization(tokenizer, sentences)
    return prepare([texts / f"{name}.txt"], cache, tokenization).folder


def load(
    train: Path, dev: Path | None, tokenizer: str, sentences: str = "lines"
) -> Corpus:
    return load_corpus(
        CorpusSettings(
            train=(str(train),),
            dev=None if dev is None else (str(dev),),
            tokenizer=tokenizer,
            sentences=sentences,
        ),
        VocabularySettings(),
        ByteCharacters(12),
        train.parent / "corpus",
        group=Group(0, 1, torch.device("cpu")),
        show=False,
        say=lambda message: None,
    )


def tokenization(corpus: Corpus) -> tuple[str, str]:
    return corpus.tokenization.tokenizer, corpus.tokenization.sentences


def change_meta(shards: Path, **values: object) -> None:
    """Change entries of meta.json; None removes one."""
    meta = json.loads((shards / META).read_text(encoding="utf8")) | values
    meta = {name: value for name, value in meta.items() if value is not None}
    (shards / META).write_text(json.dumps(meta), encoding="utf8")


def test_ready_shards_keep_their_tokenization(texts: Path) -> None:
    """The config's tokenizer was not used."""
    train = prepare_shards(texts, "train", "en", "split")
    same = prepare_shards(texts, "dev", "en", "split")
    other_sentences = prepare_shards(texts, "dev", "en")
    for dev in (None, same, other_sentences):
        assert tokenization(load(train, dev, "whitespace")) == ("en", "split")


def test_models_store_the_tokenization(texts: Path) -> None:
    train = prepare_shards(texts, "train", "en", "split")
    corpus = {"train": str(train), "dev": None, "tokenizer": "whitespace"}
    output = runs.run(texts, texts / "out", corpus=corpus, training={"max_steps": 1})
    path = output / "model-last" / "pretraining.json"
    stored = json.loads(path.read_text(encoding="utf8"))
    assert (stored["tokenizer"], stored["sentences"]) == ("en", "split")


def test_raw_dev_text_with_the_tokenizer_of_the_shards(texts: Path) -> None:
    train = prepare_shards(texts, "train", "whitespace")
    corpus = load(train, texts / "dev.txt", "whitespace")
    assert tokenization(corpus) == ("whitespace", "lines")
    assert corpus.dev is not None
    dev = corpus.dev.shards
    assert corpus.vocabulary.coverage(dev.types(), dev.counts).oov_rate < 0.1


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
        load(train, texts / "dev.txt", *settings)
    assert not (train.parent / "corpus").exists()


def test_ready_shards_of_two_tokenizers(texts: Path) -> None:
    train = prepare_shards(texts, "train", "en")
    dev = prepare_shards(texts, "dev", "whitespace")
    with corpus_refused("corpus.dev", "'en'", "'whitespace'", "shards of one text"):
        load(train, dev, "en")


def test_raw_text_and_dev_shards_of_another_tokenizer(texts: Path) -> None:
    dev = prepare_shards(texts, "dev", "whitespace")
    with corpus_refused("corpus.dev", "'en'", "give --corpus.tokenizer whitespace"):
        load(texts / "train.txt", dev, "en")
    corpus = load(texts / "train.txt", dev, "whitespace")
    assert tokenization(corpus) == ("whitespace", "lines")


@pytest.mark.parametrize("settings", [None, {}, "settings"])
def test_shards_without_a_tokenization(texts: Path, settings: object) -> None:
    """Shards written by other tools: the config's tokenization is assumed."""
    train = prepare_shards(texts, "train", "whitespace")
    change_meta(train, settings=settings)
    for dev in (texts / "dev.txt", prepare_shards(texts, "dev", "en")):
        assert tokenization(load(train, dev, "en")) == ("en", "lines")


def test_tokenizer_given_by_its_path(texts: Path) -> None:
    """A pipeline that was moved is recognized by its contents."""
    nlp = spacy.blank("en")
    nlp.to_disk(texts / "nlp")
    train = prepare_shards(texts, "train", str(texts / "nlp"))
    dev = prepare_shards(texts, "dev", str(texts / "nlp"))
    moved = (texts / "nlp").rename(texts / "moved")
    for text in (texts / "dev.txt", dev):
        assert tokenization(load(train, text, str(moved))) == (str(moved), "lines")
    stored = str(texts / "nlp"), "lines"
    assert tokenization(load(train, dev, "whitespace")) == stored
    nlp.tokenizer.add_special_case("Ann", [{"ORTH": "A"}, {"ORTH": "nn"}])
    nlp.to_disk(moved)
    with corpus_refused(texts / "nlp", moved):
        load(train, texts / "dev.txt", str(moved))


def test_shards_without_a_pipeline_hash(texts: Path) -> None:
    """Shards written by earlier versions."""
    spacy.blank("en").to_disk(texts / "nlp")
    train = prepare_shards(texts, "train", str(texts / "nlp"))
    change_meta(train, pipeline=None)
    same_folder = f"{texts}/../{texts.name}/nlp"
    corpus = load(train, texts / "dev.txt", same_folder)
    assert tokenization(corpus) == (same_folder, "lines")
