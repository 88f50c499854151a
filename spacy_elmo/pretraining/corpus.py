"""The texts of a run, ready to be read: shards, the table of types, the vocabulary."""

import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

from tqdm import tqdm  # type: ignore[import-untyped]

from ..bilm.characters import Characters
from .distributed import Group
from .prepare import PrepareSettings, prepare
from .settings import CorpusSettings, VocabularySettings
from .shards import META, Shards
from .text import CorpusError
from .types import TypeTable
from .vocabulary import Vocabulary


class Text(NamedTuple):
    """shards: of it. table: its types, as the network reads them."""

    shards: Shards
    table: TypeTable


class Corpus(NamedTuple):
    """train, dev: the texts; dev is None where there is no held-out text.
    vocabulary: of the output layer."""

    train: Text
    dev: Optional[Text]
    vocabulary: Vocabulary

    def identity(self) -> Dict[str, Any]:
        """What a resumed run must find unchanged."""
        found = {
            "corpus.train": self.train.shards.identity,
            "vocabulary": self.vocabulary.identity(),
        }
        if self.dev is not None:
            found["corpus.dev"] = self.dev.shards.identity
        return found


def load_shards(
    paths: Sequence[str],
    settings: CorpusSettings,
    cache: Path,
    *,
    name: str,
    show: bool = False,
) -> Shards:
    """The shards of a text; prepared only where that was not done before.

    paths: files, folders and globs, or one folder of ready shards.
    name: what to call it. show: with a progress bar on stderr.
    """
    if len(paths) == 1 and (Path(paths[0]) / META).is_file():
        return Shards(paths[0])
    with tqdm(
        desc=f"tokenize {name}",
        unit="B",
        unit_scale=True,
        disable=not show,
        leave=False,
        mininterval=0.5,
        delay=0.5,  # nothing where the shards are there already
    ) as bar:

        def progress(n_bytes: int, total: int) -> None:
            bar.total = total
            bar.update(n_bytes)

        return prepare(
            paths,
            Path(settings.cache) if settings.cache else cache,
            PrepareSettings(
                settings.tokenizer, settings.sentences, settings.shard_tokens
            ),
            n_process=settings.n_process,
            progress=progress,
        )


def load_text(
    paths: Sequence[str],
    settings: CorpusSettings,
    cache: Path,
    characters: Characters,
    *,
    name: str,
    show: bool = False,
) -> Text:
    """`load_shards`, and what the network reads of their types.

    characters: of the network. cache: folder for both.
    """
    shards = load_shards(paths, settings, cache, name=name, show=show)
    tables = cache / "tables" / f"{shards.identity}-{_describe(characters)}"
    return Text(shards, TypeTable.of(shards, characters, tables))


def load_vocabulary(shards: Shards, settings: VocabularySettings) -> Vocabulary:
    """The configured file, or what is counted in the training text."""
    if settings.path is not None:
        return Vocabulary.read(settings.path)
    return Vocabulary.from_counts(
        shards.types(),
        shards.counts,
        shards.meta["n_sentences"],
        min_count=settings.min_count,
        max_size=settings.max_size,
    )


def load_corpus(
    settings: CorpusSettings,
    vocabulary: VocabularySettings,
    characters: Characters,
    cache: Path,
    *,
    group: Group,
    show: bool,
    say: Callable[[str], None],
) -> Corpus:
    """All texts of a run. The first process prepares them, the others read the result.

    cache: where shards go if the settings name no place.
    say: told how much text there is and how much of it the vocabulary knows.

    Raises CorpusError for a text that cannot be read or has nothing to learn from.
    """

    def load(paths: Sequence[str], name: str) -> Text:
        showing = show and group.is_first
        return load_text(paths, settings, cache, characters, name=name, show=showing)

    def load_all() -> Corpus:
        train = load(settings.train, "train")
        dev = None if settings.dev is None else load(settings.dev, "dev")
        return Corpus(train, dev, load_vocabulary(train.shards, vocabulary))

    corpus = group.first_then_others(load_all)
    if corpus.train.shards.n_ids < 2:
        raise CorpusError("corpus.train: expected text, found less than a sentence.")
    if group.is_first:
        for name, text in (("train", corpus.train), ("dev", corpus.dev)):
            if text is not None:
                shards = text.shards
                known = corpus.vocabulary.coverage(shards.types(), shards.counts)
                say(
                    f"{name}: {known.n_words:,} words, "
                    f"{shards.meta['n_sentences']:,} sentences, "
                    f"{len(shards.counts):,} types; out of the vocabulary's "
                    f"{len(corpus.vocabulary):,}: {known.oov_rate:.2%} of the words"
                )
    return corpus


def _describe(characters: Characters) -> str:
    vocabularies = json.dumps(characters.vocabularies()).encode()
    digest = hashlib.blake2b(vocabularies, digest_size=4).hexdigest()
    return f"{characters.max_characters}-{digest}"
