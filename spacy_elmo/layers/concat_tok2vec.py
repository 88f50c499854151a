"""spacy_elmo.ElmoConcatTok2Vec.v1: ELMo, alone or beside the head's own embedding,
before the head's encoder and, if wanted, after it (Peters et al. 2018, section 3.3)."""

from typing import List, Optional

from spacy.tokens import Doc
from thinc.api import Maxout, Model, chain, concatenate, with_array
from thinc.types import Floats2d

DocVectors = Model[List[Doc], List[Floats2d]]


def build_elmo_concat_tok2vec_v1(
    embed: Optional[DocVectors],
    elmo: DocVectors,
    encode: Model[List[Floats2d], List[Floats2d]],
    output_elmo: Optional[DocVectors] = None,
) -> DocVectors:
    """[embedding; ELMo] -> Maxout to the encoder's width -> encoder (-> [.; ELMo]).

    embed: the head's own embedding, e.g. spacy.MultiHashEmbed.v2; None: ELMo alone.
    elmo: spacy_elmo.ElmoListener.v1 or spacy_elmo.ElmoTok2Vec.v1.
    encode: any of spaCy's encoders, e.g. spacy.MaxoutWindowEncoder.v2.
    output_elmo: a second mix, put beside the encoder's output.
    RETURNS: docs -> for each, (n_tokens, the encoder's width, or that + ELMo's).

    Raises ValueError where the encoder does not tell its width.
    """
    if not encode.has_dim("nO"):
        raise ValueError(
            "encode: expected an encoder that knows its width, as spaCy's do, found "
            f"{encode.name!r}, whose nO is not set."
        )
    width = encode.get_dim("nO")
    reduce: Model = with_array(Maxout(nO=width, nP=3, dropout=0.0, normalize=True))
    vectors = elmo if embed is None else concatenate(embed, elmo)
    encoded: DocVectors = chain(vectors, reduce, encode)
    if output_elmo is None:
        encoded.set_dim("nO", width)
        tok2vec = encoded
    else:
        tok2vec = concatenate(encoded, output_elmo)
        tok2vec.set_ref("output_elmo", output_elmo)
    for name, layer in (("embed", embed), ("elmo", elmo), ("encode", encode)):
        if layer is not None:
            tok2vec.set_ref(name, layer)
    return tok2vec
