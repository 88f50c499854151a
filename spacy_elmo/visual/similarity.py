"""How similar two words are, layer by layer."""

from typing import Any, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
from spacy.tokens import Doc, Span, Token

from ..embedding.neighbors import Occurrence, normalize
from .sentences import (
    Context,
    find_token,
    layer_names,
    list_items,
    read_sentences,
    to_numpy,
)

MAX_WORDS = 30
"""Words of a doc that are compared with each other."""


class SimilarityView(NamedTuple):
    """Two words or texts in each layer.

    items (Tuple[Context, Context]): The two items. For a text, only `word` is set.
    layers (List[Tuple[str, float]]): Name and cosine similarity of each layer.
    """

    items: Tuple[Context, Context]
    layers: List[Tuple[str, float]]


class MatrixView(NamedTuple):
    """All words of a text in each layer.

    words (List[str]): The words.
    layers (List[Tuple[str, ndarray]]): Name and cosine similarities of each layer, of
        shape (n_words, n_words).
    n_words (int): Number of words of the text, of which the first are shown.
    """

    words: List[str]
    layers: List[Tuple[str, np.ndarray]]
    n_words: int


def show_layers(docs: Any) -> Union[SimilarityView, MatrixView]:
    """Compare two words or texts, or the words of one text with each other.

    docs (Union[Doc, Span, Token, Iterable]): One text, or two items of any kind.
    RAISES: ValueError if there are more items, or no layers on the docs.
    """
    items = list_items(docs, (Doc, Span, Token))
    if len(items) == 1 and not isinstance(items[0], Token):
        return _compare_words(items[0])
    if len(items) != 2:
        raise ValueError(
            "docs: expected one Doc or Span, or two items to compare (Doc, Span or "
            f"Token), found {len(items)}."
        )
    first, second = (_mean_vectors(item) for item in items)
    contexts = (_describe(items[0]), _describe(items[1]))
    return compare(contexts, first, second)


def compare(
    contexts: Tuple[Context, Context], first: np.ndarray, second: np.ndarray
) -> SimilarityView:
    """Compare vectors layer by layer.

    contexts (Tuple[Context, Context]): The two items, to show.
    first, second (ndarray): One vector per layer, shape (n_layers + 1, width).
    RAISES: ValueError if the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"docs: expected vectors of the same biLM, found shapes {first.shape} and "
            f"{second.shape}. Run both docs through the same pipeline."
        )
    cosines = (normalize(first) * normalize(second)).sum(axis=1)
    names = layer_names(len(cosines))
    return SimilarityView(contexts, list(zip(names, cosines.tolist())))


def _compare_words(text: Union[Doc, Span]) -> MatrixView:
    tokens = [t for sentence in read_sentences([text]) for t in sentence.tokens]
    if not tokens:
        raise ValueError("docs: expected a text with words, found none.")
    words = [token.text for token in tokens[:MAX_WORDS]]
    numbers = [token.i for token in tokens[:MAX_WORDS]]
    vectors = normalize(to_numpy(text.doc._.elmo.layers[:, numbers]))
    cosines = vectors @ vectors.transpose(0, 2, 1)
    return MatrixView(words, list(zip(layer_names(len(cosines)), cosines)), len(tokens))


def _mean_vectors(item: Union[Doc, Span, Token]) -> np.ndarray:
    """Mean vector of the words in each layer, shape (n_layers + 1, width)."""
    words: Sequence[Token] = [item] if isinstance(item, Token) else list(item)
    numbers = [token.i for token in words if not token.is_space]
    if not numbers:
        raise ValueError(f"docs: expected words, found none in {item.text!r}.")
    return to_numpy(item.doc._.elmo.layers[:, numbers]).mean(axis=1)


def _describe(item: Union[Doc, Span, Token]) -> Context:
    if isinstance(item, Token):
        sentence, position = find_token(item)
        return Context.of(Occurrence(None, position, sentence.words))
    return Context("", item.text, "")
