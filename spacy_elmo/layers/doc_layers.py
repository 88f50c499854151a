"""The layers on a Doc: a plain array in `doc.user_data`, so that the Doc serializes
like any other."""

import zlib
from typing import Any, Optional

import numpy as np
from spacy.attrs import IDX, ORTH
from spacy.tokens import Doc, Token
from thinc.types import Floats3d

LAYERS_KEY = "elmo_layers"
TOKENS_KEY = "elmo_tokens"
"""What `describe_tokens` returned when the component ran. After a merge and a split,
the number of tokens alone would be the same. Docs of version 0.1 have a checksum."""


def get_layers(doc: Doc) -> Optional[Floats3d]:
    """Get the layers on a doc.

    RETURNS (Optional[Floats3d]): Shape (n_layers + 1, n_tokens, width); None if there
        are no layers.
    RAISES: ValueError if they do not belong to the doc's tokens.
    """
    layers = doc.user_data.get(LAYERS_KEY)
    if layers is None:
        return None
    if not layers_are_stale(doc):
        return layers
    raise ValueError(
        f"doc._.elmo: expected layers of the doc's {len(doc)} tokens, found layers of "
        f"{layers.shape[1]} different ones. The doc was retokenized, or is a part of "
        "another doc, after the elmo component had run: run it again on this doc."
    )


def has_layers(doc: Doc) -> bool:
    return LAYERS_KEY in doc.user_data


def layers_are_stale(doc: Doc) -> bool:
    """Whether there are layers that do not belong to the doc's tokens."""
    layers = doc.user_data.get(LAYERS_KEY)
    if layers is None:
        return False
    return layers.shape[1] != len(doc) or not tokens_are_same(doc)


def set_layers(doc: Doc, layers: Optional[Floats3d]) -> None:
    """Put layers on a doc, or remove them if `layers` is None. In both cases, note the
    tokens."""
    if layers is None:
        doc.user_data.pop(LAYERS_KEY, None)
    else:
        doc.user_data[LAYERS_KEY] = layers
    doc.user_data[TOKENS_KEY] = describe_tokens(doc)


def tokens_are_same(doc: Doc) -> bool:
    """Whether the tokens are those that the component saw. True for docs that do not
    note them, as stored by the first versions."""
    stored: Any = doc.user_data.get(TOKENS_KEY)
    if isinstance(stored, int):
        return stored == zlib.crc32(doc.to_array([ORTH]).tobytes())
    return stored is None or np.array_equal(stored, describe_tokens(doc))


def token_is_same(token: Token) -> bool:
    """Whether a token is the one that the component saw in this place. False if only
    `tokens_are_same` can tell."""
    stored: Any = token.doc.user_data.get(TOKENS_KEY)
    is_array = isinstance(stored, np.ndarray) and token.i < len(stored)
    return is_array and stored[token.i].tolist() == [token.orth, token.idx]


def describe_tokens(doc: Doc) -> np.ndarray:
    """RETURNS (ndarray): Hash of the text and offset of each token, uint64 of shape
    (n_tokens, 2)."""
    return doc.to_array([ORTH, IDX]).reshape(-1, 2)
