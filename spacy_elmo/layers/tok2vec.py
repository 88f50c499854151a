"""spacy_elmo.ElmoTok2Vec.v1: the biLM inside the head, without a shared component."""

from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from . import elmo_model
from .elmo_model import DocLayers
from .frozen import evaluation_layers, training_layers
from .mix import LEARNED, Mix, elmo_mix
from .weights import Loader

ARCHITECTURE = "spacy_elmo.ElmoTok2Vec.v1"
LISTENER_ARCHITECTURE = "spacy_elmo.ElmoListener.v1"


def build_elmo_tok2vec_v1(
    model: Model[List[Doc], DocLayers],
    weights: Optional[Loader] = None,
    frozen: bool = True,
    mix: Mix = LEARNED,
    layer_norm: bool = False,
    dropout: Optional[float] = None,
    l2: float = 0.0,
    width: Optional[int] = None,
) -> Model[List[Doc], List[Floats2d]]:
    """One vector a token from a biLM that belongs to this head alone.

    model: spacy_elmo.ElmoModel.v1.
    weights: a loader, called when the head is initialised; None where the weights come
        with a trained pipeline.
    frozen: whether the biLM stays as it is while the head learns.
    mix, layer_norm, dropout, l2, width: as for spacy_elmo.ElmoListener.v1.
    RETURNS: docs -> for each, (n_tokens, width).
    """
    head_mix = elmo_mix(mix, layer_norm=layer_norm, dropout=dropout, l2=l2, width=width)
    tok2vec = _tok2vec(model, head_mix, frozen)
    tok2vec.attrs["weights"] = weights
    return tok2vec


def _tok2vec(
    model: Model[List[Doc], DocLayers], mix: Model, frozen: bool
) -> Model[List[Doc], List[Floats2d]]:
    return Model(
        "elmo_tok2vec",
        partial(forward, frozen=frozen),
        init=init,
        layers=[model, mix],
        dims={"nO": mix.maybe_get_dim("nO")},
    )


def init(
    model: Model[List[Doc], List[Floats2d]],
    X: Optional[List[Doc]] = None,
    Y: Optional[List[Floats2d]] = None,
) -> None:
    bilm, mix = model.layers
    weights: Optional[Loader] = model.attrs.get("weights")
    if weights is not None:
        elmo_model.set_bilm(bilm, weights())
    if X:
        mix.initialize(X=bilm.predict(X))
        model.set_dim("nO", mix.get_dim("nO"))


def forward(
    model: Model[List[Doc], List[Floats2d]],
    docs: Sequence[Doc],
    is_train: bool,
    *,
    frozen: bool,
) -> Tuple[List[Floats2d], Callable[[List[Floats2d]], List[Doc]]]:
    bilm, mix = model.layers
    updates_bilm = is_train and not frozen
    backprop_bilm: Optional[Callable[[DocLayers], List[Doc]]] = None
    if frozen:
        read = training_layers if is_train else evaluation_layers
        layers = read(bilm, docs)
    else:
        layers, backprop_bilm = bilm(docs, updates_bilm)
    mix.attrs["backprop_layers"] = updates_bilm
    outputs, backprop_mix = mix(layers, is_train)

    def backprop(d_outputs: List[Floats2d]) -> List[Doc]:
        d_layers = backprop_mix(d_outputs)
        return backprop_bilm(d_layers) if backprop_bilm else []

    return outputs, backprop


def replace_listener(model: Model, listener: Model, component: Any) -> Model:
    """nlp.replace_listeners: the listener's mix over the head's own copy of the biLM.

    model: the copy. component: the elmo component.
    """
    return _tok2vec(model, listener.layers[0], component.frozen)


def replace_listener_config(
    elmo_config: Mapping[str, Any], tok2vec_config: Mapping[str, Any], *, frozen: bool
) -> Dict[str, Any]:
    """The config of what `replace_listener` makes.

    elmo_config: of the component's model.
    tok2vec_config: of the head's tok2vec, in which the listener stands somewhere.
    frozen: the component's setting.

    Raises ValueError where it holds two listeners with different settings.
    """
    found = list(_listener_configs(tok2vec_config))
    if any(config != found[0] for config in found):
        raise ValueError(
            "replace_listeners: expected one listener in the head, or several with the "
            f"same settings, found {found}. spaCy does not tell which of them it "
            "replaces: give them the same settings."
        )
    dropped = ("@architectures", "upstream")
    settings = {key: value for key, value in found[0].items() if key not in dropped}
    return {
        "@architectures": ARCHITECTURE,
        "model": dict(elmo_config),
        "weights": None,
        "frozen": frozen,
        **settings,
    }


def _listener_configs(config: Any) -> List[Mapping[str, Any]]:
    if not isinstance(config, Mapping):
        return []
    if config.get("@architectures") == LISTENER_ARCHITECTURE:
        return [config]
    return [found for value in config.values() for found in _listener_configs(value)]
