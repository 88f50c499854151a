"""Where the layers lie on a Doc: a plain array in `doc.user_data`, so that a Doc
serialises as any other."""

from typing import Optional

from spacy.tokens import Doc
from thinc.types import Floats3d

LAYERS_KEY = "elmo_layers"


def get_layers(doc: Doc) -> Optional[Floats3d]:
    """The layers on a doc, (n_layers + 1, n_tokens, width), or None.

    Raises ValueError where they are not the layers of this doc's tokens.
    """
    layers = doc.user_data.get(LAYERS_KEY)
    if layers is not None and layers.shape[1] != len(doc):
        raise ValueError(
            f"doc._.elmo: expected layers of {len(doc)} tokens, found layers of "
            f"{layers.shape[1]}. The doc was retokenised or cut out of another after "
            "the elmo component had run: run it again on this doc."
        )
    return layers


def has_layers(doc: Doc) -> bool:
    return LAYERS_KEY in doc.user_data


def set_layers(doc: Doc, layers: Floats3d) -> None:
    doc.user_data[LAYERS_KEY] = layers
