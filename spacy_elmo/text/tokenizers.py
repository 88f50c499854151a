"""Lines -> sentences of words, as numbers of the chunk's own types: what worker
processes do."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..files import hash_files
from .files import CorpusError

END_OF_SENTENCE = 0
"""The number that ends each sentence, in chunks and in shards; types count from 1."""

WHITESPACE = "whitespace"
LINES, SPLIT = "lines", "split"


class Tokenized(NamedTuple):
    """A chunk of text.

    types: its words, each once; number i of `ids` is types[i - 1].
    ids: all words as numbers, a 0 after each sentence, (n,) uint32.
    documents: the places in `ids` where the document ends, (n_documents,) int64.
    """

    types: List[str]
    ids: np.ndarray
    documents: np.ndarray


_MOST_LEXEMES = 1_000_000
"""Word forms that a worker keeps: some 300 MB."""

Tokenizer = Callable[[Sequence[str]], Tokenized]


def make_tokenizer(name: str, sentences: str) -> Tokenizer:
    """A function from lines (an empty one between documents) to numbers.

    name: "whitespace" for text whose words stand between blanks already; else a
        language code ("en") for spaCy's blank pipeline, or a spaCy pipeline's name or
        path.
    sentences: "lines": each line is one; "split": lines are paragraphs, split by the
        pipeline's own component, or by spaCy's sentencizer where it has none.

    Raises ValueError for an unknown setting, "split" with "whitespace", or a language
    or pipeline whose own packages are not installed.
    """
    if sentences not in (LINES, SPLIT):
        raise ValueError(
            f"sentences: expected {LINES} or {SPLIT}, found {sentences!r}."
        )
    if name == WHITESPACE:
        if sentences == SPLIT:
            raise ValueError(
                f"sentences: expected {LINES} with the tokenizer {WHITESPACE}, found "
                f"{SPLIT}: name a language or a spaCy pipeline to split by."
            )
        return tokenize_whitespace
    return _SpacyTokenizer(name, sentences == SPLIT)


def tokenize_whitespace(lines: Sequence[str]) -> Tokenized:
    numbers: Dict[str, int] = {}
    ids: List[int] = []
    documents: List[int] = []
    for line in lines:
        words = line.split()
        if words:
            for word in words:
                ids.append(numbers.setdefault(word, len(numbers) + 1))
            ids.append(END_OF_SENTENCE)
        elif not documents or documents[-1] < len(ids):
            documents.append(len(ids))
    return Tokenized(
        list(numbers),
        np.asarray(ids, dtype=np.uint32),
        np.asarray(documents, dtype=np.int64),
    )


class _SpacyTokenizer:
    """Reads the words off each Doc as hashes: strings are made for the types alone."""

    def __init__(self, name: str, split: bool) -> None:
        self.name, self.split = name, split
        self.nlp, self.splitters = _load(name, split)

    def __call__(self, lines: Sequence[str]) -> Tokenized:
        from spacy.attrs import IS_SPACE, ORTH, SENT_START

        if len(self.nlp.vocab) > _MOST_LEXEMES:
            # spaCy keeps every form it has seen; its memory zones would free them, but
            # with them the tokenizer's cache, by which it is twice as fast.
            self.nlp, self.splitters = _load(self.name, self.split)
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
            parts = [words]
            if self.splitters:
                # A sentence may begin with white space, which is no word.
                number = np.cumsum(array[:, 2] == 1)[is_word]
                parts = np.split(words, np.flatnonzero(np.diff(number)) + 1)
            for part in parts:
                if len(part):
                    hashes += [part, end]
                    n_ids += len(part) + 1
        types, ids = self._number(hashes, end)
        return Tokenized(types, ids, np.asarray(documents, dtype=np.int64))

    def _number(
        self, hashes: List[np.ndarray], end: np.ndarray
    ) -> Tuple[List[str], np.ndarray]:
        strings = self.nlp.vocab.strings
        # The hash 0 of the end is the smallest: it becomes number 0.
        together = np.concatenate([end, *hashes])
        distinct, numbers = np.unique(together, return_inverse=True)
        types = [strings[int(orth)] for orth in distinct[1:]]
        return types, numbers[1:].astype(np.uint32)


def identify(name: str) -> str:
    """What a tokeniser's name stands for now: two corpora that were tokenised by the
    same thing have the same."""
    if name == WHITESPACE:
        return name
    try:
        import spacy
        from spacy.util import get_package_version
    except ImportError as error:
        raise CorpusError(
            f"tokenizer: expected {WHITESPACE!r} where spaCy is not installed, found "
            f"{name!r}. Install spaCy, or name a folder of ready shards as the text."
        ) from error

    folder = Path(name)
    if not _is_language(name) and folder.is_dir():
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return f"spacy {spacy.__version__} {hash_files(files)}"
    return f"spacy {spacy.__version__} {name} {get_package_version(name)}"


def _load(name: str, split: bool) -> Tuple[Any, List[Callable[[Any], Any]]]:
    """A pipeline, and its components up to the first that finds sentences."""
    import spacy

    is_language = _is_language(name)
    expected = (
        f"tokenizer: expected {WHITESPACE!r}, a language code that spaCy knows, or a "
        f"spaCy pipeline's name or path, found {name!r}"
    )
    if not is_language and is_other_package(name):
        raise ValueError(
            f"{expected}, which is installed but no pipeline's module, as "
            "en_core_web_sm is."
        )
    try:
        nlp = spacy.blank(name) if is_language else spacy.load(name)
    except ImportError as error:
        raise ValueError(
            f"tokenizer: expected a language or pipeline whose packages are installed, "
            f"found {name!r}, which lacks one: {error}"
        ) from error
    except OSError as error:
        raise ValueError(f"{expected}.") from error
    if not split:
        return nlp, []
    for i, pipe_name in enumerate(nlp.pipe_names):
        assigns = nlp.get_pipe_meta(pipe_name).assigns
        if "token.is_sent_start" in assigns or "doc.sents" in assigns:
            # Those before it too: it may listen to one.
            return nlp, [component for _, component in nlp.pipeline[: i + 1]]
    return nlp, [nlp.add_pipe("sentencizer")]


def is_other_package(name: str) -> bool:
    """Whether spaCy would take a name for an installed pipeline that is none. Does not
    import it."""
    from spacy.util import is_package

    if not is_package(name):
        return False
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # names a distribution, but no module
        return True
    folders = spec.submodule_search_locations if spec is not None else None
    return not any((Path(folder) / "meta.json").is_file() for folder in folders or ())


def _is_language(name: str) -> bool:
    from spacy.util import get_lang_class

    try:
        get_lang_class(name)
    except ImportError:
        return False
    return True
