"""spacy_elmo.ElmoListener.v1: a head's own mix of the layers that the shared `elmo`
component puts out."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d, Floats3d

from .doc_layers import get_layers, has_layers, set_layers
from .mix import LEARNED, Mix, elmo_mix

NAME = "elmo_listener"

BackpropLayers = Callable[[Dict[int, Floats3d]], None]


class ReceivedBatch(NamedTuple):
    """What the component sends to its listeners in an update.

    docs: kept, so that their ids stay theirs.
    layers: of each doc, by the doc's id.
    backprop: takes the layers' gradients, by the doc's id; None for a frozen biLM.
    is_learned: whether the head has learned from it. If it is among the
        annotating_components, it then predicts the same docs.
    """

    docs: List[Doc]
    layers: Dict[int, Floats3d]
    backprop: Optional[BackpropLayers]
    is_learned: bool = False


class ListenerState:
    """What ties a listener to its component. It is not stored; a copy, as the tutor of
    nlp.rehearse is one, is tied to the same component, or to its copy.

    compute: docs, is_train -> layers, by the component; None while there is none.
    received: the batch of the component's last update, or the sample that the head was
        initialised with.
    reads_parts: whether the head predicts on docs cut out of others, which bring no
        layers along.
    """

    def __init__(self) -> None:
        self.compute: Optional[Callable[[Sequence[Doc], bool], List[Floats3d]]] = None
        self.received: Optional[ReceivedBatch] = None
        self.reads_parts = False

    def __deepcopy__(self, memo: Dict[int, Any]) -> "ListenerState":
        copied = ListenerState()
        copied.reads_parts = self.reads_parts
        owner = getattr(self.compute, "__self__", None)
        if owner is not None and self.compute is not None:
            copied.compute = getattr(memo.get(id(owner), owner), self.compute.__name__)
        return copied

    def __reduce__(self) -> Tuple[type, Tuple[()]]:
        return ListenerState, ()


def build_elmo_listener_v1(
    upstream: str = "*",
    mix: Mix = LEARNED,
    layer_norm: bool = False,
    dropout: Optional[float] = None,
    l2: float = 0.0,
    width: Optional[int] = None,
) -> Model[List[Doc], List[Floats2d]]:
    """One vector a token from the layers of the shared `elmo` component.

    upstream: the component's name; "*" for whichever there is.
    mix: "learned" (this head's own s and γ), "mean", "top" or a list of weights.
    layer_norm: normalise each layer of each token before the mix.
    dropout: rate on the vectors in training; None: that of [training].
    l2: λ of the penalty λ‖w‖² on the learned weights, s = softmax(w).
    width: of the vectors, 2 * projection_dim. None: found from the weights.
    RETURNS: docs -> for each, (n_tokens, width).
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
    """Ask the component for the sample's layers: they give the sizes."""
    if X:
        # Kept for the head, which then asks for the sample's vectors. Not on the docs:
        # they are the caller's.
        is_linked = model.attrs["state"].compute is not None
        layers = (_compute if is_linked else _annotated)(model, X, False)
        by_doc = {id(doc): doc_layers for doc, doc_layers in zip(X, layers)}
        model.attrs["state"].received = ReceivedBatch(list(X), by_doc, None)
        mix = model.layers[0]
        mix.initialize(X=layers)
        model.set_dim("nO", mix.get_dim("nO"))


def forward(
    model: Model[List[Doc], List[Floats2d]], docs: Sequence[Doc], is_train: bool
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Doc]]]:
    mix = model.layers[0]
    state: ListenerState = model.attrs["state"]
    received = state.received
    if received and not all(id(doc) in received.layers for doc in docs):
        received = None
    if received and is_train and received.is_learned:
        received = None
    if received and not is_train and any(has_layers(doc) for doc in docs):
        received = None
    send = received.backprop if received and is_train else None
    if received:
        layers = [received.layers[id(doc)] for doc in docs]
    elif is_train or state.reads_parts:
        layers = _annotated(model, docs, is_train)
    else:
        layers = _from_docs(model, docs)
    mix.attrs["backprop_layers"] = send is not None
    outputs, backprop_mix = mix(layers, is_train)
    if not model.has_dim("nO") and mix.has_dim("nO"):
        model.set_dim("nO", mix.get_dim("nO"))

    def backprop(d_outputs: List[Floats2d]) -> List[Doc]:
        d_layers = backprop_mix(d_outputs)
        if received is not None:
            state.received = received._replace(backprop=None, is_learned=True)
        if send is not None:
            send({id(doc): d_doc for doc, d_doc in zip(docs, d_layers)})
        return []

    return outputs, backprop


def _from_docs(model: Model, docs: Sequence[Doc]) -> List[Floats3d]:
    """What the component has put on the docs. Raises ValueError where it has not."""
    mix = model.layers[0]
    found: List[Floats3d] = []
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
        found.append(layers)
    return found


def _annotated(model: Model, docs: Sequence[Doc], is_train: bool) -> List[Floats3d]:
    """What lies on the docs; where nothing does, the component computes it. In training
    that is so if the component is among the frozen_components and not among the
    annotating ones; in prediction, where the head reads parts of docs."""
    missing = [doc for doc in docs if get_layers(doc) is None]
    if missing:
        for doc, layers in zip(missing, _compute(model, missing, is_train)):
            set_layers(doc, layers)
    return _from_docs(model, docs)


def _compute(model: Model, docs: Sequence[Doc], is_train: bool) -> List[Floats3d]:
    """The component's layers. Raises ValueError where there is no component."""
    compute = model.attrs["state"].compute
    if compute is None:
        raise ValueError(
            "A component listens to ELMo: expected an elmo component before it in the "
            f"pipeline (here: {_upstream(model)}), found none. Add it with "
            'nlp.add_pipe("elmo", before=...), correct the listener\'s `upstream`, or '
            "use spacy_elmo.ElmoTok2Vec.v1, which brings its own biLM."
        )
    return list(compute(docs, is_train))


def _upstream(model: Model) -> str:
    name = model.attrs["upstream"]
    return "any" if name == "*" else repr(name)
