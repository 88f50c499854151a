"""The layers on a Doc: a plain array in `doc.user_data`, so that the Doc serializes
like any other."""

import zlib
from typing import Optional

from spacy.attrs import ORTH
from spacy.tokens import Doc
from thinc.types import Floats3d

LAYERS_KEY = "elmo_layers"
TOKENS_KEY = "elmo_tokens"
"""Checksum of the tokens that the arrays on the doc belong to. After a merge and a
split, their number alone would be the same."""


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
    n_tokens = layers.shape[1]
    found = f"layers of {n_tokens}{' others' if n_tokens == len(doc) else ''}"
    raise ValueError(
        f"doc._.elmo: expected layers of {len(doc)} tokens, found {found}. The doc was "
        "retokenized, or is a part of another doc, after the elmo component had run: "
        "run it again on this doc."
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
    """Put layers on a doc, or remove them if `layers` is None. In both cases, store the
    checksum of its tokens."""
    if layers is None:
        doc.user_data.pop(LAYERS_KEY, None)
    else:
        doc.user_data[LAYERS_KEY] = layers
    doc.user_data[TOKENS_KEY] = _checksum(doc)


def tokens_are_same(doc: Doc) -> bool:
    """Whether the tokens are those that the component saw. True for docs without a
    checksum, as stored by the first versions."""
    return doc.user_data.get(TOKENS_KEY) in (None, _checksum(doc))


def _checksum(doc: Doc) -> int:
    return zlib.crc32(doc.to_array([ORTH]).tobytes())
