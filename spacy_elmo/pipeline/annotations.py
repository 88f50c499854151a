"""What the component puts on a Doc: plain arrays, `doc._.elmo` to read them, and hooks
by which spaCy's own vectors and similarities come from them."""

from typing import Any, Optional, Union, cast

import numpy as np
from spacy.errors import Warnings, filter_warning
from spacy.tokens import Doc, Span, Token
from thinc.api import get_array_module
from thinc.types import Floats1d, Floats2d, Floats3d

from ..layers.doc_layers import LAYERS_KEY, drop_layers, get_layers
from ..layers.mix import Mix, mix_weights

MIX_KEY = "elmo_mix"
"""Which mix doc.tensor is: a DocBin keeps user_data, but no tensor."""

VECTORS_KEY = "elmo_vectors"
"""Where the component's mix lies if doc.tensor is, or will be, another component's."""


class DocElmo:
    """`doc._.elmo`: a view of what the component has put on a Doc."""

    def __init__(self, doc: Doc) -> None:
        self.doc = doc

    @property
    def layers(self) -> Floats3d:
        """All layers, (n_layers + 1, n_tokens, width) float32: the words' own vectors
        twice, then each LSTM layer, its forward half first. Tokens of white space are
        zeros. NumPy, or CuPy where the pipeline runs on a GPU.

        Raises ValueError where the doc has none.
        """
        layers = get_layers(self.doc)
        if layers is None:
            raise ValueError(
                "doc._.elmo.layers: expected a Doc that the elmo component has seen, "
                f"found none on {self.doc.text[:40]!r}. Run the doc through a pipeline "
                "with the component and its setting keep_layers = true."
            )
        return layers

    @property
    def vectors(self) -> Floats2d:
        """The component's own mix of the layers, (n_tokens, width) float32: what
        token.vector is.

        Raises ValueError where the doc has none.
        """
        return get_vectors(self.doc)

    def mix(self, mix: Mix) -> Floats2d:
        """Another mix of the layers, (n_tokens, width).

        mix: "mean", "top", or a list of weights, one a layer.
        """
        return apply_mix(self.layers, mix)


def apply_mix(layers: Floats3d, mix: Mix) -> Floats2d:
    """Σ_j s_j h_kj: (n_layers, n_tokens, width) -> (n_tokens, width)."""
    xp = get_array_module(layers)
    weights = xp.asarray(mix_weights(mix, layers.shape[0]))
    return cast(Floats2d, xp.tensordot(weights, layers, axes=1))


def get_vectors(doc: Doc) -> Floats2d:
    """The component's mix on a doc, (n_tokens, width). Raises ValueError if none."""
    apart: Any = doc.user_data.get(VECTORS_KEY)
    if apart is not None and len(apart) == len(doc):
        return cast(Floats2d, apart)
    # spaCy fits the tensor to merged and split tokens; a doc_cleaner leaves None.
    tensor: Any = doc.tensor
    fits = tensor is not None and tensor.ndim == 2 and len(tensor) == len(doc)
    stored: Any = doc.user_data.get(LAYERS_KEY)
    # Another width is that of another component, which was enabled after this one had
    # been told who writes the tensor.
    known = [array.shape[-1] for array in (apart, stored) if array is not None]
    if fits and tensor.shape[1] in (known or [tensor.shape[1]]):
        return cast(Floats2d, tensor)
    layers = get_layers(doc) if apart is None else None
    if layers is not None and MIX_KEY in doc.user_data:
        vectors = apply_mix(layers, doc.user_data[MIX_KEY])
        if fits:
            doc.user_data[VECTORS_KEY] = vectors
        else:
            doc.tensor = vectors  # type: ignore[assignment]
        return vectors
    found = "none" if apart is None else f"vectors of {len(apart)}"
    raise ValueError(
        f"expected ELMo vectors of {len(doc)} tokens, found {found}. The doc was "
        "retokenised, cleaned, or cut out of another after the elmo component had "
        "run: run it again on this doc."
    )


def set_vectors(
    doc: Doc, vectors: Floats2d, mix: Mix, *, as_tensor: bool, apart: bool
) -> None:
    """Store the component's mix.

    as_tensor: as doc.tensor. apart: where nobody else writes.
    """
    doc.user_data[MIX_KEY] = mix
    if as_tensor:
        doc.tensor = vectors  # type: ignore[assignment]
    if apart:
        doc.user_data[VECTORS_KEY] = vectors
    else:
        doc.user_data.pop(VECTORS_KEY, None)
    # spaCy keeps what an earlier access to doc.vector has found.
    doc._vector = None  # type: ignore[attr-defined]
    doc._vector_norm = None  # type: ignore[attr-defined]


