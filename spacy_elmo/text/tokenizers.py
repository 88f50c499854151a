"""Tokenizers: lines of text -> sentences, as word ids local to a chunk of text."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

import numpy as np

END_OF_SENTENCE = 0
"""The id that ends each sentence, in chunks and in shards. Word types count from 1."""

WHITESPACE = "whitespace"
LINES, SPLIT = "lines", "split"


class Tokenized(NamedTuple):
    """A tokenized chunk of text.

    types (List[str]): The chunk's distinct words. The word of id `i` is types[i - 1].
    ids (ndarray): All words and sentence ends, uint32, of shape (n_ids,).
    documents (ndarray): Offsets in `ids` at which documents end, int64, of shape
        (n_documents,).
    """

    types: List[str]
    ids: np.ndarray
    documents: np.ndarray

    def sentences(self) -> Iterator[List[str]]:
        """Look up the words of each sentence."""
        start = 0
        for end in np.flatnonzero(self.ids == END_OF_SENTENCE).tolist():
            yield [self.types[i - 1] for i in self.ids[start:end].tolist()]
            start = end + 1


Tokenizer = Callable[[Sequence[str]], Tokenized]
"""Tokenizes lines of text. Empty lines separate documents."""


def make_tokenizer(name: str, sentences: str, nlp: Any = None) -> Tokenizer:
    """Create a tokenizer.

    name (str): "whitespace" for text that is already tokenized, a language code ("en")
        for spaCy's blank pipeline, or a spaCy pipeline's name or path.
    sentences (str): "lines" if each line is a sentence, or "split" to split lines into
        sentences by the pipeline's own component, or by spaCy's sentencizer if the
        pipeline has none.
    nlp (Optional[Language]): The pipeline of this name, if it is loaded already.
    RETURNS (Tokenizer): The tokenizer.
    RAISES: ValueError if `sentences` is unknown, if "split" is combined with
        "whitespace", or if the language or pipeline cannot be loaded.
    """
    if sentences not in (LINES, SPLIT):
        raise ValueError(
            f"sentences: expected {LINES} or {SPLIT}, found {sentences!r}."
        )
    if name == WHITESPACE:
        if sentences == SPLIT:
            raise ValueError(
                f"sentences: expected {LINES} with the tokenizer {WHITESPACE}, found "
                f"{SPLIT}. To split lines, name a language or a spaCy pipeline."
            )
        return tokenize_whitespace
    return SpacyTokenizer(name, split=sentences == SPLIT, nlp=nlp)


def tokenize_whitespace(lines: Sequence[str]) -> Tokenized:
    """Split lines at whitespace. Each line is a sentence."""
    type_ids: Dict[str, int] = {}
    ids: List[int] = []
    documents: List[int] = []
    for line in lines:
        words = line.split()
        if words:
            for word in words:
                ids.append(type_ids.setdefault(word, len(type_ids) + 1))
            ids.append(END_OF_SENTENCE)
        elif not documents or documents[-1] < len(ids):
            documents.append(len(ids))
    return Tokenized(
        list(type_ids),
        np.asarray(ids, dtype=np.uint32),
        np.asarray(documents, dtype=np.int64),
    )


class SpacyTokenizer:
    """Tokenizes by a spaCy pipeline. Reads each Doc's words as hashes, so that strings
    are only created once per word type of the chunk.

    name (str): A language code, or a pipeline's name or path.
    split (bool): Whether to split lines into sentences.
    max_lexemes (int): Maximum size of the vocab, by default about 300 MB. A pipeline
        that exceeds it is loaded again, because spaCy keeps every form it has seen. Its
        memory zones would free them, but also empty the tokenizer's cache, which makes
        tokenization twice as fast.
    nlp (Optional[Language]): The pipeline, if it is loaded already.
    """

    def __init__(
        self,
        name: str,
        *,
        split: bool,
        max_lexemes: int = 1_000_000,
        nlp: Any = None,
    ) -> None:
        self.name, self.split, self.max_lexemes = name, split, max_lexemes
        self._use(_load_pipeline(name) if nlp is None else nlp)

    def _use(self, nlp: Any) -> None:
        self.nlp, self.splitters = nlp, _find_splitters(nlp) if self.split else []

    def __call__(self, lines: Sequence[str]) -> Tokenized:
        from spacy.attrs import IS_SPACE, ORTH, SENT_START

        if len(self.nlp.vocab) > self.max_lexemes:
            self._use(_load_pipeline(self.name))
        hashes: List[np.ndarray] = []
        documents: List[int] = []
        n_ids = 0
        end = np.zeros(1, dtype=np.uint64)
        for line in lines:
            if not line:
                if not documents or documents[-1] < n_ids:
                    documents.append(n_ids)
                continue
            doc = self.nlp.tokenizer(line)
            for component in self.splitters:
                doc = component(doc)
            array = doc.to_array([ORTH, IS_SPACE, SENT_START])
            is_word = array[:, 1] == 0
            words = array[is_word, 0]
            sentences = [words]
            if self.splitters:
                # A sentence may start with a whitespace token, which is not a word.
                index = np.cumsum(array[:, 2] == 1)[is_word]
                sentences = np.split(words, np.flatnonzero(np.diff(index)) + 1)
            for sentence in sentences:
                if len(sentence):
                    hashes += [sentence, end]
                    n_ids += len(sentence) + 1
        # The hash 0 of a sentence's end sorts first and so becomes END_OF_SENTENCE.
        all_hashes = np.concatenate([end, *hashes])
        distinct, ids = np.unique(all_hashes, return_inverse=True)
        strings = self.nlp.vocab.strings
        return Tokenized(
            [strings[int(orth)] for orth in distinct[1:]],
            ids[1:].astype(np.uint32),
            np.asarray(documents, dtype=np.int64),
        )


def _load_pipeline(name: str) -> Any:
    import spacy

    from_language = is_language(name)
    expected = (
        f"tokenizer: expected {WHITESPACE!r}, a language code that spaCy knows, or a "
        f"spaCy pipeline's name or path, found {name!r}"
    )
    if not from_language and is_unrelated_package(name):
        raise ValueError(
            f"{expected}, an installed package that is not a pipeline. A pipeline is "
            "named like en_core_web_sm."
        )
    try:
        return spacy.blank(name) if from_language else spacy.load(name)
    except ImportError as error:
        raise ValueError(
            f"tokenizer: expected a language or pipeline whose packages are installed, "
            f"found {name!r}, which needs one that is missing: {error}"
        ) from error
    except OSError as error:
        raise ValueError(f"{expected}.") from error


def _find_splitters(nlp: Any) -> List[Callable[[Any], Any]]:
    """The components up to the first that splits sentences."""
    from spacy.pipeline import Sentencizer

    for i, pipe_name in enumerate(nlp.pipe_names):
        assigns = nlp.get_pipe_meta(pipe_name).assigns
        if "token.is_sent_start" in assigns or "doc.sents" in assigns:
            # Keep the components before it: it may listen to one of them.
            return [component for _, component in nlp.pipeline[: i + 1]]
    return [Sentencizer()]


def is_language(name: str) -> bool:
    """Check whether spaCy has a language of this code."""
    from spacy.util import get_lang_class

    try:
        get_lang_class(name)
    except ImportError:
        return False
    return True


def is_unrelated_package(name: str) -> bool:
    """Check whether an installed package of this name is not a pipeline. spaCy would
    try to load it as one. Does not import the package."""
    from spacy.util import is_package

    if not is_package(name):
        return False
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # a distribution without a module of its name
        return True
    folders = spec.submodule_search_locations if spec is not None else None
    return not any((Path(folder) / "meta.json").is_file() for folder in folders or ())
