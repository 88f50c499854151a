"""The `elmo` component: runs a biLM over docs, sets their vectors, and lets later
components mix its layers for themselves."""

from functools import partial
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Optional,
    Sequence,
    Union,
)

from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer
from thinc.types import Floats3d

from ..bilm import BiLM
from ..layers import elmo_model
from ..layers.doc_layers import drop_layers, set_layers
from ..layers.elmo_model import DocLayers
from ..layers.frozen import evaluation_layers, training_layers
from ..layers.listener import ReceivedBatch
from ..layers.mix import NAMED_MIXES, Mix
from ..layers.tok2vec import replace_listener, replace_listener_config
from ..layers.weights import Loader
from .annotations import (
    apply_mix,
    install,
    set_hooks,
    set_vectors,
)
from .boundaries import Boundaries
from .default_weights import DefaultWeights
from .gradients import LayerGradients
from .listening import Listening

DEFAULT_CONFIG = """
[elmo]
frozen = true
mix = "mean"
keep_layers = true
keep_on_cpu = false
set_tensor = true

[elmo.model]
@architectures = "spacy_elmo.ElmoModel.v1"
batch_tokens = 4096
window = 128
precision = "float32"
word_cache_mb = 64
layer_cache_mb = 1024
"""


@Language.factory(
    "elmo",
    assigns=["doc.tensor", "doc._.elmo"],
    default_config=Config().from_str(DEFAULT_CONFIG)["elmo"],
)
def make_elmo(
    nlp: Language,
    name: str,
    model: Model[List[Doc], DocLayers],
    frozen: bool,
    mix: Union[str, List[float]],
    keep_layers: bool,
    keep_on_cpu: bool,
    set_tensor: bool,
) -> "Elmo":
    """The factory `elmo`. See `Elmo` for the settings."""
    model.attrs["default"].find = DefaultWeights(nlp, name)
    for other_name, other in nlp.components:
        if isinstance(other, Elmo) and other_name != name:
            raise ValueError(_second(other_name, name))
    return Elmo(
        nlp.vocab,
        model,
        name,
        frozen=frozen,
        mix=mix,
        keep_layers=keep_layers,
        keep_on_cpu=keep_on_cpu,
        set_tensor=set_tensor,
    )