def set_hooks(doc: Doc) -> None:
    """Let .vector, .has_vector, .vector_norm and .similarity of the doc, its spans and
    its tokens come from ELMo.

    Without hooks spaCy would take static vectors where the vocab has some, and would
    call two tokens of one form equal without a look at their vectors.
    """
    for hooks, vector in (
        (doc.user_hooks, _doc_vector),
        (doc.user_span_hooks, _span_vector),
        (doc.user_token_hooks, _token_vector),
    ):
        hooks["vector"] = vector
        hooks["has_vector"] = _has_vector
        hooks["similarity"] = _similarity
        # For spans, spaCy returns the vector itself where this hook is set.
        if hooks is not doc.user_span_hooks:
            hooks["vector_norm"] = _vector_norm


def get_elmo(doc: Doc) -> DocElmo:
    """The getter of `doc._.elmo`; puts the hooks back on a deserialised doc."""
    if MIX_KEY in doc.user_data:
        set_hooks(doc)
    return DocElmo(doc)


def drop_elmo(doc: Doc, value: None) -> None:
    """The setter of `doc._.elmo`: None drops all that the component has put on the doc,
    as spaCy's doc_cleaner does with attrs = {"_.elmo": null, "tensor": null}.

    Raises ValueError for another value.
    """
    if value is not None:
        raise ValueError(
            f"doc._.elmo: expected None, which drops its arrays, found {value!r}. What "
            "is there is set by the elmo component."
        )
    drop_layers(doc)
    for key in (VECTORS_KEY, MIX_KEY):
        doc.user_data.pop(key, None)
    for hooks in (doc.user_hooks, doc.user_span_hooks, doc.user_token_hooks):
        for name in ("vector", "has_vector", "similarity", "vector_norm"):
            hooks.pop(name, None)


def install() -> None:
    """Register `doc._.elmo`, and keep spaCy from saying at each `Doc.to_bytes` that
    hooks are not serialised (W109): the first look at `doc._.elmo` puts ours back.

    Done at import, for workers that get their pipeline by pickle, and again by each new
    component, for programs that set filters of their own in between.
    """
    if not Doc.has_extension("elmo"):
        Doc.set_extension("elmo", getter=get_elmo, setter=drop_elmo)
    filter_warning("ignore", error_msg=Warnings.W109)


def _token_vector(token: Token) -> Floats1d:
    return get_vectors(token.doc)[token.i]


def _span_vector(span: Span) -> Floats1d:
    doc = span.doc
    is_merging = doc.tensor is not None and 0 < len(doc.tensor) < len(doc)
    if doc.vocab.vectors_length and is_merging:
        # spaCy is merging tokens, and asks for what the merged form shall have in the
        # table of static vectors.
        static = [doc.vocab.get_vector(token.orth) for token in span]
        return cast(Floats1d, sum(static) / len(static))
    return _mean(get_vectors(span.doc)[span.start : span.end])


def _doc_vector(doc: Doc) -> Floats1d:
    return _mean(get_vectors(doc))


def _mean(vectors: Floats2d) -> Floats1d:
    if not len(vectors):
        return get_array_module(vectors).zeros(vectors.shape[1], dtype="float32")
    return vectors.mean(axis=0)


def _has_vector(item: Union[Doc, Span, Token]) -> bool:
    if isinstance(item, Token):
        return not item.is_space
    return any(not token.is_space for token in item)


def _vector_norm(item: Union[Doc, Span, Token]) -> float:
    return float(np.linalg.norm(_on_cpu(item.vector)))


def _similarity(item: Union[Doc, Span, Token], other: Any) -> float:
    """The cosine, 0.0 where one of the two has no vector."""
    ours, theirs = _on_cpu(item.vector), _on_cpu(other.vector)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"similarity: expected two vectors of one width, found {ours.shape[0]} and "
            f"{theirs.shape[0]}. Both must come from the same elmo component: a "
            "Lexeme, or a Doc of another pipeline, has no ELMo vector."
        )
    norms = np.linalg.norm(ours) * np.linalg.norm(theirs)
    return float(ours @ theirs / norms) if norms else 0.0


def _on_cpu(vector: Any) -> np.ndarray:
    to_numpy: Optional[Any] = getattr(vector, "get", None)
    return np.asarray(to_numpy() if to_numpy else vector)


install()
