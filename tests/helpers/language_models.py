"""Small texts and language models for the tests of pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from torch import nn

from spacy_elmo import BiLM, BiLMConfig, save_bilm
from spacy_elmo.bilm.characters import ByteCharacters, Characters, VocabularyCharacters
from spacy_elmo.bilm.softmax import make_output_layer
from spacy_elmo.files import write_json
from spacy_elmo.formats.output_layer import META, write_output_layer
from spacy_elmo.pretraining.data.shards import Shards, ShardWriter
from spacy_elmo.pretraining.data.word_table import WordTable
from spacy_elmo.pretraining.language_model import LanguageModel
from spacy_elmo.pretraining.sections import SoftmaxSettings
from spacy_elmo.text.tokenizers import tokenize_whitespace
from spacy_elmo.text.vocabulary import SPECIALS, Vocabulary

Sentences = list[list[str]]

CONFIG = BiLMConfig(
    char_dim=3,
    filters=((1, 3), (2, 4), (3, 4)),
    n_highway=1,
    max_characters_per_token=12,
    dim=7,
    projection_dim=5,
    n_layers=2,
    cell_clip=0.6,
    proj_clip=0.4,
)
"""Small, with clips that random weights reach."""

SOFTMAXES = {
    "full": SoftmaxSettings(type="full"),
    "sampled": SoftmaxSettings(type="sampled", n_samples=6),
    "adaptive": SoftmaxSettings(type="adaptive", cutoffs=(4, 9), div_value=2.0),
}


@dataclass
class Text:
    """A corpus in all its forms."""

    shards: Shards
    table: WordTable
    vocabulary: Vocabulary
    characters: Characters

    @property
    def ids(self) -> list[int]:
        return [int(i) for tokens in self.shards.tokens for i in tokens]

    @property
    def tokens(self) -> list[str | None]:
        """The words, with None for the end of a sentence."""
        types = self.shards.types()
        return [types[i - 1] if i else None for i in self.ids]


def random_sentences(n_sentences: int, n_types: int = 20, seed: int = 0) -> Sentences:
    """Sentences of frequent and rare words of several lengths."""
    rng = np.random.default_rng(seed)
    chances = 1 / np.arange(1, n_types + 1)
    types = [chr(97 + i % 26) * (1 + i % 5) + str(i) for i in range(n_types)]
    lengths = rng.integers(1, 8, n_sentences)
    return [
        [types[i] for i in rng.choice(n_types, length, p=chances / chances.sum())]
        for length in lengths
    ]


def make_shards(
    folder: Path, sentences: Sequence[Sequence[str]], shard_tokens: int = 1_000_000
) -> Shards:
    """Write shards. shard_tokens: Approximate number of ids of a shard."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(folder, shard_tokens)
    for sentence in sentences:
        writer.add(tokenize_whitespace([" ".join(sentence)]))
    writer.close({})
    return Shards(folder)


def make_text(
    folder: Path,
    sentences: Sequence[Sequence[str]],
    *,
    shard_tokens: int = 1_000_000,
    characters: Characters | None = None,
    max_size: int | None = None,
) -> Text:
    shards = make_shards(folder / "shards", sentences, shard_tokens)
    characters = characters or ByteCharacters(CONFIG.max_characters_per_token)
    vocabulary = Vocabulary.from_counts(
        shards.types(), shards.counts, len(sentences), max_size=max_size
    )
    table = WordTable.from_shards(shards, characters, folder / "table")
    return Text(shards, table, vocabulary, characters)


def make_model(
    n_words: int,
    softmax: str = "full",
    *,
    config: BiLMConfig = CONFIG,
    characters: Characters | None = None,
    seed: int = 0,
) -> LanguageModel:
    """A model with random weights, large enough that every part matters."""
    torch.manual_seed(seed)
    bilm = BiLM(config, characters)
    layer = make_output_layer(
        n_words, config.projection_dim, **SOFTMAXES[softmax].to_dict()
    )
    model = LanguageModel(bilm, layer)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=0.5 if name.endswith("bias") else 0.8)
    return model


def write_weights(
    folder: Path, words: Sequence[str], softmax: str = "full", tokenizer: str = "en"
) -> Path:
    """Write random weights with an output layer over these words, as pretraining does.

    RETURNS (Path): The folder.
    """
    vocabulary = Vocabulary([*SPECIALS, *words], [1] * (len(SPECIALS) + len(words)))
    model = make_model(len(vocabulary), softmax)
    save_bilm(model.bilm, folder)
    write_output_layer(folder, model.softmax, vocabulary)
    meta = {"softmax": SOFTMAXES[softmax].to_dict()}
    write_json(folder / META, {**meta, "tokenizer": tokenizer, "sentences": "lines"})
    return folder


def vocabulary_characters(words: Sequence[str]) -> VocabularyCharacters:
    """Characters as in ELMoForManyLangs, with every second word in the vocabulary."""
    specials = ["<bow>", "<eow>", "<oov>", "<pad>", "<bos>", "<eos>"]
    letters = sorted({letter for word in words for letter in word} - {"0"})
    return VocabularyCharacters(
        {token: i for i, token in enumerate([*specials, *letters])},
        {token: i for i, token in enumerate(["<oov>", *words[::2]])},
        CONFIG.max_characters_per_token,
    )


def manylangs_config(characters: VocabularyCharacters, **changes: Any) -> BiLMConfig:
    return CONFIG.replace(
        characters="vocabulary",
        n_characters=len(characters.characters),
        word_dim=3,
        n_words=len(characters.words),
        forget_bias=0.0,
        **changes,
    )
