"""Where the layers lie on a Doc: a plain array in `doc.user_data`, so that a Doc
serialises as any other."""

import zlib
from typing import Optional

from spacy.attrs import ORTH
from spacy.tokens import Doc
from thinc.types import Floats3d

LAYERS_KEY = "elmo_layers"
TOKENS_KEY = "elmo_tokens"
"""Which tokens the layers are of: their number may be the same after retokenising."""


def get_layers(doc: Doc) -> Optional[Floats3d]:
    """The layers on a doc, (n_layers + 1, n_tokens, width), or None.

    Raises ValueError where they are not the layers of this doc's tokens.
    """
    layers = doc.user_data.get(LAYERS_KEY)
    if layers is None:
        return None
    found = f"layers of {layers.shape[1]}"
    is_same = layers.shape[1] == len(doc)
    # A doc that an earlier version has stored tells nothing of them.
    if is_same and doc.user_data.get(TOKENS_KEY) not in (None, _checksum(doc)):
        is_same, found = False, f"{found} others"
    if not is_same:
        raise ValueError(
            f"doc._.elmo: expected layers of {len(doc)} tokens, found {found}. The doc "
            "was retokenised or cut out of another after the elmo component had run: "
            "run it again on this doc."
        )
    return layers


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
