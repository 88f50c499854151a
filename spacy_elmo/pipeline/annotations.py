"""What the component puts on a Doc: plain arrays, `doc._.elmo` to read them, and hooks
that make spaCy's own vectors and similarities use them."""

from typing import Any, Union, cast

import numpy as np
from spacy.errors import Warnings, filter_warning
from spacy.tokens import Doc, Span, Token
from thinc.api import get_array_module
from thinc.types import Floats1d, Floats2d, Floats3d

from ..layers.doc_layers import LAYERS_KEY, drop_layers, get_layers, set_layers
from ..layers.mix import Mix, mix_weights

MIX_KEY = "elmo_mix"
"""The component's mix. A DocBin stores user_data but not doc.tensor, which can then be
computed from the layers again."""

VECTORS_KEY = "elmo_vectors"
"""The component's vectors, if they cannot be found in, or computed for, doc.tensor."""


class DocElmo:
    """`doc._.elmo`: a view of what the component put on a Doc."""

    def __init__(self, doc: Doc) -> None:
        self.doc = doc

    @property
    def layers(self) -> Floats3d:
        """All layers, float32 of shape (n_layers + 1, n_tokens, width): the words' own
        vectors twice, then each LSTM layer, forward half first. Whitespace tokens are
        zeros. A CuPy array if the pipeline runs on a GPU, else NumPy.

        RAISES: ValueError if the doc has none.
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
        """The component's mix of the layers, which is also token.vector: float32 of
        shape (n_tokens, width).

        RAISES: ValueError if the doc has none.
        """
        return get_vectors(self.doc)

    def mix(self, mix: Mix) -> Floats2d:
        """Compute another mix of the layers.

        mix (Union[str, List[float]]): "mean", "top", or a list with one weight per
            layer.
        RETURNS (Floats2d): Shape (n_tokens, width).
        """
        return apply_mix(self.layers, mix)


def apply_mix(layers: Floats3d, mix: Mix) -> Floats2d:
    """Compute Σ_j s_j h_kj.

    layers (Floats3d): Shape (n_layers + 1, n_tokens, width).
    RETURNS (Floats2d): Shape (n_tokens, width).
    """
    xp = get_array_module(layers)
    weights = xp.asarray(mix_weights(mix, layers.shape[0]))
    return cast(Floats2d, xp.tensordot(weights, layers, axes=1))


def annotate(
    doc: Doc,
    layers: Floats3d,
    mix: Mix,
    *,
    keep_layers: bool,
    set_tensor: bool,
    keep_vectors: bool,
) -> None:
    """Put layers, vectors and hooks on a doc.

    layers (Floats3d): Shape (n_layers + 1, n_tokens, width).
    mix (Union[str, List[float]]): Mix that gives the vectors.
    keep_layers (bool): Whether the layers stay on the doc.
    set_tensor (bool): Whether the vectors become doc.tensor.
    keep_vectors (bool): Whether the vectors are stored apart from doc.tensor.
    """
    vectors = apply_mix(layers, mix)
    doc.user_data[MIX_KEY] = mix
    if set_tensor:
        doc.tensor = vectors  # type: ignore[assignment]
    if keep_vectors:
        doc.user_data[VECTORS_KEY] = vectors
    else:
        doc.user_data.pop(VECTORS_KEY, None)
    if keep_layers:
        set_layers(doc, layers)
    else:
        drop_layers(doc)
    # spaCy caches the results of earlier accesses to doc.vector.
    doc._vector = None  # type: ignore[attr-defined]
    doc._vector_norm = None  # type: ignore[attr-defined]
    set_hooks(doc)


def get_vectors(doc: Doc) -> Floats2d:
    """Get the component's mix on a doc.

    RETURNS (Floats2d): Shape (n_tokens, width).
    RAISES: ValueError if there is none.
    """
    stored: Any = doc.user_data.get(VECTORS_KEY)
    if stored is not None and len(stored) == len(doc):
        return cast(Floats2d, stored)
    # spaCy adapts the tensor to merged and split tokens; doc_cleaner sets it to None.
    tensor: Any = doc.tensor
    fits = tensor is not None and tensor.ndim == 2 and len(tensor) == len(doc)
    # A tensor of another width belongs to another component that was enabled after this
    # one was told which components write doc.tensor.
    arrays: Any = (stored, doc.user_data.get(LAYERS_KEY))
    widths = [array.shape[-1] for array in arrays if array is not None]
    if fits and (not widths or tensor.shape[1] in widths):
        return cast(Floats2d, tensor)
    layers = get_layers(doc) if stored is None else None
    if layers is not None and MIX_KEY in doc.user_data:
        vectors = apply_mix(layers, doc.user_data[MIX_KEY])
        if fits:
            doc.user_data[VECTORS_KEY] = vectors
        else:
            doc.tensor = vectors  # type: ignore[assignment]
        return vectors
    found = "none" if stored is None else f"vectors of {len(stored)}"
    raise ValueError(
        f"expected ELMo vectors of {len(doc)} tokens, found {found}. The doc was "
        "retokenized, cleaned, or is a part of another doc, after the elmo component "
        "had run: run it again on this doc."
    )


def set_hooks(doc: Doc) -> None:
    """Make .vector, .has_vector, .vector_norm and .similarity of the doc, its spans and
    its tokens use ELMo.

    Without hooks, spaCy would prefer static vectors if the vocab has any, and would
    call two tokens of the same form identical without comparing their vectors.
    """
    for hooks, vector in (
        (doc.user_hooks, _doc_vector),
        (doc.user_span_hooks, _span_vector),
        (doc.user_token_hooks, _token_vector),
    ):
        hooks["vector"] = vector
        hooks["has_vector"] = _has_vector
        hooks["similarity"] = _similarity
        # With this hook, span.vector_norm would return the vector itself.
        if hooks is not doc.user_span_hooks:
            hooks["vector_norm"] = _vector_norm


def get_elmo(doc: Doc) -> DocElmo:
    """Getter of `doc._.elmo`, which restores the hooks of a deserialized doc."""
    if MIX_KEY in doc.user_data:
        set_hooks(doc)
    return DocElmo(doc)


def drop_elmo(doc: Doc, value: None) -> None:
    """Setter of `doc._.elmo`: None removes everything that the component put on the
    doc, as spaCy's doc_cleaner does with attrs = {"_.elmo": null, "tensor": null}.

    RAISES: ValueError for any other value.
    """
    if value is not None:
        raise ValueError(
            f"doc._.elmo: expected None, which removes its arrays, found {value!r}. "
            "Its contents are set by the elmo component."
        )
    drop_layers(doc)
    for key in (VECTORS_KEY, MIX_KEY):
        doc.user_data.pop(key, None)
    for hooks in (doc.user_hooks, doc.user_span_hooks, doc.user_token_hooks):
        for name in ("vector", "has_vector", "similarity", "vector_norm"):
            hooks.pop(name, None)


def install() -> None:
    """Register `doc._.elmo`, and silence spaCy's warning at each `Doc.to_bytes` that
    hooks are not serialized (W109): the first access to `doc._.elmo` restores ours.

    Called on import, for worker processes that unpickle their pipeline, and by each new
    component, because the program may have reset the warning filters.
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
        # spaCy is merging tokens, and asks for the vector that the merged form gets in
        # the table of static vectors.
        static = [doc.vocab.get_vector(token.orth) for token in span]
        return cast(Floats1d, sum(static) / len(static))
    return _mean(get_vectors(doc)[span.start : span.end])


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
    return float(np.linalg.norm(_to_numpy(item.vector)))


def _similarity(item: Union[Doc, Span, Token], other: Any) -> float:
    """Compute the cosine similarity; 0.0 if one of the two has no vector."""
    ours, theirs = _to_numpy(item.vector), _to_numpy(other.vector)
    if ours.shape != theirs.shape:
        raise ValueError(
            "similarity: expected two vectors of the same width, found "
            f"{ours.shape[0]} and {theirs.shape[0]}. Both must come from the same elmo "
            "component: a Lexeme, or a Doc of another pipeline, has no ELMo vector."
        )
    norms = np.linalg.norm(ours) * np.linalg.norm(theirs)
    return float(ours @ theirs / norms) if norms else 0.0


def _to_numpy(vector: Any) -> np.ndarray:
    return np.asarray(vector.get() if hasattr(vector, "get") else vector)


install()
