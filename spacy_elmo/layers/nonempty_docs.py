"""A tok2vec layer whose output has at least one row per doc."""

from typing import Callable, List, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

Tok2Vec = Model[List[Doc], List[Floats2d]]


def build_nonempty_tok2vec_v1(tok2vec: Tok2Vec) -> Tok2Vec:
    """Give docs without tokens a single row of zeros.

    Thinc's reduce_max, reduce_first and reduce_last raise an error for empty sequences,
    so that a single empty text would stop `nlp.pipe` of a text classifier.

    tok2vec (Model[List[Doc], List[Floats2d]]): The layer to wrap.
    """
    return Model(
        "nonempty_tok2vec",
        forward,
        init=init,
        layers=[tok2vec],
        dims={"nO": tok2vec.maybe_get_dim("nO")},
    )


def forward(
    model: Tok2Vec, docs: List[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Doc]]]:
    """Run the wrapped layer; its gradient has no rows for empty docs."""
    vectors, backprop_tok2vec = model.layers[0](docs, is_train)
    padded = [
        rows if len(rows) else model.ops.alloc2f(1, rows.shape[1]) for rows in vectors
    ]
    lengths = [len(rows) for rows in vectors]

    def backprop(d_padded: List[Floats2d]) -> List[Doc]:
        return backprop_tok2vec(
            [d_rows[:length] for d_rows, length in zip(d_padded, lengths)]
        )

    return padded, backprop


def init(model: Tok2Vec, X: object = None, Y: object = None) -> Tok2Vec:
    """Initialize the wrapped layer and adopt its width."""
    model.layers[0].initialize(X=X)
    model.set_dim("nO", model.layers[0].get_dim("nO"))
    return model
