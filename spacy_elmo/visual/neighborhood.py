"""The nearest neighbors of a word in its sentence."""

from typing import Any, List, NamedTuple, Optional, Tuple, Union

from spacy.tokens import Doc, Span, Token

from ..embedding.encoding import TOP, select_layer
from ..embedding.neighbors import (
    ALL,
    Neighbor,
    Occurrence,
    is_word,
    rank_neighbors,
)
from .sentences import Context, Sentence, find_token, list_items, read_sentences


class NeighborsView(NamedTuple):
    """Data of the template neighbors.html.

    query (Context): The word in its sentence.
    nearest (List[Tuple[float, Context]]): Cosine similarity and context of each
        neighbor, nearest first.
    n_compared (int): Number of words that were compared with the query.
    layer (str): The layer.
    """

    query: Context
    nearest: List[Tuple[float, Context]]
    n_compared: int
    layer: str

    @classmethod
    def of(
        cls, query: Occurrence, found: List[Neighbor], n_compared: int, layer: str
    ) -> "NeighborsView":
        """Create a view of the results of `rank_neighbors`."""
        nearest = [(cosine, Context.of(occurrence)) for cosine, occurrence in found]
        return cls(Context.of(query), nearest, n_compared, layer)


def show_neighbors(
    docs: Any,
    *,
    word: Union[Token, str, None] = None,
    n: int = 10,
    layer: str = TOP,
    among: str = ALL,
) -> NeighborsView:
    """Find the words of docs that are nearest to a word in its sentence.

    docs (Union[Doc, Span, Iterable]): Where to search.
    word (Union[Token, str, None]): The word: a token, also of another doc of the same
        pipeline, or a string for its first occurrence.
    n (int): Number of neighbors.
    layer (str): "top", "mean", or the number of a layer.
    among (str): "all", the "same" word, or all "other" words.
    RAISES: ValueError if an option is invalid, or no layers are on the docs.
    """
    texts = list_items(docs, (Doc, Span))
    sentence, position = _find_query(texts, word)
    check_layer_of(sentence, layer)
    query = Occurrence(None, position, sentence.words)
    vector = select_layer(sentence.layers(), layer)[position]
    sentences = (
        (each.number, each.words, select_layer(each.layers(), layer))
        for each in read_sentences(texts)
    )
    nearest, n_compared = rank_neighbors(query, vector, sentences, n=n, among=among)
    return NeighborsView.of(query, nearest, n_compared, layer)


def check_layer_of(sentence: Sentence, layer: Optional[str]) -> None:
    """RAISES: ValueError if the doc has no such layer."""
    names = [str(number) for number in range(len(sentence.layers()))]
    expected = [TOP, "mean", *names]
    if layer not in expected:
        raise ValueError(f"layer: expected {', '.join(expected)}, found {layer!r}.")


def _find_query(
    texts: List[Union[Doc, Span]], word: Union[Token, str, None]
) -> Tuple[Sentence, int]:
    """The sentence of the query, and the query's position in it."""
    if isinstance(word, Token):
        return find_token(word)
    if not isinstance(word, str) or not word:
        raise ValueError(
            "options: expected a word to search for, a Token or a string, found "
            f"{word!r}: options={{'word': doc[2]}}."
        )
    for sentence in read_sentences(texts):
        for position, token in enumerate(sentence.words):
            if is_word(token, word):
                return sentence, position
    raise ValueError(f"{word!r}: expected a word of the docs, found it in none.")
