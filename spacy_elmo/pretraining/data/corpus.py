"""The texts of a run, ready to be read: shards, the table of types, the vocabulary."""

import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

from tqdm import tqdm  # type: ignore[import-untyped]

from ...bilm.characters import Characters
from ...text.files import CorpusError
from ...text.tokenization import Tokenization
from ..distributed import Group
from ..settings import CorpusSettings, VocabularySettings
from .prepare import prepare
from .shards import META, Shards
from .vocabulary import Vocabulary
from .word_table import TypeTable


class Text(NamedTuple):
    """shards: of it. table: its types, as the network reads them."""

    shards: Shards
    table: TypeTable


class Corpus(NamedTuple):
    """train, dev: the texts; dev is None where there is no held-out text.
    vocabulary: of the output layer. tokenization: of the training text."""

    train: Text
    dev: Optional[Text]
    vocabulary: Vocabulary
    tokenization: Tokenization

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
    ready = _ready(paths)
    if ready is not None:
        return ready
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
            _configured(settings),
            shard_tokens=settings.shard_tokens,
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

    Raises CorpusError for a text that cannot be read or has nothing to learn from, and
    for a held-out text whose words are others than those of ready shards.
    """

    def load(paths: Sequence[str], name: str) -> Text:
        showing = show and group.is_first
        return load_text(paths, settings, cache, characters, name=name, show=showing)

    def load_all() -> Corpus:
        _check_tokenization(settings)
        train = load(settings.train, "train")
        dev = None if settings.dev is None else load(settings.dev, "dev")
        return Corpus(
            train,
            dev,
            load_vocabulary(train.shards, vocabulary),
            _tokenization(train.shards, settings),
        )

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


def _ready(paths: Sequence[str]) -> Optional[Shards]:
    if len(paths) == 1 and (Path(paths[0]) / META).is_file():
        return Shards(paths[0])
    return None


def _configured(settings: CorpusSettings) -> Tokenization:
    return Tokenization(settings.tokenizer, settings.sentences)


def _tokenization(shards: Shards, settings: CorpusSettings) -> Tokenization:
    """The shards' own; its tokenizer as the settings name it, where both mean the
    same: a path of another machine is of no use here."""
    configured = _configured(settings)
    made = shards.tokenization or configured
    if configured.has_tokenizer_of(made):
        return made._replace(tokenizer=configured.tokenizer)
    return made


def _check_tokenization(settings: CorpusSettings) -> None:
    """Before any work: ready shards are not made again where the settings have
    another tokenizer."""
    if settings.dev is None:
        return
    ready, ready_dev = _ready(settings.train), _ready(settings.dev)
    configured = _configured(settings)
    train = ready.tokenization if ready else configured
    if train is None:
        return
    if ready_dev is not None:
        dev = ready_dev.tokenization or train
        if not dev.has_tokenizer_of(train):
            remedy = "" if ready else f"give --corpus.tokenizer {dev.tokenizer}, or "
            raise CorpusError(
                "corpus.dev: expected ready shards made by the tokenizer of "
                f"corpus.train, {train.tokenizer!r}, found ones made by "
                f"{dev.tokenizer!r}. Their words are others: {remedy}prepare the "
                "shards of one text again, by the other's tokenizer."
            )
        return
    options = []
    if not configured.has_tokenizer_of(train):
        options.append(f"--corpus.tokenizer {train.tokenizer}")
    if configured.sentences != train.sentences:
        options.append(f"--corpus.sentences {train.sentences}")
    if options:
        raise CorpusError(
            "corpus.dev: expected text to be tokenised as the ready shards of "
            f"corpus.train were, tokenizer {train.tokenizer!r} and sentences "
            f"{train.sentences!r}, found the settings {configured.tokenizer!r} and "
            f"{configured.sentences!r}. Its words would be others: give "
            f"{' '.join(options)}, or name ready shards that were made like those."
        )


def _describe(characters: Characters) -> str:
    vocabularies = json.dumps(characters.vocabularies()).encode()
    digest = hashlib.blake2b(vocabularies, digest_size=4).hexdigest()
    return f"{characters.max_characters}-{digest}"
