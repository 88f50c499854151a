"""The `elmo` component: runs a biLM over docs, sets their vectors, and shares its
layers with later components."""

from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Union

import srsly
from spacy import util
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Model, Optimizer
from thinc.types import Floats3d

from ..bilm import BiLM
from ..files import write_bytes
from ..layers.doc_sentences import SegmentationCheck
from ..layers.elmo_model import DocLayers, find_bilm, frozen_layers, get_bilm, set_bilm
from ..layers.listener import ReceivedBatch
from ..layers.mix import Mix, check_named_mix
from ..layers.tok2vec import replace_listener, replace_listener_config
from ..layers.weight_loaders import DefaultWeights, Loader
from ..scoring.scorer import Scorer
from . import scores
from .annotations import annotate, check_extension, install
from .doc_scorer import DocScorer
from .gradients import LayerGradients
from .listeners import TWO_COMPONENTS, ListenerRegistry

OUTPUT_LAYER = "output_layer"
"""Name of the stored output layer."""

DEFAULT_CONFIG = """
[elmo]
frozen = true
mix = "mean"
keep_layers = true
keep_on_cpu = false
set_tensor = true
score = false

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
    assigns=[
        "doc.tensor",
        "doc._.elmo",
        "token._.surprisal",
        "token._.surprisal_backward",
        "token._.entropy",
        "token._.entropy_backward",
        "token._.known",
        "span._.surprisal",
        "span._.surprisal_backward",
        "doc._.perplexity",
        "doc._.perplexity_backward",
    ],
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
    score: bool,
) -> "Elmo":
    """Create the component `elmo`. See `Elmo` for the settings."""
    for other_name, other in nlp.components:
        if isinstance(other, Elmo) and other_name != name:
            raise ValueError(TWO_COMPONENTS.format(other_name, name))
    model.attrs["default_weights"] = DefaultWeights(nlp, name)
    return Elmo(
        nlp.vocab,
        model,
        name,
        frozen=frozen,
        mix=mix,
        keep_layers=keep_layers,
        keep_on_cpu=keep_on_cpu,
        set_tensor=set_tensor,
        score=score,
    )


class Elmo(ListenerRegistry, TrainablePipe):
    """Runs a biLM over docs.

    vocab (Vocab): The pipeline's vocabulary.
    model (Model[List[Doc], List[Floats3d]]): spacy_elmo.ElmoModel.v1.
    name (str): The component's name.
    frozen (bool): Whether the biLM stays unchanged in training. It then runs without
        autograd, and the heads learn only through their mixes.
    mix (Union[str, List[float]]): Mix of the layers that gives doc.tensor and all
        vectors: "mean", "top", or a list with one weight per layer.
    keep_layers (bool): Whether the layers stay on the Doc, where listeners need them.
        With two LSTM layers they take 12 bytes per token and unit of width.
    keep_on_cpu (bool): Whether the arrays on the Doc are moved to main memory.
    set_tensor (bool): Whether the vectors are written to doc.tensor. Set to False if
        later components listen to an earlier tok2vec component, because these
        communicate through doc.tensor.
    score (bool): Whether tokens are scored, too: their surprisal and the entropy of
        their distributions, in nats. Needs weights with an output layer.
    RAISES: ValueError if the mix is unknown.
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
        score: bool = False,
    ) -> None:
        check_named_mix(mix)
        ListenerRegistry.__init__(self)
        self.vocab = vocab
        self.model = model
        self.name = name
        self.cfg: Dict[str, Any] = {}
        self.frozen = frozen
        self.mix = mix
        self.keep_layers = keep_layers
        self.keep_on_cpu = keep_on_cpu
        self.set_tensor = set_tensor
        self._doc_scorer = DocScorer() if score else None
        self._segmentation = SegmentationCheck()
        self._gradients: Optional[LayerGradients] = None
        self._has_gradients = False
        model.attrs["replace_listener"] = replace_listener
        model.attrs["replace_listener_cfg"] = partial(
            replace_listener_config, frozen=frozen
        )
        install()
        check_extension()
        if score:
            scores.install()

    def __setstate__(self, state: Any) -> None:
        """Connect the listeners again, which were pickled without the component."""
        super().__setstate__(state)
        for listener in self._connected:
            listener.attrs["state"].compute = self.compute_layers

    @property
    def bilm(self) -> BiLM:
        """The biLM. Raises ValueError if it has no weights yet."""
        return get_bilm(self.model)

    def set_bilm(self, bilm: BiLM) -> "Elmo":
        """Use a biLM, for example from `spacy_elmo.load_bilm`. It is not copied.

        RETURNS (Elmo): The component.
        """
        set_bilm(self.model, bilm)
        self._drop_output_layer()
        return self

    def set_scorer(self, scorer: Scorer) -> "Elmo":
        """Use a biLM together with its output layer. They are not copied.

        scorer (Scorer): For example from `Scorer.load`.
        RETURNS (Elmo): The component.
        RAISES: ValueError if the setting `score` is false.
        """
        if self._doc_scorer is None:
            raise ValueError(
                f"{self.name!r}: expected the setting score = true, found false, with "
                "which an output layer has no use. Change it, or use set_bilm."
            )
        self.set_bilm(scorer.bilm)
        self._doc_scorer.scorer = scorer.top_layer_scorer
        return self

    @property
    def scorer(self) -> Optional[Scorer]:
        """The biLM with its output layer; None if the setting `score` is false.

        RAISES: ValueError if the weights have no output layer.
        """
        if self._doc_scorer is None:
            return None
        top_layer = self._doc_scorer.load(self.model)
        scorer = Scorer(self.bilm, top_layer.output_layer, top_layer.words)
        scorer.top_layer_scorer = top_layer  # which may have packed its weights
        return scorer

    def _drop_output_layer(self) -> None:
        """Forget the output layer of an earlier biLM."""
        if self._doc_scorer is not None:
            self._doc_scorer = DocScorer()

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Serialize the component with its weights, including the default weights, and
        the output layer if `score` is set.

        exclude (Iterable[str]): Names of fields to leave out: "cfg", "vocab", "model"
            or "output_layer".
        """
        has_weights = find_bilm(self.model) is not None
        data: bytes = super().to_bytes(exclude=exclude)
        if self._doc_scorer is not None and has_weights and OUTPUT_LAYER not in exclude:
            fields = srsly.msgpack_loads(data)
            fields[OUTPUT_LAYER] = self._doc_scorer.to_bytes(self.model)
            data = srsly.msgpack_dumps(fields)
        return data

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "Elmo":
        """Load what `to_bytes` returned."""
        super().from_bytes(bytes_data, exclude=exclude)
        self._drop_output_layer()
        if self._doc_scorer is not None:
            setters: Dict[str, Callable[[bytes], Any]] = {
                OUTPUT_LAYER: self._doc_scorer.from_bytes
            }
            util.from_bytes(bytes_data, setters, exclude)
        return self

    def to_disk(self, path: Union[str, Path], *, exclude: Iterable[str] = ()) -> None:
        """Like `to_bytes`, to a folder."""
        has_weights = find_bilm(self.model) is not None
        super().to_disk(path, exclude=exclude)
        if self._doc_scorer is not None and has_weights and OUTPUT_LAYER not in exclude:
            data = self._doc_scorer.to_bytes(self.model)
            write_bytes(Path(path) / OUTPUT_LAYER, data)

    def from_disk(
        self, path: Union[str, Path], *, exclude: Iterable[str] = ()
    ) -> "Elmo":
        """Load what `to_disk` wrote."""
        super().from_disk(path, exclude=exclude)
        self._drop_output_layer()
        stored = Path(path) / OUTPUT_LAYER
        doc_scorer = None if OUTPUT_LAYER in exclude else self._doc_scorer
        if doc_scorer is not None and stored.is_file():
            doc_scorer.from_bytes(stored.read_bytes())
        return self

    def predict(self, docs: Iterable[Doc]) -> List[Floats3d]:
        """RETURNS (List[Floats3d]): Shape (n_layers + 1, n_tokens, width) per doc."""
        docs = list(docs)
        self._segmentation.see_other_docs(docs, self.name)
        return self.compute_layers(docs)

    def compute_layers(self, docs: Sequence[Doc], is_train: bool = False) -> DocLayers:
        """Compute layers without gradients.

        docs (Sequence[Doc]): The docs.
        is_train (bool): Whether heads are trained on them. A frozen biLM then reads
            each sentence only once.
        RETURNS (List[Floats3d]): As in `predict`.
        """
        if self.frozen:
            return frozen_layers(self.model, docs, is_train)
        return self.model.predict(list(docs))

    def set_annotations(self, docs: Sequence[Doc], layers: Sequence[Floats3d]) -> None:
        """Put layers and vectors on the docs, and scores if `score` is set.

        RAISES: ValueError if a component would mistake doc.tensor for the output of a
            tok2vec component, or if there is no output layer to score with.
        """
        self._check_tensor()
        for doc, doc_layers in zip(docs, layers):
            if self.keep_on_cpu:
                doc_layers = self.model.ops.to_numpy(doc_layers)
            annotate(
                doc,
                doc_layers,
                self.mix,
                keep_layers=self.keep_layers,
                set_tensor=self.set_tensor,
                tensor_is_overwritten=bool(self._later_tok2vecs),
            )
        if self._doc_scorer is not None:
            self._doc_scorer.annotate(self.model, docs, layers)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Optional[Language] = None,
        weights: Optional[Loader] = None,
    ) -> None:
        """Load the weights.

        get_examples (Callable): Only validated.
        nlp (Optional[Language]): The pipeline, whose listeners are checked.
        weights (Optional[Loader]): Loader from [initialize.components.elmo.weights].
        RAISES: ValueError if there is no loader, no biLM was set before, and there are
            no default weights for the language, or if a component listens to a tok2vec
            component that the pipeline lacks, or if `score` is set and the weights have
            no output layer.
        """
        validate_get_examples(get_examples, "Elmo.initialize")
        if nlp is not None:
            self._check_upstreams(nlp)
        if weights is not None:
            set_bilm(self.model, weights(), weights)
            self._drop_output_layer()
        get_bilm(self.model)
        if self._doc_scorer is not None:
            self._doc_scorer.load(self.model)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optional[Optimizer] = None,
        losses: Optional[Dict[str, float]] = None,
    ) -> Dict[str, float]:
        """Run the biLM and send its layers to the listeners. If it is not frozen, it
        learns from the gradients that they send back.

        examples (Iterable[Example]): The batch.
        drop (float): Not used.
        sgd (Optional[Optimizer]): Optimizer, if the weights are to be updated.
        losses (Optional[Dict[str, float]]): Receives the sum of the layers' squared
            gradients; 0 if frozen.
        RETURNS (Dict[str, float]): The losses.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "Elmo.update")
        self._check_tensor()
        listeners = self._updated_listeners()
        docs = [example.predicted for example in examples]
        self._segmentation.see_training_docs(docs)
        send_back = None
        if self.frozen:
            layers = frozen_layers(self.model, docs, is_train=True)
        else:
            self._finish_backprop()
            layers, backprop = self.model.begin_update(docs)
            self._gradients = LayerGradients(
                docs,
                layers,
                partial(self._backprop, backprop),
                len(listeners),
                losses,
                self.name,
            )
            send_back = self._gradients.add
        batch = ReceivedBatch.of(docs, layers, send_back)
        for listener in listeners:
            listener.attrs["state"].received = batch
        if sgd is not None:
            self.finish_update(sgd)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Update the weights with the gradients received so far. No-op if frozen.

        If no listener has answered yet, the update waits for their answers:
        nlp.update(examples, sgd=sgd) finishes each component before the next one
        begins. It does not wait if earlier batches have left gradients, because the
        last of several accumulated batches may never be answered.
        """
        if self.frozen:
            return
        last = self._gradients
        if last is not None and last.is_unanswered and not self._has_gradients:
            last.on_finish(partial(self._step, sgd))
            return
        self._finish_backprop()
        self._step(sgd)

    def _backprop(
        self, backprop: Callable[[List[Floats3d]], Any], gradients: List[Floats3d]
    ) -> None:
        backprop(gradients)
        self._has_gradients = True

    def _step(self, sgd: Optimizer) -> None:
        self.model.finish_update(sgd)
        self._has_gradients = False

    def _finish_backprop(self) -> None:
        """Use the gradients of the last batch. They wait for all listeners, but those
        of frozen components never answer, so this is called before the next step."""
        if self._gradients is not None:
            self._gradients.finish()

    def get_loss(self, examples: Iterable[Example], scores: Any) -> None:
        """Not used: only the heads have losses."""

    def add_label(self, label: str) -> int:
        raise NotImplementedError(
            "The elmo component has no labels. Add them to the components that listen "
            "to it."
        )
