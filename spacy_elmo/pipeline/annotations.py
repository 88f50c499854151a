"""The component's annotations on a Doc: plain arrays, `doc._.elmo` to read them, and
hooks that make spaCy's own vectors and similarities use them."""

import warnings
from typing import Any, Dict, Optional, Union, cast

import numpy as np
from spacy.errors import Warnings, filter_warning
from spacy.tokens import Doc, Span, Token
from thinc.api import get_array_module
from thinc.types import Floats1d, Floats2d, Floats3d

from ..layers.doc_layers import (
    LAYERS_KEY,
    TOKENS_KEY,
    get_layers,
    set_layers,
    token_is_same,
    tokens_are_same,
)
from ..layers.mix import Mix, mix_weights
from .scores import SCORE_KEYS

MIX_KEY = ("._.", "elmo_mix", 0, None)
"""The component's mix. A DocBin stores user_data but not doc.tensor, which can then be
computed from the layers again. `Doc.from_docs` only keeps extension attributes of
tokens and spans, so this key imitates one."""

TENSOR_KEY = ("._.", "elmo_tensor", 0, None)
"""False if doc.tensor is written by another component."""

VECTORS_KEY = "elmo_vectors"
"""The component's vectors, if doc.tensor does not have them or a DocBin, which does not
store it, would lose them."""

OLD_MIX_KEY = "elmo_mix"
"""Key of the mix in version 0.1."""

KEYS = (
    LAYERS_KEY,
    TOKENS_KEY,
    MIX_KEY,
    TENSOR_KEY,
    VECTORS_KEY,
    OLD_MIX_KEY,
    *SCORE_KEYS,
)


class DocElmo:
    """`doc._.elmo`: a view of the component's annotations on a Doc."""

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
    tensor_is_overwritten: bool,
) -> None:
    """Put layers, vectors and hooks on a doc.

    layers (Floats3d): Shape (n_layers + 1, n_tokens, width).
    mix (Union[str, List[float]]): Mix that gives the vectors.
    keep_layers (bool): Whether the layers stay on the doc.
    set_tensor (bool): Whether the vectors become doc.tensor.
    tensor_is_overwritten (bool): Whether a later component will write doc.tensor.
    """
    vectors = apply_mix(layers, mix)
    user_data: Dict[Any, Any] = doc.user_data
    for key in (VECTORS_KEY, TENSOR_KEY, OLD_MIX_KEY, *SCORE_KEYS):
        user_data.pop(key, None)
    user_data[MIX_KEY] = mix
    if set_tensor:
        doc.tensor = vectors  # type: ignore[assignment]
    if not set_tensor or tensor_is_overwritten:
        user_data[TENSOR_KEY] = False
    if TENSOR_KEY in user_data or not keep_layers:
        user_data[VECTORS_KEY] = vectors
    set_layers(doc, layers if keep_layers else None)
    # spaCy caches the results of earlier accesses to doc.vector.
    doc._vector = None  # type: ignore[attr-defined]
    doc._vector_norm = None  # type: ignore[attr-defined]
    set_hooks(doc)


def get_vectors(doc: Doc) -> Floats2d:
    """Get the component's mix on a doc.

    RETURNS (Floats2d): Shape (n_tokens, width).
    RAISES: ValueError if there is none.
    """
    user_data: Dict[Any, Any] = doc.user_data
    stored = user_data.get(VECTORS_KEY)
    if stored is not None and len(stored) == len(doc) and tokens_are_same(doc):
        return cast(Floats2d, stored)
    # spaCy adapts the tensor to merged and split tokens; doc_cleaner sets it to None.
    tensor: Any = doc.tensor
    fits = tensor is not None and tensor.ndim == 2 and len(tensor) == len(doc)
    # A tensor of another width belongs to another component, which was enabled after
    # spaCy had linked the pipeline.
    arrays = (stored, user_data.get(LAYERS_KEY))
    widths = [array.shape[-1] for array in arrays if array is not None]
    is_ours = user_data.get(TENSOR_KEY, True)
    if fits and is_ours and (not widths or tensor.shape[1] in widths):
        return cast(Floats2d, tensor)
    layers = get_layers(doc) if stored is None else None
    mix = find_mix(doc)
    if layers is not None and mix is not None:
        vectors = apply_mix(layers, mix)
        if fits:
            user_data[VECTORS_KEY] = vectors
        else:
            doc.tensor = vectors  # type: ignore[assignment]
        return vectors
    found = "none" if stored is None else f"vectors of {len(stored)} different ones"
    raise ValueError(
        f"expected ELMo vectors of the doc's {len(doc)} tokens, found {found}. The doc "
        "was retokenized, cleaned, or is a part of another doc, after the elmo "
        "component had run: run it again on this doc."
    )


