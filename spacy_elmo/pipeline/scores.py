"""Scores on a Doc: plain arrays, and the extension attributes that read them."""

import math
from functools import partial
from typing import Any, Callable, Dict, Sequence, Type, Union, cast

import numpy as np
from spacy.attrs import IDX, LENGTH
from spacy.tokens import Doc, Span, Token

from ..scoring.sentence_scores import SentenceScores

SCORES_KEY = "elmo_scores"
"""One row for each of ROWS, float32 of shape (5, n_tokens). NaN for whitespace."""

ENDS_KEY = "elmo_sentence_ends"
"""Surprisal of the end of each sentence in the forward LM, and of its beginning in the
backward LM, float32 of shape (2, n_sentences)."""

OFFSETS_KEY = "elmo_score_offsets"
"""Offset and length of each token, in characters, int32 of shape (n_tokens, 2). Tokens
that are merged or split later no longer match them."""

SCORE_KEYS = (SCORES_KEY, ENDS_KEY, OFFSETS_KEY)

ROWS = ("surprisal", "surprisal_backward", "entropy", "entropy_backward", "known")


def set_scores(
    doc: Doc, sentences: Sequence[SentenceScores], is_word: np.ndarray
) -> None:
    """Put scores on a doc.

    sentences (Sequence[SentenceScores]): Scores of its sentences, in nats.
    is_word (ndarray): Which tokens are words, bool of shape (n_tokens,).
    """
    scores = np.full((len(ROWS), len(doc)), np.nan, dtype=np.float32)
    ends = np.zeros((2, len(sentences)), dtype=np.float32)
    if sentences:
        rows = (
            [-s.forward for s in sentences],
            [-s.backward for s in sentences],
            [s.forward_entropy for s in sentences],
            [s.backward_entropy for s in sentences],
            [s.known for s in sentences],
        )
        scores[:, is_word] = [np.concatenate(row) for row in rows]
        ends[:] = [-s.end for s in sentences], [-s.begin for s in sentences]
    user_data: Dict[Any, Any] = doc.user_data
    user_data[SCORES_KEY] = scores
    user_data[ENDS_KEY] = ends
    user_data[OFFSETS_KEY] = _offsets(doc)


def get_scores(doc: Doc) -> np.ndarray:
    """Get the scores of all tokens of a doc.

    RETURNS (ndarray): One row for each of ROWS, float32 of shape (5, n_tokens). NaN for
        whitespace tokens.
    RAISES: ValueError if there are none, or if they belong to other tokens.
    """
    scores = _stored(doc)
    if not np.array_equal(doc.user_data[OFFSETS_KEY], _offsets(doc)):
        raise ValueError(_stale(doc))
    return scores


def _stored(doc: Doc) -> np.ndarray:
    scores = doc.user_data.get(SCORES_KEY)
    if scores is None:
        raise ValueError(
            "expected a Doc that the elmo component has scored, found no scores on "
            f"{doc.text[:40]!r}. Run the doc through a pipeline whose elmo component "
            "has the setting score = true."
        )
    return cast(np.ndarray, scores)


def _stale(doc: Doc) -> str:
    return (
        f"expected scores of the tokens of {doc.text[:40]!r}, found scores of "
        "different ones. The doc was retokenized after the elmo component had run: run "
        "it again on this doc."
    )


def _offsets(doc: Doc) -> np.ndarray:
    return np.asarray(doc.to_array([IDX, LENGTH]), dtype=np.int32).reshape(-1, 2)


def _of_token(token: Token, *, row: int) -> float:
    scores = _stored(token.doc)
    offsets = token.doc.user_data[OFFSETS_KEY]
    # Comparing the offsets of all tokens would take too long for each of them.
    if token.i >= len(offsets) or offsets[token.i].tolist() != [token.idx, len(token)]:
        raise ValueError(_stale(token.doc))
    return float(scores[row, token.i])


def _is_known(token: Token) -> bool:
    return _of_token(token, row=ROWS.index("known")) == 1


def _of_span(span: Span, *, row: int) -> float:
    return math.fsum(_of_token(token, row=row) for token in span if not token.is_space)


def _perplexity(doc: Doc, *, row: int) -> float:
    scores = get_scores(doc)[row]
    surprisals = np.append(scores[~np.isnan(scores)], doc.user_data[ENDS_KEY][row])
    if not len(surprisals):
        return math.nan
    return float(np.exp(surprisals.mean(dtype=np.float64)))


Getters = Dict[str, Callable[[Any], Union[float, bool]]]

GETTERS: Dict[Type, Getters] = {
    Token: {
        **{name: partial(_of_token, row=row) for row, name in enumerate(ROWS[:-1])},
        "known": _is_known,
    },
    Span: {name: partial(_of_span, row=row) for row, name in enumerate(ROWS[:2])},
    Doc: {
        "perplexity": partial(_perplexity, row=0),
        "perplexity_backward": partial(_perplexity, row=1),
    },
}
"""Extension attributes by class and name."""


def install() -> None:
    """Register the extension attributes: `token._.surprisal`, `span._.surprisal`,
    `doc._.perplexity` and the others. Components with score = true do this themselves;
    programs that only read stored docs call it first.

    RAISES: ValueError if one of them was registered by somebody else.
    """
    for kind, getters in GETTERS.items():
        for name, getter in getters.items():
            if not kind.has_extension(name):
                kind.set_extension(name, getter=getter)
                continue
            other = kind.get_extension(name)[2]
            if getattr(other, "func", other) is not getattr(getter, "func", getter):
                raise ValueError(
                    f"expected {kind.__name__.lower()}._.{name} to be free for the "
                    "elmo component (score = true), found an extension attribute of "
                    f'this name. Call {kind.__name__}.remove_extension("{name}") '
                    "first, or give yours another name."
                )
