"""The layers on a Doc: a plain array in `doc.user_data`, so that the Doc serializes
like any other."""

import zlib
from typing import Optional

from spacy.attrs import ORTH
from spacy.tokens import Doc
from thinc.types import Floats3d

LAYERS_KEY = "elmo_layers"
TOKENS_KEY = "elmo_tokens"
"""Checksum of the tokens that the layers belong to. Their number alone may be the same
after retokenization."""


def get_layers(doc: Doc) -> Optional[Floats3d]:
    """Get the layers on a doc.

    RETURNS (Optional[Floats3d]): Shape (n_layers + 1, n_tokens, width); None if there
        are no layers.
    RAISES: ValueError if they do not belong to the doc's tokens.
    """
    layers = doc.user_data.get(LAYERS_KEY)
    if layers is None:
        return None
    n_tokens = layers.shape[1]
    if n_tokens != len(doc):
        found = f"layers of {n_tokens}"
    # Docs stored by the first development versions have no checksum.
    elif doc.user_data.get(TOKENS_KEY) not in (None, _checksum(doc)):
        found = f"layers of {n_tokens} others"
    else:
        return layers
    raise ValueError(
        f"doc._.elmo: expected layers of {len(doc)} tokens, found {found}. The doc was "
        "retokenized, or is a part of another doc, after the elmo component had run: "
        "run it again on this doc."
    )


def has_layers(doc: Doc) -> bool:
    return LAYERS_KEY in doc.user_data


def set_layers(doc: Doc, layers: Floats3d) -> None:
    doc.user_data[LAYERS_KEY] = layers
    doc.user_data[TOKENS_KEY] = _checksum(doc)


def drop_layers(doc: Doc) -> None:
    for key in (LAYERS_KEY, TOKENS_KEY):
        doc.user_data.pop(key, None)


def _checksum(doc: Doc) -> int:
    return zlib.crc32(doc.to_array([ORTH]).tobytes())