def find_mix(doc: Doc) -> Optional[Mix]:
    """Get the mix of a doc that the component has seen; None for other docs."""
    user_data: Dict[Any, Any] = doc.user_data
    mix: Optional[Mix] = user_data.get(MIX_KEY, user_data.get(OLD_MIX_KEY))
    return mix


def set_hooks(doc: Doc, *, overwrite: bool = True) -> None:
    """Make .vector, .has_vector, .vector_norm and .similarity of the doc, its spans and
    its tokens use ELMo.

    overwrite (bool): Whether to replace hooks that the doc has.

    Without hooks, spaCy would prefer static vectors if the vocab has any, and would
    call two tokens of the same form identical without comparing their vectors.
    """
    for hooks, vector in (
        (doc.user_hooks, _doc_vector),
        (doc.user_span_hooks, _span_vector),
        (doc.user_token_hooks, _token_vector),
    ):
        ours = {
            "vector": vector,
            "has_vector": _has_vector,
            "similarity": _similarity,
            "vector_norm": _vector_norm,
        }
        if hooks is doc.user_span_hooks:
            del ours["vector_norm"]  # span.vector_norm would return the vector itself
        hooks.update({**ours, **({} if overwrite else hooks)})


def get_elmo(doc: Doc) -> DocElmo:
    """Getter of `doc._.elmo`, which restores the hooks of a deserialized doc."""
    if find_mix(doc) is not None:
        set_hooks(doc, overwrite=False)
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
    user_data: Dict[Any, Any] = doc.user_data
    for key in KEYS:
        user_data.pop(key, None)
    for hooks in (doc.user_hooks, doc.user_span_hooks, doc.user_token_hooks):
        for name in ("vector", "has_vector", "similarity", "vector_norm"):
            hooks.pop(name, None)


def install() -> None:
    """Register `doc._.elmo`, and silence two warnings of spaCy: that hooks are not
    serialized (W109 in `Doc.to_bytes`), although the first access to `doc._.elmo`
    restores ours, and that our arrays are dropped (W102 in `Doc.from_docs`), which it
    prints.

    Called on import, for worker processes that unpickle their pipeline, and by each new
    component, because the program may have reset the warning filters.
    """
    if not Doc.has_extension("elmo"):
        Doc.set_extension("elmo", getter=get_elmo, setter=drop_elmo)
    filter_warning("ignore", error_msg=Warnings.W109)
    warnings.filterwarnings("ignore", message=r"\[W102\] .* user data 'elmo_")


def check_extension() -> None:
    """RAISES: ValueError if `doc._.elmo` was registered by somebody else."""
    if Doc.get_extension("elmo")[2] is not get_elmo:
        raise ValueError(
            "expected doc._.elmo to be free for the elmo component, found an extension "
            'attribute of this name. Call Doc.remove_extension("elmo") before the '
            "component is added, or give yours another name."
        )


def _token_vector(token: Token) -> Floats1d:
    stored = token.doc.user_data.get(VECTORS_KEY)
    # Comparing all tokens would take too long for each of them.
    if stored is not None and len(stored) == len(token.doc) and token_is_same(token):
        return cast(Floats1d, stored[token.i])
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