class Elmo(TrainablePipe):
    """Runs a biLM over docs.

    vocab: the pipeline's.
    model: spacy_elmo.ElmoModel.v1.
    name: the component's.
    frozen: whether the biLM stays as it is in training. It then runs without autograd,
        and the heads learn through their mixes alone.
    mix: of the layers, for doc.tensor and all vectors: "mean", "top", or weights.
    keep_layers: whether the layers stay on the Doc (12 bytes a token and unit of width
        in a biLM of two layers). Heads with listeners need them there.
    keep_on_cpu: whether what is stored on the Doc is moved to main memory at once.
    set_tensor: whether the mix is written to doc.tensor. False where components after
        this one listen to a tok2vec component before it, which speaks through
        doc.tensor.

    Raises ValueError for an unknown mix.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[List[Doc], DocLayers],
        name: str = "elmo",
        *,
        frozen: bool = True,
        mix: Mix = "mean",
        keep_layers: bool = True,
        keep_on_cpu: bool = False,
        set_tensor: bool = True,
    ) -> None:
        if isinstance(mix, str) and mix not in NAMED_MIXES:
            raise ValueError(
                f"mix: expected {', '.join(NAMED_MIXES)} or a list of weights, found "
                f"{mix!r}. (Learned mixes belong to the heads: ElmoListener.)"
            )
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: Dict[str, Any] = {}
        self.frozen = frozen
        self.mix = mix
        self.keep_layers = keep_layers
        self.keep_on_cpu = keep_on_cpu
        self.set_tensor = set_tensor
        self._listening = Listening()
        self._boundaries = Boundaries()
        self._gradients: Optional[LayerGradients] = None
        self._has_gradients = False
        model.attrs["replace_listener"] = replace_listener
        model.attrs["replace_listener_cfg"] = _ReplaceConfig(frozen)
        install()

    @property
    def bilm(self) -> BiLM:
        """The biLM. Raises ValueError where it has no weights yet."""
        return elmo_model.get_bilm(self.model)

    def set_bilm(self, bilm: BiLM) -> "Elmo":
        """Take over a biLM, e.g. from `spacy_elmo.load_bilm`; it is not copied.

        RETURNS: the component.
        """
        elmo_model.set_bilm(self.model, bilm)
        return self

    def to_bytes(self, **kwargs: Any) -> bytes:
        """With the weights, the default ones too, as are those of `to_disk`."""
        self._load_default()
        data: bytes = super().to_bytes(**kwargs)
        return data

    def to_disk(self, path: Union[str, Path], **kwargs: Any) -> None:
        self._load_default()
        super().to_disk(path, **kwargs)

    def _load_default(self) -> None:
        if self.model.attrs["default"].find() is not None:
            elmo_model.get_bilm(self.model)

    # What spaCy asks of a component that others listen to

    @property
    def listener_map(self) -> Dict[str, List[Model]]:
        """The listeners of each later component. spaCy sets it to {}, then calls
        `find_listeners` for each."""
        return self._listening.map

    @listener_map.setter
    def listener_map(self, value: Dict[str, List[Model]]) -> None:
        self._listening.start(value)

    @property
    def listeners(self) -> List[Model]:
        return [
            m for name in self.listening_components for m in self.listener_map[name]
        ]

    @property
    def listening_components(self) -> List[str]:
        return list(self.listener_map)

    def add_listener(self, listener: Model, component_name: str) -> None:
        """Tie a listener of another component to this one. Raises ValueError where the
        layers that it needs would not be kept."""
        if not self.keep_layers:
            raise ValueError(
                f"{component_name!r} listens to {self.name!r}: expected its setting "
                "keep_layers = true, found false. Listeners read the layers from the "
                "Doc."
            )
        self._listening.add(listener, component_name, self.compute_layers)

    def remove_listener(self, listener: Model, component_name: str) -> bool:
        """RETURNS: whether it was one of the component's."""
        return self._listening.remove(listener, component_name)

    def find_listeners(self, component: Any) -> None:
        """Tie the listeners of a later component that name this one, or "*".

        Raises ValueError where it is an elmo component too.
        """
        if isinstance(component, Elmo):
            raise ValueError(_second(self.name, component.name))
        for listener in self._listening.find(self.name, component):
            self.add_listener(listener, component.name)

    def _check_tensor(self) -> None:
        """Raises ValueError where doc.tensor would be read as that of a tok2vec
        component. Not before docs come: the pipeline may be unfinished, or a tok2vec
        component disabled for a while."""
        misled = self._listening.misled() if self.set_tensor else None
        if misled is not None:
            raise ValueError(
                f"{misled!r} listens to a tok2vec component through doc.tensor: "
                f"expected that component, enabled, between {self.name!r} and "
                f"{misled!r}, found none there, and {self.name!r} would overwrite what "
                f"an earlier one writes. Put {self.name!r} before that component or "
                f"after {misled!r}, enable what is disabled, or give {self.name!r} the "
                "setting set_tensor = false."
            )

    # Prediction

    def predict(self, docs: Iterable[Doc]) -> List[Floats3d]:
        """RETURNS: for each doc, (n_layers + 1, n_tokens, width)."""
        docs = list(docs)
        self._boundaries.check(docs, self.name)
        return self.compute_layers(docs)

    def compute_layers(self, docs: Sequence[Doc], is_train: bool = False) -> DocLayers:
        """As `predict`; as training has them, if heads train on a biLM that does not
        learn."""
        if not self.frozen:
            return self.model.predict(list(docs))
        return (training_layers if is_train else evaluation_layers)(self.model, docs)

    def set_annotations(self, docs: Sequence[Doc], layers: Sequence[Floats3d]) -> None:
        """Put layers and vectors on the docs. Raises ValueError where a component would
        take doc.tensor for another one's."""
        self._check_tensor()
        # A tok2vec component after this one will write doc.tensor; and a DocBin keeps
        # no tensor, from which alone the vectors could be had if there are no layers.
        keep_apart = bool(self._listening.later_tok2vecs) or not (
            self.set_tensor and self.keep_layers
        )
        for doc, doc_layers in zip(docs, layers):
            if self.keep_on_cpu:
                doc_layers = self.model.ops.to_numpy(doc_layers)
            vectors = apply_mix(doc_layers, self.mix)
            set_vectors(
                doc, vectors, self.mix, as_tensor=self.set_tensor, apart=keep_apart
            )
            if self.keep_layers:
                set_layers(doc, doc_layers)
            else:
                drop_layers(doc)
            set_hooks(doc)

    # Training

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        weights: Optional[Loader] = None,
    ) -> None:
        """Load the weights.

        weights: a loader from [initialize.components.elmo.weights].

        Raises ValueError where there is no loader, no biLM was set before, and the
        language is not that of the weights that ship.
        """
        validate_get_examples(get_examples, "Elmo.initialize")
        if weights is not None:
            self.set_bilm(weights())
        elmo_model.get_bilm(self.model)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Run the biLM and send its layers to the listeners. Unfrozen, it learns from
        what they send back.

        losses: gets the sum of the squared gradients of the layers; 0 if frozen.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "Elmo.update")
        self._check_tensor()
        listeners = self._listening.all_listeners(self.compute_layers)
        docs = [example.predicted for example in examples]
        self._boundaries.trained(docs)
        if self.frozen:
            layers = training_layers(self.model, docs)
            send_back = None
        else:
            self._finish_backprop()
            layers, backprop = self.model.begin_update(docs)
            self._gradients = LayerGradients(
                docs,
                layers,
                partial(self._backward, backprop),
                len(listeners),
                losses,
                self.name,
            )
            send_back = self._gradients.add
        by_doc = {id(doc): doc_layers for doc, doc_layers in zip(docs, layers)}
        batch = ReceivedBatch(docs, by_doc, send_back)
        for listener in listeners:
            listener.attrs["state"].received = batch
        if sgd is not None:
            self.finish_update(sgd)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Update the weights with the gradients that have come in; frozen: nothing.

        Where no listener has answered yet, as in nlp.update(examples, sgd=sgd), which
        ends with each component before the next one begins, that waits for them; but
        not where batches before have left gradients: the last of several that make a
        step need not be answered.
        """
        if self.frozen:
            return
        last = self._gradients
        if last is not None and last.is_unanswered and not self._has_gradients:
            last.then(partial(self._step, sgd))
            return
        self._finish_backprop()
        self._step(sgd)

    def _backward(
        self, backprop: Callable[[List[Floats3d]], Any], gradients: List[Floats3d]
    ) -> None:
        backprop(gradients)
        self._has_gradients = True

    def _step(self, sgd: Optimizer) -> None:
        self.model.finish_update(sgd)
        self._has_gradients = False

    def _finish_backprop(self) -> None:
        """Gradients of a batch wait for all listeners; one whose component is frozen
        never answers, so they are used at the latest when the next step begins."""
        if self._gradients is not None:
            self._gradients.finish()

    def get_loss(self, examples: Iterable[Example], scores: Any) -> None:
        """None: the heads have the losses."""

    def add_label(self, label: str) -> int:
        raise NotImplementedError("The elmo component has no labels: its heads have.")


class _ReplaceConfig:
    """`replace_listener_config` with the component's setting; can be pickled."""

    def __init__(self, frozen: bool) -> None:
        self.frozen = frozen

    def __call__(self, elmo_config: Any, tok2vec_config: Any) -> Dict[str, Any]:
        return replace_listener_config(elmo_config, tok2vec_config, frozen=self.frozen)


def _second(first: str, second: str) -> str:
    return (
        f"Expected one elmo component in a pipeline, found {first!r} and {second!r}: "
        "both would write doc._.elmo. Give the heads that want another biLM their own: "
        "spacy_elmo.ElmoTok2Vec.v1."
    )
