"""A row of zeros for docs without tokens."""

from __future__ import annotations

import numpy as np
import spacy
from thinc.api import Linear, Model

from spacy_elmo.layers.nonempty_docs import build_nonempty_tok2vec_v1

NLP = spacy.blank("en")
DOCS = [NLP("a b"), NLP(""), NLP("c")]
LENGTHS = [2, 0, 1]


def make_tok2vec() -> Model:
    """Build a layer that returns ones and checks the shapes of gradients."""

    def forward(model: Model, docs: list, is_train: bool) -> tuple:
        def backprop(gradients: list) -> list:
            model.attrs["received"] = gradients
            return []

        return [np.ones((len(doc), 4), dtype="f") for doc in docs], backprop

    return Model("ones", forward, dims={"nO": 4})


def test_pads_empty_docs_and_cuts_their_gradient() -> None:
    model = build_nonempty_tok2vec_v1(make_tok2vec())
    vectors, backprop = model(DOCS, is_train=True)
    assert [rows.shape for rows in vectors] == [(2, 4), (1, 4), (1, 4)]
    assert not vectors[1].any()
    backprop([np.full((max(1, n), 4), 2, dtype="f") for n in LENGTHS])
    received = model.layers[0].attrs["received"]
    assert [len(rows) for rows in received] == LENGTHS
    assert all((rows == 2).all() for rows in received)


def test_takes_the_width_of_the_wrapped_layer() -> None:
    model = build_nonempty_tok2vec_v1(Linear(nO=None, nI=3))
    assert model.has_dim("nO") is None
    model.layers[0].set_dim("nO", 5)
    model.initialize()
    assert model.get_dim("nO") == 5
