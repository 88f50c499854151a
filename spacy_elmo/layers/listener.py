"""spacy_elmo.ElmoListener.v1: a head's own mix of the layers that the shared `elmo`
component computes."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d, Floats3d

from .doc_layers import (
    describe_tokens,
    get_layers,
    has_layers,
    layers_are_stale,
    set_layers,
)
from .mix import LEARNED, Mix, elmo_mix

NAME = "elmo_listener"

RETOKENIZED = (
    "A component listens to ELMo: expected the tokens that the elmo component (here: "
    "{}) has seen, found that a component in between has merged or split some. The "
    "biLM cannot learn from that: set frozen = true, or leave that component out of "
    "[training] annotating_components."
)

ComputeLayers = Callable[[Sequence[Doc], bool], List[Floats3d]]
BackpropLayers = Callable[[Dict[int, Floats3d]], None]


class ReceivedBatch(NamedTuple):
    """Layers that the component sends to its listeners in an update.

    docs (List[Doc]): Held so that their ids stay valid.
    layers (Dict[int, Floats3d]): Layers by the doc's id.
    tokens (Dict[int, ndarray]): Tokens, as `describe_tokens` returns them, by the doc's
        id.
    backprop (Optional[BackpropLayers]): Takes the layers' gradients by the doc's id.
        None if the biLM is frozen.
    is_learned (bool): Whether the head has already learned from this batch. An
        annotating component then predicts the same docs.
    """

    docs: List[Doc]
    layers: Dict[int, Floats3d]
    tokens: Dict[int, np.ndarray]
    backprop: Optional[BackpropLayers]
    is_learned: bool = False

    @classmethod
    def of(
        cls,
        docs: Sequence[Doc],
        layers: Sequence[Floats3d],
        backprop: Optional[BackpropLayers] = None,
    ) -> "ReceivedBatch":
        by_doc = {id(doc): doc_layers for doc, doc_layers in zip(docs, layers)}
        tokens = {id(doc): describe_tokens(doc) for doc in docs}
        return cls(list(docs), by_doc, tokens, backprop)

    def has_all(self, docs: Sequence[Doc]) -> bool:
        return all(id(doc) in self.layers for doc in docs)

    def fits(self, docs: Sequence[Doc]) -> bool:
        """Whether no component has changed the tokens since."""
        return all(
            np.array_equal(self.tokens[id(doc)], describe_tokens(doc)) for doc in docs
        )


class ListenerState:
    """Connects a listener to its component. Not stored. A copy, such as the teacher of
    nlp.rehearse, is connected to the same component, or to its copy.

    compute (Optional[ComputeLayers]): The component's method that computes layers from
        docs and `is_train`. None if the listener is not connected.
    received (Optional[ReceivedBatch]): Batch of the component's last update, or the
        sample that the head was initialized with.
    reads_parts (bool): Whether the head predicts on docs cut out of others, which do
        not carry layers.
    dependents (List[Model]): Layers of the head that need the listener's width, which
        was not known when the head was built.
    """

    def __init__(self) -> None:
        self.compute: Optional[ComputeLayers] = None
        self.received: Optional[ReceivedBatch] = None
        self.reads_parts = False
        self.dependents: List[Model] = []

    def __deepcopy__(self, memo: Dict[int, Any]) -> "ListenerState":
        copied = ListenerState()
        copied.reads_parts = self.reads_parts
        component = getattr(self.compute, "__self__", None)
        if component is not None and self.compute is not None:
            component = memo.get(id(component), component)
            copied.compute = getattr(component, self.compute.__name__)
        return copied

    def __getstate__(self) -> Dict[str, Any]:
        # The component connects its listeners again when it is unpickled.
        return {**ListenerState().__dict__, "reads_parts": self.reads_parts}


def build_elmo_listener_v1(
    upstream: str = "*",
    mix: Mix = LEARNED,
    layer_norm: bool = False,
    dropout: Optional[float] = None,
    l2: float = 0.0,
    width: Optional[int] = None,
) -> Model[List[Doc], List[Floats2d]]:
    """Build a layer that mixes the layers of the shared `elmo` component.

    upstream (str): The component's name, or "*" for any.
    mix (Union[str, List[float]]): "learned" (this head's own s and γ), "mean", "top",
        or a list with one weight per layer.
    layer_norm (bool): Whether to normalize each layer of each token before the mix.
    dropout (Optional[float]): Dropout rate on the vectors in training. Defaults to the
        rate of [training].
    l2 (float): λ of the penalty λ‖w‖² on the learned weights, s = softmax(w).
    width (Optional[int]): Width of the vectors, 2 * projection_dim. By default it comes
        with the weights.
    RETURNS (Model[List[Doc], List[Floats2d]]): Maps docs to vectors of shape
        (n_tokens, width).
    """
    return Model(
        NAME,
        forward,
        init=init,
        layers=[
            elmo_mix(mix, layer_norm=layer_norm, dropout=dropout, l2=l2, width=width)
        ],
        dims={"nO": width},
        attrs={"upstream": upstream, "state": ListenerState()},
    )


def is_listener(model: Model) -> bool:
    return model.name == NAME and "state" in model.attrs


def init(
    model: Model[List[Doc], List[Floats2d]],
    X: Optional[List[Doc]] = None,
    Y: Optional[List[Floats2d]] = None,
) -> None:
    """Set the sizes from the layers of a sample of docs."""
    if X:
        state: ListenerState = model.attrs["state"]
        if state.compute:
            layers = _compute(model, X, False)
        else:
            layers = _annotated(model, X, False, computes_missing=True)
        # The head will ask for this sample's vectors. Its layers are not put on the
        # docs, which belong to the caller.
        state.received = ReceivedBatch.of(X, layers)
        mix = model.layers[0]
        mix.initialize(X=layers)
        model.set_dim("nO", mix.get_dim("nO"))
        for layer in state.dependents:
            for dim in ("nI", "nO"):
                if layer.has_dim(dim) is None:
                    layer.set_dim(dim, mix.get_dim("nO"))


def forward(
    model: Model[List[Doc], List[Floats2d]], docs: Sequence[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Doc]]]:
    mix = model.layers[0]
    state: ListenerState = model.attrs["state"]
    received = state.received
    if received and (
        not received.has_all(docs)
        or (received.is_learned if is_train else any(map(has_layers, docs)))
    ):
        received = None
    if received and not received.fits(docs):
        if received.backprop:
            raise ValueError(RETOKENIZED.format(_upstream(model)))
        received = None
    if received:
        layers = [received.layers[id(doc)] for doc in docs]
    else:
        computes_missing = is_train or state.reads_parts
        layers = _annotated(model, docs, is_train, computes_missing)
    send = received.backprop if received and is_train else None
    mix.attrs["backprop_layers"] = send is not None
    outputs, backprop_mix = mix(layers, is_train)
    if not model.has_dim("nO") and mix.has_dim("nO"):
        model.set_dim("nO", mix.get_dim("nO"))

    def backprop(d_outputs: List[Floats2d]) -> List[Doc]:
        d_layers = backprop_mix(d_outputs)
        if received:
            state.received = received._replace(backprop=None, is_learned=True)
        if send:
            send({id(doc): d_doc for doc, d_doc in zip(docs, d_layers)})
        return []

    return outputs, backprop


def _from_docs(model: Model, docs: Sequence[Doc]) -> List[Floats3d]:
    """Get the layers that the component put on the docs.

    RAISES: ValueError if there are none.
    """
    mix = model.layers[0]
    outputs: List[Floats3d] = []
    for doc in docs:
        layers = get_layers(doc)
        if layers is None and not len(doc) and mix.has_dim("nL") and mix.has_dim("nO"):
            layers = model.ops.alloc3f(mix.get_dim("nL"), 0, mix.get_dim("nO"))
        if layers is None:
            raise ValueError(
                "A component listens to ELMo: expected its layers on each Doc "
                f"(doc._.elmo.layers), found none on {doc.text[:40]!r}. Run the elmo "
                f"component (here: {_upstream(model)}) before it: do not disable or "
                "exclude it."
            )
        outputs.append(layers)
    return outputs


def _annotated(
    model: Model, docs: Sequence[Doc], is_train: bool, computes_missing: bool
) -> List[Floats3d]:
    """Get the layers on the docs after computing those that are missing or stale.

    In training, layers are missing if the component is among the frozen_components but
    not among the annotating_components; in prediction, if the head reads parts of docs.
    They are stale if a component in between, such as merge_entities, has changed the
    tokens.
    """
    needed = [
        doc
        for doc in docs
        if (layers_are_stale(doc) and model.attrs["state"].compute)
        or (computes_missing and not has_layers(doc))
    ]
    if needed:
        for doc, layers in zip(needed, _compute(model, needed, is_train)):
            set_layers(doc, layers)
    return _from_docs(model, docs)


def _compute(model: Model, docs: Sequence[Doc], is_train: bool) -> List[Floats3d]:
    """Let the component compute layers.

    RAISES: ValueError if the listener is not connected to any.
    """
    compute: Optional[ComputeLayers] = model.attrs["state"].compute
    if compute is None:
        raise ValueError(
            "A component listens to ELMo: expected an elmo component before it in the "
            f"pipeline (here: {_upstream(model)}), found none. Add it with "
            'nlp.add_pipe("elmo", before=...), correct the listener\'s `upstream`, or '
            "use spacy_elmo.ElmoTok2Vec.v1, which has its own biLM."
        )
    return compute(docs, is_train)


def _upstream(model: Model) -> str:
    name = model.attrs["upstream"]
    return "any" if name == "*" else repr(name)
