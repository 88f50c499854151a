"""The sentences of docs, and words in their contexts."""

from typing import (
    Any,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    Tuple,
    Union,
    cast,
)

import numpy as np
from spacy.tokens import Doc, Span, Token

from ..embedding.neighbors import Occurrence

Text = Union[Doc, Span]

_CONTEXT = 12
"""Words shown on each side of a word."""


class Sentence(NamedTuple):
    """A sentence without its whitespace tokens.

    number (int): Its number among the sentences of all docs, from 0.
    tokens (List[Token]): The tokens.
    words (Tuple[str, ...]): Their texts.
    """

    number: int
    tokens: List[Token]
    words: Tuple[str, ...]

    def layers(self) -> np.ndarray:
        """All layers, of shape (n_layers + 1, n_words, width).

        RAISES: ValueError if the doc has none.
        """
        layers = self.tokens[0].doc._.elmo.layers[:, [token.i for token in self.tokens]]
        return to_numpy(layers)


class Context(NamedTuple):
    """A word between the words around it, as strings to show."""

    before: str
    word: str
    after: str

    @property
    def sentence(self) -> str:
        """The three as one string."""
        return " ".join(filter(None, self))

    @classmethod
    def of(cls, occurrence: Occurrence, n_words: int = _CONTEXT) -> "Context":
        """Cut the context of an occurrence, with an ellipsis for omitted words.

        n_words (int): Words to show on each side.
        """
        words, position = occurrence.words, occurrence.position
        end = position + 1 + n_words
        before = list(words[max(0, position - n_words) : position])
        after = list(words[position + 1 : end])
        if position > n_words:
            before.insert(0, "\u2026")
        if end < len(words):
            after.append("\u2026")
        return cls(" ".join(before), occurrence.word, " ".join(after))


def read_sentences(texts: Iterable[Text]) -> Iterator[Sentence]:
    """Read the sentences of docs and spans. A text without sentence boundaries is one
    sentence.

    YIELDS (Sentence): Each sentence that has words.
    """
    number = 0
    for text in texts:
        is_split = len(text) > 0 and text.doc.has_annotation("SENT_START")
        # spaCy's stub lacks Span.sents.
        for part in cast(Any, text).sents if is_split else [text]:
            tokens = [token for token in part if not token.is_space]
            if tokens:
                yield Sentence(number, tokens, tuple(token.text for token in tokens))
                number += 1


def find_token(token: Token) -> Tuple[Sentence, int]:
    """Find the sentence of a token, and the token's position in it.

    RAISES: ValueError if the token is whitespace.
    """
    if token.is_space:
        raise ValueError(f"expected a word, found the whitespace token {token.i}.")
    for sentence in read_sentences([token.doc]):
        if sentence.tokens[0].i <= token.i <= sentence.tokens[-1].i:
            return sentence, [each.i for each in sentence.tokens].index(token.i)
    raise AssertionError("every word is in a sentence")


def list_items(items: Any, kinds: Tuple[type, ...]) -> List[Any]:
    """Convert the first argument of `render`, one item or several, to a list.

    RAISES: ValueError if there are none, or one is of another kind.
    """
    is_one = isinstance(items, (Doc, Span, Token))
    listed = [items] if is_one or not isinstance(items, Iterable) else list(items)
    names = ", ".join(kind.__name__ for kind in kinds)
    wrong = [type(item).__name__ for item in listed if not isinstance(item, kinds)]
    if wrong or not listed:
        raise ValueError(
            f"docs: expected one or more of {names}, found "
            f"{wrong[0] if wrong else 'none'}."
        )
    return listed


def layer_names(n_layers: int) -> Sequence[str]:
    """Names of a biLM's layers to show, from layer 0."""
    names = [str(number) for number in range(n_layers)]
    return [f"{names[0]} (no context)", *names[1:-1], f"{names[-1]} (top)"]


def to_numpy(array: Any) -> np.ndarray:
    """Move an array to main memory."""
    return np.asarray(array.get() if hasattr(array, "get") else array)
