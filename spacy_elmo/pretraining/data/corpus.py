"""The texts of a run: shards, word tables and the vocabulary."""

import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from tqdm import tqdm  # type: ignore[import-untyped]

from ...bilm.characters import Characters
from ...text.files import CorpusError
from ...text.tokenization import Tokenization
from ...text.vocabulary import Vocabulary, read_word_list
from ..distributed import Group
from ..sections import CorpusSettings, VocabularySettings
from .prepare import prepare
from .shards import META, Shards
from .word_table import WordTable


class Text(NamedTuple):
    """A text and the characters of its distinct words.

    shards (Shards): The text.
    table (WordTable): Its words, as the network reads them.
    """

    shards: Shards
    table: WordTable


class Corpus(NamedTuple):
    """The texts of a run.

    train (Text): Training text.
    dev (Optional[Text]): Held-out text, or None.
    vocabulary (Vocabulary): Words that the output layer predicts.
    tokenization (Tokenization): How the training text was tokenized.
    """

    train: Text
    dev: Optional[Text]
    vocabulary: Vocabulary
    tokenization: Tokenization

    def identity(self) -> Dict[str, Any]:
        """Hashes that must be the same when a run is resumed."""
        hashes = {
            "corpus.train": self.train.shards.identity,
            "vocabulary": self.vocabulary.identity(),
        }
        if self.dev is not None:
            hashes["corpus.dev"] = self.dev.shards.identity
        return hashes

    def describe(self) -> List[str]:
        """Describe the size of each text and how much of it the vocabulary covers."""
        lines = []
        for name, text in (("train", self.train), ("dev", self.dev)):
            if text is None:
                continue
            shards = text.shards
            coverage = self.vocabulary.coverage(shards.types(), shards.counts)
            lines.append(
                f"{name}: {coverage.n_words:,} words, "
                f"{shards.meta['n_sentences']:,} sentences, "
                f"{len(shards.counts):,} types; out of the vocabulary's "
                f"{len(self.vocabulary):,}: {coverage.oov_rate:.2%} of the words"
            )
        return lines


def load_shards(
    paths: Sequence[str],
    settings: CorpusSettings,
    cache: Path,
    *,
    name: str,
    show: bool = False,
) -> Shards:
    """Load a text as shards, which are prepared if the cache does not have them.

    paths (Sequence[str]): Files, folders and globs, or one folder of ready shards.
    settings (CorpusSettings): Tokenizer and cache.
    cache (Path): Folder for shards if the settings do not name one.
    name (str): Name of the text in the progress bar.
    show (bool): Show a progress bar on stderr.
    """
    ready = _load_ready(paths)
    if ready is not None:
        return ready
    with tqdm(
        desc=f"tokenize {name}",
        unit="B",
        unit_scale=True,
        disable=not show,
        leave=False,
        mininterval=0.5,
        delay=0.5,  # not shown if the cache has the shards
    ) as bar:

        def progress(n_bytes: int, total: int) -> None:
            bar.total = total
            bar.update(n_bytes)

        return prepare(
            paths,
            Path(settings.cache) if settings.cache else cache,
            Tokenization(
                settings.tokenizer,
                settings.sentences,
                text_field=settings.text_field,
            ),
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
    """Load a text as shards, with the characters of its words.

    characters (Characters): The network's character scheme.
    cache (Path): Folder for word tables, and for shards if the settings do not name
        one.
    """
    shards = load_shards(paths, settings, cache, name=name, show=show)
    vocabularies = json.dumps(characters.vocabularies()).encode()
    scheme = hashlib.blake2b(vocabularies, digest_size=4).hexdigest()
    folder = f"{shards.identity}-{characters.max_characters}-{scheme}"
    table = WordTable.from_shards(shards, characters, cache / "tables" / folder)
    return Text(shards, table)


def load_vocabulary(shards: Shards, settings: VocabularySettings) -> Vocabulary:
    """Read the configured vocabulary, or select it from the training text."""
    words = None
    if settings.path is not None:
        words = read_word_list(settings.path)
        if words is None:
            return Vocabulary.read(settings.path)
    return Vocabulary.from_counts(
        shards.types(),
        shards.counts,
        shards.meta["n_sentences"],
        min_count=settings.min_count,
        max_size=settings.max_size,
        words=words,
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
    """Load all texts of a run. They are prepared by the first process.

    settings (CorpusSettings): Paths, tokenizer and cache.
    vocabulary (VocabularySettings): Size or path of the vocabulary.
    characters (Characters): The network's character scheme.
    cache (Path): Folder for shards if the settings do not name one.
    group (Group): The processes of the run.
    show (bool): Show progress bars on stderr.
    say (Callable[[str], None]): Called with a description of each text.
    RAISES: CorpusError if a text cannot be read, there is nothing to learn from, or the
        held-out text is tokenized differently from the training text.
    """
    show = show and group.is_first

    def load(paths: Sequence[str], name: str) -> Text:
        return load_text(paths, settings, cache, characters, name=name, show=show)

    def load_all() -> Corpus:
        _check_tokenization(settings)
        train = load(settings.train, "train")
        dev = None if settings.dev is None else load(settings.dev, "dev")
        output_words = load_vocabulary(train.shards, vocabulary)
        return Corpus(train, dev, output_words, _tokenization(train.shards, settings))

    corpus = group.first_then_others(load_all)
    if corpus.train.shards.n_ids < 2:
        raise CorpusError("corpus.train: expected text, found less than a sentence.")
    if group.is_first:
        for line in corpus.describe():
            say(line)
    return corpus


def _load_ready(paths: Sequence[str]) -> Optional[Shards]:
    if len(paths) == 1 and (Path(paths[0]) / META).is_file():
        return Shards(paths[0])
    return None


def _tokenization(shards: Shards, settings: CorpusSettings) -> Tokenization:
    configured = Tokenization(settings.tokenizer, settings.sentences)
    stored = shards.tokenization or configured
    if configured.has_tokenizer_of(stored):
        # A path stored on another machine is of no use here.
        return stored._replace(tokenizer=configured.tokenizer)
    return stored


def _check_tokenization(settings: CorpusSettings) -> None:
    """Check that both texts are tokenized in the same way, before any work. Ready
    shards keep the tokenization that they were made with, whatever the settings say."""
    if settings.dev is None:
        return
    ready, ready_dev = _load_ready(settings.train), _load_ready(settings.dev)
    configured = Tokenization(settings.tokenizer, settings.sentences)
    train = ready.tokenization if ready else configured
    if train is None:
        return
    if ready_dev is not None:
        dev = ready_dev.tokenization or train
        if not dev.has_tokenizer_of(train):
            option = "" if ready else f"give --corpus.tokenizer {dev.tokenizer}, or "
            raise CorpusError(
                "corpus.dev: expected ready shards made by the tokenizer of "
                f"corpus.train, {train.tokenizer!r}, found ones made by "
                f"{dev.tokenizer!r}. Their words would differ: {option}prepare the "
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
            "corpus.dev: expected text to be tokenized like the ready shards of "
            f"corpus.train, by the tokenizer {train.tokenizer!r} with sentences = "
            f"{train.sentences!r}, found the settings {configured.tokenizer!r} and "
            f"{configured.sentences!r}. The words would differ: give "
            f"{' '.join(options)}, or name ready shards that were made in the same way."
        )
