"""spacy_elmo.ElmoConcatTok2Vec.v1: ELMo, optionally with the head's own embedding,
before the head's encoder and optionally after it (Peters et al. 2018, section 3.3)."""

from typing import List, Optional

from spacy.tokens import Doc
from thinc.api import Maxout, Model, chain, concatenate, with_array
from thinc.layers.concatenate import forward as concatenate_forward
from thinc.types import Floats2d

DocVectors = Model[List[Doc], List[Floats2d]]


def build_elmo_concat_tok2vec_v1(
    embed: Optional[DocVectors],
    elmo: DocVectors,
    encode: Model[List[Floats2d], List[Floats2d]],
    output_elmo: Optional[DocVectors] = None,
) -> DocVectors:
    """Build [embedding; ELMo] -> Maxout to the encoder's width -> encoder -> [.; ELMo].

    embed (Optional[Model[List[Doc], List[Floats2d]]]): The head's own embedding, for
        example spacy.MultiHashEmbed.v2. Defaults to ELMo alone.
    elmo (Model[List[Doc], List[Floats2d]]): spacy_elmo.ElmoListener.v1 or
        spacy_elmo.ElmoTok2Vec.v1.
    encode (Model[List[Floats2d], List[Floats2d]]): Any of spaCy's encoders, such as
        spacy.MaxoutWindowEncoder.v2.
    output_elmo (Optional[Model[List[Doc], List[Floats2d]]]): A second mix, concatenated
        to the encoder's output.
    RETURNS (Model[List[Doc], List[Floats2d]]): Maps docs to vectors. Their width is the
        encoder's, plus the width of `output_elmo`.
    RAISES: ValueError if the encoder does not know its width.
    """
    if not encode.has_dim("nO"):
        raise ValueError(
            "encode: expected an encoder that knows its width, as spaCy's do, found "
            f"{encode.name!r}, whose nO is not set."
        )
    width = encode.get_dim("nO")
    reduce: Model = with_array(Maxout(nO=width, nP=3, dropout=0.0, normalize=True))
    vectors = elmo if embed is None else concatenate(embed, elmo)
    tok2vec: DocVectors = chain(vectors, reduce, encode)
    tok2vec.set_dim("nO", width)
    if output_elmo is not None:
        output_width = output_elmo.maybe_get_dim("nO")
        tok2vec = Model(
            f"{tok2vec.name}|{output_elmo.name}",
            concatenate_forward,
            init=init,
            layers=[tok2vec, output_elmo],
            dims={"nO": None if output_width is None else width + output_width},
        )
        tok2vec.set_ref("output_elmo", output_elmo)
    for name, layer in (("embed", embed), ("elmo", elmo), ("encode", encode)):
        if layer is not None:
            tok2vec.set_ref(name, layer)
    return tok2vec


def init(
    model: DocVectors,
    X: Optional[List[Doc]] = None,
    Y: Optional[List[Floats2d]] = None,
) -> None:
    """Initialize the layers. Unlike Thinc's `concatenate`, this does not pass on Y, the
    output of the whole head, which may not fit the embedding."""
    for layer in model.layers:
        layer.initialize(X=X)
    if all(layer.has_dim("nO") for layer in model.layers):
        model.set_dim("nO", sum(layer.get_dim("nO") for layer in model.layers))
